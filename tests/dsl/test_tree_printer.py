"""A tree printed as text and parsed again is the same tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsl import ast, parse
from dsl.ast import Operator, Span
from dsl.printer import unparse

FILES = [
    Path(__file__).parent / "everything.ppml",
    *sorted((Path(__file__).parents[2] / "examples").glob("*/*.ppml")),
]
NOWHERE = Span(0, 0, 1, 1, 1, 1)

names = st.sampled_from(["a", "b", "int", "model_", "_", "Fixed"]).map(lambda name: ast.Name(NOWHERE, name))
leaves = st.one_of(
    names,
    st.integers(0, 10**20).map(lambda number: ast.Number(NOWHERE, number)),
    st.floats(0, allow_infinity=False).map(lambda number: ast.Number(NOWHERE, abs(number))),
    st.sampled_from(["same", "", "#x"]).map(lambda text: ast.String(NOWHERE, text)),
    st.booleans().map(lambda truth: ast.Boolean(NOWHERE, truth)),
)
binary = [each for each in Operator if each not in (Operator.NEG, Operator.NOT)]


def extend(inner: st.SearchStrategy[ast.Expression]) -> st.SearchStrategy[ast.Expression]:
    """Every expression that has others inside."""
    few = st.lists(inner, max_size=2).map(tuple)
    positional = inner.map(lambda value: ast.Argument(NOWHERE, None, value))
    named = st.builds(ast.Argument, st.just(NOWHERE), names, inner)
    call = st.builds(
        lambda function, first, last: ast.Call(NOWHERE, function, (*first, *last)),
        inner,
        st.lists(positional, max_size=2),
        st.lists(named, max_size=1),
    )
    slices = st.builds(ast.Slice, st.just(NOWHERE), *[st.none() | inner] * 3)
    subscripts = st.lists(st.one_of(inner, slices, st.just(ast.Dots(NOWHERE))), min_size=1, max_size=3).map(tuple)
    objects = inner.filter(lambda node: not isinstance(node, ast.Number))
    called = st.one_of(names, st.builds(ast.Attribute, st.just(NOWHERE), objects, names))
    return st.one_of(
        few.map(lambda items: ast.List(NOWHERE, items)),
        st.builds(ast.Unary, st.just(NOWHERE), st.sampled_from([Operator.NEG, Operator.NOT]), inner),
        st.builds(ast.Binary, st.just(NOWHERE), st.sampled_from(binary), inner, inner, st.just(NOWHERE)),
        st.builds(ast.Pipe, st.just(NOWHERE), inner, called),
        call,
        st.builds(ast.Index, st.just(NOWHERE), inner, subscripts),
        st.builds(ast.Attribute, st.just(NOWHERE), objects, names),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(leaves, extend, max_leaves=12))
def test_expressions_return(expression: ast.Expression) -> None:
    statement = ast.Value(NOWHERE, ast.Name(NOWHERE, "y"), expression, None)
    model = ast.Model(NOWHERE, ast.Name(NOWHERE, "m"), (statement,), "", "")
    assert parse(unparse(model)) == model


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_return(path: Path) -> None:
    model = parse(path.read_text(encoding="utf-8"))
    printed = unparse(model)
    assert parse(printed) == model
    assert unparse(parse(printed)) == printed
