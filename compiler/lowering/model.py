"""From the syntax tree of a model to its tensor graph: names, layers and blocks resolved, everything typed.

`lower` runs the statements of the file in their order. The parts of that are beside it; what the ops mean
and which arguments they accept is in `compiler.ops`. After lowering there are no names, loops, `def`s or layers any
more, only values: what leads to no output is still there, and ranges are what single ops could derive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from compiler.graph import Graph, Input, Kind, OpError, Output, Param, Precision, Value, apply
from compiler.graph.interval import Interval
from compiler.lowering import blocks, expressions
from compiler.lowering.context import Context, Overgrown
from compiler.lowering.definitions import check_names, define
from compiler.lowering.layers import Home, kinds, parameters
from compiler.lowering.precision import precision
from compiler.lowering.private import budgets, expect_noisy, flipped, release
from compiler.lowering.problems import POISON, Problem, Reporter
from compiler.lowering.readings import contract_at, described, operand, size_at, tensor
from compiler.lowering.roles import declare_roles, is_array, members, receivers
from compiler.lowering.scope import Category, RoleGroup, Scope
from compiler.lowering.training import Block, lower_training
from compiler.lowering.weights import Providers, layer_names, providers
from compiler.ops import FUNCTIONS, LAYERS
from compiler.ops.build import stack
from dsl import ast
from dsl.ast import Span
from dsl.errors import Diagnostic, SourceErrors, Unread, did_you_mean
from mpc_runtime.plan import ArrayRole, Budget

__all__ = ["ModelErrors", "lower"]

MOST = 1 << 63  # a size from which on no machine could hold it; far larger ones could not even be printed


class ModelErrors(SourceErrors):
    """All errors that lowering found. `graph` is what could still be lowered, for the checks after lowering."""

    def __init__(self, diagnostics: Iterable[Diagnostic], source: str, graph: Graph) -> None:
        super().__init__(diagnostics, source)
        self.graph = graph


def lower(
    model: ast.Model, dims: Mapping[str, int] | None = None, unread: Unread | None = None
) -> tuple[Graph, list[Diagnostic]]:
    """The graph of a model, with `dims` in the place of their defaults, and the warnings.

    `unread` is about statements that could not be read, if there are any: what may depend on one of them is no error.
    Raises ModelErrors with every independent error of the file.
    """
    context = Context(model.source, Reporter(model.filename), expressions.evaluate)
    lowering = Lowering(model, context, dict(dims or {}), unread)
    try:
        lowering.run()
    except Overgrown:
        pass  # reported where it grew
    except RecursionError:
        help = "give parts of the expressions names of their own"
        context.reporter.error(Problem(model.name.span, "the model is nested too deeply to be compiled", help))
    if context.reporter.errors:
        raise ModelErrors(context.reporter.errors, model.source, lowering.graph())
    for span, (word, name) in context.declared.items():
        if span not in context.used:
            context.reporter.warn(span, f"the {word} `{name}` is never used", "remove it, or use it")
    warnings = sorted(context.reporter.warnings, key=lambda each: (each.line, each.column))
    return lowering.graph(), warnings


@dataclass
class Lowering:
    """The state of one file: its scope and layers, and what the graph is made of."""

    model: ast.Model
    context: Context
    overrides: dict[str, int]
    unread: Unread | None
    scope: Scope = field(init=False)
    home: Home = field(init=False)
    weights: Providers = field(init=False)
    places: dict[str, Span] = field(init=False)
    dims: dict[str, int] = field(default_factory=dict)
    format: tuple[Precision, Span] | None = None
    inputs: list[Value] = field(default_factory=list)
    params: list[tuple[Span, Value]] = field(default_factory=list)
    outputs: dict[str, Output] = field(default_factory=dict)
    training: Block | None = None
    budgets: list[Budget] = field(default_factory=list)
    budgeted: dict[str, Span] = field(default_factory=dict)

    def run(self) -> None:
        """Run every statement; errors are in the context's reporter."""
        self.places = dict(_places(self.model.statements))
        self.context.trains = any(isinstance(each, ast.Train) for each in self.model.statements)
        self.scope = Scope(later=self.places, used=self.context.used, unread=self.unread)
        self.weights = self._weights()
        self.home = Home("", self.weights.provider)
        if self.unread is None:
            self._check_overrides()
        for statement in self.model.statements:
            with self.context.reporter.catching():
                self._statement(statement)
        if self.unread is None:
            self.weights.check(self.context, layer_names(self.model))
            self._check_outputs()

    def graph(self) -> Graph:
        """The graph; complete only without errors."""
        owned = list(self.params)
        for layer in self.home.layers.values():
            owned += [(layer.span, leaf) for leaf in parameters(layer)]
        groups = [each.meaning for each in self.scope.names.values() if isinstance(each.meaning, RoleGroup)]
        return Graph(
            name=self.model.name.id,
            roles=tuple(member for group in groups for member in group.members),
            array_roles=tuple(ArrayRole(group.name, group.members) for group in groups if group.count is not None),
            dims=self.dims,
            precision=self.format[0] if self.format is not None else Precision(),
            inputs=tuple(self.inputs),
            params=tuple(leaf for _, leaf in sorted(owned, key=lambda each: each[0].start)),
            outputs=tuple(self.outputs.values()),
            training=self.training.training() if self.training is not None else None,
            layers=dict(each for layer in self.home.layers.values() for each in kinds(layer)),
            budgets=tuple(self.budgets),
            source=self.model.source,
            filename=self.model.filename,
        )

    # -- before and after the statements -------------------------------------------------------------------------------

    def _weights(self) -> Providers:
        """Whose the layers' parameters are, and the number format, which holds for all of the file.

        Errors outside the `weights` statements are left to the run itself.
        """
        silent = Context(self.model.source, Reporter(self.model.filename), expressions.evaluate)
        first = Lowering(self.model, silent, self.overrides, self.unread)
        first.places, first.scope = {}, Scope(used=self.context.used, unread=self.unread)
        for statement in self.model.statements:
            if isinstance(statement, (ast.Role, ast.Dim, ast.Const, ast.Def, ast.Precision)):
                with suppress(Overgrown, RecursionError), silent.reporter.catching():
                    first._statement(statement)
        self.context.precision = None if self.unread is not None else silent.precision
        return providers(self.context, self.model, first.scope, self.places)

    def _check_overrides(self) -> None:
        dims = [each.name.id for each in self.model.statements if isinstance(each, ast.Dim)]
        for name in self.overrides:
            if name not in dims:
                have = f"the dims are {', '.join(f'`{each}`' for each in dims)}" if dims else "it has none"
                message = f"a size is given for `{name}`, but the model has no such dim"
                self.context.reporter.error(Problem(self.model.name.span, message, did_you_mean(name, dims) or have))

    def _check_outputs(self) -> None:
        if not any(isinstance(each, (ast.Output, ast.Train)) for each in self.model.statements):
            message = f"the model `{self.model.name.id}` has no output"
            help = "a result leaves only by a statement like `output NAME to ROLE`"
            self.context.reporter.error(Problem(self.model.name.span, message, help))

    # -- statements ----------------------------------------------------------------------------------------------------

    def _statement(self, statement: ast.Statement) -> None:
        match statement:
            case ast.Role():
                declare_roles(self.context, statement, self.scope)
            case ast.Dim():
                self._dim(statement)
            case ast.Precision():
                self._precision(statement)
            case ast.Const():
                self._const(statement)
            case ast.Input():
                self._leaf(statement, self.scope, self.inputs)
            case ast.Param():
                self._leaf(statement, self.scope, [])
            case ast.Weights():
                pass  # read before everything else
            case ast.Output():
                self._output(statement, self.scope, self.outputs)
            case ast.Def():
                self._def(statement)
            case ast.Budget():
                self.budgets += budgets(self.context, statement, self.scope, self.inputs, self.budgeted)
                self.budgeted[statement.name.id] = statement.name.span
            case ast.Train():
                self._train(statement)
            case _:
                blocks.run(self.context, statement, blocks.Frame(self.scope, self.home))

    def _dim(self, statement: ast.Dim) -> None:
        name = statement.name
        size = size_at(self.context, statement.default, self.scope)
        if name.id in self.overrides:
            given: object = self.overrides[name.id]
            whole = int(given) if isinstance(given, int | np.integer) and not isinstance(given, bool) else 0
            size = whole if 1 <= whole < MOST else None
            if size is None:
                shown = repr(given) if abs(whole) < MOST else "one beyond 2^63"
                message = f"the dim `{name.id}` is a whole number of at least 1, but {shown} is given for it"
                self.context.reporter.error(Problem(name.span, message, f"give a number, as in `{name.id}=8`"))
        self.scope.bind(name, Category.DIM, POISON if size is None else size)
        if size is not None:
            self.dims[name.id] = size

    def _precision(self, statement: ast.Precision) -> None:
        if self.format is not None:
            note = (self.format[1], "the first one")
            raise Problem(statement.span, "a second `precision`: a model has one number format", "remove one", note)
        found = precision(self.context, statement, self.scope)
        self.format = found or Precision(), statement.span
        self.context.precision = found

    def _const(self, statement: ast.Const) -> None:
        meaning = self.context.evaluate(statement.value, self.scope)
        try:
            if meaning is not POISON:
                value = operand(meaning, statement.value.span)
                if isinstance(value, Value) and not value.is_constant:
                    message = f"a const is known at compile time, found {described(value)}"
                    help = f"without `const`, `{statement.name.id} = …` is a value"
                    raise Problem(statement.value.span, message, help)
        except Problem as problem:
            self.context.reporter.error(problem)
            meaning = POISON
        self.scope.bind(statement.name, Category.CONST, meaning)

    def _def(self, statement: ast.Def) -> None:
        name = statement.name
        if name.id in FUNCTIONS or name.id in LAYERS:
            what = "function" if name.id in FUNCTIONS else "kind of layer"
            message = f"`{name.id}` is a built-in {what}: a def cannot take its name"
            self.context.reporter.error(Problem(name.span, message, "choose another name"))
            return
        definition = define(statement, self.scope, self.places, blocks.run_body)
        check_names(definition, self.context.reporter)
        self.scope.bind(name, Category.DEF, definition)

    def _train(self, statement: ast.Train) -> None:
        place = _keyword(statement.span, "train")
        if self.training is not None:
            raise Problem(place, "a second `train` block", "a model has one", (self.training.span, "the first one"))
        precision = self.context.precision
        if precision is not None and precision.bits != Precision.bits:
            message = f"training needs the format fixed(bits={Precision.bits}), found bits={precision.bits}"
            raise Problem(place, message, "leave out `precision`")
        inputs, leaf, output = self.inputs, self._leaf, self._output
        self.training = lower_training(self.context, statement, self.scope, place, inputs, leaf, output)

    def _leaf(self, statement: ast.Input | ast.Param, scope: Scope, inputs: list[Value]) -> None:
        is_input = isinstance(statement, ast.Input)
        category, word = (Category.INPUT, "input") if is_input else (Category.PARAM, "param")
        meaning: object = POISON
        try:
            meaning = self._provided(statement, scope, inputs)
        except Problem as problem:
            self.context.reporter.error(problem)
        scope.bind(statement.name, category, meaning)
        self.context.declare(statement.name.span, word, statement.name.id)

    def _provided(self, statement: ast.Input | ast.Param, scope: Scope, inputs: list[Value]) -> object:
        """The value of an input or param: one leaf, or the stacked leaves of an array role's members."""
        name = statement.name
        sizes = [size_at(self.context, each, scope) for each in statement.type.dims]
        kind = Kind(statement.type.kind)
        limits = contract_at(self.context, statement.range, kind, scope)
        owners = members(self.context, statement.role, scope)
        shape = tuple(size for size in sizes if size is not None)
        if not owners or len(shape) < len(sizes) or (limits is None and statement.range is not None):
            return POISON
        dims = tuple(self._dim_name(each) for each in statement.type.dims)
        array = is_array(statement.role, scope)
        answers = flipped(self.context, statement, scope) if isinstance(statement, ast.Input) else 0.0
        leaves = []
        for member, role in enumerate(owners):
            path = (member,) if array else ()
            op: Input | Param = Param(kind, shape, role, statement.public, name.id, path, dims)
            if isinstance(statement, ast.Input):
                op = Input(kind, shape, role, statement.public, name.id, path, dims, answers)
            leaves.append(self._declared(op, statement, limits))
        if isinstance(statement, ast.Input):
            inputs += leaves
        else:
            self.params += [(name.span, each) for each in leaves]
        if not array:
            return leaves[0]
        stacked = self.context.made(name.span, name.span, lambda: stack(*leaves))
        return blocks.named(stacked, name.id) if isinstance(stacked, Value) else stacked

    def _declared(self, op: Input | Param, statement: ast.Input | ast.Param, limits: Interval | None) -> Value:
        name, place = statement.name, statement.range
        try:
            return apply(op, span=name.span, name=name.id, declared=limits)
        except OpError as error:
            span = statement.type.span if place is None or error.arg == "shape" else place.span
            raise Problem(span, error.message, error.help) from None

    def _dim_name(self, size: ast.Expression) -> str | None:
        """The `dim` that a size is, when it is exactly one."""
        binding = self.scope.find(size.id) if isinstance(size, ast.Name) else None
        return binding.name if binding is not None and binding.category is Category.DIM else None

    def _output(self, statement: ast.Output, scope: Scope, outputs: dict[str, Output]) -> None:
        name = statement.name or (statement.value if isinstance(statement.value, ast.Name) else None)
        roles = receivers(self.context, statement.roles, scope)
        noise = None
        with self.context.reporter.catching():
            noise = release(self.context, statement, scope)
        if statement.name is not None:
            meaning = blocks.bind_value(self.context, statement.name, statement.value, None, scope)
            self.context.used.add(statement.name.span)
        else:
            meaning = self.context.evaluate(statement.value, scope)
        if name is None:
            help = "write `output NAME = …`: the name is the key of the result"
            raise Problem(statement.value.span, "an output needs a name", help)
        trained = self.training.outputs if self.training is not None else {}
        before = {**trained, **self.outputs, **outputs}.get(name.id)
        if before is not None and before.span is not None:
            note = (before.span, "the first one")
            raise Problem(name.span, f"there is already an output `{name.id}`", "give it another name", note)
        if meaning is POISON or not roles:
            return
        value = operand(meaning, statement.value.span)
        made = value if isinstance(value, Value) else self._constant(value, statement.value.span)
        if noise is not None:
            expect_noisy(made, noise)
        outputs[name.id] = Output(name.id, made, roles, name.span, release=noise)

    def _constant(self, value: object, span: Span) -> Value:
        found: list[Value] = []
        self.context.made(span, span, lambda: found.append(tensor(value)) or found[0])  # type: ignore[arg-type, func-returns-value]
        return found[0]


LATER = "it is part of the language, but this version does not support it"


def _keyword(span: Span, word: str) -> Span:
    """The first word of a statement."""
    return Span(span.start, span.start + len(word), span.line, span.column, span.line, span.column + len(word))


def _places(statements: tuple[ast.Statement, ...]) -> Iterator[tuple[str, Span]]:
    """The names that the file declares outside its `def`s, with the place of the first declaration last."""
    for statement in reversed(statements):
        match statement:
            case ast.Role():
                yield from ((ref.name.id, ref.name.span) for ref in reversed(statement.roles))
            case ast.Layer():
                yield statement.target.name.id, statement.target.name.span
            case ast.For():
                yield from _places(statement.body)
            case ast.Output(name=ast.Name() as name):
                yield name.id, name.span
            case ast.Dim() | ast.Const() | ast.Input() | ast.Param() | ast.Value() | ast.Def():
                yield statement.name.id, statement.name.span
