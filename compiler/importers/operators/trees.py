"""Ensembles of trees of `ai.onnx.ml` as the layer `forest`; one output for each class or target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from compiler.graph import Array
from compiler.importers.files import array_of
from compiler.importers.nodes import Absent, Node, Result
from compiler.importers.operators.classical import chosen, labels, real, transformed, two_classes
from compiler.importers.problems import Unsupported
from compiler.importers.terms import Term, call, index, layer, weight
from compiler.importers.trees import Forest, Tree, complete
from compiler.ops.trees import MAX_DEPTH
from mpc_runtime.errors import InputError, amount

STEP = 2.0**-16  # of the number format: a row below a threshold lies at most one step below it


def regressor(node: Node) -> Result:
    averaged = node.attribute("aggregate_function", b"SUM").decode()
    if averaged not in ("SUM", "AVERAGE"):
        raise Unsupported(f"its trees are joined by {averaged}", "SUM and AVERAGE are supported")
    outputs, after = int(node.attribute("n_targets", 1)), node.attribute("post_transform", b"NONE").decode()
    if outputs == 1 and after not in ("NONE", ""):
        raise Unsupported(f"onnxruntime leaves out the transformation {after} of a single target",
                          "export without it, and apply it behind the node")  # fmt: skip
    forest = _forest(node, "target", outputs)
    share = 1 / forest.trees if averaged == "AVERAGE" else 1.0
    return transformed(_scores(node, forest, share), after)


# -- classes: what onnxruntime and ONNX's own evaluator agree on -------------------------------------------------------

TAKE_LABEL = "remove this output from the model, and take the class with the larger score"


def classifier(node: Node) -> Result:
    """The label and a score for each class. Two classes of which the first alone has weights are `_binary`.

    Where onnxruntime and ONNX's own evaluator give different scores, the node is refused; where they give different
    labels only, the label is.
    """
    names, after = labels(node), node.attribute("post_transform", b"NONE").decode()
    ids, base = sorted(set(node.attributes["class_ids"])), _numbers(node, "base_values")
    if len(names) < 2:
        raise Unsupported(f"it has {len(names)} classes", "export a classifier of two classes, or a regressor")
    if len(names) == 2 and ids == [0]:
        return _binary(node, names, after, base)
    if len(ids) == 1:
        help = "for two classes give the id 0 to all weights, as skl2onnx does; for more give weights to each class"
        raise Unsupported(
            f"only class {ids[0]} of {len(names)} has weights: evaluators of ONNX read it differently", help
        )
    if len(names) == 2 and base.size:
        raise Unsupported("its two classes both have weights, and base values: evaluators of ONNX read it differently",
                          "add the base values to the weights of the leaves of one tree")  # fmt: skip
    scores = _scores(node, _forest(node, "class", len(names)), 1.0)
    label: Term | Absent = chosen(call("argmax", scores, axis=1), names)
    if len(names) == 2:
        label = _label_in_doubt("two classes both of which have weights")
    elif not base.size and not _always_scored(node, len(names)):
        label = _label_in_doubt("classes not all of which always have weights")
    return label, transformed(scores, after)


def _label_in_doubt(of: str) -> Absent:
    return Absent(f"the label of {of}, on which onnxruntime and ONNX's own evaluator differ", TAKE_LABEL)


def _always_scored(node: Node, classes: int) -> bool:
    """Whether each class has a weight in every row. One that has none is not chosen by onnxruntime, though it be 0 and
    the others below; where no weight is below 0, that does not matter."""
    if (_numbers(node, "class_weights") >= 0).all():
        return True
    given = node.attributes
    nodes = zip(given["nodes_treeids"], given["nodes_modes"], strict=True)
    leaves = Counter(tree for tree, mode in nodes if mode == b"LEAF")
    weighted = set(zip(given["class_treeids"], given["class_nodeids"], given["class_ids"], strict=True))
    held = Counter((tree, each) for tree, _, each in weighted)
    return all(any(held[tree, each] == count for tree, count in leaves.items()) for each in range(classes))


def _binary(node: Node, names: list[int] | list[str], after: str, base: Array) -> Result:
    """One score s decides between two classes.

    Weights of which none is below 0 are shares: scores 1 - s and s, and the second class above a half. Others give
    -s and s, and the second class above 0; LOGISTIC the sigmoids of these. Without it ONNX's own evaluator makes 1 - s
    and s of others too. The gradient boosting that is exported so has onnxruntime's labels and scores.
    """
    if base.size > 1:
        raise Unsupported(f"it has {base.size} base values for one score: evaluators of ONNX read them differently",
                          "give it one base value, that of the second class")  # fmt: skip
    if after not in ("NONE", "LOGISTIC"):
        raise Unsupported(f"evaluators of ONNX read the transformation {after} of one score differently",
                          "export with LOGISTIC, or NONE")  # fmt: skip
    score = _scores(node, _forest(node, "class", 1), 1.0)
    shares = bool((_numbers(node, "class_weights") >= 0).all())
    if not shares:
        return two_classes(score, names, after)
    if after == "LOGISTIC":
        _, scores = two_classes(score, names, after)
        return _label_in_doubt("two classes with LOGISTIC and without a weight below 0"), scores
    second = call("*", call(">", index(score, slice(None), 0), 0.5), 1)
    return chosen(second, names), call("concat", call("-", 1.0, score), score, axis=1)


def _scores(node: Node, forest: Forest, share: float) -> Term:
    held = {"feature": forest.feature, "threshold": forest.threshold, "leaf": forest.leaf * share}
    outputs = None if forest.outputs == 1 else forest.outputs
    x = real(node.term())
    found = layer("forest", x, held, node.name, trees=forest.trees, depth=forest.depth, outputs=outputs)
    base = _numbers(node, "base_values")
    if base.size not in (0, forest.outputs):
        raise Unsupported(
            f"it has {amount(base.size, 'base value')} for {amount(forest.outputs, 'output')}", "give it one for each"
        )
    if not base.any():
        return found
    return call("+", found, weight(base, node.trials, f"{node.name or 'forest'}.base"))


def _numbers(node: Node, name: str) -> Array:
    """Real numbers of a list, or, in double precision, of a tensor."""
    listed, tensor = node.attribute(name, ()), node.attribute(f"{name}_as_tensor", None)
    return np.array(listed, np.float32) if tensor is None or len(listed) else array_of(tensor).reshape(-1)


def _forest(node: Node, word: str, outputs: int) -> Forest:
    """The node arrays of ONNX, tree by tree."""
    given = node.attributes
    trees, ids = np.array(given["nodes_treeids"]), np.array(given["nodes_nodeids"])
    modes = [each.decode() for each in given["nodes_modes"]]
    features, values = np.array(given["nodes_featureids"]), _numbers(node, "nodes_values").astype(np.float64)
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
        held = _leaves(node, word, int(tree), place, len(mine), outputs)
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


def _leaves(node: Node, word: str, tree: int, place: Mapping[int, int], count: int, outputs: int) -> Array:
    """[nodes, outputs]: what a leaf adds to each output."""
    given = node.attributes
    value = np.zeros((count, outputs))
    weights = _numbers(node, f"{word}_weights").tolist()
    columns = zip(given[f"{word}_treeids"], given[f"{word}_nodeids"], given[f"{word}_ids"], weights, strict=True)
    for its_tree, its_node, output, number in columns:
        if its_tree == tree:
            value[place[int(its_node)], output] += number
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
