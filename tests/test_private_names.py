"""Tests use what is public: none reads, calls, imports or patches a name with a leading underscore that is not its own.

What such a test wants to see deserves a public seam, or can be seen from outside. A class's `self._name` is its own
where the same file makes it; programs in strings, which a test runs, count too.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENTED = {
    "os._exit": "Python's documented way to end a forked process",
    "sys._current_frames": "documented by Python",
}
"""The private names that others than we call public."""
PRIVATE = re.compile(r"_[A-Za-z]\w*")
PROGRAM = re.compile(r"^\s*(import \w|from [\w.]+ import)", re.MULTILINE)
WITH_NAMES = {"setattr", "getattr", "hasattr", "delattr", "object", "patch"}
"""Calls of which an argument is a name: those of Python, of `monkeypatch` and of `unittest.mock`."""


def private(name: str) -> bool:
    return any(PRIVATE.fullmatch(part) for part in name.split("."))


def touched(text: str) -> Iterator[str]:
    """The private names of others that the text of a file touches."""
    tree = ast.parse(text)
    own = set(_made(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            name = ast.unparse(node)
            if name not in DOCUMENTED and not (name.startswith(("self.", "cls.")) and node.attr in own):
                yield name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None) or ""
            yield from (f"{module}.{a.name}" for a in node.names if private(f"{module}.{a.name}"))
        elif isinstance(node, ast.Call) and _called(node) in WITH_NAMES:
            given = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield from (name for name in given if private(name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and PROGRAM.search(node.value):
            yield from _inside(node.value)


def _inside(program: str) -> Iterator[str]:
    """Of a program in a string, if it is one."""
    try:
        yield from touched(textwrap.dedent(program))
    except SyntaxError:
        yield from (found for found in re.findall(r"\b\w+\._[a-z]\w*", program) if not found.startswith("self."))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _made(tree: ast.AST) -> Iterator[str]:
    """Names that the file's classes make: fields, methods, and what they assign to `self`."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_no_test_touches_a_private_name_of_others() -> None:
    found = {
        str(path.relative_to(TESTS)): names
        for path in sorted({*TESTS.rglob("*.py")} - {Path(__file__)})  # which has samples of them
        if (names := sorted(set(touched(path.read_text(encoding="utf-8")))))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import m\nm._free()", ["m._free"]),
        ("from mpc_runtime.execution.party import _Run", ["mpc_runtime.execution.party._Run"]),
        ("from mpc_runtime import _x", ["mpc_runtime._x"]),
        ("import mpc_runtime.kernels._prg", [".mpc_runtime.kernels._prg"]),
        ('monkeypatch.setattr(turns, "_queue", [])', ["_queue"]),
        ('with patch.object(Run, "_free", keep): pass', ["_free"]),
        ('with patch("mpc_runtime.session._let_go"): pass', ["mpc_runtime.session._let_go"]),
        ("class Fake(Deployment):\n    def f(self): return self._clients", ["self._clients"]),
        ('SCRIPT = """\n    import os\n    print(turns._queue)\n"""', ["turns._queue"]),
        ('SCRIPT = """\n    import os\n    print({root!r}, turns._queue) +\n"""', ["turns._queue"]),
        ("class Own:\n    def __init__(self): self._x = 1\n    def f(self): return self._x", []),
        ("import os\nos._exit(0)\nx.__class__\n_, y = f()", []),
    ],
)
def test_what_counts_as_touching(text: str, names: list[str]) -> None:
    assert list(touched(text)) == names
