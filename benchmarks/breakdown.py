"""Where the time of a run goes, op by op: `python -m benchmarks.breakdown NAME [--runs N]`.

The parties' seconds come from real processes with the dealer ahead (`stats.per_op`: the slower party, its waiting for
the other included), the dealer's from the same plan dealt in this process into sinks that drop what they get. Seconds
of CPU are those of whole processes, I/O threads included.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from statistics import median

import mpc_runtime as mpc
from benchmarks.measure import busy_seconds, compiled, run_quietly
from benchmarks.workloads import Workload, make
from mpc_runtime.execution.dealer import DealerExecutor, Record
from mpc_runtime.limits import RECORDS_AHEAD, WINDOW_BYTES
from mpc_runtime.transport.channel import Keeper

Key = tuple[int, str, str]
"""Line, op of the model, gate."""


class _Dropped(Keeper):
    def write(self, buffer: object) -> None:
        """A sink that keeps nothing."""


class _TimedRecord(Record):
    """Takes the time at each change of the op."""

    def __init__(self, *args: object) -> None:
        self.seconds: dict[int, float] = defaultdict(float)
        self._op, self._since = 0, time.perf_counter()
        super().__init__(*args)  # type: ignore[arg-type]

    @property
    def op(self) -> int:
        return self._op

    @op.setter
    def op(self, op: int) -> None:
        now = time.perf_counter()
        self.seconds[self._op] += now - self._since
        self._op, self._since = op, now


def dealer_seconds(program: mpc.Program, runs: int) -> dict[Key, float]:
    """The dealer's seconds for one run: the median of each op."""
    plan, sinks = program.plan, (_Dropped(), _Dropped())
    executor = DealerExecutor(plan)
    executor.execute("setup", (os.urandom(16), os.urandom(16)), sinks)
    seen: dict[int, list[float]] = defaultdict(list)
    for _ in range(runs):
        keys = os.urandom(16), os.urandom(16)
        record = _TimedRecord(plan, "run", keys, sinks, executor._constants, executor._kept, executor._kept_shares)
        executor.deal(record)
        record.op = -1  # the last op ends here
        for op, seconds in record.seconds.items():
            seen[op].append(seconds)
    out: dict[Key, float] = defaultdict(float)
    for op, instruction in enumerate(plan.procedure("run").ops):
        origin = plan.origin("run", op)
        out[origin.line, origin.label, type(instruction.gate).__name__.lower()] += median(seen.get(op, [0.0]))
    return out


def party_seconds(work: Workload, program: mpc.Program, runs: int) -> tuple[dict[Key, float], dict[str, float], float]:
    """The slower party's seconds by op, CPU seconds by process, online seconds: medians of the runs."""
    ops: dict[Key, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    online = []
    window = max(WINDOW_BYTES, (RECORDS_AHEAD + 1) * program.cost.offline_bytes)
    with mpc.launch(program, window=window) as session:
        session.provide(work.params) if work.params else None
        pids = session.pids
        for i in range(runs + 1):
            before: dict[str, float] = {}
            run_quietly(
                session, work.inputs, lambda b=before: b.update({n: busy_seconds([p]) for n, p in pids.items()})
            )
            after = {n: busy_seconds([p]) for n, p in pids.items()}
            if not i:
                continue
            online.append(session.stats.online_seconds)
            here: dict[Key, float] = defaultdict(float)
            for row in session.stats.per_op:
                here[row.line, row.label, row.gate] += row.seconds
            for key, seconds in here.items():
                ops[key].append(seconds)
            for name, seconds in before.items():
                cpu[name].append(after[name] - seconds)
    return {k: median(v) for k, v in ops.items()}, {n: median(v) for n, v in cpu.items()}, median(online)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a workload, such as lenet_b128")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    work = make(given.name)
    program, _ = compiled(work)
    dealer = dealer_seconds(program, given.runs)
    party, cpu, online = party_seconds(work, program, given.runs)
    print(f"{'line':>4}  {'op':16}{'gate':14}{'party ms':>10}{'dealer ms':>10}")
    for line, label, gate in sorted(dealer.keys() | party.keys()):
        key = line, label, gate
        if max(party.get(key, 0), dealer.get(key, 0)) > 1e-3 * max(online, 1e-3):
            print(f"{line:4}  {label:16}{gate:14}{1e3 * party.get(key, 0):10.2f}{1e3 * dealer.get(key, 0):10.2f}")
    print(f"      {'together':30}{1e3 * sum(party.values()):10.2f}{1e3 * sum(dealer.values()):10.2f}")
    print(f"online {1e3 * online:.2f} ms; CPU during it: {', '.join(f'{n} {1e3 * s:.2f} ms' for n, s in cpu.items())}")


if __name__ == "__main__":
    main()
