"""A few random kills of services, briefly; `tests/fuzz/services.py` runs for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.services import storm


@pytest.mark.parametrize(
    "stored", [pytest.param(False, marks=pytest.mark.long, id="dealer"), pytest.param(True, id="stored")]
)
def test_queries_are_right_or_refused_whatever_is_killed(tmp_path: Path, stored: bool) -> None:
    """With stored material, what was used was used once: read from both ledgers and journals."""
    kills = 2 if stored else 3
    found = storm(kills, 1, tmp_path, stored=stored)
    assert not found.wrong
    assert len(found.back) == kills  # the service was back after each
    assert found.right > kills
    assert not stored or found.used["p0 records"] >= found.right
