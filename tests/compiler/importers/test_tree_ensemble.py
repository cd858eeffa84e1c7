"""The tree ensemble of `ai.onnx.ml` 5, whose leaves stand apart from its nodes, beside onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.onnx_models import FLOAT, assert_agrees, imported, model, node, onnx

LEQ, LT, GTE, GT, EQ = range(5)
RANDOM = np.random.default_rng(3)
ROWS = np.round(RANDOM.normal(size=(40, 4)) * 8) / 8  # many of them equal a threshold


def tensor(array: Any, kind: Any = np.float32) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(array, kind))


def ensemble(**changed: Any) -> Any:
    """Two trees of different depths and a leaf alone. Inner nodes 0 and 1, 2 to 4, and 5; leaves 0 to 8."""
    given: dict[str, Any] = {
        "n_targets": 2,
        "tree_roots": [0, 2, 5],
        "nodes_splits": tensor([0.25, -0.5, 0.0, 1.0, -1.0, 0.0]),
        "nodes_featureids": [0, 1, 2, 3, 0, 0],
        "nodes_modes": tensor([LEQ, GT, LT, GTE, LEQ, LEQ], np.uint8),
        "nodes_truenodeids": [1, 1, 3, 4, 6, 8],
        "nodes_trueleafs": [0, 1, 0, 1, 1, 1],
        "nodes_falsenodeids": [0, 2, 3, 4, 7, 8],
        "nodes_falseleafs": [1, 1, 1, 0, 1, 1],
        "leaf_targetids": [0, 1, 0, 1, 0, 1, 0, 0, 1],
        "leaf_weights": tensor(np.arange(9) / 3 - 1),
    }
    nodes = [node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", **given | changed)]
    return model(nodes, {"x": (FLOAT, ["batch", 4])}, ["y"], ml=5)


@pytest.mark.parametrize("changed", [{}, {"aggregate_function": 0}])
def test_trees_of_version_5_agree(changed: dict[str, int]) -> None:
    program = assert_agrees(ensemble(**changed), {"x": ROWS})
    assert "forest(3, depth=3, outputs=2)" in program.source


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"nodes_modes": tensor([EQ] * 6, np.uint8)}, "compare by BRANCH_EQ"),
     ({"aggregate_function": 2}, "joined by MIN"),
     ({"post_transform": 1}, "number its `post_transform` otherwise"),
     ({"nodes_truenodeids": [0, 1, 3, 4, 6, 8]}, "deeper than 12 levels")],
)  # fmt: skip
def test_what_a_forest_does_not_have_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(mpc.CompileError, match=reason):
        imported(ensemble(**changed))
