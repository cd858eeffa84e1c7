"""How an importer refuses: one node at a time, all of them in one error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpc_runtime.errors import CompileError

__all__ = ["ImportFailed", "Refusal", "Unsupported"]


class Unsupported(Exception):
    """A node has no private counterpart: the reason, and the nearest that works."""

    def __init__(self, reason: str, help: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.help = help


@dataclass(frozen=True)
class Refusal:
    """A node of the graph that cannot be imported."""

    node: str
    op: str
    reason: str
    help: str | None = None

    def __str__(self) -> str:
        called = f"{self.op} `{self.node}`" if self.node else self.op
        return f"{called}: {self.reason}" + (f"\n    help: {self.help}" if self.help else "")


class ImportFailed(CompileError):
    """A model cannot be imported; `refusals` has an entry for each node that is the reason."""

    def __init__(self, model: str, refusals: Sequence[Refusal]) -> None:
        count = f"{len(refusals)} node{'s' * (len(refusals) != 1)}"
        lines = "\n".join(f"  {refusal}" for refusal in refusals)
        super().__init__(f"{model}: {count} cannot be imported\n{lines}", refusals)
        self.refusals = tuple(refusals)
