"""The typed tensor graph: what the front end lowers to, the passes rewrite and the expansion turns into gates.

A `Value` is one tensor: the op that makes it, its arguments, its type, who may see it and between which numbers it
lies. Values are made by `apply`, which asks the op for the type (and so for the user's error message) and the range,
and folds what is constant. Identity is the graph's edge: two values are the same only if they are the same object; the
common-subexpression pass makes equal ones one. What each op means is in `compiler.ops`; source positions and the
wording around an `OpError` belong to the front end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compiler.interval import BITS, UNKNOWN, Interval, number

if TYPE_CHECKING:
    from dsl.ast import Span

Shape = tuple[int, ...]
Array = np.ndarray[Any, Any]

INT_LIMIT = 2.0**30  # an `int` holds |v| below this (LANGUAGE.md, "Types and numbers")
MAX_ELEMENTS = 2**28  # of a tensor: a share of it takes 2 GiB in each party
MAX_FOLDED = 2**22  # elements of a constant: 32 MiB in the plan, and several times as much while it is computed
MAX_RANK = 32  # axes of a tensor, NumPy's own limit
FOLD_LIMIT = 2.0**62  # whole constants beyond this would wrap in int64 while they are folded


class Kind(Enum):
    """What an element is. Plaintext arrays are float64, int64 and bool."""

    FIXED = "fixed"
    INT = "int"
    BIT = "bit"

    @property
    def dtype(self) -> np.dtype[Any]:
        return _DTYPES[self]


_DTYPES = {Kind.FIXED: np.dtype(np.float64), Kind.INT: np.dtype(np.int64), Kind.BIT: np.dtype(np.bool_)}


class Visibility(IntEnum):
    """Who may know a value. What depends on several values is as hidden as the most hidden one."""

    CONSTANT = 0  # the compiler knows it
    PUBLIC = 1  # both compute parties know it at run time
    SECRET = 2


class OpError(Exception):
    """A tensor op refuses its arguments; the front end adds the place and formats it.

    `arg` says which argument is to blame, when one is: its index, or its name when it was given by name.
    """

    def __init__(self, message: str, help: str | None = None, arg: int | str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.arg = arg


@dataclass(frozen=True)
class Precision:
    """The number format: `bits` of the ring, of which `frac` stand behind the point."""

    bits: int = 64
    frac: int = 16

    @property
    def limit(self) -> float:
        """A fixed-point value holds |v| below this; a product carries twice the fraction bits until it is truncated."""
        return 2.0 ** (self.bits - 2 - 2 * self.frac)

    @property
    def step(self) -> float:
        return 2.0**-self.frac

    def holds(self, kind: Kind) -> str:
        """`fixed(bits=64, frac=16) holds |v| < 1073741824`, for messages."""
        if kind is Kind.INT:
            return f"an int holds |v| < {number(INT_LIMIT)}"
        return f"fixed(bits={self.bits}, frac={self.frac}) holds |v| < {number(self.limit)}"

    def format_range(self, kind: Kind) -> Interval:
        """All that a value of this kind can hold."""
        if kind is Kind.BIT:
            return BITS
        limit, step = (INT_LIMIT, 1.0) if kind is Kind.INT else (self.limit, self.step)
        return Interval(-limit + step, limit - step)


class Rounding(Enum):
    """What an op's own rounding adds to the range of a fixed result, beside what its operands bring."""

    NONE = "none"  # it only moves elements
    STEPS = "steps"  # a truncation and an encoding: some steps of the format
    RELATIVE = "relative"  # a smooth function: a part of the result


BATCH = "batch"  # the dim whose rows `run_batches` counts
NO_ROWS = -1  # a value that depends on no rows
ROWS_MEET = -2  # an element depends on several rows, or the rows are on no one axis

FACTS = ("symbol", "infer", "interval", "evaluate", "rows", "rounding", "commutative", "monotone", "private")
OPS: dict[str, type[TensorOp]] = {}
"""Every op that can stand in a graph, by its name."""


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
    private: ClassVar[bool]
    """Whether it can be expanded into gates. Others are for constants and for what one role's client prepares."""

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

    def evaluate(self, *arrays: Array) -> Array:
        """The plaintext meaning: float64, int64 and bool arrays in, one of them out."""
        raise TypeError(f"{self.name} has no value of its own")

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        """The axis of the result, of this shape, along which the rows of the dim `batch` are, or ROWS_MEET.

        axes: those of the arguments, NO_ROWS for one that depends on none; at least one does.
        """
        raise AssertionError(f"{self.name} says nothing of rows")

    @property
    def name(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor of the graph. `owners` are the roles on whose values (secret or public) it depends."""

    op: TensorOp
    args: tuple[Value, ...]
    kind: Kind
    shape: Shape
    visibility: Visibility
    range: Interval
    span: Span | None = field(default=None, repr=False)
    declared: Interval | None = None  # the author's promise `x = EXPR in [lo, hi]`, or the contract on a leaf
    name: str | None = None
    owners: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        return self.visibility is Visibility.CONSTANT

    @property
    def is_secret(self) -> bool:
        return self.visibility is Visibility.SECRET

    @property
    def array(self) -> Array:
        """The elements of a constant."""
        if not isinstance(self.op, Constant):
            raise TypeError(f"{self.name or self.op.name} is not a constant")
        return self.op.array

    def __repr__(self) -> str:
        dims = ", ".join(map(str, self.shape))
        return f"<{self.name or '-'} = {self.op.name} {self.kind.value}[{dims}] {self.range}>"


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
    private: ClassVar[bool] = False

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        return self.kind, self.shape

    def interval(self, *args: Value) -> Interval:
        return BITS if self.kind is Kind.BIT else UNKNOWN

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

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return self.dims.index(BATCH) if BATCH in self.dims else NO_ROWS


@dataclass(frozen=True)
class Param(Owned):
    """Provided once per session. `key` is the parameter's path with PyTorch's dots: `block.0.conv1.weight`."""

    key: str = ""
    index_path: tuple[int, ...] = ()
    dims: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Prepared(Owned):
    """What the owner's client computes in float64 before it shares: `graph.prepared[index]`."""

    index: int = 0


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


def constant(array: Any, span: Span | None = None, name: str | None = None) -> Value:
    """A constant value from anything NumPy reads: whole numbers become int64, bools bit, the rest float64."""
    if isinstance(array, list | tuple):
        expect_constant(table_shape(array))
    array = np.asarray(array)
    if array.dtype == np.bool_:
        kind = Kind.BIT
    elif np.issubdtype(array.dtype, np.integer):
        kind = Kind.INT
    elif np.issubdtype(array.dtype, np.floating):
        kind = Kind.FIXED
    else:
        raise OpError(f"expected numbers, found a table of {array.dtype}", "rows of a table need equal lengths")
    if not array.size:
        raise OpError("a tensor has at least one element, found an empty table", "a scalar is written without brackets")
    array = np.ascontiguousarray(array, dtype=kind.dtype.newbyteorder("<")).reshape(array.shape)
    if kind is Kind.FIXED and not np.isfinite(array).all():
        raise OpError("a constant is not a finite number", "is there a division by zero, or a logarithm of zero?")
    return apply(Constant(kind, array.shape, array.tobytes()), span=span, name=name)


def table_shape(table: Any) -> Shape:
    """The shape of a table whose rows are alike: lists in lists."""
    shape = []
    while isinstance(table, list | tuple):
        shape.append(len(table))
        table = table[0] if table else None
    return tuple(shape)


def expect_tensor(shape: Shape) -> None:
    """Refuses a shape that no value of a model has."""
    if len(shape) > MAX_RANK:
        raise OpError(f"a tensor has at most {MAX_RANK} axes, found {len(shape)}", "`reshape` joins axes", "shape")
    if 0 in shape:
        raise OpError(f"a tensor [{', '.join(map(str, shape))}] has no elements", "sizes are at least 1", "shape")
    if math.prod(shape) > MAX_ELEMENTS:
        sizes = ", ".join(map(str, shape))
        raise OpError(f"a tensor [{sizes}] has more elements than a machine holds", "use smaller sizes", "shape")


def expect_constant(shape: Shape) -> None:
    """Refuses a shape that no constant has: the compiler and the plan hold all its elements."""
    expect_tensor(shape)
    if math.prod(shape) > MAX_FOLDED:
        sizes = ", ".join(map(str, shape))
        raise OpError(f"a constant [{sizes}] is too large to compile", "let a role provide it as a `param`", "shape")


# -- making values -----------------------------------------------------------------------------------------------------


def apply(
    op: TensorOp,
    *args: Value,
    span: Span | None = None,
    name: str | None = None,
    declared: Interval | None = None,
) -> Value:
    """The value `op(*args)`: typed, ranged, and folded to a constant when every argument is one.

    Raises OpError when the arguments do not fit, when a constant is no number, or when the result can never lie in
    `declared`.
    """
    kind, shape = op.infer(*args)
    folds = bool(args) and all(arg.is_constant for arg in args)
    (expect_constant if folds else expect_tensor)(shape)  # before anything is made of that size
    derived = op.interval(*args)
    if folds:
        return _declared_constant(_fold(op, args, kind, shape, derived, span, name), declared)
    value = Value(
        op=op,
        args=args,
        kind=kind,
        shape=tuple(shape),
        visibility=_visibility(op, args),
        range=derived,
        span=span,
        name=name,
        owners=frozenset({op.role}) if isinstance(op, Owned) else frozenset().union(*(a.owners for a in args)),
    )
    return value if declared is None else declare(value, declared)


def declare(value: Value, declared: Interval, name: str | None = None) -> Value:
    """`value` with the author's promise that it lies in `declared`; raises OpError when that can never hold."""
    if value.is_constant:
        return _declared_constant(value, declared)
    both = value.range.intersect(declared)
    if both is None:
        raise OpError(
            f"the value is promised to be in {declared}, but it always lies in {value.range}",
            "correct the range after `in`, or the expression",
        )
    promise = declared if value.declared is None else (value.declared.intersect(declared) or declared)
    return replace(value, range=both, declared=promise, name=name or value.name)


def _visibility(op: TensorOp, args: tuple[Value, ...]) -> Visibility:
    if isinstance(op, Owned):
        return Visibility.PUBLIC if op.public else Visibility.SECRET
    return max((arg.visibility for arg in args), default=Visibility.CONSTANT)


def _fold(
    op: TensorOp,
    args: tuple[Value, ...],
    kind: Kind,
    shape: Shape,
    derived: Interval,
    span: Span | None,
    name: str | None,
) -> Value:
    if kind is Kind.INT and derived.magnitude > FOLD_LIMIT:
        raise OpError("the whole number is too large to compute", f"whole numbers are below 2^{62} here")
    with np.errstate(all="ignore"):
        array = np.asarray(op.evaluate(*(arg.array for arg in args)))
    return constant(array.astype(kind.dtype, copy=False), span=span, name=name)


def _declared_constant(value: Value, declared: Interval | None) -> Value:
    if declared is not None and not declared.contains(value.range):
        raise OpError(
            f"the value is promised to be in {declared}, but it is {value.range}",
            "correct the range after `in`, or the expression",
        )
    return value


# -- the whole graph ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Output:
    """A result and the roles that learn it."""

    name: str
    value: Value
    roles: tuple[str, ...]
    span: Span | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Preparation:
    """An expression over leaves of `role` alone, which its client evaluates in float64 before sharing.

    `stage` is "setup" when it depends on params only (once a session), else "run".
    """

    role: str
    value: Value
    name: str
    stage: str


@dataclass(frozen=True)
class Graph:
    """A model. `inputs` and `params` are leaf values in source order, whether or not an output needs them."""

    name: str
    roles: tuple[str, ...]
    dims: Mapping[str, int]
    precision: Precision
    inputs: tuple[Value, ...]
    params: tuple[Value, ...]
    outputs: tuple[Output, ...]
    prepared: tuple[Preparation, ...] = ()
    source: str = field(default="", repr=False)
    filename: str = "<text>"

    def values(self) -> list[Value]:
        """Every value that an output needs, arguments before their users, in a stable order."""
        return topological(output.value for output in self.outputs)

    def uses(self) -> Counter[Value]:
        """How many arguments and outputs refer to each value that an output needs."""
        counts = Counter(output.value for output in self.outputs)
        for value in self.values():
            counts.update(value.args)
        return counts


def topological(roots: Iterable[Value]) -> list[Value]:
    """All values that `roots` need, arguments first; without recursion, for deep models."""
    order: dict[Value, None] = {}
    for root in roots:
        stack: list[tuple[Value, Iterator[Value]]] = [(root, iter(root.args))]
        while stack:
            value, rest = stack[-1]
            if value in order:
                stack.pop()
                continue
            following = next((arg for arg in rest if arg not in order), None)
            if following is None:
                order[value] = None
                stack.pop()
            else:
                stack.append((following, iter(following.args)))
    return list(order)


Rule = Callable[[Value, tuple[Value, ...]], Value]


def rebuild(value: Value, args: tuple[Value, ...]) -> Value:
    """`value` with other arguments (of the same types); itself when they are its own."""
    if all(new is old for new, old in zip(args, value.args, strict=True)):
        return value
    return apply(value.op, *args, span=value.span, name=value.name, declared=value.declared)


def rewrite(graph: Graph, rule: Rule = rebuild) -> Graph:
    """The graph with `rule(value, new arguments)` in the place of each value, arguments first."""
    new: dict[Value, Value] = {}
    for value in graph.values():
        new[value] = rule(value, tuple(new[arg] for arg in value.args))
    return replace(graph, outputs=tuple(replace(output, value=new[output.value]) for output in graph.outputs))
