"""Every bad model of tests/errors is refused with the messages beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.lower import lower
from dsl import parse
from dsl.errors import SourceErrors

ERRORS = Path(__file__).parents[1] / "errors"
MODELS = sorted(ERRORS.glob("*.ppml"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_bad_model(path: Path, golden: Callable[[str, str], None]) -> None:
    with pytest.raises(SourceErrors) as caught:
        lower(parse(path.read_text(), path.name))
    golden(str(path.with_suffix(".txt")), f"{caught.value}\n")
