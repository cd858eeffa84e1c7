"""A node of the graph as the table of operators sees it: its operands, attributes and version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.graph import Array, Kind
from compiler.importers.known import Known, to_term
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size, Undecided
from compiler.importers.terms import Term


@dataclass(frozen=True)
class Absent:
    """A result that has no private counterpart; it is refused where something needs it."""

    what: str
    help: str | None = None


Value = Term | Known | Absent
Result = Value | Sequence[Value | None]


@dataclass(frozen=True, eq=False)
class Node:
    """Inputs are None where they are left out, outputs "" where nothing needs them.

    `opset` is the version of the node's domain, `trials` how many there are.
    """

    op: str
    name: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int
    trials: int

    def has(self, place: int) -> bool:
        return place < len(self.inputs) and self.inputs[place] is not None

    def value(self, place: int) -> Term | Known:
        """An input that must be there."""
        found = self.inputs[place] if place < len(self.inputs) else None
        if found is None:
            raise Unsupported(f"its input {place} is missing")
        if isinstance(found, Absent):
            raise Unsupported(f"it needs {found.what}, which is not supported", found.help)
        return found

    def term(self, place: int = 0) -> Term:
        """An input as something computed."""
        found = self.value(place)
        return found if isinstance(found, Term) else to_term(found, self.trials)

    def known(self, place: int, what: str) -> Known:
        """An input that must not depend on the data; `what` says what it is."""
        found = self.value(place)
        if isinstance(found, Term):
            help = f"make its input {place} a constant or an initializer of the model"
            raise Unsupported(f"{what} must be known ahead of time, and is computed from the data", help)
        return found

    def array(self, place: int, what: str) -> Array:
        """A known input that depends on no free dim either."""
        return self.known(place, what).array

    def attribute(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)

    def integers(self, name: str, place: int | None = None) -> list[int] | None:
        """Whole numbers from an attribute, or, in later versions, from an input; None where there are none."""
        if name in self.attributes:
            return [int(each) for each in self.attributes[name]]
        if place is None or not self.has(place):
            return None
        return [size.fixed for size in self.known(place, name).size_list()]

    def number(self, name: str, place: int, default: float | None = None) -> float | None:
        """A number from an attribute, or, in later versions, from an input."""
        if name in self.attributes:
            return float(self.attributes[name])
        if not self.has(place):
            return default
        found = self.array(place, name).reshape(-1)
        if found.size != 1:
            raise Unsupported(f"{name} is expected to be one number, found {found.size}")
        return float(found[0])


def expect_real(x: Term, op: str) -> None:
    """Refuses what is no real number, for functions that need one."""
    if x.kind is not Kind.FIXED:
        raise Unsupported(f"{op} of whole numbers")


def axis_at(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < max(rank, 1):
        raise Unsupported(f"axis {axis} is out of range for {rank} axes")
    return axis % rank if rank else 0


def fixed(sizes: Sequence[Size]) -> list[int]:
    """Sizes that are numbers; raises Undecided."""
    return [size.fixed for size in sizes]


__all__ = ["Absent", "Node", "Result", "Undecided", "Value", "axis_at", "expect_real", "fixed"]
