"""RotaryEmbedding beside onnxruntime, in all its forms."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import FLOAT, INT, assert_agrees, model, node

RANDOM = np.random.default_rng(8)
ANGLES = RANDOM.uniform(0, 6, (7, 4))
POSITIONS = np.array([[3, 0, 6]])


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [8, 12])
@pytest.mark.parametrize("heads", [0, 2])
def test_all_forms_agree(heads: int, turned: int, interleaved: int) -> None:
    """Of heads apart or side by side, of all features or of the first ones."""
    angles = ANGLES if turned == 8 else RANDOM.uniform(0, 6, (7, 6))
    shape = (1, 3, 24) if heads else (1, 2, 3, 12)
    options = {"interleaved": interleaved, "rotary_embedding_dim": turned if turned < 12 else 0, "num_heads": heads}
    weights = {"cos": np.cos(angles), "sin": np.sin(angles), "at": POSITIONS}
    nodes = [node("RotaryEmbedding", ["x", "cos", "sin", "at"], ["y"], **options)]
    proto = model(nodes, {"x": (FLOAT, shape)}, ["y"], weights, opset=23)
    assert_agrees(proto, {"x": RANDOM.normal(size=shape)})


def test_secret_positions_and_none() -> None:
    nodes = [node("RotaryEmbedding", ["x", "cos", "sin", "at"], ["y"])]
    inputs = {"x": (FLOAT, (1, 2, 3, 8)), "at": (INT, (1, 3))}
    proto = model(nodes, inputs, ["y"], {"cos": np.cos(ANGLES), "sin": np.sin(ANGLES)}, opset=23)
    assert_agrees(proto, {"x": RANDOM.normal(size=(1, 2, 3, 8)), "at": POSITIONS})
    angles = ANGLES[POSITIONS]
    nodes = [node("RotaryEmbedding", ["x", "cos", "sin"], ["y"])]
    proto = model(nodes, {"x": (FLOAT, (1, 2, 3, 8))}, ["y"], {"cos": np.cos(angles), "sin": np.sin(angles)}, opset=23)
    assert_agrees(proto, {"x": RANDOM.normal(size=(1, 2, 3, 8))})
