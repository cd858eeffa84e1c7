"""The errors and warnings that users meet. What a message says is decided where it is raised; here are only the kinds.

Your misuse (`CompileError`, `InputError`) and the misbehaviour of another machine (`PeerError`, `MaterialError`) are
different exceptions, so that a caller can mend the one and report the other.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

__all__ = [
    "CompileError",
    "CompileWarning",
    "Error",
    "InputError",
    "Interrupted",
    "MaterialError",
    "PeerError",
    "PerformanceWarning",
]


class Error(Exception):
    """Every error that this package raises on purpose.

    Of a call with many rows, `partial` are the results of the first `done_rows`, which were computed before it.
    """

    partial: Mapping[str, np.ndarray] = MappingProxyType({})
    done_rows: int = 0


class CompileError(Error):
    """A `.ppml` program or a plan that cannot be used.

    `diagnostics` has one entry per problem, each with `file, line, column, message, help`; `str()` shows them all, and
    that of an entry shows it alone.
    """

    def __init__(self, message: str, diagnostics: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.diagnostics = tuple(diagnostics)


class CompileWarning(UserWarning):
    """What the compiler warns of, by way of Python's `warnings`: one for each of `Program.warnings`, its text included.

    `diagnostic` is that entry.
    """

    def __init__(self, diagnostic: object) -> None:
        super().__init__(diagnostic)
        self.diagnostic = diagnostic


class InputError(Error):
    """A value its owner may not share: shape, key, type or range. Raised before anything has left the machine."""


class PeerError(Error):
    """Another machine is gone, late, or speaks another version or plan.

    `peer` is its name ("p0", "dealer", "client" …), `op` what was going on ("" between executions).
    """

    def __init__(self, message: str, peer: str = "", op: str = "") -> None:
        super().__init__(message)
        self.peer = peer
        self.op = op


class MaterialError(Error):
    """Correlated randomness that is missing, used up, or made for another plan."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C within a call with many rows. `partial` are the results of the first `done_rows`."""

    def __init__(self, partial: Mapping[str, np.ndarray], done_rows: int) -> None:
        super().__init__(f"interrupted after {done_rows} rows, whose results are in .partial")
        self.partial = partial
        self.done_rows = done_rows


class PerformanceWarning(UserWarning):
    """Something works, and could be much faster."""
