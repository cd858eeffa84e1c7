"""The operator Attention: beside ONNX's reference and onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import FLOAT, assert_agrees, imported, model, node, reference_results

RANDOM = np.random.default_rng(16)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize("causal", [0, 1])
def test_scores_are_capped_before_the_mask_is_added(causal):
    nodes = [node("Attention", ["q", "k", "v", "mask"], ["y"], softcap=0.5, is_causal=causal)]
    shape = (FLOAT, [1, 2, 4, 3])
    proto = model(nodes, {"q": shape, "k": shape, "v": shape}, ["y"], {"mask": 2 * normal(4, 4)}, opset=23)
    given = {name: normal(1, 2, 4, 3) for name in "qkv"}
    (expected,) = reference_results(proto, given)
    program = imported(proto)
    found = program.reference(given, program.weights)["y"]
    assert np.abs(found - expected).max() < 1e-4
    assert_agrees(proto, given, program)
