"""Recurrent layers with activations of their own, beside onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import FLOAT, assert_agrees, imported, model, node

RANDOM = np.random.default_rng(41)


def recurrent(op: str, gates: int, activations: list[str], **options):
    count = 2 if options.get("direction") == "bidirectional" else 1
    weights = {
        name: RANDOM.normal(0, 1, shape)
        for name, shape in (("w", (count, gates * 3, 2)), ("r", (count, gates * 3, 3)), ("b", (count, gates * 6)))
    }
    made = node(op, ["x", "w", "r", "b"], ["y"], hidden_size=3, activations=activations, **options)
    return model([made], {"x": (FLOAT, [4, 2, 2])}, ["y"], weights)


X = RANDOM.normal(0, 1, (4, 2, 2)).astype(np.float32)


@pytest.mark.parametrize("slopes", [{}, {"activation_alpha": [0.3], "activation_beta": [0.4]}], ids=str)
def test_hard_gates(slopes):
    """As Keras' `recurrent_activation="hard_sigmoid"`."""
    assert_agrees(recurrent("LSTM", 4, ["HardSigmoid", "Tanh", "Tanh"], **slopes), {"x": X})
    assert_agrees(recurrent("GRU", 3, ["HardSigmoid", "Tanh"], **slopes), {"x": X})


def test_hard_gates_of_both_directions_have_their_own_slopes():
    slopes = {"activation_alpha": [0.3, 0.1], "activation_beta": [0.4, 0.6]}
    proto = recurrent("LSTM", 4, ["HardSigmoid", "Tanh", "Relu"] * 2, direction="bidirectional", **slopes)
    assert_agrees(proto, {"x": X})


def test_other_activations_are_refused():
    with pytest.raises(Exception, match="its activations are softsign"):
        imported(recurrent("RNN", 1, ["Softsign"]))
