"""The errors and warnings of the public interface. Messages are written where they are raised; `number` and
`amount` are for them.

Misuse by the caller (`CompileError`, `InputError`) and misbehaviour of another machine (`PeerError`, `MaterialError`)
are different exceptions, so that a caller can correct the one and report the other.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

__all__ = [
    "BudgetError",
    "CompileError",
    "CompileWarning",
    "Error",
    "InputError",
    "Interrupted",
    "MaterialError",
    "PeerError",
    "PerformanceWarning",
    "PromiseWarning",
    "RangeError",
    "amount",
    "number",
]


class Error(Exception):
    """Base class of all errors that this package raises deliberately.

    Attributes:
        partial: For a call with many rows, the results that were computed before the error.
        done_rows: How many rows `partial` has.
    """

    partial: Mapping[str, np.ndarray] = MappingProxyType({})
    done_rows: int = 0


class CompileError(Error):
    """A `.ppml` file or a plan is invalid.

    `diagnostics` has one entry per problem, with `file`, `line`, `column`, `message` and `help`. `str()` of the error
    shows all of them, `str()` of an entry only that one.
    """

    def __init__(self, message: str, diagnostics: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.diagnostics = tuple(diagnostics)


class CompileWarning(UserWarning):
    """A warning of the compiler, issued through Python's `warnings` for each entry of `Program.warnings`.

    `diagnostic` is the entry.
    """

    def __init__(self, diagnostic: object) -> None:
        super().__init__(diagnostic)
        self.diagnostic = diagnostic


class InputError(Error):
    """A shape, key, type or range of a value is wrong. Raised before anything has left the machine."""


class PeerError(Error):
    """Another machine is gone or late, or has another version or plan.

    `peer` is its name ("p0", "dealer", "client", …), `op` the operation that was in progress ("" between executions).
    """

    def __init__(self, message: str, peer: str = "", op: str = "") -> None:
        super().__init__(message)
        self.peer = peer
        self.op = op


class MaterialError(Error):
    """Correlated randomness is missing, used up, damaged, in use by another process, or made for another plan."""


class BudgetError(Error):
    """A release would exceed the privacy budget of a dataset. Nothing of it has run, and the session remains usable."""


class RangeError(Error):
    """Training has left the limits within which its numbers are right: they were right before, and nothing that may be
    wrong was released.

    Attributes:
        tensor: What was too large.
        first: The first step, counted from 1, in which it may have been; 0 where the session made none.
        last: The last one.
    """

    def __init__(self, tensor: str, first: int = 0, last: int = 0) -> None:
        when = {0: "", first: f" in step {last}"}.get(last, f" in step {first} or {last}")
        super().__init__(
            f"training has left its limits{when}: {tensor} did not hold. Nothing was released that may be wrong. Go on "
            "from a checkpoint, or provide parameters again, with a smaller learning rate or other `limits`"
        )
        self.tensor = tensor
        self.first = first
        self.last = last

    def between(self, first: int, last: int) -> RangeError:
        """The same, with the steps."""
        return RangeError(self.tensor, first, last)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a call with many rows. `partial` has the results of the first `done_rows` rows."""

    def __init__(self, partial: Mapping[str, np.ndarray], done_rows: int) -> None:
        super().__init__(f"interrupted after {amount(done_rows, 'row')}, whose results are in .partial")
        self.partial = partial
        self.done_rows = done_rows


class PerformanceWarning(UserWarning):
    """Something works, but could be much faster."""


class PromiseWarning(UserWarning):
    """Weights were provided that do not prove what the model promises of its values: a broken promise would not be
    seen."""


def amount(count: int, one: str, several: str = "", *, sign: str = "") -> str:
    """So many of something, for messages and prints: `1 row`, `3 rows`. sign: "+" for a change, `+1 row`."""
    return f"{count:{sign}} {one if abs(count) == 1 else several or one + 's'}"


def number(value: float) -> str:
    """A short exact-enough text for messages and prints: `3`, `0.5`, `-inf`."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}"
