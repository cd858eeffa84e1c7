"""Every bad model of tests/errors is refused with the messages beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.lower import lower
from compiler.pipeline import compile_source
from dsl import parse
from dsl.errors import SourceErrors

ERRORS = Path(__file__).parents[1] / "errors"
MODELS = sorted(ERRORS.glob("*.ppml"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_bad_model(path: Path, golden: Callable[[str, str], None]) -> None:
    with pytest.raises(SourceErrors) as caught:
        lower(parse(path.read_text(), path.name))
    golden(str(path.with_suffix(".txt")), f"{caught.value}\n")


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_whole_compiler_refuses_it_at_the_same_lines(path: Path) -> None:
    with pytest.raises(SourceErrors) as lowered:
        lower(parse(path.read_text(), path.name))
    with pytest.raises(SourceErrors) as compiled:
        compile_source(path.read_text(), path.name)
    assert set(compiled.value.diagnostics) >= set(lowered.value.diagnostics)


def test_errors_of_the_passes_come_with_those_of_lowering() -> None:
    with pytest.raises(SourceErrors) as caught:
        compile_source(
            """model m role c, d
            input x : [2] from c in [2, 3]
            param w : [2] from d in [2, 3]
            output a = sqrt(x + w) to c
            output b = unknown to c
            output e = (x + w) * 1e9 to c
            """,
            "m.ppml",
        )
    assert [each.line for each in caught.value.diagnostics] == [4, 5, 6]
