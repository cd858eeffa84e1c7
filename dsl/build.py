"""From lark's parse tree to the syntax tree, with what the grammar leaves open checked on the way.

The grammar takes a little more than the language so that it stays LALR(1) and short. The rest is refused here, each
refusal at its place and all of them together: the order of arguments, what stands to the right of `|>`, the words of a
type and of `precision`, malformed numbers, expressions nested without end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, cast

from lark import Token, Tree

from dsl import ast
from dsl.ast import Operator, Span
from dsl.errors import Diagnostic, did_you_mean
from dsl.scan import MEASURED, span_of

__all__ = ["Builder"]

MAX_NESTING = 150  # the passes below recurse, a few Python frames a level; Python's own limit is 1000
MAX_DIGITS = 400  # beyond 1e308 nothing fits a float64 anyway

KINDS = ("fixed", "int", "bit")
OPERATORS = {operator.value: operator for operator in Operator}

Rule = Callable[["Builder", Tree[Token], Span], Any]
Link = Callable[["Builder", Tree[Token], ast.Expression], ast.Expression]  # what stands on the left is built already


class _TooDeep(Exception):
    """An expression that is nested too deep, with the place where it got so."""

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span


class Builder:
    """Builds one file's syntax tree; `problems` and `refused` fill with what it had to refuse, and where."""

    def __init__(self, source: str, filename: str) -> None:
        self.source = source
        self.filename = filename
        self.problems: list[Diagnostic] = []
        self.refused: list[Span] = []
        self._depth = 0

    def model(self, tree: Tree[Token]) -> ast.Model:
        """The tree of the whole file, without the statements that are nested too deep."""
        head, *statements = tree.children
        name = self(cast("Tree[Token]", head).children[0])
        built = [self._statement(cast("Tree[Token]", each)) for each in statements]
        whole = tuple(each for each in built if each is not None)
        return ast.Model(_span(tree), name, whole, self.source, self.filename)

    def _statement(self, tree: Tree[Token]) -> ast.Statement | None:
        try:
            statement: ast.Statement = self(tree)
        except _TooDeep as found:
            self._depth = 0
            message = f"this is nested more than {MAX_NESTING} levels deep"
            self.refuse(found.span, message, "give a part of it a name of its own: `part = …`")
            self.refused.append(_span(tree))
            return None
        return statement

    def __call__(self, tree: Any) -> Any:
        """The node of a subtree; None where an optional part was left out."""
        if tree is None:
            return None
        span = _span(tree)
        if self._depth > MAX_NESTING:
            raise _TooDeep(span)
        self._depth += 1
        node = self._chain(tree) if tree.data in LINKS else RULES[tree.data](self, tree, span)
        self._depth -= 1
        return node

    def _chain(self, tree: Tree[Token]) -> ast.Expression:
        """`a + b + c` and `x |> f |> g`, from the left and without recursion: a chain is long, not deep."""
        links: list[Tree[Token]] = []
        left: Any = tree
        while left.data in LINKS:
            links.append(left)
            left = left.children[0]
        node: ast.Expression = self(left)
        for link in reversed(links):
            node = LINKS[link.data](self, link, node)
        return node

    def all(self, trees: Iterable[Any]) -> tuple[Any, ...]:
        """The nodes of those subtrees that are there."""
        return tuple(self(each) for each in trees if each is not None)

    def refuse(self, span: Span, message: str, help: str | None = None, *notes: tuple[Span, str]) -> None:
        """Note an error at `span`, with second places if they are in other lines."""
        notes = tuple(note for note in notes if note[0].line != span.line)
        self.refused.append(span)
        self.problems.append(Diagnostic.at(span, message, file=self.filename, help=help, notes=notes))


def _span(tree: Tree[Token]) -> Span:
    meta = tree.meta
    if meta.empty:
        return Span(0, 0, 1, 1, 1, 1)
    return Span(meta.start_pos, meta.end_pos, meta.line, meta.column, meta.end_line, meta.end_column)


# Expressions --------------------------------------------------------------------------------------------------------


def _name(build: Builder, tree: Tree[Token], span: Span) -> ast.Name:
    return ast.Name(span, str(tree.children[0]))


def _number(build: Builder, tree: Tree[Token], span: Span) -> ast.Number:
    text = str(tree.children[0])
    if len(text) > MAX_DIGITS or math.isinf(float(text)):
        build.refuse(span, "this number is too large for any format", "a `fixed` number holds up to 2^30 by default")
        return ast.Number(span, 0)
    return ast.Number(span, int(text) if text.isdigit() else float(text))


def _string(build: Builder, tree: Tree[Token], span: Span) -> ast.String:
    return ast.String(span, str(tree.children[0])[1:-1])


def _boolean(build: Builder, tree: Tree[Token], span: Span) -> ast.Boolean:
    return ast.Boolean(span, tree.children[0] == "true")


def _list(build: Builder, tree: Tree[Token], span: Span) -> ast.List:
    return ast.List(span, build.all(tree.children))


def _unary(build: Builder, tree: Tree[Token], span: Span) -> ast.Unary:
    token, operand = tree.children
    return ast.Unary(span, Operator.NEG if token == "-" else Operator.NOT, build(operand))


def _binary(build: Builder, tree: Tree[Token], left: ast.Expression) -> ast.Binary:
    _, token, right = tree.children
    place = span_of(cast(Token, token))
    return ast.Binary(_span(tree), OPERATORS[str(token)], left, build(right), place)


def _pipe(build: Builder, tree: Tree[Token], left: ast.Expression) -> ast.Pipe:
    right = build(tree.children[1])
    called = right.function if isinstance(right, ast.Call) else right
    if not isinstance(called, ast.Name | ast.Index | ast.Attribute):
        build.refuse(
            right.span,
            "the right side of `|>` is a function, a `def` or a layer",
            "`x |> f` is `f(x)`, and `x |> f(a)` is `f(x, a)`",
        )
    return ast.Pipe(_span(tree), left, right)


def _call(build: Builder, tree: Tree[Token], span: Span) -> ast.Call:
    function, *rest = build.all(tree.children)
    arguments = tuple(each if isinstance(each, ast.Argument) else ast.Argument(each.span, None, each) for each in rest)
    seen: dict[str, ast.Argument] = {}
    for argument in arguments:
        if argument.name is None:
            if seen:
                last = next(reversed(seen.values()))
                build.refuse(
                    argument.span,
                    "a positional argument cannot follow a named one",
                    "put it before the named ones, or name it too",
                    (last.span, "the named one"),
                )
        elif argument.name.id in seen:
            first = seen[argument.name.id]
            build.refuse(
                argument.span,
                f"the argument `{argument.name.id}` is given twice",
                "leave one of them out",
                (first.span, "first here"),
            )
        else:
            seen[argument.name.id] = argument
    return ast.Call(span, function, arguments)


def _named(build: Builder, tree: Tree[Token], span: Span) -> ast.Argument:
    name, value = build.all(tree.children)
    return ast.Argument(span, name, value)


def _index(build: Builder, tree: Tree[Token], span: Span) -> ast.Index:
    value, *subscripts = build.all(tree.children)
    return ast.Index(span, value, tuple(subscripts))


def _slice(build: Builder, tree: Tree[Token], span: Span) -> ast.Slice:
    start, stop, step = tree.children
    return ast.Slice(span, build(start), build(stop), build(step))


def _dots(build: Builder, tree: Tree[Token], span: Span) -> ast.Dots:
    return ast.Dots(span)


def _attribute(build: Builder, tree: Tree[Token], span: Span) -> ast.Attribute:
    value, name = build.all(tree.children)
    if isinstance(value, ast.Number):
        power = name.id if name.id[0] in "eE" and name.id[1:].isdigit() else ""
        build.refuse(span, "a number has a digit on each side of its point", f"write `{value.value}.0{power}`")
    return ast.Attribute(span, value, name)


# Parts of statements ------------------------------------------------------------------------------------------------


def _ref(build: Builder, tree: Tree[Token], span: Span) -> ast.Ref:
    name, index = tree.children
    return ast.Ref(span, build(name), build(index))


def _range(build: Builder, tree: Tree[Token], span: Span) -> ast.Range:
    word, lo, hi = tree.children
    if word is not None and build(word).id != MEASURED:
        place = _span(cast("Tree[Token]", word))
        build.refuse(place, f"expected `[`, found `{build(word).id}`", "a range is written `in [lo, hi]`")
    return ast.Range(span, build(lo), build(hi), word is not None)


def _type(build: Builder, tree: Tree[Token], span: Span) -> ast.Type:
    kind, *dims = tree.children
    if kind is not None and kind not in KINDS:
        build.refuse(
            span_of(cast(Token, kind)),
            f"`{kind}` is not a type: a value is `fixed`, `int` or `bit`",
            did_you_mean(str(kind), KINDS) or _other_type(str(kind)),
        )
        return ast.Type(span, "fixed", build.all(dims))
    return ast.Type(span, cast(ast.NumberKind, str(kind or "fixed")), build.all(dims))


def _other_type(word: str) -> str:
    """What to write for a type of another language."""
    if word.startswith("bool"):
        return "a truth value is `bit[…]`"
    if word.startswith(("int", "uint", "long", "short")):
        return "a whole number is `int[…]`"
    return "a real number is `fixed[…]`, or brackets alone: `[…]`"


def _owner(build: Builder, tree: Tree[Token]) -> tuple[ast.Ref, bool, ast.Range | None]:
    """Of parameters, which are given as they are."""
    role, public, limits, noise = _giver(build, tree)
    if noise is not None:
        help = "an input of bits is given `with randomized_response(epsilon=…)`"
        build.refuse(noise.span, "parameters are given as they are, without `with`", help)
    return role, public, limits


def _giver(build: Builder, tree: Tree[Token]) -> tuple[ast.Ref, bool, ast.Range | None, ast.Expression | None]:
    role, public, limits, noise = tree.children
    found = build(limits)
    if found is not None and found.measured:
        help = "write `in [lo, hi]`: its owner's client checks every value"
        build.refuse(found.span, "only what is computed is `in measured` a range", help)
    return build(role), public is not None, found, build(noise)


def _formal(build: Builder, tree: Tree[Token], span: Span) -> ast.Formal:
    name, default = tree.children
    return ast.Formal(span, build(name), build(default))


# Statements ---------------------------------------------------------------------------------------------------------


def _role(build: Builder, tree: Tree[Token], span: Span) -> ast.Role:
    return ast.Role(span, build.all(tree.children))


def _dim(build: Builder, tree: Tree[Token], span: Span) -> ast.Dim:
    return ast.Dim(span, *build.all(tree.children))


def _const(build: Builder, tree: Tree[Token], span: Span) -> ast.Const:
    return ast.Const(span, *build.all(tree.children))


def _precision(build: Builder, tree: Tree[Token], span: Span) -> ast.Precision:
    (form,) = build.all(tree.children)
    given: dict[str, ast.Expression] = {}
    help = "write `precision fixed(bits=64, frac=16)`"
    if not (isinstance(form, ast.Call) and form.function == ast.Name(span, "fixed")):
        build.refuse(form.span, "the number format is `fixed(bits=…, frac=…)`", help)
        return ast.Precision(span, None, None)
    for argument in form.arguments:
        word = argument.name.id if argument.name is not None else None
        if word in ("bits", "frac"):
            given[word] = argument.value
        else:
            build.refuse(argument.span, "`fixed` takes `bits=` and `frac=`, by name", help)
            break
    return ast.Precision(span, given.get("bits"), given.get("frac"))


def _input(build: Builder, tree: Tree[Token], span: Span) -> ast.Input:
    name, kind, owner = cast("list[Tree[Token]]", tree.children)
    return ast.Input(span, build(name), build(kind), *_giver(build, owner))


def _param(build: Builder, tree: Tree[Token], span: Span) -> ast.Param:
    name, kind, owner = cast("list[Tree[Token]]", tree.children)
    return ast.Param(span, build(name), build(kind), *_owner(build, owner))


def _weights(build: Builder, tree: Tree[Token], span: Span) -> ast.Weights:
    names, owner = cast("list[Tree[Token]]", tree.children)
    return ast.Weights(span, build.all(names.children), *_giver(build, owner))


def _layer(build: Builder, tree: Tree[Token], span: Span) -> ast.Layer:
    target, value = build.all(tree.children)
    return ast.Layer(span, target, value)


def _value(build: Builder, tree: Tree[Token], span: Span) -> ast.Value:
    name, value, limits = tree.children
    return ast.Value(span, build(name), build(value), build(limits))


def _output(build: Builder, tree: Tree[Token], span: Span) -> ast.Output:
    name, value, refs, noise, maker = tree.children
    roles = build.all(cast("Tree[Token]", refs).children)
    made = build(maker)
    if made is not None and made.id != "parties":
        help = "without `from`, the dealer makes the noise"
        build.refuse(made.span, f"noise comes `from parties`, found `{made.id}`", help)
    return ast.Output(span, build(name), build(value), roles, build(noise), made is not None)


def _output_weights(build: Builder, tree: Tree[Token], span: Span) -> ast.OutputWeights:
    (refs,) = cast("list[Tree[Token]]", tree.children)
    return ast.OutputWeights(span, build.all(refs.children))


def _def(build: Builder, tree: Tree[Token], span: Span) -> ast.Def:
    name, formals, body, result = cast("list[Tree[Token]]", tree.children)
    parameters: tuple[ast.Formal, ...] = build.all(formals.children)
    for before, after in pairwise(parameters):
        if before.default is not None and after.default is None:
            build.refuse(
                after.span,
                "a parameter without a default cannot follow one that has a default",
                "put the parameters with a default last",
                (before.span, "this one has a default"),
            )
    return ast.Def(span, build(name), parameters, build.all(body.children), build(result))


def _for(build: Builder, tree: Tree[Token], span: Span) -> ast.For:
    name, start, stop, body = cast("list[Tree[Token]]", tree.children)
    return ast.For(span, build(name), build(start), build(stop), build.all(body.children))


def _budget(build: Builder, tree: Tree[Token], span: Span) -> ast.Budget:
    _, name, value = tree.children
    return ast.Budget(span, build(name), build(value))


def _freeze(build: Builder, tree: Tree[Token], span: Span) -> ast.Freeze:
    return ast.Freeze(span, build.all(tree.children[1:]))


def _metric(build: Builder, tree: Tree[Token], span: Span) -> ast.Metric:
    _, name, refs = cast("list[Tree[Token]]", tree.children)
    return ast.Metric(span, build(name), build.all(refs.children))


def _train(build: Builder, tree: Tree[Token], span: Span) -> ast.Train:
    return ast.Train(span, build.all(tree.children))


LINKS: dict[str, Link] = {"binary": _binary, "pipe": _pipe}

RULES: dict[str, Rule] = {
    "name": _name,
    "number": _number,
    "string": _string,
    "boolean": _boolean,
    "list": _list,
    "unary": _unary,
    "call": _call,
    "named": _named,
    "index": _index,
    "slice": _slice,
    "dots": _dots,
    "attribute": _attribute,
    "ref": _ref,
    "range": _range,
    "type": _type,
    "formal": _formal,
    "role": _role,
    "dim": _dim,
    "precision": _precision,
    "const": _const,
    "input": _input,
    "param": _param,
    "weights": _weights,
    "layer": _layer,
    "value": _value,
    "output": _output,
    "output_weights": _output_weights,
    "def": _def,
    "for": _for,
    "train": _train,
    "freeze": _freeze,
    "metric": _metric,
    "budget": _budget,
}
