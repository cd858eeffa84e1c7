"""Ours and the peers on the same numbers, in the same run: `python -m benchmarks.peers.compare [NAME ...]`.

The peers' seconds are from shared inputs to shared outputs, their triples included. Beside them stand our `online`
(from shared inputs to shared outputs too, the dealer having finished ahead) and `total` (online and the dealer's work,
one after the other): see `benchmarks/measure.py`. Ratios are ours to the fastest peer of the row. What comes in as
parameters (weights) our plan opens once a session, under masks that serve every run; the peers mask them in each run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Column, Output, arguments, measure, seconds
from benchmarks.peers.environments import python
from benchmarks.workloads import PEERS, make

HERE = Path(__file__).resolve().parent
PATIENCE_SECONDS = 900


@dataclass(frozen=True)
class Configuration:
    """One way to run a peer. threads: OMP_NUM_THREADS, None for the peer's default."""

    title: str
    peer: str
    script: str
    options: tuple[str, ...] = ()
    threads: int | None = None


CONFIGURATIONS = (
    Configuration("SPU", "spu", "spu_semi2k.py"),
    Configuration("CrypTen TTP", "crypten", "crypten_parties.py", ("--provider", "TTP")),
    Configuration("TTP, OMP=1", "crypten", "crypten_parties.py", ("--provider", "TTP"), 1),
    Configuration("TFP, OMP=1", "crypten", "crypten_parties.py", ("--provider", "TFP"), 1),
)


def run(configuration: Configuration, name: str, runs: int) -> dict[str, Any]:
    """A peer's row for one workload, or why there is none."""
    threads = {} if configuration.threads is None else {"OMP_NUM_THREADS": str(configuration.threads)}
    script = str(HERE / configuration.script)
    command = [str(python(configuration.peer)), script, name, "--repetitions", str(runs), *configuration.options]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **threads, "PYTHONPATH": str(HERE.parent.parent)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done in {PATIENCE_SECONDS} s"}
    except subprocess.CalledProcessError as error:
        return {"failed": error.stderr.strip().splitlines()[-1] if error.stderr.strip() else "no message"}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def ratio(value: float) -> str:
    return f"1/{1 / value:.1f}" if value < 1 else f"{value:.2f}"


def columns() -> tuple[Column, ...]:
    def peer(cell: dict[str, Any]) -> str:
        return f"{seconds(cell['seconds'])}{'!' * bool(cell['wrong'])}" if "seconds" in cell else "failed"

    ours: tuple[tuple[str, Callable[[Any], str]], ...] = (
        ("online", seconds),
        ("total", seconds),
        ("sustained", seconds),
    )
    return (
        ("name", "", str),
        *((key, key, show) for key, show in ours),
        *((c.title, c.title, peer) for c in CONFIGURATIONS),
        ("best", "best", seconds),
        ("online_ratio", "online", ratio),
        ("total_ratio", "total", ratio),
        ("wrong", "wrong", str),
    )


def main() -> None:
    given = arguments(__doc__, PEERS)
    output = Output("peers", given.out, columns())
    for name in given.names:
        ours = measure(make(name), given.runs)
        peers = {c.title: run(c, name, given.runs) for c in CONFIGURATIONS}
        for title, row in peers.items():
            if "failed" in row:
                print(f"{name}: {title}: {row['failed']}", file=sys.stderr)
        known = [row["seconds"] for row in peers.values() if "seconds" in row]
        best = min(known) if known else None
        ratios = {} if best is None else {"online_ratio": ours.online / best, "total_ratio": ours.total / best}
        output.row({**asdict(ours), **peers, "peers": list(peers), "best": best, **ratios})
    print("! marks clearly wrong elements in a peer's result")


if __name__ == "__main__":
    main()
