"""How diagnostics look, and what is suggested."""

from __future__ import annotations

from dsl.ast import Span
from dsl.errors import Diagnostic, SourceErrors, closest, did_you_mean, render


def span(line: int, column: int, end_column: int, end_line: int | None = None) -> Span:
    return Span(0, 0, line, column, end_line or line, end_column)


def caret(line: str, column: int, end_column: int) -> list[str]:
    """The source line and the caret line as they are shown."""
    found = Diagnostic.at(span(1, column, end_column), "no", file="f")
    return [each[8:] for each in render([found], line).split("\n")[1:]]


def test_the_form_of_the_reference() -> None:
    source = "\n" * 10 + "features = image |> conv1\n\n\nlogits = features |> fc1 |> relu\n"
    found = Diagnostic.at(
        span(14, 22, 25),
        "dense expects [batch, features] (or [batch, positions, features]), found [1, 16, 4, 4]",
        file="lenet.ppml",
        help="put `flatten` before the dense layer",
        notes=[(span(11, 1, 9), "the value was made here")],
    )
    assert render([found], source) == (
        "lenet.ppml:14:22: error: dense expects [batch, features] (or [batch, positions, features]), "
        "found [1, 16, 4, 4]\n"
        "   14 | logits = features |> fc1 |> relu\n"
        "      |                      ^^^\n"
        "   11 | features = …            the value was made here\n"
        "      help: put `flatten` before the dense layer"
    )


def test_a_warning_and_a_help_of_two_lines() -> None:
    found = Diagnostic.at(span(1, 1, 2), "unused", file="f", help="one\ntwo", severity="warning")
    assert render([found], "x = 1") == "\n".join(
        ["f:1:1: warning: unused", "    1 | x = 1", "      | ^", "      help: one", "            two"]
    )


def test_a_caret_stands_below_what_it_means() -> None:
    assert caret("y = relu", 5, 9) == ["y = relu", "    ^^^^"]
    assert caret("\ty = \trelu", 7, 11) == ["    y =     relu", "            ^^^^"]
    assert caret('x = "日本" + é', 12, 13) == ['x = "日本" + é', "             ^"]
    assert caret("e\u0301 = x", 6, 7) == ["e\u0301 = x", "    ^"]
    assert caret("a = b\r", 5, 6) == ["a = b", "    ^"]
    assert caret("a = \x00", 5, 6) == ["a = \ufffd", "    ^"]


def test_a_caret_behind_the_end_and_without_width() -> None:
    assert caret("y =", 4, 5) == ["y =", "   ^"]
    assert caret("y =", 4, 4) == ["y =", "   ^"]
    assert render([Diagnostic.at(span(7, 1, 2), "no", file="f")], "x").split("\n")[1:] == ["    7 |", "      | ^"]


def test_a_span_of_several_lines_is_marked_to_the_end_of_the_first() -> None:
    found = Diagnostic.at(span(1, 5, 3, end_line=2), "no", file="f")
    assert render([found], 'y = "#" + # note\n  b').split("\n")[2] == "      |     ^^^^^"


def test_a_long_line_is_shown_around_the_caret() -> None:
    line = "const table = [" + "0, " * 500 + "x" + ", 0" * 500 + "]"
    shown, below = caret(line, line.index("x") + 1, line.index("x") + 2)
    assert len(shown) <= 112
    assert shown[below.index("^")] == "x"
    assert shown.startswith("… ") and shown.endswith(" …")


def test_errors_stand_in_the_order_of_the_text_and_once() -> None:
    first, second = (Diagnostic.at(span(line, 1, 2), "no", file="f") for line in (1, 2))
    errors = SourceErrors([second, first, second], "a\nb")
    assert errors.diagnostics == (first, second)
    assert str(errors) == render([first, second], "a\nb")


def test_suggestions() -> None:
    assert closest("imgae", ["image", "imagine", "w"]) == "image"
    assert closest("Conv1", ["conv1", "conv2"]) == "conv1"
    assert closest("x", ["y", "z"]) is None
    assert did_you_mean("sofmax", ["softmax", "max"]) == "did you mean `softmax`?"
    assert did_you_mean("q", []) is None
