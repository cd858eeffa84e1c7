"""Trees as other programs hold them, nodes that name their children, as the complete trees of the layer `forest`.

`complete` takes plain node arrays; `from_sklearn` reads them off a fitted estimator of scikit-learn, by its documented
attributes, without importing scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.ops.trees import MAX_DEPTH, Leaves
from mpc_runtime.errors import InputError

Array = np.ndarray


@dataclass(frozen=True)
class Tree:
    """One tree, its root first. left, right: children, negative at a leaf; a row goes left where x <= threshold.

    Shapes: value [nodes, outputs], the others [nodes].
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    value: Array


@dataclass(frozen=True)
class Forest:
    """What the layer `forest(trees, depth, outputs)` takes.

    feature [trees, 2^depth - 1] (int64), threshold [trees, 2^depth - 1], leaf [trees, 2^depth, outputs]; complete trees
    in level order.
    """

    feature: Array
    threshold: Array
    leaf: Array

    @property
    def trees(self) -> int:
        return int(self.leaf.shape[0])

    @property
    def depth(self) -> int:
        return int(self.leaf.shape[1]).bit_length() - 1

    @property
    def outputs(self) -> int:
        return int(self.leaf.shape[2])

    @property
    def layer(self) -> str:
        """The layer as `.ppml` text."""
        return f"forest({self.trees}, depth={self.depth}, outputs={self.outputs})"

    def weights(self, name: str) -> dict[str, Array]:
        """The parameters of the layer of this name, by their keys."""
        return {f"{name}.feature": self.feature, f"{name}.threshold": self.threshold, f"{name}.leaf": self.leaf}


def complete(trees: Sequence[Tree]) -> Forest:
    """The trees, each made complete to the depth of the deepest: below a leaf, every path leads to its value.

    Raises InputError for a tree that is deeper than the layer takes, by its place.
    """
    if not trees:
        raise InputError("expected at least one tree, found none")
    depth = max(1, *(_depth(tree, place) for place, tree in enumerate(trees)))
    parts = [_complete(tree, depth) for tree in trees]
    feature, threshold, leaf = (np.stack(each) for each in zip(*parts, strict=True))
    return Forest(feature, threshold, leaf)


def _depth(tree: Tree, place: int) -> int:
    """Levels with a decision. A tree whose nodes go in a circle has no end, and is refused with the deep ones."""
    level = np.zeros(1, np.int64)
    for depth in range(MAX_DEPTH + 1):
        inner = level[tree.left[level] >= 0]
        if not inner.size:
            return depth
        level = np.unique(np.concatenate([tree.left[inner], tree.right[inner]]))
    raise InputError(
        f"tree {place} is deeper than {MAX_DEPTH} levels, which a forest takes at most: train with "
        f"max_depth={MAX_DEPTH} or less"
    )


def _complete(tree: Tree, depth: int) -> tuple[Array, Array, Array]:
    features, thresholds = [], []
    level = np.zeros(1, np.int64)
    for _ in range(depth):
        ends = tree.left[level] < 0
        features.append(np.where(ends, 0, tree.feature[level]).astype(np.int64))
        thresholds.append(np.where(ends, 0.0, tree.threshold[level]).astype(np.float64))
        children = np.stack([tree.left[level], tree.right[level]], axis=1)
        level = np.where(ends[:, None], level[:, None], children).reshape(-1)
    return np.concatenate(features), np.concatenate(thresholds), tree.value[level].astype(np.float64)


# -- scikit-learn ------------------------------------------------------------------------------------------------------

BOOSTED = ("GradientBoostingClassifier", "GradientBoostingRegressor")
AVERAGED = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
SINGLE = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
SAME_SUM = 1e-6  # relative: as far as float32 features and the order of a sum may move a prediction


def from_sklearn(estimator: Any) -> Forest:
    """A fitted tree, forest or gradient boosting of scikit-learn.

    The layer's outputs are what a regressor predicts, the probabilities of the classes of a tree or a forest (their
    largest is the predicted class), or the `decision_function` of gradient boosting: above 0, or the largest.

    Raises InputError for another estimator, one that is not fitted, several outputs of classes, and trees that are too
    deep.
    """
    name = type(estimator).__name__
    if name not in (*SINGLE, *AVERAGED, *BOOSTED):
        known = ", ".join((*SINGLE, *AVERAGED, *BOOSTED))
        raise InputError(
            f"expected a tree, a forest or gradient boosting of scikit-learn, found {name}; known: {known}"
        )
    if not hasattr(estimator, "tree_" if name in SINGLE else "estimators_"):
        raise InputError(f"this {name} is not fitted: call its `fit` first")
    classes = name.endswith("Classifier")
    if classes and getattr(estimator, "n_outputs_", 1) > 1:
        raise InputError(f"this {name} predicts {estimator.n_outputs_} classes for each row: fit one for each")
    if name in BOOSTED:
        return _boosted(estimator, classes)
    members = [estimator] if name in SINGLE else list(estimator.estimators_)
    return complete([_tree(each.tree_, classes, 1 / len(members)) for each in members])


def _tree(nodes: Any, classes: bool, share: float) -> Tree:
    """Values are divided by the number of trees; those of classes are made shares of 1 first."""
    value = np.asarray(nodes.value, np.float64)  # [nodes, outputs, classes]
    value = value[:, 0, :] / value[:, 0, :].sum(axis=1, keepdims=True) if classes else value[:, :, 0]
    return Tree(nodes.feature, nodes.threshold, nodes.children_left, nodes.children_right, value * share)


def _boosted(estimator: Any, classes: bool) -> Forest:
    """Each tree adds to one output; what they start from is added to the leaves of an output's first tree."""
    stages = np.asarray(estimator.estimators_)  # [stages, outputs] of regression trees
    outputs = stages.shape[1]
    found = []
    for stage in stages:
        for output, member in enumerate(stage):
            tree = _tree(member.tree_, classes=False, share=float(estimator.learning_rate))
            found.append(
                Tree(tree.feature, tree.threshold, tree.left, tree.right, tree.value * np.eye(outputs)[output])
            )
    forest = complete(found)
    forest.leaf[:outputs] += np.eye(outputs)[:, None, :] * _start(estimator, forest, classes)
    return forest


def _start(estimator: Any, forest: Forest, classes: bool) -> Array:
    """[outputs]: what the estimator predicts beyond its trees, which must be the same for every row."""
    rows = np.stack([np.full(estimator.n_features_in_, value) for value in (0.0, 1.0, -1000.0)])
    predicted = (estimator.decision_function if classes else estimator.predict)(rows).reshape(len(rows), -1)
    start = predicted - predict(forest, rows)
    if np.abs(start - start[0]).max() > SAME_SUM * max(1.0, np.abs(predicted).max()):
        raise InputError("gradient boosting that starts from another model is not supported: fit it without `init`")
    return np.asarray(start[0])


def predict(forest: Forest, rows: Array) -> Array:
    """The layer's meaning in float64: rows [batch, in] to [batch, outputs]."""
    return Leaves(forest.depth).evaluate(rows[:, forest.feature] <= forest.threshold, forest.leaf)
