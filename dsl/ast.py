"""The syntax tree of a `.ppml` file: frozen dataclasses, one per construct, each with its place in the source.

The tree is what the author wrote and nothing more: names are not resolved, `def` and `for` are not expanded,
numbers are not typed. `parser.py` builds the tree, `printer.py` prints it, the compiler's lowering gives it a meaning.

Spans take no part in equality, so two trees are equal when the programs say the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Literal

from dsl.span import Span

__all__ = [
    "Argument",
    "Attribute",
    "Binary",
    "Block",
    "Boolean",
    "Budget",
    "Call",
    "Const",
    "Def",
    "Dim",
    "Dots",
    "Expression",
    "For",
    "Formal",
    "Freeze",
    "Index",
    "Input",
    "Layer",
    "List",
    "Metric",
    "Model",
    "Name",
    "Node",
    "Number",
    "NumberKind",
    "Operator",
    "Output",
    "OutputWeights",
    "Param",
    "Pipe",
    "Precision",
    "Range",
    "Ref",
    "Role",
    "Slice",
    "Span",
    "Statement",
    "String",
    "Train",
    "Type",
    "Unary",
    "Value",
    "Weights",
    "children",
    "walk",
]

NumberKind = Literal["fixed", "int", "bit"]


@dataclass(frozen=True)
class Node:
    """What every node has: its place in the source."""

    span: Span = field(compare=False, repr=False)


# Expressions --------------------------------------------------------------------------------------------------------


class Operator(Enum):
    """The operators that make a value of one or two; `|>` has its own node."""

    OR = "or"
    AND = "and"
    NOT = "not"
    LESS = "<"
    LESS_EQUAL = "<="
    GREATER = ">"
    GREATER_EQUAL = ">="
    EQUAL = "=="
    NOT_EQUAL = "!="
    ADD = "+"
    SUB = "-"
    MUL = "*"
    DIV = "/"
    MATMUL = "@"
    NEG = "unary -"
    POW = "**"


@dataclass(frozen=True)
class Name(Node):
    """A name, where it is used and where it is declared."""

    id: str


@dataclass(frozen=True)
class Number(Node):
    """A literal: `int` when it was written without point and exponent, else `float`. It carries no sign."""

    value: int | float


@dataclass(frozen=True)
class String(Node):
    """`"same"`; the value is the text between the quotes."""

    value: str


@dataclass(frozen=True)
class Boolean(Node):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True)
class List(Node):
    """`[a, b]`: a shape, axes, or a constant table."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Unary(Node):
    """`-x` (`Operator.NEG`) or `not x`."""

    operator: Operator
    operand: Expression


@dataclass(frozen=True)
class Binary(Node):
    """`left operator right`; `operator_span` is the operator's own place, for a caret under it."""

    operator: Operator
    left: Expression
    right: Expression
    operator_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Pipe(Node):
    """`left |> right`; `right` is a `Name`, `Index`, `Attribute`, or a `Call` of one of these."""

    left: Expression
    right: Expression


@dataclass(frozen=True)
class Argument(Node):
    """An argument of a call: positional where `name` is None. Named ones follow positional ones, without repetition."""

    name: Name | None
    value: Expression


@dataclass(frozen=True)
class Call(Node):
    """`function(arguments)`."""

    function: Expression
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Slice(Node):
    """`start:stop:step` inside an index; what was left out is None."""

    start: Expression | None
    stop: Expression | None
    step: Expression | None


@dataclass(frozen=True)
class Dots(Node):
    """`...` inside an index."""


@dataclass(frozen=True)
class Index(Node):
    """`value[subscripts]`, with at least one subscript."""

    value: Expression
    subscripts: tuple[Subscript, ...]


@dataclass(frozen=True)
class Attribute(Node):
    """`value.name`: a layer's parameter, or `x.shape`."""

    value: Expression
    name: Name


Expression = Name | Number | String | Boolean | List | Unary | Binary | Pipe | Call | Index | Attribute
Subscript = Expression | Slice | Dots


# Parts of statements ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ref(Node):
    """`hospital[2]` or `client`: a role, or the name of a layer; `index` is None without brackets."""

    name: Name
    index: Expression | None


@dataclass(frozen=True)
class Range(Node):
    """`in [lo, hi]`, or `in measured [lo, hi]` of a value; the span covers all of it."""

    lo: Expression
    hi: Expression
    measured: bool = False


@dataclass(frozen=True)
class Type(Node):
    """`fixed[d0, d1]`, `int[…]` or `bit[…]`; brackets alone are `fixed`."""

    kind: NumberKind
    dims: tuple[Expression, ...]


@dataclass(frozen=True)
class Formal(Node):
    """A parameter of a `def`, with its default."""

    name: Name
    default: Expression | None


# Statements ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Role(Node):
    """`role a, hospital[5]`: the index of a reference is the number of members."""

    roles: tuple[Ref, ...]


@dataclass(frozen=True)
class Dim(Node):
    """`dim batch = 1`."""

    name: Name
    default: Expression


@dataclass(frozen=True)
class Precision(Node):
    """`precision fixed(bits=64, frac=16)`; what was left out is None."""

    bits: Expression | None
    frac: Expression | None


@dataclass(frozen=True)
class Const(Node):
    """`const scale = 1 / 255`."""

    name: Name
    value: Expression


@dataclass(frozen=True)
class Input(Node):
    """`input x : TYPE from ROLE [public] [in [lo, hi]] [with NOISE]`; `noise` is the expression behind `with`."""

    name: Name
    type: Type
    role: Ref
    public: bool
    range: Range | None
    noise: Expression | None = None


@dataclass(frozen=True)
class Param(Node):
    """`param w : TYPE from ROLE [public] [in [lo, hi]]`."""

    name: Name
    type: Type
    role: Ref
    public: bool
    range: Range | None


@dataclass(frozen=True)
class Weights(Node):
    """`weights [conv1, block] from ROLE [public] [in [lo, hi]] [with l1(B)]`; no names stand for all the layers left.

    `norm` is the expression behind `with`.
    """

    names: tuple[Name, ...]
    role: Ref
    public: bool
    range: Range | None
    norm: Expression | None = None


@dataclass(frozen=True)
class Layer(Node):
    """`layer block[i] = f(64)`."""

    target: Ref
    value: Expression


@dataclass(frozen=True)
class Value(Node):
    """`NAME = EXPR [in [measured] [lo, hi]]`."""

    name: Name
    value: Expression
    range: Range | None


@dataclass(frozen=True)
class Output(Node):
    """`output [NAME =] EXPR to ROLE, … [with NOISE [from parties]]`; `noise` is the expression behind `with`, and
    `parties` whether both parties make it."""

    name: Name | None
    value: Expression
    roles: tuple[Ref, ...]
    noise: Expression | None
    parties: bool = False


@dataclass(frozen=True)
class OutputWeights(Node):
    """`output weights to ROLE, …`, in a `train` block."""

    roles: tuple[Ref, ...]


@dataclass(frozen=True)
class Def(Node):
    """`def f(x, a, b=1) { body return result }`."""

    name: Name
    formals: tuple[Formal, ...]
    body: tuple[Block, ...]
    result: Expression


@dataclass(frozen=True)
class For(Node):
    """`for i in start..stop { body }`."""

    name: Name
    start: Expression
    stop: Expression
    body: tuple[Block, ...]


@dataclass(frozen=True)
class Freeze(Node):
    """`freeze NAME, …`, in a `train` block."""

    names: tuple[Name, ...]


@dataclass(frozen=True)
class Metric(Node):
    """`metric NAME to ROLE, …`, in a `train` block."""

    name: Name
    roles: tuple[Ref, ...]


@dataclass(frozen=True)
class Train(Node):
    """`train { … }`: inputs, values, what stays as it is, metrics and outputs."""

    body: tuple[Input | Value | Output | OutputWeights | Freeze | Metric, ...]


@dataclass(frozen=True)
class Budget(Node):
    """`budget x = dp(epsilon=3, delta=1e-5)`."""

    name: Name
    value: Expression


Block = Layer | Value | For
Statement = (
    Role | Dim | Precision | Const | Input | Param | Weights | Layer | Value | Output | Def | For | Train | Budget
)


@dataclass(frozen=True)
class Model(Node):
    """A whole file; `source` and `filename` are kept for messages."""

    name: Name
    statements: tuple[Statement, ...]
    source: str = field(compare=False, repr=False)
    filename: str = field(compare=False, repr=False)


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below `node`, in the order of its fields."""
    for entry in fields(node):
        value = getattr(node, entry.name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from value


def walk(node: Node) -> Iterator[Node]:
    """`node` and everything below it, parents before children."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(tuple(children(current))))
