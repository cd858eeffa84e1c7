"""Who provides the parameters of the layers: the `weights` statements, which may be anywhere in the file.

A layer makes its parameters where it is applied, perhaps above the statement that says whose they are. So the
statements are read before everything else, in a scope that holds the file's roles, dims, consts and `def`s only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from compiler.graph import Kind
from compiler.lowering.context import Context
from compiler.lowering.layers import Provider
from compiler.lowering.numbers import real
from compiler.lowering.problems import Problem
from compiler.lowering.readings import contract_at
from compiler.lowering.roles import is_array, members
from compiler.lowering.scope import Scope, listing
from dsl import ast
from dsl.ast import Span
from dsl.errors import Unread, did_you_mean

__all__ = ["Providers", "layer_names", "providers"]

UNKNOWN = Provider("?")  # of a layer without a provider; its error is reported, and the graph is never returned


@dataclass
class Providers:
    """The provider of each layer that is named, and of the rest, with the place that says so."""

    named: dict[str, tuple[Provider, Span]] = field(default_factory=dict)
    rest: tuple[Provider, Span] | None = None

    def provider(self, layer: str) -> Provider:
        """Who provides the layer of that name."""
        found = self.named.get(layer) or self.rest
        return found[0] if found is not None else UNKNOWN

    def check(self, context: Context, layers: Mapping[str, Span]) -> None:
        """Report the layers that nobody provides, each where it is declared."""
        for name, span in layers.items():
            if name not in self.named and self.rest is None:
                context.reporter.error(
                    Problem(
                        span,
                        f"nobody provides the weights of `{name}`",
                        f"add `weights from ROLE`, or `weights {name} from ROLE`",
                    )
                )


def providers(context: Context, model: ast.Model, scope: Scope, places: Mapping[str, Span]) -> Providers:
    """Who provides what, by all `weights` statements; errors in them are reported.

    `scope` holds what their roles and ranges may refer to, `places` says where the file declares which name.
    """
    found, layers = Providers(), layer_names(model)
    for statement in model.statements:
        if isinstance(statement, ast.Weights):
            if not layers and not statement.names:
                context.reporter.warn(
                    statement.span, "these `weights` belong to no layer", "remove them, or add a layer"
                )
            entry = _provider(context, statement, scope), statement.span
            if not statement.names:
                _set_rest(context, found, entry, statement)
            for name in statement.names:
                _set_named(context, found, name, entry, layers, places, scope.unread)
    return found


def layer_names(model: ast.Model) -> dict[str, Span]:
    """The layers of the file (not those inside `def`s) and where each is declared first."""
    names: dict[str, Span] = {}
    for layer in _layers(model.statements):
        names.setdefault(layer.target.name.id, layer.target.span)
    return names


def _layers(statements: tuple[ast.Statement, ...]) -> Iterator[ast.Layer]:
    for statement in statements:
        if isinstance(statement, ast.Layer):
            yield statement
        elif isinstance(statement, ast.For):
            yield from _layers(statement.body)


def _provider(context: Context, statement: ast.Weights, scope: Scope) -> Provider:
    limits = contract_at(context, statement.range, Kind.FIXED, scope)
    norm = _norm(context, statement.norm, scope)
    try:
        owners = members(context, statement.role, scope)
    except Problem as problem:
        context.reporter.error(problem)
        return UNKNOWN
    if is_array(statement.role, scope):
        name = statement.role.name.id
        context.reporter.error(
            Problem(
                statement.role.span,
                f"the weights of a layer come from one role, found `{name}`, which is {len(owners)} roles",
                f"name one of them: `weights from {name}[0]`",
            )
        )
        return UNKNOWN
    return Provider(owners[0], statement.public, limits, norm) if owners else UNKNOWN


def _norm(context: Context, expression: ast.Expression | None, scope: Scope) -> float:
    """B of `with l1(B)`; infinite without it and, with the error reported, for what is none."""
    if expression is None:
        return math.inf
    help = "write `with l1(B)`: the magnitudes of an output's weights sum to at most B"
    if not isinstance(expression, ast.Call) or expression.function != ast.Name(expression.span, "l1"):
        context.reporter.error(Problem(expression.span, "weights are given `with l1(B)`", help))
        return math.inf
    given = expression.arguments
    bound = real(context.evaluate(given[0].value, scope)) if len(given) == 1 and given[0].name is None else None
    if bound is None or not 0 < bound < math.inf:
        context.reporter.error(Problem(expression.span, "`l1` expects one number above 0", help))
        return math.inf
    return bound


def _set_rest(context: Context, found: Providers, entry: tuple[Provider, Span], statement: ast.Weights) -> None:
    if found.rest is None:
        found.rest = entry
        return
    context.reporter.error(
        Problem(
            statement.span,
            "a second `weights` without names: the first one provides all the layers left",
            "name the layers: `weights conv1, block from …`",
            (found.rest[1], "the first one"),
        )
    )


def _have(layers: Collection[str]) -> str:
    return f"the layers are {listing(layers)}" if layers else "the model has no layers"


def _set_named(
    context: Context,
    found: Providers,
    name: ast.Name,
    entry: tuple[Provider, Span],
    layers: Mapping[str, Span],
    places: Mapping[str, Span],
    unread: Unread | None,
) -> None:
    if name.id in layers and name.id not in found.named:
        found.named[name.id] = entry
    elif name.id in layers:
        before = (found.named[name.id][1], "by this statement")
        message = f"the weights of `{name.id}` are provided twice"
        context.reporter.error(Problem(name.span, message, "remove the name from one of them", before))
    elif unread is not None and (name.id in unread.bound or unread.may_bind(name.id)):
        pass  # its layer may be in a statement that cannot be read
    elif name.id in places:
        message = f"`{name.id}` is not a layer"
        help = "`weights` names the layers of the file; a `param` names its own role"
        context.reporter.error(Problem(name.span, message, help, (places[name.id], "it is declared here")))
    else:
        context.reporter.error(
            Problem(name.span, f"unknown layer `{name.id}`", did_you_mean(name.id, layers) or _have(layers))
        )
