"""Trees of other programs as complete trees. Truth: scikit-learn's own predictions, and a walk over node arrays."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import mpc_runtime as mpc
from compiler.importers.trees import Tree, complete, predict
from compiler.ops.trees import MAX_DEPTH

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(200, 4)).astype(np.float32)
SCORE = X[:, 0] * 2 - np.abs(X[:, 1]) + X[:, 2] * X[:, 3]
CLASSES = np.digitize(SCORE, [-1.0, 0.5])

ESTIMATORS = [
    (DecisionTreeClassifier(max_depth=5, random_state=0), CLASSES, "predict_proba"),
    (DecisionTreeRegressor(max_depth=3, random_state=0), SCORE, "predict"),
    (DecisionTreeRegressor(max_depth=3, random_state=0), np.stack([SCORE, -SCORE], 1), "predict"),
    (RandomForestClassifier(7, max_depth=4, random_state=0), CLASSES, "predict_proba"),
    (ExtraTreesRegressor(5, max_depth=6, random_state=0), SCORE, "predict"),
    (GradientBoostingClassifier(n_estimators=4, random_state=0), CLASSES, "decision_function"),
    (GradientBoostingClassifier(n_estimators=4, random_state=0), CLASSES > 0, "decision_function"),
    (GradientBoostingRegressor(n_estimators=6, random_state=0), SCORE, "predict"),
]


@pytest.mark.parametrize(
    ("estimator", "y", "method"), ESTIMATORS, ids=[f"{type(e).__name__} {np.shape(y)}" for e, y, _ in ESTIMATORS]
)
def test_an_estimator_of_scikit_learn_predicts_what_its_arrays_do(estimator, y, method) -> None:
    forest = mpc.forest_of(estimator.fit(X, y))
    expected = getattr(estimator, method)(X).reshape(len(X), -1)
    assert predict(forest, X) == pytest.approx(expected, abs=1e-9)
    weights = forest.weights("f")
    program = mpc.compile(
        text=f"model m role a, b dim batch = 200 input x : [batch, 4] from a in [-8, 8] layer f = {forest.layer} "
        "weights from b in [-8, 8] output y = x |> f to a"
    )
    assert program.reference({"x": X}, weights)["y"] == pytest.approx(expected, abs=1e-9)


def lopsided(levels: int) -> Tree:
    """A chain to the right: node i asks whether x_0 <= i, and its leaf on the left says i."""
    inner = np.arange(levels)
    left = np.concatenate([levels + inner, np.full(levels + 1, -1)])
    right = np.concatenate([[*(inner[1:]), 2 * levels], np.full(levels + 1, -1)])
    value = np.concatenate([np.full(levels, np.nan), np.arange(levels + 1.0)])[:, None]
    nothing = np.full(levels + 1, -2)
    return Tree(np.r_[0 * inner, nothing], np.r_[1.0 * inner, nothing], left, right, value)


def test_a_lopsided_tree_and_one_that_is_a_leaf_become_complete() -> None:
    leaf = Tree(*(np.array([n]) for n in (-2, -2.0, -1, -1)), np.array([[100.0]]))
    forest = complete([lopsided(5), leaf])
    assert (forest.trees, forest.depth, forest.outputs) == (2, 5, 1)
    assert forest.layer == "forest(2, depth=5, outputs=1)"
    x = np.array([-1.0, 0, 0.5, 1, 3.5, 4, 4.5, 99])[:, None]
    assert predict(forest, x)[:, 0].tolist() == [100 + n for n in (0, 0, 1, 1, 4, 4, 5, 5)]


def test_a_tree_that_is_too_deep_or_goes_in_a_circle_is_refused_by_its_place() -> None:
    assert complete([lopsided(MAX_DEPTH)]).depth == MAX_DEPTH
    with pytest.raises(mpc.InputError, match=r"tree 1 is deeper than 12 levels, .* max_depth=12"):
        complete([lopsided(3), lopsided(MAX_DEPTH + 1)])
    circle = Tree(*(np.array(n) for n in ([0, 0], [0.0, 0], [1, 0], [1, 0], [[1.0], [2.0]])))
    with pytest.raises(mpc.InputError, match="tree 0 is deeper than 12 levels"):
        complete([circle])
    with pytest.raises(mpc.InputError, match="at least one tree"):
        complete([])


@pytest.mark.parametrize(
    ("estimator", "y", "message"),
    [
        (AdaBoostClassifier(n_estimators=2), CLASSES, "found AdaBoostClassifier; known: DecisionTreeClassifier, "),
        (DecisionTreeClassifier(max_depth=2), None, "DecisionTreeClassifier is not fitted: call its `fit` first"),
        (RandomForestClassifier(2, max_depth=2), np.stack([CLASSES] * 2, 1), "predicts 2 classes for each row"),
        (GradientBoostingRegressor(n_estimators=2, init=DecisionTreeRegressor()), SCORE, "fit it without `init`"),
    ],
)
def test_what_has_no_arrays_is_refused(estimator, y, message: str) -> None:
    with pytest.raises(mpc.InputError, match=message):
        mpc.forest_of(estimator if y is None else estimator.fit(X, y))
