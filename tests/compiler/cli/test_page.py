"""The page of `mpcc explain --html`: all that `mpcc explain` says is in it, and nothing of a model acts in it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

import mpc_runtime as mpc
from compiler.cli.bounds import bounds
from compiler.cli.page import page
from mpc_runtime.analysis.units import human
from tests.terminal import mpcc
from tests.trained import LOGISTIC

SOURCE = """# <script>alert("1")</script> & <b>bold</b>  -->
model m
role a, b
input x : [2, 64] from a in [-1, 1]  # </pre></td></table><script src="x"></script>

param w : [64, 8] from b in [-4, 4]  # "quoted" 'twice' &amp; é ✓
h = x @ w in [-32, 32]
s = h * 0.5 in measured [-16, 16]
output y = relu(h) + sum(s) to a
"""
VOID = {"meta", "br"}


class Read(HTMLParser):
    """Texts and tags; every tag is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.code: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.code += [""] * (tag == "pre")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "pre" in self.open:
            self.code[-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def read(program: mpc.Program) -> Read:
    return Read(page(program, bounds(program, tighter=False), None))


def test_the_source_is_shown_as_it_is_and_none_of_it_acts() -> None:
    found = read(mpc.compile(text=SOURCE))
    assert "\n".join(found.code) + "\n" == SOURCE
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "link", "img", "iframe", "b", "base", "object"}
    for _, attributes in found.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert not (attributes.keys() & {"src", "srcset", "action"})
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = [each["content"] for tag, each in found.tags if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'") and "script-src" not in policy


@pytest.mark.parametrize("source", [SOURCE, LOGISTIC], ids=["a run", "training"])
def test_all_that_explain_says_is_in_it(source: str) -> None:
    program = mpc.compile(text=source)
    found = read(program)
    assert program.plan.hash in found.text
    for sentence in program.leakage:
        assert " ".join(sentence.replace("`", "").split()) in found.text
    for op in program.cost.per_op:
        if op.online_bytes or op.offline_bytes:
            assert human(op.online_bytes) in found.text and human(op.offline_bytes) in found.text
    for name, what in program.cost.protocols.items():
        assert name in found.text and what in found.text
    for bound in bounds(program, tighter=False):
        assert bound.value in found.texts and bound.known in found.text
    linked = {each["href"] for _, each in found.tags if "href" in each}
    assert linked <= {f"#{each['id']}" for _, each in found.tags if "id" in each}


def test_the_page_is_written_beside_the_model_or_where_it_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "m.ppml").write_text(SOURCE)
    done = mpcc(tmp_path, "explain", "m.ppml", "--html")
    assert (done.returncode, done.stdout) == (0, "m.html: written\n")
    plain = (tmp_path / "m.html").read_text(encoding="utf-8")
    assert mpcc(tmp_path, "explain", "m.ppml", "--tighter", "--html", "other.html").returncode == 0
    assert "fewer bytes" in (tmp_path / "other.html").read_text(encoding="utf-8") and "fewer bytes" not in plain
    assert mpcc(tmp_path, "compile", "m.ppml").returncode == 0
    assert mpcc(tmp_path, "explain", "m.plan", "--html").returncode == 0
    assert "y" in (tmp_path / "m.html").read_text(encoding="utf-8")


def test_a_model_is_not_overwritten_by_its_page(tmp_path: Path) -> None:
    for name in ("m.ppml", "n.ppml"):
        (tmp_path / name).write_text(SOURCE)
    done = mpcc(tmp_path, "explain", "--html", "m.ppml", "n.ppml")
    assert done.returncode == 2 and "expected a path that ends in .html; FILE stands before --html" in done.stderr
    assert (tmp_path / "m.ppml").read_text() == SOURCE
    assert mpcc(tmp_path, "explain", "m.ppml", "--json", "--html").returncode == 2
    none = mpcc(tmp_path, "explain", "m.ppml", "--html", "none/m.html")
    assert none.returncode == 1 and "none/m.html: cannot be written" in none.stderr
