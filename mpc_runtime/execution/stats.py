"""What a session's last call did, in the words of `Program.cost`: what a party reports of an execution, and what a
session makes of both parties' reports.
"""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..analysis.units import human
from ..plan import Plan

if TYPE_CHECKING:
    from ..transport.messages import Message
    from .party import Counters

__all__ = ["OP_BYTES", "OpStats", "Stats", "op_report", "report", "run_stats"]

Array = np.ndarray
OP_BYTES = 3 * 8
"""Of each op in the report of an execution."""

_STATUS_BYTES = 1 << 14


@dataclass(frozen=True)
class OpStats:
    """One op of `run`, both parties together: bytes; seconds of the slower party, with its waiting for the other."""

    op: int
    label: str
    line: int
    gate: str
    online_bytes: int
    offline_bytes: int
    seconds: float


@dataclass(frozen=True)
class Stats:
    """What the last call did. Counts are per run (all runs of a plan are alike); seconds are of the whole call."""

    runs: int = 0
    rounds: int = 0
    online_bytes: int = 0
    offline_bytes: int = 0
    setup_rounds: int = 0
    setup_online_bytes: int = 0
    setup_offline_bytes: int = 0
    client_bytes: int = 0
    peak_memory: int = 0
    """Peak bytes of a party's process, the larger of the two."""
    online_seconds: float = 0.0
    """From the arrival of all submissions (for p0: at both parties) to the sending of the outputs; of the slower."""
    offline_seconds: float = 0.0
    """The dealer's time for these runs, and what the parties computed before the submissions arrived."""
    seconds: float = 0.0
    per_op: Sequence[OpStats] = field(default=(), repr=False)

    def plus(self, other: Stats) -> Stats:
        """This call and one more run of it."""
        return Stats(
            **{
                **{k: getattr(other, k) for k in self.__dataclass_fields__},
                "runs": self.runs + other.runs,
                "peak_memory": max(self.peak_memory, other.peak_memory),
                "online_seconds": self.online_seconds + other.online_seconds,
                "offline_seconds": self.offline_seconds + other.offline_seconds,
                "seconds": self.seconds + other.seconds,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {"per_op": tuple(asdict(op) for op in self.per_op)}

    def __str__(self) -> str:
        rows = [
            ("runs", f"{self.runs}", ""),
            ("rounds", f"{self.rounds}", f"setup {self.setup_rounds}"),
            ("online", human(self.online_bytes), f"setup {human(self.setup_online_bytes)}"),
            ("offline", human(self.offline_bytes), f"setup {human(self.setup_offline_bytes)}"),
            ("roles", human(self.client_bytes), ""),
            ("memory", human(self.peak_memory), "of a party, at most"),
            ("online time", f"{self.online_seconds:.4f} s", ""),
            ("offline time", f"{self.offline_seconds:.4f} s", ""),
            ("all together", f"{self.seconds:.4f} s", ""),
        ]
        return "\n".join(f"{name:<14}{value:>12}   {note}".rstrip() for name, value, note in rows)


def report(last: Counters, online_seconds: float, offline_seconds: float) -> dict[str, Any]:
    """What a party tells the roles of an execution."""
    return {
        "rounds": last.rounds,
        "sent_bytes": last.sent_bytes,
        "material_bytes": last.material_bytes,
        "online_seconds": online_seconds,
        "offline_seconds": offline_seconds,
        "peak_memory": _peak_memory(),
    }


def op_report(last: Counters) -> bytes:
    """The same of each op, `OP_BYTES` each: bytes sent of all ops, bytes of material, seconds."""
    counts = np.array([last.op_sent, last.op_material], np.int64)
    return counts.tobytes() + np.array(last.op_seconds, np.float64).tobytes()


def _peak_memory() -> int:
    """Bytes of memory that this process has had at most."""
    try:
        with open("/proc/self/status", "rb", buffering=0) as file:  # Linux: ru_maxrss begins with the parent's peak
            status = file.read(_STATUS_BYTES)
    except OSError:
        status = b""
    found = re.search(rb"VmHWM:\s+(\d+) kB", status)
    if found is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10
    return int(found[1]) << 10


def run_stats(plan: Plan, procedure: str, reports: Sequence[Message], client_bytes: int, seconds: float) -> Stats:
    """One execution of a procedure from the `stats` messages of both parties."""
    bodies = [message.body for message in reports]
    setups = [body["setup"] or {} for body in bodies]
    return Stats(
        runs=1,
        rounds=bodies[0]["rounds"],
        online_bytes=sum(b["sent_bytes"] for b in bodies),
        offline_bytes=sum(b["material_bytes"] for b in bodies),
        setup_rounds=setups[0].get("rounds", 0),
        setup_online_bytes=sum(s.get("sent_bytes", 0) for s in setups),
        setup_offline_bytes=sum(s.get("material_bytes", 0) for s in setups),
        client_bytes=client_bytes,
        peak_memory=max(b["peak_memory"] for b in bodies),
        online_seconds=max(b["online_seconds"] for b in bodies),
        offline_seconds=max(b["offline_seconds"] for b in bodies),
        seconds=seconds,
        per_op=_PerOp(plan, procedure, reports),
    )


class _PerOp(Sequence[OpStats]):
    """The ops of an execution. They are hundreds, and seldom read: made when they are."""

    def __init__(self, plan: Plan, procedure: str, reports: Sequence[Message]) -> None:
        self._plan, self._procedure = plan, procedure
        self._told = [r.payload[-1] for r in reports]

    @cached_property
    def _rows(self) -> tuple[OpStats, ...]:
        counts = [np.frombuffer(told, np.int64).reshape(3, -1)[:2] for told in self._told]
        sent, material = np.sum(counts, axis=0).tolist()
        seconds = np.max([np.frombuffer(told, np.float64).reshape(3, -1)[2] for told in self._told], axis=0).tolist()
        rows = []
        for op, instruction in enumerate(self._plan.procedure(self._procedure).ops):
            origin = self._plan.origin(self._procedure, op)
            gate = type(instruction.gate).__name__.lower()
            rows.append(OpStats(op, origin.label, origin.line, gate, sent[op], material[op], seconds[op]))
        return tuple(rows)

    @overload
    def __getitem__(self, index: int) -> OpStats: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[OpStats, ...]: ...

    def __getitem__(self, index: int | slice) -> OpStats | tuple[OpStats, ...]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._plan.procedure(self._procedure).ops)

    def __eq__(self, other: object) -> bool:
        return self._rows == (other._rows if isinstance(other, _PerOp) else other)

    def __hash__(self) -> int:
        return hash(self._rows)
