"""Ensembles of trees of `ai.onnx.ml` as the layer `forest`; one output for each class or target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from compiler.graph import Array
from compiler.importers.files import array_of
from compiler.importers.nodes import Node, Result
from compiler.importers.operators.classical import attribute_array, chosen, labels, real, transformed, two_classes
from compiler.importers.problems import Unsupported
from compiler.importers.terms import Term, call, index, layer, weight
from compiler.importers.trees import Forest, Tree, complete
from compiler.ops.trees import MAX_DEPTH
from mpc_runtime.errors import InputError

STEP = 2.0**-16  # of the number format: a row below a threshold lies at most one step below it


def regressor(node: Node) -> Result:
    averaged = node.attribute("aggregate_function", b"SUM").decode()
    if averaged not in ("SUM", "AVERAGE"):
        raise Unsupported(f"its trees are joined by {averaged}", "SUM and AVERAGE are supported")
    outputs = int(node.attribute("n_targets", 1))
    forest = _forest(node, "target", outputs)
    share = 1 / forest.trees if averaged == "AVERAGE" else 1.0
    scores = _scores(node, forest, share)
    return transformed(scores, node.attribute("post_transform", b"NONE").decode())


def classifier(node: Node) -> Result:
    """With weights for one class only, its score decides between two."""
    names, after = labels(node), node.attribute("post_transform", b"NONE").decode()
    ids = sorted(set(node.attributes["class_ids"]))
    if len(names) == 2 and len(ids) == 1:
        return _binary(node, names, after)
    scores = _scores(node, _forest(node, "class", len(names)), 1.0)
    return chosen(call("argmax", scores, axis=1), names), transformed(scores, after)


def _binary(node: Node, names: list[int] | list[str], after: str) -> Result:
    forest = _forest(node, "class", 1, all_to=0)
    score = _scores(node, forest, 1.0, last=True)
    leaves = attribute_array(node, "class_weights")
    assert leaves is not None
    if after == "NONE" and (leaves >= 0).all() and attribute_array(node, "base_values") is None:
        # shares of a class: above a half it is the second one
        second = call("*", call(">", index(score, slice(None), 0), 0.5), 1)
        return chosen(second, names), call("concat", call("-", 1.0, score), score, axis=1)
    return two_classes(score, names, after)


def _scores(node: Node, forest: Forest, share: float, last: bool = False) -> Term:
    held = {"feature": forest.feature, "threshold": forest.threshold, "leaf": forest.leaf * share}
    outputs = None if forest.outputs == 1 else forest.outputs
    x = real(node.term())
    found = layer("forest", x, held, node.name, trees=forest.trees, depth=forest.depth, outputs=outputs)
    base = attribute_array(node, "base_values")
    if base is None or not base.any():
        return found
    base = base[-1:] if last else base
    return call("+", found, weight(base, node.trials, f"{node.name or 'forest'}.base"))


def _forest(node: Node, word: str, outputs: int, all_to: int | None = None) -> Forest:
    """The node arrays of ONNX, tree by tree."""
    given = node.attributes
    trees, ids = np.array(given["nodes_treeids"]), np.array(given["nodes_nodeids"])
    modes = [each.decode() for each in given["nodes_modes"]]
    features, values = np.array(given["nodes_featureids"]), np.array(given["nodes_values"], np.float64)
    yes, no = np.array(given["nodes_truenodeids"]), np.array(given["nodes_falsenodeids"])
    ends = np.array([mode == "LEAF" for mode in modes])
    features, values = _lessened(modes, features, values)
    found = []
    for tree in np.unique(trees):
        mine = np.flatnonzero(trees == tree)
        place = {int(ids[n]): k for k, n in enumerate(mine)}
        leaf = ends[mine]
        children = [
            np.array([-1 if end else place[int(each)] for each, end in zip(side[mine], leaf, strict=True)])
            for side in _sides(modes, yes, no)
        ]
        held = _leaves(node, word, int(tree), place, len(mine), outputs, all_to)
        found.append(Tree(features[mine], values[mine], children[0], children[1], held))
    try:
        return complete(found)
    except InputError as error:
        raise Unsupported(str(error)) from None


def _sides(modes: list[str], yes: Array, no: Array) -> tuple[Array, Array]:
    """Where a row goes that is not above the threshold, and where it goes else."""
    above = np.array([mode in ("BRANCH_GT", "BRANCH_GTE") for mode in modes])
    return np.where(above, no, yes), np.where(above, yes, no)


def _lessened(modes: list[str], features: Array, values: Array) -> tuple[Array, Array]:
    """Thresholds of `<=`: below t is, for numbers of the format, at most one step below it."""
    known = ("LEAF", "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE")
    other = next((mode for mode in modes if mode not in known), None)
    if other is not None:
        raise Unsupported(f"its nodes compare by {other}", "BRANCH_LEQ, _LT, _GT and _GTE are supported")
    strict = np.array([mode in ("BRANCH_LT", "BRANCH_GTE") for mode in modes])
    return features, np.where(strict, np.ceil(values / STEP) * STEP - STEP, values)


def _leaves(
    node: Node, word: str, tree: int, place: Mapping[int, int], count: int, outputs: int, all_to: int | None
) -> Array:
    """[nodes, outputs]: what a leaf adds to each output."""
    given = node.attributes
    value = np.zeros((count, outputs))
    columns = zip(
        given[f"{word}_treeids"], given[f"{word}_nodeids"], given[f"{word}_ids"], given[f"{word}_weights"], strict=True
    )
    for its_tree, its_node, output, number in columns:
        if its_tree == tree:
            value[place[int(its_node)], output if all_to is None else all_to] += number
    return value


# -- since version 5: one node for all, whose leaves stand apart -------------------------------------------------------

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


def ensemble(node: Node) -> Result:
    given = node.attributes
    joined = AGGREGATES[int(given.get("aggregate_function", 1))]
    if joined not in ("SUM", "AVERAGE"):
        raise Unsupported(f"its trees are joined by {joined}", "SUM and AVERAGE are supported")
    if given.get("post_transform", 0):
        raise Unsupported("the standard and onnxruntime number its `post_transform` otherwise",
                          "export without it, and apply it behind the node")  # fmt: skip
    outputs = int(given.get("n_targets", 1))
    try:
        forest = complete([_walked(given, int(root), outputs) for root in given["tree_roots"]])
    except InputError as error:
        raise Unsupported(str(error)) from None
    return _scores(node, forest, 1 / forest.trees if joined == "AVERAGE" else 1.0)


def _walked(given: Mapping[str, Any], root: int, outputs: int) -> Tree:
    """A tree from its root on. A root both of whose sides are the same leaf is that leaf."""
    names = [MODES[int(each)] for each in array_of(given["nodes_modes"])]
    features, values = _lessened(names, np.array(given["nodes_featureids"]), array_of(given["nodes_splits"]) * 1.0)
    to = [np.array(given[f"nodes_{side}nodeids"]) for side in ("true", "false")]
    ends = [np.array(given[f"nodes_{side}leafs"], np.bool_) for side in ("true", "false")]
    turned = [np.array(each) for each in (_sides(names, *to), _sides(names, *ends))]  # [2, nodes]: left, right
    same = bool(turned[1][:, root].all()) and turned[0][0, root] == turned[0][1, root]
    order = [(int(turned[0][0, root]), True) if same else (root, False)]
    children = []
    for at, leaf in order:  # grows while it is read
        if leaf:
            children.append((-1, -1))
            continue
        children.append((len(order), len(order) + 1))
        if len(order) > 2 << MAX_DEPTH:
            raise InputError(f"a tree is deeper than {MAX_DEPTH} levels, which a forest takes at most")
        order += [(int(turned[0][side, at]), bool(turned[1][side, at])) for side in (0, 1)]
    leaves = array_of(given["leaf_weights"]).astype(np.float64)
    value = np.zeros((len(order), outputs))
    for place, (at, leaf) in enumerate(order):
        if leaf:
            value[place, given["leaf_targetids"][at]] = leaves[at]
    inner = [0 if leaf else at for at, leaf in order]
    left, right = np.array(children).T
    return Tree(features[inner], values[inner], left, right, value)


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "TreeEnsemble": ensemble,
    "TreeEnsembleClassifier": classifier,
    "TreeEnsembleRegressor": regressor,
}
