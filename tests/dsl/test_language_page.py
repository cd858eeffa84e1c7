"""The language reference of the documentation: its programs, its lists of words and its lists of functions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compiler.lowering.model import lower
from compiler.ops import FUNCTIONS, LAYERS
from dsl import grammar, parse
from dsl.errors import SourceErrors

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
SUPPORTED, LATER = REFERENCE.split("## Not supported yet")
FUNCTION_TABLES = SUPPORTED[SUPPORTED.index("## Functions") :]


def programs(text: str) -> list[str]:
    return re.findall(r"```ppml\n(.*?)```", text, re.S)


@pytest.mark.parametrize("page", ["README.md", "docs/language.md"])
def test_programs_compile(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").split("## Not supported yet")[0]
    assert programs(text)
    for program in programs(text):
        lower(parse(program))


def test_what_comes_later_is_refused_at_its_place() -> None:
    (program,) = programs(LATER)
    with pytest.raises(SourceErrors) as caught:
        lower(parse(program))
    assert {each.line for each in caught.value.diagnostics} == {8, 14}
    assert all("not supported yet" in each.message for each in caught.value.diagnostics)


def test_keywords() -> None:
    listed = re.search(r"`(model role dim[a-z\s]+)`", REFERENCE)
    assert listed is not None
    assert set(listed[1].split()) == grammar.keywords()


@pytest.mark.parametrize("table", [FUNCTIONS, LAYERS], ids=["functions", "layers"])
def test_every_function_and_layer_stands_where_it_belongs(table: dict[str, object]) -> None:
    """What the compiler builds is in the tables, what it refuses is in the list of later ones."""
    for name, entry in table.items():
        place = FUNCTION_TABLES if getattr(entry, "build") is not None else LATER  # noqa: B009
        assert re.search(rf"`{name}[`(]", place), name
