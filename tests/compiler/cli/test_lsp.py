"""`mpcc lsp` as an editor meets it: a real process, JSON over a pipe. And what is told of names, without a server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import mpc_runtime as mpc
from compiler.cli.hovering import hover
from tests.terminal import command, environment, mpcc
from tests.waiting import SECONDS

INSTALLED = find_spec("pygls") is not None
needs_pygls = pytest.mark.skipif(not INSTALLED, reason="needs pygls: pip install 'mpc-runtime[lsp]'")
URI = "file:///models/m.ppml"
GOOD = """model m
role a, b
dim  batch = 2
input x : [batch, 4] from a in [-1, 1]
layer fc = dense(3)
weights from b in [-1, 1]
h = x |> fc
h = relu(h)
output y = h + 1 to a
"""


class Editor:
    """One end of the protocol. Reads give up when the process is killed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.to, self.of, self.count = process.stdin, process.stdout, 0
        self.told: list[dict[str, Any]] = []

    def notify(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        self.count += 1
        self._send({"method": method, "params": params, "id": self.count})
        while (found := self._read()).get("id") != self.count:
            self.told.append(found)
        assert "error" not in found, found
        return found["result"]

    def diagnostics(self) -> list[dict[str, Any]]:
        """The next that are published."""
        while True:
            found = self.told.pop(0) if self.told else self._read()
            if found.get("method") == "textDocument/publishDiagnostics":
                assert found["params"]["uri"] == URI
                return list(found["params"]["diagnostics"])

    def open(self, text: str) -> None:
        document = {"uri": URI, "languageId": "ppml", "version": 1, "text": text}
        self.notify("textDocument/didOpen", textDocument=document)

    def change(self, text: str, version: int) -> None:
        document = {"uri": URI, "version": version}
        self.notify("textDocument/didChange", textDocument=document, contentChanges=[{"text": text}])

    def at(self, method: str, line: int, character: int) -> Any:
        position = {"line": line, "character": character}
        return self.ask(method, textDocument={"uri": URI}, position=position)

    def formatted(self) -> Any:
        options = {"tabSize": 4, "insertSpaces": True}
        return self.ask("textDocument/formatting", textDocument={"uri": URI}, options=options)

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.to.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.to.flush()

    def _read(self) -> dict[str, Any]:
        size = 0
        while line := self.of.readline().strip():
            name, _, value = line.partition(b":")
            size = int(value) if name.lower() == b"content-length" else size
        assert size, "the server has gone"
        found: dict[str, Any] = json.loads(self.of.read(size))
        return found


@contextmanager
def editor(folder: Path) -> Iterator[Editor]:
    with subprocess.Popen(command("lsp"), cwd=folder, env=environment(), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # fmt: skip
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        try:
            found = Editor(process)
            said = found.ask("initialize", processId=None, rootUri=None, capabilities={})["capabilities"]
            assert said["hoverProvider"] and said["documentFormattingProvider"]
            found.notify("initialized")
            yield found
            found.ask("shutdown")
            found.notify("exit")
            assert process.stderr is not None
            log = process.stderr.read().decode()
            assert process.wait(SECONDS) == 0 and "Traceback" not in log, log
        finally:
            watchdog.cancel()
            process.kill()


def span(found: dict[str, Any]) -> tuple[int, int, int, int]:
    start, end = found["range"]["start"], found["range"]["end"]
    return start["line"], start["character"], end["line"], end["character"]


@needs_pygls
def test_errors_are_shown_where_they_are_and_go_when_they_are_mended(tmp_path: Path) -> None:
    with editor(tmp_path) as e:
        e.open(GOOD.replace("relu(h)", "relu(hh)").replace("to a", "to nobody"))
        first, second = e.diagnostics()
        assert span(first) == (7, 9, 7, 11) and first["severity"] == 1 and first["source"] == "mpcc"
        assert "`hh`" in first["message"] and "help: did you mean `h`?" in first["message"]
        assert span(second) == (8, 20, 8, 26)
        e.change(GOOD, 2)
        assert e.diagnostics() == []
        e.change(GOOD.replace("output", "unused = x\noutput"), 3)
        (warning,) = e.diagnostics()
        assert warning["severity"] == 2 and warning["range"]["start"]["line"] == 8
        e.notify("textDocument/didSave", textDocument={"uri": URI})
        assert e.diagnostics() == [warning]
        e.notify("textDocument/didClose", textDocument={"uri": URI})
        assert e.diagnostics() == []


@needs_pygls
def test_only_the_newest_of_quick_changes_is_shown(tmp_path: Path) -> None:
    with editor(tmp_path) as e:
        e.open(GOOD)
        assert e.diagnostics() == []
        for version in range(2, 8):
            e.change(GOOD.replace("relu(h)", f"relu({'h' * version})"), version)
        (found,) = e.diagnostics()
        assert f"`{'h' * 7}`" in found["message"]


@needs_pygls
def test_columns_are_counted_in_the_units_of_the_protocol(tmp_path: Path) -> None:
    """UTF-16, unless something else is agreed on: a character beyond the basic plane counts twice."""
    with editor(tmp_path) as e:
        e.open(GOOD + 'z = y + f("\U0001f600") + later\n')
        found = {text["message"].partition("`")[2].partition("`")[0]: span(text) for text in e.diagnostics()}
        assert found["later"] == (9, 18, 9, 23)


@needs_pygls
def test_hover_and_layout(tmp_path: Path) -> None:
    with editor(tmp_path) as e:
        e.open(GOOD)
        found = e.at("textDocument/hover", 8, 11)
        assert "`h : fixed[2, 3]`, secret" in found["contents"]["value"] and "from a, b" in found["contents"]["value"]
        assert span(found) == (8, 11, 8, 12)
        assert e.at("textDocument/hover", 8, 13) is None
        assert e.formatted() == []
        e.change(GOOD.replace("relu(h)", "relu( h )"), 2)
        (edit,) = e.formatted()
        assert edit["newText"] == GOOD and span(edit)[:2] == (0, 0) and span(edit)[2] >= GOOD.count("\n")
        e.change(GOOD.replace("relu(h)", "relu(h"), 3)
        assert e.formatted() is None and e.at("textDocument/hover", 8, 11) is None


@pytest.mark.skipif(INSTALLED, reason="pygls is installed")
def test_without_pygls_it_says_what_to_install(tmp_path: Path) -> None:
    done = mpcc(tmp_path, "lsp")
    assert done.returncode == 1 and done.stderr == "error: mpcc lsp needs pygls: pip install 'mpc-runtime[lsp]'\n"


NAMES = """model m
role a, h[2]
dim  batch = 2
input x : [batch, 4] from a in [-1, 1]
input n : int[batch] from h[0] public in [0, 3]
def twice(v, k=1) {
    layer up = dense(3)
    v2 = v |> up in [-2, 2]
    return v2 + v2
}
layer two = twice()
weights from a in [-1, 1]
v2 = x * 2
z = v2 |> two |> softmax(axis=1)
output y = z + sum(v2) + n[0] to a
"""


@pytest.mark.parametrize(
    ("line", "column", "told"),
    [
        (4, 7, ["`x : fixed[2, 4]`, secret", "range [-1, 1], a checks it", "from a"]),
        (5, 7, ["`n : int[2]`, public", "from h[0]"]),
        (13, 6, ["`x : fixed[2, 4]`"]),
        (13, 2, ["`v2 : fixed[2, 4]`", "range [-2, 2], derived"]),
        (14, 6, ["`v2 : fixed[2, 4]`"]),  # not the one of the `def`
        (8, 6, ["`v2 : fixed[2, 3]`, secret", "range [-2, 2]"]),
        (9, 12, ["`v2 : fixed[2, 3]`"]),
        (11, 8, ["layer `two`", "* `two.up.weight : fixed[3, 4]` in [-1, 1]", "two.up.bias"]),
        (14, 20, ["`softmax(x, axis=-1, causal=false)`"]),
        (3, 7, ["dim `batch` = 2"]),
        (2, 6, ["role `a`"]),
        (2, 9, ["role `h`"]),
        (15, 12, ["`z : fixed[2, 3]`"]),
    ],
)
def test_what_is_told_of_a_name(line: int, column: int, told: list[str]) -> None:
    found = hover(mpc.compile(text=NAMES), line, column)
    assert found is not None
    for each in told:
        assert each in found.text


@pytest.mark.parametrize(("line", "column"), [(1, 1), (14, 28), (14, 4), (12, 1), (16, 1)])
def test_of_keywords_operators_and_names_of_arguments_nothing_is_told(line: int, column: int) -> None:
    assert hover(mpc.compile(text=NAMES), line, column) is None


def test_the_command_line_starts_without_pygls() -> None:
    told = "import sys, compiler.cli.lsp; assert not {'pygls', 'lsprotocol'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], env=environment(), check=False).returncode == 0
