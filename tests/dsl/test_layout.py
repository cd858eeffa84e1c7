"""The canonical layout. Truth: the syntax tree and the comments stay, and a second layout changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl import grammar, parse
from dsl.errors import SyntaxErrors
from dsl.layout import layout
from dsl.scan import MAX_TEXT
from tests.fuzz.programs import Case, cases

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("examples", "tests") for path in (ROOT / folder).rglob("*.ppml"))
EXAMPLES = [path for path in FILES if "examples" in path.parts]
SHORT = settings(deadline=None, derandomize=True, database=None)
STRINGS_AND_COMMENTS = re.compile(r'"[^"\n]*"|(#[^\n]*)')
BETWEEN = [
    "",
    " ",
    "  ",
    "\t",
    "\n",
    "\n\n",
    "\n\n\n   ",
    "  # a note\n",
    "\n# apart\n\n\n",
    "   # two\n   # lines\n",
    "\r\n",
]


def comments(text: str) -> list[str]:
    return [found[1].rstrip() for found in STRINGS_AND_COMMENTS.finditer(text) if found[1]]


def expect_laid_out(text: str) -> str:
    """The layout, which says what the text says."""
    found = layout(text)
    assert parse(found, "x") == parse(text, "x")
    assert comments(found) == comments(text)
    assert layout(found) == found
    plain = found.replace("\r\n", "\n")
    assert plain.endswith("\n") and not plain.startswith("\n") and "\n\n\n" not in plain and "\t" not in plain
    assert all(line == line.rstrip() for line in plain.split("\n"))
    return plain


def is_correct(text: str) -> bool:
    try:
        parse(text, "x")
    except SyntaxErrors:
        return False
    return True


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_keeps_its_meaning_and_comments(path: Path) -> None:
    text = path.read_bytes().decode()
    if not is_correct(text):
        with pytest.raises(SyntaxErrors):
            layout(text)
        return
    expect_laid_out(text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_in_this_layout(path: Path) -> None:
    text = path.read_text()
    assert layout(text) == text


@settings(SHORT, max_examples=60)
@given(cases())
def test_random_programs_keep_their_meaning(case: Case) -> None:
    expect_laid_out(case.text)


@settings(SHORT, max_examples=80)
@given(st.data())
def test_any_blanks_line_breaks_and_comments_between_tokens(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(MIXED))
    tokens = grammar.tokens(text)
    places = data.draw(st.lists(st.tuples(st.integers(1, len(tokens) - 1), st.sampled_from(BETWEEN)), max_size=40))
    chosen = dict(places)
    parts = [text[: tokens[0].start_pos]]
    for place, token in enumerate(tokens):
        end = tokens[place + 1].start_pos if place + 1 < len(tokens) else len(text)
        parts += [str(token), chosen.get(place + 1, text[token.end_pos : end])]
    changed = "".join(parts)
    if is_correct(changed) and parse(changed, "x") == parse(text, "x"):  # `budget` reads as a name before a line break
        expect_laid_out(changed)


MIXED = [path.read_text() for path in FILES if path.stem == "everything" or path.parent.stem == "learning"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model m role a,b dim n=2", "model m\nrole a, b\ndim  n = 2\n"),
        ("model m\n\n\n\n\nrole a\n\n\n", "model m\n\nrole a\n"),
        ("\n\n# first\nmodel m#last", "# first\nmodel m  #last\n"),
        (
            "model m\ninput x:[n,2]from a in[0,1]\nparam long : int [2] from modeller public in [ - 1 , 1 ]",
            "model m\ninput x    : [n, 2] from a               in [0, 1]\n"
            "param long : int[2] from modeller public in [-1, 1]\n",
        ),
        ("model m\nx=a\n\nlonger=b", "model m\nx = a\n\nlonger = b\n"),
        ("model m\nx=a\n# why\nlonger=b", "model m\nx = a\n# why\nlonger = b\n"),
        ("model m\nx=a\nan_output_that_is_long=b", "model m\nx = a\nan_output_that_is_long = b\n"),
        ("model m\nx = - a+-b*( - c )**-1", "model m\nx = -a + -b * (-c) ** -1\n"),
        ("model m\nx = not f (b ,k = 1)[ :,1 : -2 , ... ] . w", "model m\nx = not f(b, k=1)[:, 1:-2, ...].w\n"),
        ("model m\nx = y in  measured[0,1]", "model m\nx = y in measured [0, 1]\n"),
        ("model m\nfor i in measured [0] .. 3{x=y}", "model m\nfor i in measured[0]..3 { x = y }\n"),
        (
            "model m\ndef f(x,b = 1){layer l=dense(2) return x|>l}",
            "model m\ndef f(x, b=1) {\n    layer l = dense(2)\n    return x |> l\n}\n",
        ),
        (
            "model m\nfor i in 0..2 { # each\n\n\n  # one\nx = y\n\n# end\n\n}",
            "model m\nfor i in 0..2 {  # each\n    # one\n    x = y\n\n    # end\n}\n",
        ),
        ("model m\ntrain{}", "model m\ntrain { }\n"),
        ("model m\nx = image |> f\n|> g\n |> h", "model m\nx = image |> f\n          |> g\n          |> h\n"),
        ("model m\nx = image\n|> f\n|> g", "model m\nx = image\n    |> f\n    |> g\n"),
        ("model m\nlong = a\n+ b\nx = c", "model m\nlong = a\n     + b\nx    = c\n"),
        ("model m\nx = f(a,\nb)", "model m\nx = f(a,\n      b)\n"),
        ("model m\nx = f(\na, # one\nb\n)\ny = 1", "model m\nx = f(\n    a,  # one\n    b\n)\ny = 1\n"),
        ("model m\noutput x\nto a", "model m\noutput x\n    to a\n"),
        ("model m\nx = a      # one\nlonger = b # two", "model m\nx      = a  # one\nlonger = b  # two\n"),
        (
            "model m\nx = a       # one\n            # and on\ny = bcd(ef) # two",
            "model m\nx = a        # one\n             # and on\ny = bcd(ef)  # two\n",
        ),
    ],
)  # fmt: skip
def test_what_is_put_where(before: str, after: str) -> None:
    assert expect_laid_out(before) == after


def test_line_ends_of_windows_and_a_byte_order_mark() -> None:
    assert layout("model m\r\nrole  a # one\r\n") == "model m\r\nrole a  # one\r\n"
    assert layout("\ufeffmodel m") == "model m\n"


def test_a_long_text() -> None:
    text = "model m\n" + "x = y + 1 |> f(a, b)  # and so on\n" * 1500
    assert layout(text) == text


def test_a_text_stays_one_that_can_be_read() -> None:
    """With its blanks it would be longer than a text may be."""
    text = "model m\nx=y\n# ".ljust(MAX_TEXT - 1, "-")
    assert layout(text) == text
    assert layout(text[:-3]) == text[:-3].replace("=", " = ") + "\n"
