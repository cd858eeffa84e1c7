"""The grammar: without conflicts, and the stored tables are what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dsl import grammar
from dsl.scan import BLOCKS, SOFT, STARTERS

EVERYTHING = (Path(__file__).parent / "everything.ppml").read_text(encoding="utf-8")


def test_no_conflict() -> None:
    """lark's strict mode refuses shift/reduce and reduce/reduce conflicts, and terminals that collide."""
    pytest.importorskip("interegular")
    assert grammar.fresh(strict=True).parse(EVERYTHING)


def test_stored_tables_are_fresh() -> None:
    stored = grammar.stored()
    assert stored is not None, "the grammar has changed: run `python -m dsl.grammar`"
    assert stored.parse(EVERYTHING) == grammar.fresh().parse(EVERYTHING)


def test_stale_tables_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "ppml.lark"
    changed.write_text(grammar.GRAMMAR.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    monkeypatch.setattr(grammar, "GRAMMAR", changed)
    assert grammar.stored() is None
    monkeypatch.setattr(grammar, "TABLES", tmp_path / "missing.json")
    assert grammar.stored() is None


def test_keywords_are_reserved_once() -> None:
    """The words of the rules and the words that `NAME` excludes are the same, and those of the reference."""
    pattern = next(each.pattern.value for each in grammar.parser().terminals if each.name == "NAME")
    excluded = re.match(r"\(\?!\(\?:([a-z|]+)\)", pattern)
    assert excluded is not None
    assert grammar.keywords() == set(excluded[1].split("|"))
    reference = (
        "model role dim precision const input param weights layer def return for in output to from public train with "
        "and or not true false"
    )
    assert grammar.keywords() == set(reference.split())
    assert {each.lower() for each in STARTERS - SOFT} <= grammar.keywords()
    assert BLOCKS.keys() <= STARTERS


def test_light_import() -> None:
    """Errors and trees are used where nothing is parsed: no lark there."""
    code = "import sys, dsl, dsl.errors, dsl.ast; sys.exit('lark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_automaton_takes_what_the_parser_takes() -> None:
    """Behind every beginning of a text, and of one with a slip."""
    text = (Path(__file__).parent / "everything.ppml").read_text(encoding="utf-8")
    tokens = grammar.tokens(text)
    del tokens[len(tokens) // 2]
    automaton, parsing = grammar.Automaton(), grammar.parser().parse_interactive()
    for token in tokens:
        assert automaton.accepts() == parsing.accepts()
        if token.type not in parsing.accepts():
            assert not automaton.take(token.type) and automaton.accepts() == parsing.accepts()
            return
        parsing.feed_token(token)
        assert automaton.takes(token.type) and automaton.take(token.type)
    raise AssertionError("the slip was not found")
