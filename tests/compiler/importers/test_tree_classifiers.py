"""TreeEnsembleClassifier beside onnxruntime and ONNX's own evaluator, by its weights, base values and transformations.

Where the two agree, the imported model gives what they give; where they do not, it is refused, or its label is.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

import mpc_runtime as mpc
from tests.onnx_models import FLOAT, assert_agrees, imported, model, node, onnx, reference_results, runtime_results

ROWS = np.array(
    [[-2, 0], [0.5, -1], [0.5, 1], [-1, 2]]
)  # each path through two trees that ask for the sign of a column
SHARES = [0.1, 0.3, 0.25, 0.45]  # none below 0
MIXED = [0.6, -0.3, -0.4, 0.5]
LABELS = [10, 11, 12]
LEAVES = [(tree, leaf) for tree in (0, 1) for leaf in (1, 2)]


def tensor(array: Sequence[float], kind: Any = np.float64) -> Any:
    return onnx.numpy_helper.from_array(np.array(array, kind))


def shape(word: str, ids: Sequence[int], weights: Sequence[float]) -> dict[str, Any]:
    """Two trees of two leaves each; every leaf has a weight for each id."""
    places = list(itertools.product(LEAVES, ids))
    return {
        "nodes_treeids": [0, 0, 0, 1, 1, 1],
        "nodes_nodeids": [0, 1, 2] * 2,
        "nodes_featureids": [0, 0, 0, 1, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"] * 2,
        "nodes_values": [0.0] * 6,
        "nodes_truenodeids": [1, 0, 0] * 2,
        "nodes_falsenodeids": [2, 0, 0] * 2,
        f"{word}_treeids": [tree for (tree, _), _ in places],
        f"{word}_nodeids": [leaf for (_, leaf), _ in places],
        f"{word}_ids": [each for _, each in places],
        f"{word}_weights": list(weights),
    }


def classifier(
    ids: Sequence[int], weights: Sequence[float], after: str = "NONE", base: Sequence[float] = (), classes: int = 2,
    outputs: Sequence[str] = ("label", "scores"),
) -> Any:  # fmt: skip
    given = shape("class", ids, weights) | {"classlabels_int64s": LABELS[:classes], "post_transform": after}
    given |= {"base_values": list(base)} if base else {}
    made = node("TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", name="trees", **given)
    return model([made], {"x": (FLOAT, ["batch", 2])}, outputs, ml=3)


def assert_both_agree(proto: Any) -> None:
    for mine, theirs in zip(runtime_results(proto, {"x": ROWS}), reference_results(proto, {"x": ROWS}), strict=True):
        assert np.allclose(mine, theirs, atol=1e-5)
    assert_agrees(proto, {"x": ROWS})


@pytest.mark.parametrize("base", [(), (0.0,), (0.3,), (-0.6,)])
@pytest.mark.parametrize(("weights", "after"), [(SHARES, "NONE"), (MIXED, "LOGISTIC")])
def test_one_score_of_two_classes_with_a_base_value(weights: list[float], after: str, base: tuple[float, ...]) -> None:
    assert_both_agree(classifier([0], weights, after, base))


@pytest.mark.parametrize("base", [(), (0.3,), (-0.6,)])
def test_one_score_with_weights_below_0_is_onnxruntimes(base: tuple[float, ...]) -> None:
    """As gradient boosting with raw scores is exported. ONNX's own evaluator gives other labels than scikit-learn."""
    assert_agrees(classifier([0], MIXED, "NONE", base), {"x": ROWS})


@pytest.mark.parametrize("after", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("base", [(), (0.3, -0.5, 0.1)])
def test_three_classes(after: str, base: tuple[float, ...]) -> None:
    assert_both_agree(classifier([0, 1, 2], [*MIXED, *SHARES, 0.7, -0.2, 0.15, -0.9], after, base, 3))


def test_what_evaluators_give_other_scores_for_is_refused() -> None:
    both = [*SHARES, *SHARES[::-1]]
    cases = [
        (classifier([0], SHARES, "SOFTMAX"), "SOFTMAX of one score", "LOGISTIC, or NONE"),
        (classifier([0], MIXED, "SOFTMAX"), "SOFTMAX of one score", "LOGISTIC, or NONE"),
        (classifier([0], MIXED, "LOGISTIC", (0.3, 0.3)), "2 base values for one score", "one base value"),
        (classifier([0], SHARES, "NONE", (0.3, -0.5)), "2 base values for one score", "one base value"),
        (classifier([1], SHARES), "only class 1 of 2 has weights", "the id 0 to all weights"),
        (classifier([0], MIXED, classes=3), "only class 0 of 3 has weights", "weights to each class"),
        (classifier([0, 1], both, base=(0.3,)), "both have weights, and base values", "leaves of one tree"),
        (classifier([0, 1], both, base=(0.3, -0.5)), "both have weights, and base values", "leaves of one tree"),
        (classifier([0, 1, 2], [0.1] * 12, base=(0.3, 0.5), classes=3), "2 base values for 3 outputs", "one for each"),
        (classifier([0], SHARES, classes=1), "it has 1 classes", "two classes"),
    ]
    for proto, reason, help in cases:
        with pytest.raises(mpc.CompileError, match=reason) as found:
            imported(proto)
        assert help in str(found.value) and "`trees`" in str(found.value)


@pytest.mark.parametrize(
    ("proto", "scores"),
    [
        (classifier([0], SHARES, "LOGISTIC"), classifier([0], SHARES, "LOGISTIC", outputs=["scores"])),
        (classifier([0, 1], MIXED * 2), classifier([0, 1], MIXED * 2, outputs=["scores"])),
        (
            classifier([0, 1], [-0.5] * 8, classes=3),
            classifier([0, 1], [-0.5] * 8, classes=3, outputs=["scores"]),
        ),
    ],
)
def test_a_label_that_they_do_not_agree_on_is_refused_and_its_scores_are_not(proto: Any, scores: Any) -> None:
    mine, theirs = (evaluate(proto, {"x": ROWS}) for evaluate in (runtime_results, reference_results))
    assert mine[0].tolist() != theirs[0].tolist()
    with pytest.raises(mpc.CompileError, match=r"(?s)output `label`: it needs the label of .* larger score"):
        imported(proto)
    assert_both_agree(scores)


def test_a_node_that_no_output_needs_is_left_out() -> None:
    """As what is behind a label that was removed from the outputs."""
    proto = classifier([0, 1], SHARES * 2, outputs=["scores"])
    proto.graph.node.append(node("Identity", ["label"], ["named"]))
    proto.graph.node.append(node("NonZero", ["x"], ["unused"]))
    assert_both_agree(proto)


def test_numbers_in_double_precision_are_read() -> None:
    proto = classifier([0], SHARES, "NONE", (0.3,))
    changed = classifier([0], SHARES, "NONE", (0.3,))
    (made,) = changed.graph.node
    for name in ("base_values", "class_weights", "nodes_values"):
        (held,) = [each for each in made.attribute if each.name == name]
        values = tensor(held.floats)
        made.attribute.remove(held)
        made.attribute.append(onnx.helper.make_attribute(f"{name}_as_tensor", values))
    rows = {"x": ROWS}
    given, expected = (imported(each, dims={"batch": 4}) for each in (changed, proto))
    for name, value in given.reference(rows, given.weights).items():
        assert value == pytest.approx(expected.reference(rows, expected.weights)[name], abs=1e-6)


def regressor(targets: int, after: str = "NONE", base: Sequence[float] = ()) -> Any:
    given = shape("target", range(targets), [*MIXED, *SHARES][: 4 * targets]) | {"n_targets": targets}
    given |= {"post_transform": after} | ({"base_values": list(base)} if base else {})
    made = node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", name="trees", **given)
    return model([made], {"x": (FLOAT, ["batch", 2])}, ["y"], ml=3)


def test_targets_with_base_values() -> None:
    for base in ((), (0.3,)):
        assert_agrees(regressor(1, base=base), {"x": ROWS})
    for after in ("NONE", "LOGISTIC", "SOFTMAX"):
        assert_agrees(regressor(2, after, (0.3, -0.5)), {"x": ROWS})
    with pytest.raises(mpc.CompileError, match="leaves out the transformation LOGISTIC of a single target"):
        imported(regressor(1, "LOGISTIC"))
    with pytest.raises(mpc.CompileError, match="1 base value for 2 outputs"):
        imported(regressor(2, base=(0.3,)))


# -- as scikit-learn's models are exported -----------------------------------------------------------------------------

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(80, 3)).astype(np.float32)
SCORE = X[:, 0] * 2 - np.abs(X[:, 1]) + X[:, 2]
FOREST = {"n_estimators": 3, "max_depth": 3, "random_state": 0}


@pytest.mark.parametrize("y", [(SCORE > 0).astype(int), np.digitize(SCORE, [-1.0, 0.5])], ids=["two", "three"])
@pytest.mark.parametrize(
    ("estimator", "raw"),
    [
        (DecisionTreeClassifier(max_depth=3, random_state=0), False),
        (RandomForestClassifier(**FOREST), False),
        (ExtraTreesClassifier(**FOREST), False),
        (GradientBoostingClassifier(**FOREST), False),
        (GradientBoostingClassifier(**FOREST), True),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bool) else "raw" if value else "",
)
def test_forests_and_boosting_by_skl2onnx(estimator: Any, raw: bool, y: np.ndarray) -> None:
    estimator.fit(X, y)
    options = {"zipmap": False} | ({"raw_scores": True} if raw else {})
    program = assert_agrees(exported(estimator, options), {"x": X})
    results = program.reference({"x": X}, program.weights)
    label, scores = results.values()
    expected = estimator.decision_function(X) if raw else estimator.predict_proba(X)
    assert label.tolist() == estimator.predict(X).tolist()
    assert (scores if expected.ndim == 2 else scores[:, 1]) == pytest.approx(expected, abs=1e-5)


def test_boosting_of_numbers_by_skl2onnx() -> None:
    estimator = GradientBoostingRegressor(**FOREST).fit(X, SCORE)
    program = assert_agrees(exported(estimator, None), {"x": X})
    (found,) = program.reference({"x": X}, program.weights).values()
    assert found[:, 0] == pytest.approx(estimator.predict(X), abs=1e-5)


def exported(estimator: Any, options: dict[str, bool] | None) -> Any:
    skl2onnx = pytest.importorskip("skl2onnx", reason="needs skl2onnx: pip install skl2onnx")
    types = [("x", skl2onnx.common.data_types.FloatTensorType([None, X.shape[1]]))]
    given = {id(estimator): options} if options else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return skl2onnx.convert_sklearn(estimator, initial_types=types, options=given, target_opset=17)
