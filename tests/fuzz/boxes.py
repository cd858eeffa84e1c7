"""What a private value may be: for each element an interval that holds every result the documented contract admits.

A `Box` starts at the owner's number and at its rounding, and every operation carries both ends on and adds the error
that LANGUAGE.md and docs/numbers.md allow for it. Nothing here is taken from the compiler.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

INT_LIMIT = 2.0**30
SMOOTH = 2.0**-12
FLOAT = 2.0**-50
"""Relative: what float64 itself may be off here."""


class Outside(Exception):
    """A value that the number format does not hold, or an operand outside a function's domain: no meaning to check."""


@dataclass(frozen=True)
class Format:
    """precision fixed(bits, frac)"""

    bits: int = 64
    frac: int = 16

    @property
    def step(self) -> float:
        return 2.0**-self.frac

    @property
    def limit(self) -> float:
        return 2.0 ** (self.bits - 2 - 2 * self.frac)


@dataclass(frozen=True, eq=False)
class Box:
    """lo, hi: float64 arrays of one shape. kind: fixed, int or bit; a bit that may be either has lo 0 and hi 1."""

    kind: str
    lo: Array
    hi: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.lo.shape)

    @property
    def magnitude(self) -> Array:
        return np.maximum(np.abs(self.lo), np.abs(self.hi))

    @property
    def middle(self) -> Array:
        return (self.lo + self.hi) / 2

    @property
    def radius(self) -> Array:
        return (self.hi - self.lo) / 2


def point(kind: str, values: object) -> Box:
    """Exactly these numbers."""
    array = np.asarray(values, np.float64)
    return Box(kind, array, array)


def provided(f: Format, kind: str, values: Array) -> Box:
    """What an owner gives: the number itself, where its client computes with it, or its rounding."""
    exact = np.asarray(values, np.float64)
    if kind != "fixed":
        return Box(kind, exact, exact)
    rounded = np.rint(exact / f.step) * f.step
    return Box(kind, np.minimum(exact, rounded), np.maximum(exact, rounded))


def stored(f: Format, box: Box) -> Box:
    """After a rounding to the nearest step of whatever is not a multiple of it."""
    if box.kind != "fixed":
        return box
    return Box("fixed", np.floor(box.lo / f.step) * f.step, np.ceil(box.hi / f.step) * f.step)


def widened(box: Box, error: object) -> Box:
    slack = np.asarray(error) + FLOAT * box.magnitude
    return Box(box.kind, box.lo - slack, box.hi + slack)


def one_step(f: Format, box: Box) -> Box:
    """A product or a whole sum of products: one step; of whole numbers, none."""
    return widened(box, f.step) if box.kind == "fixed" else box


def smooth(f: Format, lo: Array, hi: Array) -> Box:
    """2^-12 of max(1, |result|), or two steps."""
    box = Box("fixed", lo, hi)
    return widened(box, np.maximum(SMOOTH * np.maximum(1.0, box.magnitude), 2 * f.step))


def quotient(f: Format, lo: Array, hi: Array) -> Box:
    """Relative 2^-12, and two steps."""
    box = Box("fixed", lo, hi)
    return widened(box, SMOOTH * box.magnitude + 2 * f.step)


def admitted(f: Format, box: Box) -> Box:
    """The box, if all of it lies inside the format; raises Outside."""
    if box.kind == "bit":
        return box
    limit = f.limit - 2 * f.step if box.kind == "fixed" else INT_LIMIT - 1
    if not (box.magnitude <= limit).all():  # NaN is outside too
        raise Outside
    return box


def number(box: Box) -> Box:
    """In arithmetic a bit is an int."""
    return Box("int", box.lo, box.hi) if box.kind == "bit" else box


def fixed(f: Format, box: Box) -> Box:
    return admitted(f, Box("fixed", box.lo, box.hi))


def promoted(f: Format, *boxes: Box) -> list[Box]:
    """All fixed when one is, else all int, and all as they are stored."""
    if any(box.kind == "fixed" for box in boxes):
        return [stored(f, fixed(f, box)) for box in boxes]
    return [number(box) for box in boxes]


def hull(*boxes: Box) -> Box:
    """Whatever one of them may be."""
    lo, hi = boxes[0].lo, boxes[0].hi
    for box in boxes[1:]:
        lo, hi = np.minimum(lo, box.lo), np.maximum(hi, box.hi)
    return Box(boxes[0].kind, lo, hi)
