"""What an imported model computes, in the words of the language: terms, typed by the compiler's own rules.

A term is an input, a parameter, a constant, or a function, operator, index or layer of the language applied to terms.
Each has one value of the compiler's graph for each trial of the free dims (`sizes`), which gives its shape and kind, so
the language's type rules are not said again here. `rewriting` changes terms, `emission` writes them as a program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np

from compiler.graph import Array, Input, Kind, OpError, Param, Shape, Value, apply, constant
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size
from compiler.ops import FUNCTIONS, LAYERS, OPERATORS
from compiler.ops.indexing import index as build_index

Whole = int | Size


@dataclass(frozen=True)
class Formal:
    """An argument of a `def`, in the place of an option."""

    name: str


Option = int | float | bool | str | Size | Formal | tuple["Option", ...]
Item = Whole | slice | EllipsisType
MOVES = ("reshape", "flatten", "squeeze", "unsqueeze", "transpose", "broadcast_to")
"""What gives the elements of its argument and no other ones."""
SOMEBODY = "owner"  # the role of leaves while types are found; the program names the real ones


@dataclass(frozen=True)
class Source:
    """An input of the model."""

    name: str
    span: tuple[float, float] | None = None  # the range that its values must have


@dataclass(frozen=True, eq=False)
class Weight:
    """A tensor of the model's owner."""

    array: Array


@dataclass(frozen=True, eq=False)
class Table:
    """Public numbers: a scalar, or a table of them. `endless` says that some stand for minus infinity."""

    array: Array
    endless: bool = False


@dataclass(frozen=True)
class Call:
    """A function or an operator of the language, by its name there."""

    name: str
    options: tuple[tuple[str, Option], ...] = ()


@dataclass(frozen=True)
class Indexed:
    """`x[items]`."""

    items: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with its parameters, by the last part of their keys."""

    kind: str
    options: tuple[tuple[str, Option], ...]
    arrays: Mapping[str, Array]
    note: str = ""  # of where it differs from the graph


@dataclass(frozen=True, eq=False)
class Instance:
    """A part of the model that others are like: from what flows into it to what comes out of it, with its layers."""

    entry: Term
    exit: Term
    layers: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Group:
    """Parts of the model that are alike: one `def`."""

    instances: list[Instance]


@dataclass(frozen=True, eq=False)
class Repeated:
    """The result of one instance of a group, by its place there."""

    group: Group
    place: int


@dataclass(frozen=True)
class Labelled:
    """The place of a text in a list: as a number, its argument."""

    texts: tuple[str, ...]


Form = Labelled | Source | Weight | Table | Call | Indexed | Layer | Repeated


@dataclass(frozen=True, eq=False)
class Term:
    """A value of the model. `hint` is what the graph calls it."""

    form: Form
    args: tuple[Term, ...]
    values: tuple[Value, ...]
    hint: str = ""

    @property
    def kind(self) -> Kind:
        return self.values[0].kind

    @property
    def shape(self) -> tuple[Size, ...]:
        return tuple(map(Size, zip(*(value.shape for value in self.values), strict=True)))

    @property
    def rank(self) -> int:
        return self.values[0].rank

    @property
    def lowest(self) -> float:
        """The least that an element can be, whatever the free dims."""
        return min(value.range.lo for value in self.values)

    @property
    def is_public(self) -> bool:
        """Whether the compiler knows it."""
        return self.values[0].is_constant


Operand = Term | int | float | bool


# -- leaves ------------------------------------------------------------------------------------------------------------


def source(
    name: str, kind: Kind, shape: Sequence[Size], trials: int, limits: tuple[float, float] | None = None
) -> Term:
    ops = [Input(kind, tuple(size.values[t] for size in shape), SOMEBODY, False, name) for t in range(trials)]
    return Term(Source(name, limits), (), _made(lambda t: apply(ops[t]), trials), name)


def weight(array: Array, trials: int, hint: str = "") -> Term:
    value = apply(Param(Kind.FIXED, array.shape, SOMEBODY, False, hint or "w"))
    return Term(Weight(array), (), (value,) * trials, hint)


def table(array: Any, trials: int, hint: str = "") -> Term:
    array = np.asarray(array)
    return Term(Table(array), (), _made(lambda t: constant(array), 1) * trials, hint)


def endless(term: Term, holds: bool) -> Term:
    """A table some of whose numbers stand for infinity, if it holds."""
    if not holds or not isinstance(term.form, Table):
        return term
    return Term(Table(term.form.array, True), (), term.values, term.hint)


def postorder(roots: Sequence[Term], entry: Term | None = None) -> list[Term]:
    """The terms below `roots` and these, arguments first; not what is below `entry`."""
    order: list[Term] = []
    seen: set[int] = set()
    pending = [(root, False) for root in reversed(roots)]
    while pending:
        term, done = pending.pop()
        if done:
            order.append(term)
        elif id(term) not in seen:
            seen.add(id(term))
            pending.append((term, True))
            if term is not entry:
                pending += [(arg, False) for arg in reversed(term.args)]
    return order


# -- what is computed --------------------------------------------------------------------------------------------------


def call(name: str, *args: Operand, **options: Any) -> Term:
    """A function or operator of the language; options that are None are left out."""
    terms = operands(args)
    given = tuple((key, _option(value)) for key, value in options.items() if value is not None)
    return remade(Term(Call(name, given), terms, ()), terms)


def index(x: Term, *items: Item) -> Term:
    return remade(Term(Indexed(tuple(items)), (x,), ()), (x,))


def layer(kind: str, x: Term, arrays: Mapping[str, Array], hint: str = "", *, note: str = "", **options: Any) -> Term:
    """A layer with the tensors that it owns; one that has none for `bias` is without."""
    known = {parameter.name for parameter in LAYERS[kind].parameters}
    if "bias" in known and not any(key.startswith("bias") for key in arrays):
        options["bias"] = False
    given = tuple((key, _option(value)) for key, value in options.items() if value is not None)
    return remade(Term(Layer(kind, given, arrays, note), (x,), (), hint), (x,))


def labelled(place: Term, texts: tuple[str, ...]) -> Term:
    """A whole number that stands for a text."""
    return Term(Labelled(texts), (place,), place.values)


def remade(term: Term, args: Sequence[Term]) -> Term:
    """The term on other arguments, typed anew. Raises Unsupported where the language does not take them."""
    if not args:
        return term
    trials, form = len(args[0].values), term.form
    match form:
        case Call(name=name, options=options):
            build = _function(name)
            values = _made(lambda t: build([arg.values[t] for arg in args], _at(options, t)), trials)
        case Indexed(items=items):
            values = _made(lambda t: build_index(args[0].values[t], [_item(item, t) for item in items]), trials)
        case Layer():
            values = _made(lambda t: _applied(form, args[0].values[t], t), trials)
        case Labelled():
            values = args[0].values
        case _:
            values = term.values
    return Term(form, tuple(args), values, term.hint)


def operands(args: Sequence[Operand]) -> tuple[Term, ...]:
    """Terms; numbers become tables of one."""
    trials = next(len(arg.values) for arg in args if isinstance(arg, Term))
    return tuple(arg if isinstance(arg, Term) else table(arg, trials) for arg in args)


def origin(term: Term) -> Term:
    """What has all the elements of a term, which is only moved on the way."""
    while isinstance(term.form, Indexed) or (isinstance(term.form, Call) and term.form.name in MOVES):
        term = term.args[0]
    return term


def named(term: Term, hint: str) -> Term:
    """The term with the graph's name for it, where it has none yet."""
    return term if term.hint or not hint else Term(term.form, term.args, term.values, hint)


# -- types -------------------------------------------------------------------------------------------------------------


def _made(value: Callable[[int], Value], trials: int) -> tuple[Value, ...]:
    try:
        found = tuple(value(trial) for trial in range(trials))
    except OpError as error:
        raise Unsupported(error.message, error.help) from None
    if len({each.kind for each in found}) > 1 or len({each.rank for each in found}) > 1:
        raise Unsupported("its type depends on a free size")
    return found


def _function(name: str) -> Callable[[Sequence[Value], Mapping[str, Any]], Value]:
    if name in OPERATORS:
        return lambda args, options: OPERATORS[name](*args)
    return FUNCTIONS[name].call


def _applied(form: Layer, x: Value, trial: int) -> Value:
    kind = LAYERS[form.kind]
    config = kind.configure([], _at(form.options, trial))
    params = {}
    for needed in kind.parameters_for(config, x.shape):
        _check(form, needed.key, needed.shape)
        params[needed.key] = apply(
            Param(needed.kind, needed.shape, SOMEBODY, False, needed.key), declared=needed.contract(None)
        )
    return kind.apply(config, x, params)


def _check(form: Layer, key: str, shape: Shape) -> None:
    found = form.arrays[key].shape
    if found != shape:
        raise Unsupported(f"its {key} is {list(found)}, and {form.kind} on this input needs {list(shape)}")


def _option(value: Any) -> Option:
    return tuple(map(_option, value)) if isinstance(value, list | tuple) else value


def _at(options: Sequence[tuple[str, Option]], trial: int) -> dict[str, Any]:
    return {key: _plain(value, trial) for key, value in options}


def _plain(value: Option, trial: int) -> Any:
    if isinstance(value, tuple):
        return [_plain(each, trial) for each in value]
    return value.values[trial] if isinstance(value, Size) else value


def _item(item: Any, trial: int) -> Any:
    if isinstance(item, slice):
        return slice(*(_plain(end, trial) for end in (item.start, item.stop, item.step)))
    return _plain(item, trial)
