"""Private training in the examples: it learns, in real processes, and says what it costs."""

from __future__ import annotations

import pytest

from examples.dp_training import demo
from mpc_runtime.privacy import accountant
from mpc_runtime.privacy.accountant import Training


def test_training_with_differential_privacy_learns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a small form; where dp-accounting is not installed, with a cost that somebody else has found."""
    if not accountant.installed():
        monkeypatch.setattr("mpc_runtime.sessions.drawing.expect_installed", lambda: None)
        monkeypatch.setattr("mpc_runtime.sessions.drawing.training", lambda *of: Training(9.7, 30.0, of[4]))
    demo.main(2, 640)
    told = capsys.readouterr().out.splitlines()
    assert told[-3].startswith("640 patients, 20 steps: epsilon ") and told[-3].endswith("at delta 1e-05")
    private, plain = (float(line.split()[-1].rstrip("%")) for line in told[-2:])
    assert plain > 70 and abs(private - plain) < 20
