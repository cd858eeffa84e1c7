"""Which checkpoints fit a plan: those of its model, at any learning rate and under any limits."""

from __future__ import annotations

import pytest

import mpc_runtime as mpc
from mpc_runtime.analysis.model import model_of
from tests.trained import LOGISTIC

MODEL = model_of(mpc.compile(text=LOGISTIC).plan)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lr=0.5", "lr=0.3"),
        ("    optimizer", "    limits = norms(weights=4, inputs=12, activations=128, signals=32)\n    optimizer"),
    ],
    ids=["the rate", "the limits"],
)
def test_what_a_checkpoint_does_not_depend_on(old: str, new: str) -> None:
    assert model_of(mpc.compile(text=LOGISTIC.replace(old, new)).plan) == MODEL


@pytest.mark.parametrize(
    ("old", "new"),
    [("sigmoid(score)", "tanh(score)"), ("batch = 16", "batch = 8"), ("[batch, 3]", "[batch, 4]")],
)
def test_another_model_has_other_checkpoints(old: str, new: str) -> None:
    assert model_of(mpc.compile(text=LOGISTIC.replace(old, new)).plan) != MODEL
