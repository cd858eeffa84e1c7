"""A few random kills of services, briefly; `tests/fuzz/services.py` runs for longer."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.services import storm


def test_queries_are_right_or_refused_whatever_is_killed(tmp_path: Path) -> None:
    found = storm(4, 1, tmp_path)
    assert not found.wrong
    assert len(found.back) == 4  # the service was back after each
    assert found.right > 4
