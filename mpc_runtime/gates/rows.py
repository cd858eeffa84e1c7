"""Where the rows of a batch lie in tensors: the vocabulary of `Gate.rows`, by which it is found out whether rows meet.

A batch has `count` rows, two or more. A tensor either comes from no row (parameters, constants), or element e of it, in
C order, comes from row (e // stride) % count alone, so that one number says where the rows lie. Gates are believed in
nothing else than their own rules, as in `rules.py`; one that does not say what it does to rows lets them meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ..registers import Register

__all__ = ["Batch", "RowsMeet", "aligned", "expect_apart", "stride_of", "uniform_axes"]

Shape = tuple[int, ...]


class RowsMeet(ValueError):
    """An element would depend on several rows, or on which row it is."""


@dataclass(frozen=True)
class Batch:
    """What is known of the rows where a gate stands. strides: of registers that come from rows. uniform: of the others,
    the axes along which they are the same, beside those of size 1."""

    count: int
    types: Sequence[Register]
    strides: Mapping[int, int]
    uniform: Mapping[int, frozenset[int]]

    def place(self, register: int) -> tuple[int, int]:
        """The axis with the rows, and how many entries of it each row has before the next one begins."""
        return place_of(self.types[register].shape, self.strides[register], self.count)

    def expect_uniform(self, register: int, axis: int) -> None:
        """RowsMeet unless a register that comes from no row is the same along an axis; below 0, it has none."""
        same = axis < 0 or self.types[register].shape[axis] == 1 or axis in self.uniform.get(register, ())
        expect_apart(same)


def expect_apart(condition: bool) -> None:
    """RowsMeet unless the condition holds."""
    if not condition:
        raise RowsMeet


def stride_of(shape: Shape, axis: int, each: int) -> int:
    """Of rows along an axis, each with so many entries of it."""
    return each * prod(shape[axis + 1 :])


def place_of(shape: Shape, stride: int, count: int) -> tuple[int, int]:
    """The axis and entries of rows with this stride. RowsMeet where they lie across axes."""
    expect_apart(0 not in shape)
    behind = 1
    for axis in reversed(range(len(shape))):
        if stride % behind == 0 and shape[axis] % (stride // behind * count) == 0:
            return axis, stride // behind
        behind *= shape[axis]
    raise RowsMeet


def aligned(batch: Batch, registers: Sequence[int], shape: Shape) -> int:
    """The stride in a tensor of this shape, each element of which comes from the elements at the same place of these
    registers, with NumPy's broadcasting, or in C order where there are as many."""
    moving = [r for r in registers if r in batch.strides]
    strides = {_spread(batch, r, shape) for r in moving}
    expect_apart(len(strides) == 1)
    (stride,) = strides
    if free := [r for r in registers if r not in batch.strides]:
        axis, _ = place_of(shape, stride, batch.count)
        for register in free:
            behind = len(shape) - len(batch.types[register].shape)
            expect_apart(behind >= 0)
            batch.expect_uniform(register, axis - behind)
    return stride


def _spread(batch: Batch, register: int, shape: Shape) -> int:
    """The stride of a register's rows when it is broadcast to a shape."""
    own = batch.types[register].shape
    if prod(own) == prod(shape):
        return batch.strides[register]
    axis, each = batch.place(register)
    there = axis + len(shape) - len(own)
    expect_apart(there >= 0 and shape[there] == own[axis])
    return stride_of(shape, there, each)


def uniform_axes(batch: Batch, registers: Sequence[int], shape: Shape) -> frozenset[int]:
    """The axes along which a tensor is the same that is computed as in `aligned`, from what comes from no row."""
    axes = set(range(len(shape)))
    for register in registers:
        own, known = batch.types[register].shape, batch.uniform.get(register, frozenset())
        behind = len(shape) - len(own)
        axes &= {a for a in axes if a < behind or own[a - behind] == 1 or a - behind in known}
    return frozenset(axes)
