"""What a gate may be applied to: the vocabulary of `Gate.infer`, by which a plan is verified.

A plan comes out of a file, and whoever wrote the file may have written anything. So nothing in it is believed: from the
registers that a gate reads, its own attributes and what the plan declares beside its op-list, the gate infers what its
results are (`Layout`), or says which rule the plan breaks (`Refused`). Rings and forms are inferred by the rules that
the compiler assigns them with (`result`, `demand`, `most_bits`, `wants_mask`, `wants_true_shares`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..registers import Domain, Form, Register

__all__ = [
    "Declared",
    "DeclaredFeed",
    "DeclaredNoise",
    "DeclaredPrivacy",
    "DeclaredResult",
    "Layout",
    "Refused",
    "broadcast",
    "expect",
    "expect_additive",
    "expect_between",
    "expect_domain",
    "expect_form",
    "expect_masked",
    "joined",
]

Types = Sequence[Register]


class Refused(ValueError):
    """A gate that no machine may execute as it stands. The message is the rule and what was found instead."""


@dataclass(frozen=True)
class Layout:
    """What a register holds, but for its ring and its form.

    scale: fraction bits, or None where the gate does not decide them: a shift, or a product with a constant of the
           plan, may also be part of what is computed.
    """

    shape: tuple[int, ...]
    domain: Domain = Domain.WORDS
    scale: int | None = 0
    planes: int = 1

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class DeclaredFeed(Protocol):
    """What roles share, as `plan.Feed` describes it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def domain(self) -> Domain: ...
    @property
    def bits(self) -> int: ...
    @property
    def scale(self) -> int: ...
    @property
    def public(self) -> bool: ...


class DeclaredNoise(Protocol):
    """What noise hides, as `plan.Noise` describes it."""

    @property
    def law(self) -> str: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def delta(self) -> float: ...
    @property
    def sensitivity(self) -> float: ...
    @property
    def rounding(self) -> float: ...
    @property
    def made_by(self) -> str: ...


class DeclaredPrivacy(Protocol):
    """What the noise of training hides, as `plan.Privacy` describes it."""

    @property
    def noise(self) -> float: ...
    @property
    def sensitivity(self) -> float: ...


class DeclaredResult(Protocol):
    """What roles decode, as `plan.Result` describes it."""

    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def domain(self) -> Domain: ...
    @property
    def bits(self) -> int: ...
    @property
    def scale(self) -> int: ...
    @property
    def noise(self) -> DeclaredNoise | None: ...


class Declared(Protocol):
    """What is known of a plan where a gate stands: its operands, and what the plan declares beside its op-list.

    Every method raises Refused for what there is not.
    """

    @property
    def privacy(self) -> DeclaredPrivacy | None:
        """Of training, if it is private."""
        ...

    def layout(self, register: int) -> Layout:
        """Of an operand."""
        ...

    def constant(self, index: int) -> np.ndarray: ...
    def feed(self, name: str) -> DeclaredFeed: ...
    def result(self, name: str) -> DeclaredResult: ...


def expect(condition: bool, rule: str) -> None:
    """Refused, with the rule, unless the condition holds."""
    if not condition:
        raise Refused(rule)


def expect_between(name: str, value: int, low: int, high: int) -> None:
    """Refused unless an attribute lies in [low, high]."""
    expect(low <= value <= high, f"{name}: expected {low} to {high}, found {value}")


def expect_domain(layout: Layout, *domains: Domain) -> Layout:
    """The operand's layout, whose elements are of one of these kinds."""
    wanted = " or ".join(domain.value for domain in domains)
    expect(layout.domain in domains, f"expected an operand of {wanted}, found {layout.domain.value}")
    return layout


def expect_form(form: Form, *forms: Form) -> None:
    wanted = " or ".join(each.value for each in forms)
    expect(form in forms, f"expected a {wanted} operand, found a {form.value} one")


def expect_masked(types: Types, *registers: int) -> None:
    """The parties know these values under a mask."""
    for register in registers:
        expect_form(types[register].form, Form.WIRE, Form.BARE)


def expect_additive(types: Types, *registers: int) -> None:
    """The parties hold shares of these values."""
    for register in registers:
        expect_form(types[register].form, Form.SHARED, Form.OFFSET)


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that these have together, as NumPy has it."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise Refused(f"the shapes {' and '.join(map(str, shapes))} do not broadcast") from None


def joined(layouts: Sequence[Layout], axis: int) -> Layout:
    """Tensors of one kind, one behind the other along an axis."""
    first = layouts[0]
    expect_between("axis", axis, 0, len(first.shape) - 1)
    for each in layouts:
        alike = (*each.shape[:axis], 1, *each.shape[axis + 1 :]) == (*first.shape[:axis], 1, *first.shape[axis + 1 :])
        expect(alike and len(each.shape) == len(first.shape), f"{each.shape} cannot be joined to {first.shape}")
        expect((each.domain, each.scale) == (first.domain, first.scale), "expected operands of one kind and scale")
    total = sum(each.shape[axis] for each in layouts)
    return Layout((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.domain, first.scale)
