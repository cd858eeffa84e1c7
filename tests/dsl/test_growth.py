"""Reading a text takes time in proportion to its length, whatever is wrong with it: twice the text, twice the steps.

Steps are bytecodes of the parser, counted by the interpreter, so that no clock is involved. (What C code does in one
step, as the search of a list, is not seen; the long run of tests/fuzz has a clock.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from dsl import parse
from dsl.errors import SourceErrors

HEAD = "model m\nrole a\ninput x : [4] from a in [-1, 1]\n"
TEXTS: dict[str, Callable[[int], str]] = {
    "square brackets open": lambda n: f"y = {'[' * n}",
    "both open": lambda n: f"y = {'([' * n}",
    "braces open": lambda n: f"y = {'{' * n}",
    "closed by others": lambda n: f"y = {'(' * n}x{']' * n}",
    "calls": lambda n: f"y = {'f(' * n}{')' * n}",
    "pipes": lambda n: f"y = x{' |> relu' * n}",
    "signs": lambda n: f"y = {'-' * n}x",
    "loops of Python": lambda n: "for i in 0..2:\n" * n,
    "loops without a brace": lambda n: "for i in 0..2\n" * n + "}" * n,
    "lines too deep": lambda n: f"y = {'-' * 160}x\n" * (n // 20),
    "bad pipes": lambda n: "y = x |> 3\n" * n,
    "errors far apart": lambda n: ("y = x * 3\n" * (n // 10) + "y = x x\n") * 10,
    "mended statements": lambda n: "y = (x\n" * n,
}


def steps(text: str) -> int:
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        parse(text)
    except SourceErrors:
        pass
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_twice_the_text_is_twice_the_work(text: Callable[[int], str]) -> None:
    parse(f"{HEAD}output x to a")  # the tables are loaded
    once, twice = (steps(HEAD + text(n)) for n in (100, 200))
    assert twice < 2.3 * once
