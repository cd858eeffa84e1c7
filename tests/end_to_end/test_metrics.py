"""Metrics of an epoch in real processes: what float64 finds, of validation rows too; and an early end of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.session import Session
from tests.trained import LOGISTIC, people

Array = np.ndarray
ROWS, SEED = 16, 7
START = {"fc.weight": np.linspace(-0.25, 0.25, 5)[None], "fc.bias": np.array([0.125])}
SOURCE = LOGISTIC.replace("output loss to shop", "metric accuracy to bank\n    metric loss to shop, bank").replace(
    "|> fc", "|> dropout(0.25) |> fc"
)
PROGRAM = mpc.compile(text=SOURCE)
DATA, OTHERS = people(3 * ROWS + 5), people(2 * ROWS + 3, seed=2)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with mpc.launch(PROGRAM) as opened:
        yield opened


def measured(weights: dict[str, Array], data: dict[str, Array]) -> tuple[float, float]:
    """Accuracy and loss, in NumPy."""
    x = np.concatenate([data["visits"], data["debts"]], axis=1)
    score, left = x @ weights["fc.weight"].T + weights["fc.bias"], data["left"]
    return float(((score > 0) == (left > 0.5)).mean()), float((np.logaddexp(0, score) - left * score).mean())


def test_metrics_of_an_epoch_are_those_of_float64(session: Session) -> None:
    session.provide(START)
    session.train({name: rows[:ROWS] for name, rows in DATA.items()})  # belongs to no epoch
    session.provide(START)
    seen: list[mpc.Epoch] = []
    history = session.fit(DATA, epochs=3, seed=SEED, validation=OTHERS, on_epoch=seen.append)
    clear = PROGRAM.reference_fit(DATA, START, epochs=3, seed=SEED, validation=OTHERS)
    assert history.accuracy == pytest.approx(clear.accuracy, abs=1e-9)
    assert history.validation_accuracy == pytest.approx(clear.validation_accuracy, abs=1e-9)
    assert history.loss == pytest.approx(clear.loss, rel=1e-3)
    assert history.validation_loss == pytest.approx(clear.validation_loss, rel=1e-3)
    assert [epoch.metrics["loss"] for epoch in seen] == history.loss and not history.outputs
    assert "validation accuracy" in str(seen[0])
    accuracy, loss = measured(clear.weights, OTHERS)
    assert clear.validation_accuracy[-1] == pytest.approx(accuracy)
    assert clear.validation_loss[-1] == pytest.approx(loss)
    assert clear.loss == pytest.approx(clear.losses.reshape(3, 3).mean(axis=1))


def test_training_ends_when_the_first_metric_is_no_better(session: Session) -> None:
    clear = PROGRAM.reference_fit(DATA, START, epochs=9, seed=SEED, validation=OTHERS, patience=2)
    told = clear.validation_accuracy
    assert clear.stopped and 3 <= len(told) < 9 and max(told[-2:]) <= max(told[:-2])
    session.provide(START)
    history = session.fit(DATA, epochs=9, seed=SEED, validation=OTHERS, patience=2)
    assert history.stopped and len(history.epochs) == len(told)
    more = session.fit(DATA, seed=SEED)  # it goes on, with what was trained, and without validation rows
    assert not more.stopped and len(more.accuracy) == 1 and not more.validation_accuracy
    long = session.fit(DATA, epochs=2, seed=SEED, patience=9)
    assert not long.stopped and len(long.epochs) == 2


def test_what_cannot_be_validated_is_refused(session: Session) -> None:
    session.provide(START)
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        (
            {"validation": {**OTHERS, "left": OTHERS["left"] * 2}},
            r"validation: left\[\d+, 0\]: expected a value in \[0, 1\]",
        ),
        ({"validation": {**OTHERS, "debts": OTHERS["debts"][:3]}}, "expected as many rows in each input"),
        ({"validation": {name: OTHERS[name] for name in ("visits", "debts")}}, "validation: left: missing"),
        ({"validation": {name: rows[:0] for name, rows in OTHERS.items()}}, "expected at least one row"),
        ({"patience": 0}, "patience: expected a whole number of epochs from 1, found 0"),
    )
    for options, message in wrong:
        with pytest.raises(mpc.InputError, match=message):
            session.fit(DATA, **options)
        with pytest.raises(mpc.InputError, match=message):
            PROGRAM.reference_fit(DATA, START, seed=SEED, **options)
    silent = mpc.compile(text=LOGISTIC)
    for options, message in (
        ({"validation": OTHERS}, "validation: the model churn tells no metric of validation rows; declare one"),
        ({"patience": 2}, "patience: the model churn tells no metric of an epoch; declare one"),
    ):
        with pytest.raises(mpc.InputError, match=message):
            silent.reference_fit(DATA, START, seed=SEED, **options)
    assert session.fit(DATA, validation=OTHERS).steps == 3
