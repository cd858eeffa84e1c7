"""Which checkpoints fit a plan: those of its model, at any learning rate and under any limits."""

from __future__ import annotations

import pytest

import mpc_runtime as mpc
from tests.trained import LOGISTIC

MODEL = mpc.compile(text=LOGISTIC).plan.model


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lr=0.5", "lr=0.3"),
        ("lr=0.5", "lr=4"),
        ("lr=0.5", "lr=0.001*0.9**epoch"),
        ("    optimizer", "    limits = norms(weights=4, inputs=12, activations=128, signals=32)\n    optimizer"),
    ],
    ids=["the rate", "a large rate", "a schedule", "the limits"],
)
def test_what_a_checkpoint_does_not_depend_on(old: str, new: str) -> None:
    assert mpc.compile(text=LOGISTIC.replace(old, new)).plan.model == MODEL


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sigmoid(score)", "tanh(score)"),
        ("sigmoid(score)", "sigmoid(2 * score)"),
        ("batch = 16", "batch = 8"),
        ("[batch, 3]", "[batch, 4]"),
    ],
)
def test_another_model_has_other_checkpoints(old: str, new: str) -> None:
    assert mpc.compile(text=LOGISTIC.replace(old, new)).plan.model != MODEL


def test_a_model_that_is_not_trained_has_none() -> None:
    assert mpc.compile(text=LOGISTIC[: LOGISTIC.index("train {")]).plan.model == ""
