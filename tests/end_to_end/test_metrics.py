"""Metrics of an epoch in real processes: they are what float64 finds, on validation rows too, and end training early."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.session import Session
from tests.trained import LOGISTIC, people

ROWS = 16
START = {"fc.weight": np.linspace(-0.25, 0.25, 5)[None], "fc.bias": np.array([0.125])}
SOURCE = LOGISTIC.replace("output loss to shop", "metric accuracy to bank\n    metric loss to shop, bank")
PROGRAM = mpc.compile(text=SOURCE)
DATA, OTHERS = people(3 * ROWS + 5), people(2 * ROWS + 3, seed=2)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with mpc.launch(PROGRAM) as opened:
        yield opened


def test_metrics_of_an_epoch_are_those_of_float64(session: Session) -> None:
    session.provide(START)
    session.train({name: rows[:ROWS] for name, rows in DATA.items()})  # belongs to no epoch
    session.provide(START)
    seen: list[mpc.Epoch] = []
    history = session.fit(DATA, epochs=3, seed=7, validation=OTHERS, on_epoch=seen.append)
    clear = PROGRAM.reference_fit(DATA, START, epochs=3, seed=7, validation=OTHERS)
    assert history.accuracy == pytest.approx(clear.accuracy, abs=1e-9)
    assert history.validation_accuracy == pytest.approx(clear.validation_accuracy, abs=1e-9)
    assert history.loss == pytest.approx(clear.loss, rel=1e-3)
    assert history.validation_loss == pytest.approx(clear.validation_loss, rel=1e-3)
    assert [epoch.metrics["loss"] for epoch in seen] == history.loss and not history.outputs
    assert "validation accuracy" in str(seen[0])
