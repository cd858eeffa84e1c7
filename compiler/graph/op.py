"""Tensor operations: what each has to say about itself, and the leaves, which no argument makes.

What each op means is in `compiler.ops`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compiler.graph.bounds import Norm
from compiler.graph.interval import BITS, UNKNOWN, Interval
from compiler.graph.kinds import Array, Kind, OpError, Shape
from mpc_runtime.procedure import RUN

if TYPE_CHECKING:
    from compiler.graph.values import Value


class Rounding(Enum):
    """What an op's own rounding adds to the range of a fixed result, beside what its operands bring."""

    NONE = "none"  # it only moves elements
    STEPS = "steps"  # a truncation and an encoding: some steps of the format
    RELATIVE = "relative"  # a smooth function: a part of the result


BATCH = "batch"  # the dim whose rows `run_batches` counts
NO_ROWS = -1  # a value that depends on no rows
ROWS_MEET = -2  # an element depends on several rows, or the rows are on no one axis


@dataclass(frozen=True)
class NoGradient:
    """Stands for the gradient of an argument along which an op is not differentiated. reason: what the user is told."""

    reason: str


Gradients = tuple["Value | NoGradient | None", ...]
"""For each argument what reaches it; None where nothing does, as the result only ever jumps with it."""

FACTS = (
    "symbol",
    "infer",
    "interval",
    "evaluate",
    "gradient",
    "rows",
    "rounding",
    "commutative",
    "monotone",
    "compares",
    "private",
    "sizes",
)
OPS: dict[str, type[TensorOp]] = {}
"""Every op that a graph can have, by its name."""


@dataclass(frozen=True)
class TensorOp:
    """One tensor operation. Subclasses are frozen dataclasses whose fields are ints, floats, strings and tuples.

    Each says all of FACTS about itself, or takes it from its family (a subclass that is `abstract`); one that forgets a
    fact cannot be defined.
    """

    symbol: ClassVar[str]
    """How messages write it: `+`, relu; empty for what no author writes."""
    rounding: ClassVar[Rounding]
    commutative: ClassVar[bool]
    """Whether the order of the arguments does not matter."""
    monotone: ClassVar[bool]
    """Whether it is a function of each element alone that does not decrease: a maximum may then be taken before it."""
    compares: ClassVar[bool]
    """Whether it decides by comparing, so that the range of its arguments sets its cost."""
    private: ClassVar[bool]
    """Whether it can be expanded into gates. Others are for constants and for what one role's client prepares."""
    sizes: ClassVar[tuple[str, ...]]
    """Its fields that hold sizes of its result, which may grow with the dim `batch` while each row means the same."""

    def __init_subclass__(cls, abstract: bool = False, **more: Any) -> None:
        super().__init_subclass__(**more)
        if abstract:
            return
        missing = [fact for fact in FACTS if getattr(cls, fact, None) is getattr(TensorOp, fact, None)]
        if missing:
            raise TypeError(f"the op {cls.__name__} does not say its {', '.join(missing)}")
        if cls.__name__ in OPS:
            raise TypeError(f"there is an op {cls.__name__} already, {OPS[cls.__name__]}")
        OPS[cls.__name__] = cls

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        """The result's type; raises OpError with the message for the user."""
        raise OpError(f"{self.name} takes no arguments")

    def interval(self, *args: Value) -> Interval:
        """A range that holds every element of the result, from the arguments' ranges, shapes and constants."""
        raise AssertionError(f"{self.name} has no range")

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        """What is known of elements of the result together, from the same; none where only `interval` is."""
        return ()

    def distance(self, x: Value, result: Value) -> Interval | None:
        """The range of `x` less the result, broadcast to it, where the two depend on each other and it is known."""
        return None

    def evaluate(self, *arrays: Array) -> Array:
        """The plaintext meaning: float64, int64 and bool arrays in, one of them out."""
        raise TypeError(f"{self.name} has no value of its own")

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """What reaches each argument of the gradient that reaches `result`, written in ops of the graph.

        `gradient` is fixed, whatever the kind of `result`, to whose shape it broadcasts; it has that shape where an
        argument has another one. What is returned for an argument broadcasts to its shape, or to the shape that it
        was broadcast to: `compiler.training` adds up what reaches the copies.
        """
        raise AssertionError(f"{self.name} says nothing of its gradient")

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        """The axis of the result, of this shape, along which the rows of the dim `batch` are, or ROWS_MEET.

        axes: those of the arguments, NO_ROWS for one that depends on none; at least one does.
        """
        raise AssertionError(f"{self.name} says nothing of rows")

    @property
    def name(self) -> str:
        return type(self).__name__


# -- leaves ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf(TensorOp, abstract=True):
    """A value that no argument makes; `kind` and `shape` are declared."""

    kind: Kind
    shape: Shape
    symbol: ClassVar[str] = ""
    rounding: ClassVar[Rounding] = Rounding.NONE
    commutative: ClassVar[bool] = False
    monotone: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    private: ClassVar[bool] = False
    sizes: ClassVar[tuple[str, ...]] = ()

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        return self.kind, self.shape

    def interval(self, *args: Value) -> Interval:
        return BITS if self.kind is Kind.BIT else UNKNOWN

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        return ()

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return NO_ROWS


@dataclass(frozen=True)
class Owned(Leaf, abstract=True):
    """A leaf that one role provides."""

    role: str
    public: bool = False

    def evaluate(self, *arrays: Array) -> Array:
        raise TypeError(f"{self.name} has no value of its own: its owner provides it")


@dataclass(frozen=True)
class Input(Owned):
    """Fresh for every run. `key` is the input's name in the source.

    For `from hospital` (an array role) lowering makes one Input per member, each with the member's role
    ("hospital[2]") and its index in `index_path`, and stacks them.
    """

    key: str = ""
    index_path: tuple[int, ...] = ()
    dims: tuple[str | None, ...] = ()  # per axis the name of the `dim` it is, when it is exactly one
    flipped: float = 0.0  # the epsilon of `with randomized_response(epsilon=…)`
    stage: str = RUN  # the procedure that takes it
    sizes: ClassVar[tuple[str, ...]] = ("shape",)

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return self.dims.index(BATCH) if BATCH in self.dims else NO_ROWS


@dataclass(frozen=True)
class Param(Owned):
    """Provided once per session. `key` is the parameter's path with PyTorch's dots: `block.0.conv1.weight`.

    l1: what the magnitudes of an output's weights sum to at most, as they are stored. outputs: the axis of the outputs;
    groups: in so many the first axis falls, if it is not that one, and an output has the weights of one.
    """

    key: str = ""
    index_path: tuple[int, ...] = ()
    dims: tuple[str | None, ...] = ()
    l1: float = math.inf
    outputs: int = 0
    groups: int = 1


@dataclass(frozen=True)
class Prepared(Owned):
    """What the owner's client computes in float64 before it shares: `graph.prepared[index]`.

    l1, outputs: as of `Param`, where they follow for what is computed.
    """

    index: int = 0
    l1: float = math.inf
    outputs: int = 0


@dataclass(frozen=True)
class State(Leaf):
    """What the parties hold in shares from one execution to the next: a parameter in training, or what its optimizer
    remembers of it. It is nobody's: no role knows it.

    stage: the procedure that reads it; frac: the fraction bits with which it is held; lo, hi: its range; known: its
    norms; unit: as of `plan.State`.
    """

    key: str = ""
    stage: str = RUN
    frac: int = 16
    lo: float = 0.0
    hi: float = 0.0
    known: tuple[Norm, ...] = ()
    unit: float = 1.0

    def interval(self, *args: Value) -> Interval:
        return Interval(self.lo, self.hi)

    def norms(self, *args: Value) -> tuple[Norm, ...]:
        return self.known

    def evaluate(self, *arrays: Array) -> Array:
        raise TypeError("a state has no value of its own: executions leave it")


@dataclass(frozen=True)
class Constant(Leaf):
    """A tensor that the compiler knows: C-order bytes of float64, int64 or bool (little-endian), hashable as it is."""

    data: bytes = b""

    @property
    def array(self) -> Array:
        return np.frombuffer(self.data, dtype=self.kind.dtype.newbyteorder("<")).reshape(self.shape)

    def interval(self, *args: Value) -> Interval:
        array = self.array
        return Interval(float(array.min()), float(array.max())) if array.size else Interval(0, 0)

    def evaluate(self, *arrays: Array) -> Array:
        return self.array.astype(self.kind.dtype)
