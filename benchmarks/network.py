"""What a network costs, by the delaying relay: `python -m benchmarks.network [NAME ...] [--link ROUND_TRIP,RATE ...]`.

For each workload and link: the online seconds beside `rounds x half a round trip + bytes / rate + the compute`. The
compute is the online time of the same plan without a relay. `rounds` is what the plan says beside the run's count.
A plan is compiled for each link: fewer rounds or fewer bytes are the better choice depending on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.measure import Column, Output, compiled, online, seconds, size
from benchmarks.relay import Relay, round_trip_seconds
from benchmarks.workloads import Workload, make

NAMES = ("lenet_b1", "lenet_b32", "logistic_b1", "logistic_b1000", "softmax")


@dataclass(frozen=True)
class Link:
    """round_trip: seconds; rate: bits a second, of each direction."""

    title: str
    round_trip: float
    rate: float

    @property
    def network(self) -> str:
        """The compiler's option for such a link."""
        return f"rtt={self.round_trip * 1e3:g}ms,bandwidth={self.rate / 1e6:g}Mbps"


LINKS = (
    Link("LAN 1 ms, 1 Gbit/s", 0.001, 1e9),
    Link("40 ms, 1 Gbit/s", 0.04, 1e9),
    Link("WAN 40 ms, 100 Mbit/s", 0.04, 1e8),
)


@dataclass(frozen=True)
class Delayed:
    """One workload over one link. predicted: half round trips, bytes and compute added up; ratio: online to it."""

    name: str
    link: str
    ping: float
    rounds: int
    planned_rounds: int
    online_bytes: int
    compute: float
    predicted: float
    online: float
    ratio: float
    wrong: int


COLUMNS: tuple[Column, ...] = (
    ("name", "", str),
    ("link", "link", lambda link: f"  {link}"),
    ("ping", "ping", seconds),
    ("rounds", "rounds", str),
    ("planned_rounds", "planned", str),
    ("online_bytes", "bytes", size),
    ("compute", "compute", seconds),
    ("predicted", "predicted", seconds),
    ("online", "online", seconds),
    ("ratio", "ratio", "{:.2f}".format),
    ("wrong", "wrong", str),
)


def measure(work: Workload, link: Link, runs: int) -> Delayed:
    """Without the relay first, then with it."""
    program, _ = compiled(work, link.network)
    near, *_ = online(work, program, runs)
    with Relay(link.round_trip, link.rate) as relay:
        far, _, _, bad = online(work, program, runs, relay.between_parties)
    compute = median(stats.online_seconds for stats in near)
    late = median(stats.online_seconds for stats in far)
    one_way_bytes = program.cost.online_bytes / 2  # both directions carry the same, at the same time
    predicted = program.cost.rounds * link.round_trip / 2 + 8 * one_way_bytes / link.rate + compute
    return Delayed(
        work.name,
        link.title,
        round_trip_seconds(link.round_trip, link.rate),
        far[-1].rounds,
        program.cost.rounds,
        far[-1].online_bytes,
        compute,
        predicted,
        late,
        late / predicted,
        bad,
    )


def links(given: Sequence[str]) -> tuple[Link, ...]:
    """`0.04,1e8` as a link; without any, the usual ones."""
    pairs = [tuple(map(float, text.split(","))) for text in given]
    return tuple(Link(f"{1e3 * trip:g} ms, {rate / 1e6:g} Mbit/s", trip, rate) for trip, rate in pairs) or LINKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, help="workloads, such as lenet_b1")
    parser.add_argument("--link", action="append", default=[], metavar="SECONDS,BITS/S", help="a round trip and a rate")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", help="append JSON lines to this file")
    given = parser.parse_args()
    output = Output("network", given.out, COLUMNS)
    for link in links(given.link):
        for name in given.names:
            output.row(asdict(measure(make(name), link, given.runs)))


if __name__ == "__main__":
    main()
