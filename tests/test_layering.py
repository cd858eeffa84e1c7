"""Who may import whom: `dsl` nobody, `compiler` the language and the runtime's descriptions, `mpc_runtime` neither.

Parties and dealer thereby run without the compiler. What only type checkers read (`if TYPE_CHECKING:`) does not count.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

TOP = Path(__file__).parents[1]
OURS = ("dsl", "compiler", "mpc_runtime")
SOURCES = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".c", ".h", ".lark"}
MAX_LINES = 450
FACE = {"program", "proving", "models", "opening", "session", "bench", "__init__"}
"""Modules of the runtime that put its parts together; nothing below imports them."""
RUNTIME = {
    "kernels": set(),
    "gates": {"kernels", "privacy", "registers"},
    "privacy": {"errors"},
    "analysis": {"encoding", "errors", "gates", "limits", "plan", "privacy", "procedure", "registers"},
    "encoding": {"errors", "kernels", "plan", "registers", "transport"},
    "operation": {"errors", "version"},
    "execution": {"analysis", "gates", "kernels", "plan", "procedure", "registers", "transport"},
    "transport": {"errors"},
    "roles": {"analysis", "encoding", "errors", "execution", "limits", "plan", "privacy", "procedure", "transport"},
    "store": {"analysis", "errors", "execution", "plan", "procedure", "transport"},
    "servers": {
        "analysis",
        "encoding",
        "errors",
        "execution",
        "kernels",
        "limits",
        "operation",
        "plan",
        "plan_file",
        "privacy",
        "procedure",
        "store",
        "transport",
    },
    "deployment": {"analysis", "errors", "limits", "plan", "plan_file", "roles", "servers", "transport"},
    "sessions": {
        "analysis",
        "deployment",
        "encoding",
        "errors",
        "execution",
        "limits",
        "plan",
        "privacy",
        "procedure",
        "roles",
        "store",
        "transport",
    },
}
"""What each folder of the runtime may import of the runtime."""
INTERFACES = {"transport.channel"}
"""What folders without sockets may know of the transport: how they are lent channels, sources and sinks."""
WITHOUT_SOCKETS = ("gates", "analysis", "encoding", "execution", "privacy", "store")
COMPILER = {
    "graph": set(),
    "ops": {"graph"},
    "training": {"graph", "ops", "passes", "reading"},
    "lowering": {"graph", "ops", "training"},
    "reading": {"graph", "ops"},
    "passes": {"graph", "ops", "reading"},
    "expand": {"graph", "ops", "reading"},
    "planning": {"expand", "graph", "reading"},
    "importers": {"graph", "ops"},
    "calibration": {"graph", "lowering", "ops", "reading"},
}
"""What each folder of the compiler may import of the compiler; `pipeline.py` and `cli` put them together."""
DESCRIPTIONS = {"plan", "procedure", "gates", "registers", "analysis", "errors", "privacy", "version"}
"""Of the runtime, for the compiler."""
DRIVERS = ("compiler/cli/", "compiler/reading/")  # run whole programs or what clients do, so they use the API
FACADES = {
    "mpc_runtime/program.py",
    "mpc_runtime/proving.py",
    "mpc_runtime/models.py",
}  # may import the compiler inside functions


def imports(folder: str, *, inside_functions: bool) -> Iterator[tuple[str, str]]:
    """(file, absolute name of a module of ours that it imports)."""
    for path in sorted((TOP / folder).rglob("*.py")):
        file = str(path.relative_to(TOP))
        yield from ((file, name) for name, inside in imports_of(path) if inside_functions or not inside)


@cache
def imports_of(path: Path) -> tuple[tuple[str, bool], ...]:
    """The modules of ours that a file imports, and whether it does so inside a function."""
    package = list(path.relative_to(TOP).parent.parts)
    found = []
    for node, inside in _run_time(ast.parse(path.read_text(encoding="utf-8")), inside=False):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        found += [(name, inside) for name in names if name.split(".")[0] in OURS]
    return tuple(found)


def _run_time(node: ast.AST, inside: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, inside
        elif not isinstance(child, ast.expr):  # which imports nothing
            yield from _run_time(child, inside or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))


def module_of(name: str, files: set[str]) -> str | None:
    """The file of a module, or of the module that has this name in it."""
    parts = name.split(".")
    while parts:
        path = "/".join(parts)
        for file in (f"{path}.py", f"{path}.pyx", f"{path}/__init__.py"):
            if file in files:
                return file
        parts.pop()
    return None


def test_nothing_imports_in_a_circle() -> None:
    """Counting what functions import, except where the facade reaches for the compiler."""
    found = [each for folder in OURS for each in imports(folder, inside_functions=True)]
    sources = ("*.py", "*.pyx")
    files = {str(p.relative_to(TOP)) for folder in OURS for kind in sources for p in (TOP / folder).rglob(kind)}
    below: dict[str, set[str]] = {file: set() for file in files}
    for file, name in found:
        target = module_of(name, files)
        if target is None or target == file or (file in FACADES and name.startswith(("compiler", "dsl"))):
            continue
        below[file].add(target)
    circles = [each for each in sorted(files) if each in reached(each, below)]
    assert circles == []


def reached(start: str, below: dict[str, set[str]]) -> set[str]:
    """The files that a file imports, and those that they import."""
    found: set[str] = set()
    pending = list(below[start])
    while pending:
        file = pending.pop()
        if file not in found:
            found.add(file)
            pending += below[file]
    return found


def within(folder: str) -> Iterator[tuple[str, str, str, str]]:
    """(file, its part of the folder, the part that it imports, the whole name imported), of different parts."""
    for file, name in imports(folder, inside_functions=True):
        own, _, rest = file.removeprefix(f"{folder}/").partition("/")
        parts = name.split(".")
        if parts[0] == folder and len(parts) > 1 and parts[1] != (own if rest else own.removesuffix(".py")):
            yield file, own if rest else own.removesuffix(".py"), parts[1], ".".join(parts[1:])


def test_the_arrows_of_the_runtime() -> None:
    found = list(within("mpc_runtime"))
    assert [each for each in found if each[1] in RUNTIME and each[2] not in RUNTIME[each[1]]] == []
    assert [each for each in found if each[2] in FACE and each[1] not in FACE] == []
    folders = {path.name for path in (TOP / "mpc_runtime").iterdir() if (path / "__init__.py").exists()}
    assert folders == RUNTIME.keys()


def test_what_computes_knows_no_sockets() -> None:
    found = [each for each in within("mpc_runtime") if each[1] in WITHOUT_SOCKETS and each[2] == "transport"]
    assert found
    assert [each for each in found if not each[3].startswith(tuple(INTERFACES))] == []


def test_the_arrows_of_the_compiler() -> None:
    found = [each for each in within("compiler") if each[1] in COMPILER]
    assert [each for each in found if each[2] not in COMPILER[each[1]]] == []
    folders = {path.name for path in (TOP / "compiler").iterdir() if (path / "__init__.py").exists()}
    assert folders == COMPILER.keys() | {"cli"}


def test_gates_compute_with_what_they_are_lent() -> None:
    """Of the kernels they import sizes; NumPy makes and shapes arrays. A curve is float64, before it is sampled."""
    found = [name for _, name in imports("mpc_runtime/gates", inside_functions=True) if ".kernels" in name]
    assert found
    assert [name for name in found if not name.startswith("mpc_runtime.kernels.sizes.")] == []
    for path in sorted((TOP / "mpc_runtime/gates").glob("*.py")):
        if path.name != "table.py":
            assert ring_functions(ast.parse(path.read_text())) == [], path.name


def ring_functions(tree: ast.AST) -> list[str]:
    """The functions of NumPy in a file that compute on the elements of arrays."""
    named = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    of_numpy = [node.attr for node in named if isinstance(node.value, ast.Name) and node.value.id == "np"]
    return [name for name in of_numpy if isinstance(getattr(np, name), np.ufunc)]


@pytest.mark.parametrize("package", OURS)
def test_tests_mirror_the_tree(package: str) -> None:
    folders = {path.name for path in (TOP / package).iterdir() if (path / "__init__.py").exists()}
    tested = {path.name for path in (TOP / "tests" / package).iterdir() if list(path.glob("test_*.py"))}
    assert tested == folders


def test_no_file_does_two_jobs() -> None:
    """A file that grows beyond MAX_LINES is cut where it has a seam. What Cython writes does not count."""
    found = [path for folder in (*OURS, "tests") for path in (TOP / folder).rglob("*") if path.suffix in SOURCES]
    sources = [path for path in found if path.suffix != ".c" or not path.with_suffix(".pyx").exists()]
    assert {path.suffix for path in sources} == SOURCES
    lines = {str(path.relative_to(TOP)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources}
    assert {file: count for file, count in lines.items() if count > MAX_LINES} == {}


def test_the_language_stands_alone():
    assert [found for found in imports("dsl", inside_functions=True) if not found[1].startswith("dsl")] == []


def test_the_compiler_knows_the_runtime_by_its_descriptions_only():
    found = [
        (file, name)
        for file, name in imports("compiler", inside_functions=True)
        if name.startswith("mpc_runtime") and not file.startswith(DRIVERS)
    ]
    assert found
    assert [(file, name) for file, name in found if name.split(".")[1] not in DESCRIPTIONS] == []


def test_the_runtime_knows_neither_language_nor_compiler():
    others = ("dsl", "compiler")
    assert [f for f in imports("mpc_runtime", inside_functions=False) if f[1].startswith(others)] == []
    inside = {file for file, name in imports("mpc_runtime", inside_functions=True) if name.startswith(others)}
    assert inside <= FACADES


def test_a_party_and_a_dealer_load_no_compiler():
    servers = ", ".join(f"mpc_runtime.servers.{name}" for name in ("process", "party", "dealer"))
    code = f"import sys, {servers}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True).stdout
    assert [name for name in loaded.split() if name.split(".")[0] in ("dsl", "compiler", "lark", "click")] == []


def test_what_starts_a_server_again_loads_little():
    """A server is started anew when its environment is not right yet: what was loaded before that is lost."""
    code = "import sys, compiler.cli, mpc_runtime.servers.heap; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True).stdout
    assert [name for name in loaded.split() if name in ("numpy", "zmq", "cryptography", "lark")] == []
