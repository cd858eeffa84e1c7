"""The language reference of the documentation: its programs, its lists of words and its lists of functions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.lowering.model import lower
from compiler.ops import FUNCTIONS, LAYERS
from docs import functions
from dsl import grammar, parse
from dsl.layout import layout

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
TABLES = REFERENCE[REFERENCE.index("## Functions") :]


def programs(text: str) -> list[str]:
    return re.findall(r"```ppml\n(.*?)```", text, re.S)


@pytest.mark.parametrize("page", ["README.md", "docs/language.md"])
def test_programs_compile(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert programs(text)
    for program in programs(text):
        lower(parse(program))


def test_programs_are_in_the_layout_that_the_page_describes() -> None:
    for program in programs(REFERENCE):
        assert layout(program) == program


def test_keywords() -> None:
    listed = re.search(r"`(model role dim[a-z\s]+)`", REFERENCE)
    assert listed is not None
    assert set(listed[1].split()) == grammar.keywords()


def test_the_tables_of_functions_and_layers_are_the_registries() -> None:
    """`python -m docs.functions` writes them."""
    assert functions.filled(REFERENCE) == REFERENCE


def test_every_function_and_layer_stands_in_a_table() -> None:
    for name, entry in [*FUNCTIONS.items(), *LAYERS.items()]:
        assert f"\n| `{entry.signature}` |" in TABLES, name


def test_a_function_without_a_description_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(functions.FUNCTIONS, "sinh", functions.FUNCTIONS["tanh"])
    with pytest.raises(KeyError, match="sinh"):
        functions.functions()
