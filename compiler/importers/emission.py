"""From terms to a program: statements of the language's syntax tree, the tensors of the owner by key, and remarks.

What is used once and short is written where it is used, everything else gets a line and a name. `writing` turns single
terms into expressions, `names` chooses names.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from compiler.graph import Array, Kind
from compiler.importers import writing
from compiler.importers.lowering import Lowered
from compiler.importers.names import NOISE, OPERATION, Names, is_automatic, path_of
from compiler.importers.repeats import common, generic, repeated, varying
from compiler.importers.sizes import Size, Trials
from compiler.importers.terms import (
    Call,
    Group,
    Labelled,
    Layer,
    Option,
    Repeated,
    Source,
    Table,
    Term,
    Weight,
    origin,
    postorder,
)
from compiler.ops import FUNCTIONS, LAYERS
from dsl import ast
from dsl.errors import SyntaxErrors
from dsl.layout import layout
from dsl.printer import unparse

LONGEST_LINE = 88  # of an expression that stays on one line
INLINE_TABLE = 8  # numbers of a list that is written where it is used
SMALLEST_BOUND = 2.0**-8  # of a declared range: a narrower one saves nothing
SHORT = {
    "dense": "fc",
    "conv1d": "conv",
    "conv2d": "conv",
    "conv_transpose2d": "up",
    "batchnorm": "bn",
    "layernorm": "norm",
    "embedding": "embed",
    "forest": "trees",
    "lstm": "recurrent",
    "gru": "recurrent",
}
"""What a layer without a name in the graph is called."""
FLOW, WORDS = "x", {"out": "channels"}  # what a `def` calls what flows into it, and an option of its layers
BUILTIN = frozenset(FUNCTIONS) | frozenset(LAYERS)


@dataclass(frozen=True)
class Written:
    """A program's text, the owner's tensors by key, the inputs' names by the graph's, and the sizes of dims."""

    text: str
    weights: Mapping[str, Array]
    inputs: Mapping[str, str]
    dims: Mapping[str, int]


@dataclass(frozen=True)
class Block:
    """A `def`, and the names of its layers. arguments: behind the first, each is an option of the layer at a place."""

    node: ast.Def
    layers: tuple[str, ...]
    arguments: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Owners:
    """Who provides the inputs and gets the results, and who provides the parameters."""

    role: str
    owner: str


def write(
    name: str,
    lowered: Lowered,
    trials: Trials,
    dims: Mapping[str, int],
    owners: Owners,
    head: Sequence[str],
    ranges: Mapping[str, tuple[float, float]],
) -> Written:
    """The program that computes the outputs of a model."""
    emission = Emission(trials, owners, Names((owners.role, owners.owner)))
    return emission.write(emission.names.fresh(name, "imported"), repeated(lowered), dims, head, ranges)


@dataclass
class Emission:
    """The statements so far, by what they are, and what is written of each term."""

    trials: Trials
    owners: Owners
    names: Names
    written: dict[int, ast.Expression] = field(default_factory=dict)
    dims: dict[str, str] = field(default_factory=dict)
    leaves: list[ast.Statement] = field(default_factory=list)
    layers: list[ast.Layer] = field(default_factory=list)
    values: list[ast.Statement] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    layer_names: dict[object, str] = field(default_factory=dict)
    embeddings: dict[str, Array] = field(default_factory=dict)
    consts: dict[object, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    bounds: dict[str, float] = field(default_factory=dict)
    wanted: dict[int, str] = field(default_factory=dict)
    remarks: dict[int, list[str]] = field(default_factory=dict)
    blocks: dict[Group, Block] = field(default_factory=dict)
    instances: dict[object, str] = field(default_factory=dict)
    parts: int = 0
    outside: Names | None = None  # of the file around a `def`, where no two layers are one

    def write(
        self,
        name: str,
        lowered: Lowered,
        dims: Mapping[str, int],
        head: Sequence[str],
        ranges: Mapping[str, tuple[float, float]],
    ) -> Written:
        statements: list[ast.Statement] = [writing.role(self.owners.role, self.owners.owner)]
        for dim in self.trials.dims:
            self.dims[dim] = self.names.fresh(dim, "size")
            statements.append(writing.dim(self.dims[dim], dims[dim]))
        outputs = [(self.names.fresh(raw, "result"), raw, term) for raw, term in lowered.outputs]
        for new, _, term in outputs:
            self.wanted.setdefault(id(term), new)
        order = postorder([term for _, _, term in outputs])
        places = last_places(order)
        inputs = [self._input(each, places, ranges) for each in lowered.inputs]
        uses = Counter(id(arg) for term in order for arg in term.args)
        for term in order:
            self._term(term, uses[id(term)])
        for new, raw, term in outputs:
            self._output(new, raw, term)
        shared = [writing.weights(self.owners.owner, names, bound) for names, bound in self._shared_ranges()]
        parts: list[tuple[str, Sequence[ast.Statement]]] = [
            ("", statements),
            ("", inputs),
            ("", self.leaves),
            *(("", [each.node]) for each in self.blocks.values()),
            ("", [*self.layers, *shared]),
        ]
        called = {term.hint: each.name.id for term, each in zip(lowered.inputs, inputs, strict=True)}
        sizes = {self.dims[dim]: dims[dim] for dim in self.trials.dims}
        return Written(self._text(name, parts, [*head, *self.notes]), self.weights, called, sizes)

    # -- parts of the file

    def _text(self, name: str, parts: Sequence[tuple[str, Sequence[ast.Statement]]], head: Sequence[str]) -> str:
        statements: list[ast.Statement] = []
        above: dict[int, list[str]] = {-1: list(head)}
        for _, part in parts:
            if part:
                above[len(statements)] = [""]
                statements += part
        start = len(statements)
        above[start] = [""]
        for place, lines in self.remarks.items():
            above.setdefault(start + place, []).extend(lines)
        statements += self.values
        model = writing.model(name, statements)
        text = unparse(model, above)
        try:
            return layout(text)
        except SyntaxErrors:  # too long to be read; the compiler says so
            return text

    def _input(self, term: Term, places: Mapping[str, Size], ranges: Mapping[str, tuple[float, float]]) -> ast.Input:
        assert isinstance(term.form, Source)
        raw = term.form.name
        name = self.names.fresh(raw, "x")
        self.written[id(term)] = writing.name(name)
        sizes = [self.size(size) for size in term.shape]
        span = writing.span(ranges.get(raw, term.form.span))
        if raw in places:
            span = writing.places(self.size(places[raw]))
        return writing.input(name, term.kind, sizes, self.owners.role, span)

    def _output(self, name: str, raw: str, term: Term) -> None:
        texts = labels_of(term)
        lines = [f"{raw!r} of the ONNX model"] if raw != name else []
        if texts:
            lines.append("labels: " + ", ".join(f"{place} = {text}" for place, text in enumerate(texts)))
        if lines:
            self.remarks.setdefault(len(self.values), []).extend(lines)
        self.values.append(writing.output(name, self.written[id(term)], self.owners.role))

    def size(self, size: Size) -> ast.Expression:
        formula = self.trials.formula(size)
        return writing.size(formula.factor, [self.dims[dim] for dim in formula.dims], formula.rest)

    # -- terms

    def _term(self, term: Term, uses: int) -> None:
        match term.form:
            case Source():
                return
            case Weight():
                self.written[id(term)] = writing.name(self._param(term))
                return
            case Table():
                self._table(term)
                return
            case Labelled():
                self.written[id(term)] = self.written[id(term.args[0])]
                return
        args = list(term.args)
        made = self._expression(term)
        while writing.width(made) > LONGEST_LINE:
            longest = max(args, key=lambda arg: writing.width(self.written[id(arg)]), default=None)
            if longest is None or not writing.is_compound(self.written[id(longest)]):
                break
            self._bind(longest)
            made = self._expression(term)
        self.written[id(term)] = made
        if uses > 1 or (uses and id(term) in self.wanted):
            self._bind(term)

    def _expression(self, term: Term) -> ast.Expression:
        args = [self.written[id(arg)] for arg in term.args]
        if isinstance(term.form, Repeated):
            return writing.applied(args[0], self._instance(term.form))
        if isinstance(term.form, Layer):
            tied = self._tied(term.form)
            return writing.tied(args[0], tied) if tied else writing.applied(args[0], self._layer(term))
        return writing.expression(term, args, self.size)

    def _bind(self, term: Term) -> None:
        """Gives a value its own line."""
        name = self.wanted.pop(id(term), None) or self.names.fresh(_value_hint(term), "h")
        self.values.append(writing.value(name, self.written[id(term)]))
        self.written[id(term)] = writing.name(name)

    def _table(self, term: Term) -> None:
        assert isinstance(term.form, Table)
        array = term.form.array
        made = writing.table(array)
        if array.size > INLINE_TABLE:
            made = writing.name(self._const(array, term.hint, made))
        self.written[id(term)] = made

    def _const(self, array: Array, hint: str, made: ast.Expression) -> str:
        """One for equal tables."""
        key = (array.dtype.kind, array.shape, array.tobytes())
        if key not in self.consts:
            self.consts[key] = self.names.fresh_in_both(self.outside or self.names, hint, "table")
            self.leaves.append(writing.const(self.consts[key], made))
        return self.consts[key]

    # -- what the owner provides

    def _param(self, term: Term) -> str:
        assert isinstance(term.form, Weight)
        array = term.form.array
        key = identity(array)
        if key not in self.layer_names:
            name = self.names.fresh(path_of(term.hint) if "." in term.hint else term.hint, "weight")
            self.layer_names[key] = name
            sizes = [writing.number(n) for n in array.shape]
            self.leaves.append(writing.param(name, sizes, self.owners.owner, bound_of([array])))
            self.weights[name] = stored(array)
        return self.layer_names[key]

    def _tied(self, form: Layer) -> str | None:
        """The embedding above whose weight a dense layer has, too."""
        if form.kind != "dense" or "bias" in form.arrays:
            return None
        weight = form.arrays["weight"]
        return next((name for name, rows in self.embeddings.items() if np.array_equal(rows, weight)), None)

    def _layer(self, term: Term) -> str:
        form = term.form
        assert isinstance(form, Layer)
        tensors = tuple((k, identity(array)) for k, array in form.arrays.items())
        key: object = id(term) if self.outside is not None else (form.kind, form.options, tensors)
        if key not in self.layer_names:
            name = self.names.fresh(self._layer_hint(term), SHORT.get(form.kind, form.kind), BUILTIN)
            self.layer_names[key] = name
            self.layers.append(writing.layer(name, form, self.size))
            for part, array in form.arrays.items():
                self.weights[f"{name}.{part}"] = stored(array)
            if form.kind == "embedding":
                self.embeddings[name] = form.arrays["weight"]
            self.bounds[name] = bound_of(shared_tensors(form))
            if form.note and form.note not in self.notes:
                self.notes.append(form.note)
        return self.layer_names[key]

    def _layer_hint(self, term: Term) -> str:
        hint = path_of(term.hint)
        return "" if is_automatic(hint) else hint

    # -- what is repeated

    def _instance(self, form: Repeated) -> str:
        """A layer that is an instance of a `def`, with its tensors under the names of the layers there."""
        if form.group not in self.blocks:
            self.blocks[form.group] = self._define(form.group)
        block, layers = self.blocks[form.group], form.group.instances[form.place].layers
        forms = [layer.form for layer in layers if isinstance(layer.form, Layer)]
        tensors = tuple(identity(array) for each in forms for array in each.arrays.values())
        if (form.group, tensors) in self.instances:  # applied again
            return self.instances[form.group, tensors]
        path = common([self._layer_hint(layer) for layer in layers]).replace(".", "_")
        self.parts += not path
        title = self.names.fresh(path or f"part{self.parts}", "part", BUILTIN)
        self.instances[form.group, tensors] = title
        given = [dict(forms[at].options)[key] for at, key in block.arguments]
        self.layers.append(writing.instance(title, block.node.name.id, given, self.size))
        for inside, local in zip(forms, block.layers, strict=True):
            for part, array in inside.arrays.items():
                self.weights[f"{title}.{local}.{part}"] = stored(array)
        self.bounds[title] = max(bound_of(shared_tensors(each)) for each in forms)
        return title

    def _define(self, group: Group) -> Block:
        """The `def` of a group, written as its first instance is, with arguments for the options that differ."""
        names = Names((*self.dims.values(), *self.consts.values()))
        inner, flow = Emission(self.trials, self.owners, names, outside=self.names), names.fresh(FLOW)
        inner.dims, inner.consts, inner.leaves, inner.notes = self.dims, self.consts, self.leaves, self.notes
        columns: dict[tuple[Option, ...], tuple[str, tuple[int, str]]] = {}
        for at, key, column in varying(group):
            if column not in columns:
                columns[column] = inner.names.fresh(WORDS.get(key, key)), (at, key)
        body = generic(group, {column: name for column, (name, _) in columns.items()})
        inner.written[id(body.entry)] = writing.name(flow)
        order = postorder([body.exit], body.entry)
        uses = Counter(id(arg) for term in order for arg in term.args)
        for term in order:
            if term is not body.entry:
                inner._term(term, uses[id(term)])
        name = self.names.fresh("block", "block", BUILTIN)
        result, statements = inner.written[id(body.exit)], [*inner.layers, *inner.values]
        node = writing.definition(name, [flow, *(name for name, _ in columns.values())], statements, result)
        self.names.take(inner.names)
        layers = tuple(inner._layer(layer) for layer in body.layers)
        return Block(node, layers, tuple(place for _, place in columns.values()))

    def _shared_ranges(self) -> Iterator[tuple[list[str], float]]:
        """Layers by the bound of their weights; the most common one needs no names."""
        groups: dict[float, list[str]] = {}
        for name, bound in self.bounds.items():
            groups.setdefault(bound, []).append(name)
        ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
        for place, (bound, names) in enumerate(ordered):
            yield ([] if place == 0 else names), bound


def last_places(order: Sequence[Term]) -> dict[str, Size]:
    """Of inputs that are indices, the last place: their range begins with 0, and their owner's client checks it."""
    found: dict[str, Size] = {}
    for term in order:
        indices, count = _indexes(term)
        form = None if indices is None else origin(indices).form
        if isinstance(form, Source):
            last = Size(tuple(n - 1 for n in count.values))
            found[form.name] = _smaller(found.get(form.name, last), last)
    return found


def _smaller(a: Size, b: Size) -> Size:
    return a if a == b or a.fixed <= b.fixed else b


def _indexes(term: Term) -> tuple[Term | None, Size]:
    """What a term takes as indices, and of how many places."""
    trials = len(term.values)
    match term.form:
        case Layer(kind="embedding", arrays=arrays):
            return term.args[0], Size((len(arrays["weight"]),) * trials)
        case Call(name="gather", options=options):
            axis = next((int(value) for key, value in options if key == "axis" and isinstance(value, int)), 0)
            return term.args[1], term.args[0].shape[axis]
        case Call(name="one_hot", options=(("n", int(count)),)):
            return term.args[0], Size((count,) * trials)
    return None, Size((0,) * trials)


def labels_of(term: Term) -> tuple[str, ...]:
    """The texts that a result stands for, if it does."""
    while not isinstance(term.form, Labelled):
        if len(term.args) != 1 or term.kind is not Kind.INT:
            return ()
        term = term.args[0]
    return term.form.texts


def _value_hint(term: Term) -> str:
    """What the graph calls a value, unless that is only where its node stands."""
    hint = term.hint.strip("/")
    if isinstance(term.form, Layer) and path_of(hint) != hint:
        return ""  # it is what the graph calls a parameter
    return "" if "/" in hint or is_automatic(hint) or OPERATION.match(NOISE.sub("", hint)) else hint


def identity(array: Array) -> object:
    """Equal for arrays that are the same elements of the same memory: what the graph shares."""
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str


def shared_tensors(form: Layer) -> list[Array]:
    """What the range of `weights` binds: of batchnorm, what its owner computes."""
    if form.kind != "batchnorm":
        return list(form.arrays.values())
    weight, bias, mean, var = (
        form.arrays[key].astype(np.float64) for key in ("weight", "bias", "running_mean", "running_var")
    )
    eps = next((value for key, value in form.options if key == "eps"), 1e-5)
    assert isinstance(eps, float)
    scale = weight / np.sqrt(var + eps)
    return [scale, bias - mean * scale]


def bound_of(arrays: Sequence[Array]) -> float:
    """The power of two that no element exceeds."""
    largest = max((float(np.abs(array).max()) for array in arrays if array.size), default=0.0)
    return max(2.0 ** math.ceil(math.log2(largest)), SMALLEST_BOUND) if largest else SMALLEST_BOUND


def stored(array: Array) -> Array:
    """As it is written to a file: a copy in C order, in the precision that it has."""
    return np.array(array, np.float64 if array.dtype == np.float64 else np.float32, order="C")
