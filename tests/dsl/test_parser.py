"""From text to tree: the meaning of operators as in Python, the place of every node, and what does not matter."""

from __future__ import annotations

import ast as python
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl import ast, parse
from dsl.ast import Operator
from dsl.errors import SourceErrors
from dsl.printer import dump, unparse

EVERYTHING = (Path(__file__).parent / "everything.ppml").read_text(encoding="utf-8")
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.ppml"))

PYTHON: dict[type, Operator] = {
    python.Add: Operator.ADD,
    python.Sub: Operator.SUB,
    python.Mult: Operator.MUL,
    python.Div: Operator.DIV,
    python.MatMult: Operator.MATMUL,
    python.Pow: Operator.POW,
    python.USub: Operator.NEG,
    python.Not: Operator.NOT,
    python.And: Operator.AND,
    python.Or: Operator.OR,
    python.Lt: Operator.LESS,
    python.LtE: Operator.LESS_EQUAL,
    python.Gt: Operator.GREATER,
    python.GtE: Operator.GREATER_EQUAL,
    python.Eq: Operator.EQUAL,
    python.NotEq: Operator.NOT_EQUAL,
}


def value(expression: str) -> Any:
    statement = parse(f"model m y = {expression}").statements[0]
    assert isinstance(statement, ast.Value)
    return statement.value


def ours(node: ast.Node) -> object:
    """A tree as nested tuples."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Number(value=number):
            return number
        case ast.Unary(operator=operator, operand=operand):
            return operator, ours(operand)
        case ast.Binary(operator=operator, left=left, right=right):
            return operator, ours(left), ours(right)
        case ast.Call(function=function, arguments=arguments):
            return "call", ours(function), *[ours(each.value) for each in arguments]
        case ast.Attribute(value=inner, name=name):
            return "attribute", ours(inner), name.id
        case ast.Index(value=inner, subscripts=subscripts):
            return "index", ours(inner), *[ours(each) for each in subscripts]
    raise TypeError(node)


def pythons(node: python.AST) -> object:
    """Python's own tree of the same text, as the same tuples."""
    match node:
        case python.Name(id=name):
            return name
        case python.Constant(value=number):
            return number
        case python.UnaryOp(op=operator, operand=operand):
            return PYTHON[type(operator)], pythons(operand)
        case python.BinOp(op=operator, left=left, right=right):
            return PYTHON[type(operator)], pythons(left), pythons(right)
        case python.Compare(left=left, ops=[operator], comparators=[right]):
            return PYTHON[type(operator)], pythons(left), pythons(right)
        case python.BoolOp(op=operator, values=[*first, last]):
            tree = pythons(first[0])
            for each in [*first[1:], last]:
                tree = PYTHON[type(operator)], tree, pythons(each)
            return tree
        case python.Call(func=function, args=arguments):
            return "call", pythons(function), *[pythons(each) for each in arguments]
        case python.Attribute(value=inner, attr=name):
            return "attribute", pythons(inner), name
        case python.Subscript(value=inner, slice=subscript):
            return "index", pythons(inner), pythons(subscript)
    raise TypeError(node)


def comparable(node: python.AST) -> bool:
    """Whether Python's tree has no chain of comparisons, which means another thing there and is refused here."""
    return all(not isinstance(each, python.Compare) or len(each.ops) == 1 for each in python.walk(node))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_operators_group_as_in_python(data: st.DataObject) -> None:
    infix = st.sampled_from(["+", "-", "*", "/", "@", "**", "<", "<=", ">", ">=", "==", "!=", "and", "or"])
    operand = st.sampled_from(["a", "2", "-b", "(c + d)", "f(x)", "g.h", "t[i]", "--a", "(not p)", "1.5e3"])
    text = data.draw(operand)
    for _ in range(data.draw(st.integers(0, 7))):
        text += f" {data.draw(infix)} {data.draw(operand)}"
    if data.draw(st.booleans()):
        text = f"not {text}"
    tree = python.parse(text, mode="eval").body
    if comparable(tree):
        assert ours(value(text)) == pythons(tree)
    else:
        with pytest.raises(SourceErrors, match="comparisons cannot be chained"):
            value(text)


def test_pipes_hold_loosest_and_group_to_the_left() -> None:
    assert value("a + b |> f |> g(1) ") == value("((a + b) |> f) |> g(1)")
    assert value("not a or b |> f") == value("(not a or b) |> f")


def test_signs_are_operators() -> None:
    assert value("x -1") == value("x - 1")
    assert value("-1") == ast.Unary(value("1").span, Operator.NEG, value("1"))


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("0.5", 0.5), ("1e-3", 1e-3), ("2E2", 200.0), ("007", 7)])
def test_numbers(text: str, number: float) -> None:
    node = value(text)
    assert node == ast.Number(node.span, number)
    assert type(node.value) is type(number)


def test_prints_everything(golden: Callable[[str, str], None]) -> None:
    golden("everything.txt", dump(parse(EVERYTHING)))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_parse(path: Path) -> None:
    assert parse(path.read_text(encoding="utf-8"), path.name).filename == path.name


def test_every_node_knows_its_place() -> None:
    model = parse(EVERYTHING)
    lines = EVERYTHING.split("\n")
    for node in ast.walk(model):
        span = node.span
        text = EVERYTHING[span.start : span.end]
        assert text == text.strip() != ""
        assert lines[span.line - 1][span.column - 1 :].startswith(text.split("\n")[0])
        assert lines[span.end_line - 1][: span.end_column - 1].endswith(text.split("\n")[-1])
        if isinstance(node, ast.Name):
            assert text == node.id
        if isinstance(node, ast.Binary):
            assert EVERYTHING[node.operator_span.start : node.operator_span.end] == node.operator.value
        for below in ast.children(node):
            assert span.start <= below.span.start <= below.span.end <= span.end


def test_brackets_belong_to_what_is_around_them() -> None:
    product = value("(a + b) * (c)")
    assert (product.span.column, product.span.end_column) == (13, 26)
    assert (product.left.span.column, product.left.span.end_column) == (14, 19)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("    ", "\t"),
        lambda text: text.replace("\n", '   # a comment with "quotes", ( and é\n'),
        lambda text: " ".join(line.split("#")[0] for line in text.split("\n")),
    ],
    ids=["carriage returns", "byte order mark", "tabs", "comments", "one line"],
)
def test_what_does_not_matter(change: Callable[[str], str]) -> None:
    assert parse(change(EVERYTHING)) == parse(EVERYTHING)


def test_deep_nesting_is_refused_and_not_overflowed() -> None:
    assert parse("model m y = " + "(" * 1000 + "a" + ")" * 1000)
    for deep in ("-" * 2000 + "a", "f(" * 1000 + ")" * 1000, "a + (" * 1000 + "a" + ")" * 1000):
        with pytest.raises(SourceErrors, match="150 levels"):
            value(deep)


def test_a_chain_is_not_nesting() -> None:
    for long in ("a" + " + a" * 1000, "x" + " |> f(2)" * 1000, "a" + " * b + c" * 1000):
        model = parse(f"model m y = {long}")
        assert unparse(model) == f"model m\ny = {long}\n"
        assert dump(model).count("\n") > 1000


def test_long_files_parse() -> None:
    model = parse("model m\n" + "x = relu(x @ w + 1) in [0, 1]\n" * 1000)
    assert len(model.statements) == 1000
