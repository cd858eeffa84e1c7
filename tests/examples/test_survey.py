"""The demo of private releases: its budget runs out, and stays spent in the next session."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from examples.survey.demo import main


def test_the_budget_runs_out_and_stays_spent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(tmp_path)
    first = capsys.readouterr().out
    assert first.count("released") == 3
    averages = [float(each) for each in re.findall(r"average +([\d.]+)", first)]
    assert len(set(averages)) > 1 and max(averages) - min(averages) < 10, "noise of scale 0.2 about one mean"
    assert "refused: the dataset 'patients 2026' of clinic has spent epsilon" in first
    assert "'patients 2026' of registry: epsilon 1.5 spent" in first
    main(tmp_path)
    assert "released" not in capsys.readouterr().out
