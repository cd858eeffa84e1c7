"""What the parser says of texts that are no programs: the words, beside each bad file, and that it always says some."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl import parse
from dsl.errors import SourceErrors

BAD = sorted((Path(__file__).parents[1] / "errors" / "syntax").glob("*.ppml"))
GOOD = (Path(__file__).parent / "everything.ppml").read_text(encoding="utf-8")
PIECES = list(re.finditer(r"\w+|[^\w\s]+", re.sub(r"#.*", lambda comment: " " * len(comment[0]), GOOD)))
ODD = ["(", ")", "[", "]", "{", "}", "=", "model", "return", "for", "input", "x", "1", '"', "'", "é", ";", "|>", ".."]


def problems(text: str, filename: str = "<text>") -> SourceErrors | None:
    try:
        parse(text, filename)
    except SourceErrors as errors:
        return errors
    return None


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_file(path: Path, golden: Callable[[Path, str], None]) -> None:
    errors = problems(path.read_text(encoding="utf-8"), path.name)
    assert errors is not None
    golden(path.with_suffix(".txt"), f"{errors}\n")
    assert [each for each in errors.diagnostics if not each.help] == [], "every error says what to do"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([piece[0] for piece in PIECES] + ODD), max_size=12))
def test_every_error_says_what_to_do(pieces: list[str]) -> None:
    errors = problems("model m\n" + " ".join(pieces))
    assert errors is None or [each for each in errors.diagnostics if not each.help] == []


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 6))], ids=lambda first: f"from {first}"
)
@pytest.mark.parametrize("twice", [False, True], ids=["left out", "twice"])
def test_one_slip_is_found_where_it_is(twice: bool, first: int) -> None:
    """A piece left out or written twice gives one or two errors, near the place (or another program)."""
    for piece in PIECES[(first + 3 * twice) % 6 :: 6]:
        text = GOOD[: piece.start()] + f"{piece[0]} {piece[0]}" * twice + GOOD[piece.end() :]
        errors = problems(text)
        if errors is None:
            continue
        line = GOOD.count("\n", 0, piece.start()) + 1
        assert 1 <= len(errors.diagnostics) <= 2, f"{piece[0]!r} in line {line}\n{errors}"
        blocks = piece[0] in "{}"  # without a brace, the block's other end is as good a place
        assert blocks or min(abs(each.line - line) for each in errors.diagnostics) <= 1, f"{piece[0]!r}\n{errors}"


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_text_is_answered(data: st.DataObject) -> None:
    """However a text is mangled: a tree, or errors that point into it and print; no other exception."""
    pieces = re.findall(r"\s+|\w+|[^\w\s]", GOOD)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(pieces) - 1))
        pieces[at : at + data.draw(st.integers(0, 3))] = data.draw(st.lists(st.sampled_from(ODD), max_size=2))
        pieces = pieces or ["x"]
    text = " ".join(pieces)
    errors = problems(text)
    if errors is None:
        return
    assert errors.diagnostics and str(errors)
    last = text.count("\n") + 1
    assert all(1 <= each.line <= last and 1 <= each.column < each.end_column for each in errors.diagnostics)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40))
def test_noise_is_answered(text: str) -> None:
    errors = problems(text)
    assert errors is None or str(errors)  # `model A` may be noise too


def test_errors_are_counted_out() -> None:
    """A file that is wrong in every line stops after a screenful."""
    errors = problems("model m\n" + "y = $ 3\n" * 100)
    assert errors is not None and len(errors.diagnostics) == 20
    errors = problems("model m\n" + "y = a b\n" * 100)
    assert errors is not None and len(errors.diagnostics) == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model m\ny = " + "([{" * 2000, "more than 5000 brackets are open here"),
        ("model m\n" + "y = x\n" * 50_000, "a model has at most 250000 characters, found 300008"),
    ],
)
def test_endless_texts_are_refused_at_once(text: str, message: str) -> None:
    errors = problems(text)
    assert errors is not None and [each.message for each in errors.diagnostics] == [message]


def test_brackets_in_comments_and_strings_are_no_brackets() -> None:
    assert problems("model m\nrole a\n" + "# :(\n" * 6000 + 'y = f("(")\n') is None
