"""Support vector machines of `ai.onnx.ml`: kernels as a product with the support vectors, which are the owner's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from compiler.graph import Array
from compiler.importers.nodes import Absent, Node, Result
from compiler.importers.operators.classical import attribute_array, chosen, labels, linear, real, transformed
from compiler.importers.problems import Unsupported
from compiler.importers.terms import Term, call, index, table

NO_PROBABILITIES = "train with probability=False: labels and decision values are supported"
SPAN = (1.5, 3.0)
"""Between these the three numbers that `_of_three` divides add up, whatever the probabilities of the pairs."""


def classifier(node: Node) -> Result:
    """The class with the most votes, and the decision value of each pair of classes (of two classes, of each)."""
    names, counts = labels(node), [int(n) for n in node.attribute("vectors_per_class", ())]
    if not counts:
        raise Unsupported("it has no support vectors", "export it as a LinearClassifier")
    matrix, ways = _pairs(node, counts)
    rho = attribute_array(node, "rho")
    assert rho is not None
    scores = _expanded(node, matrix, rho)
    after = node.attribute("post_transform", b"NONE").decode()
    lost = call("not", call(">", scores, 0.0))
    if len(counts) == 2:
        label = chosen(call("*", index(lost, slice(None), 0), 1), names)
        return label, transformed(_of_two(node, scores), after)
    # a pair's first class has a vote where its score is above 0, its second one elsewhere
    votes = np.zeros((len(ways), len(counts)), np.int64)
    first, second = np.array(ways).T
    votes[np.arange(len(ways)), second] = 1
    votes[np.arange(len(ways)), first] = -1
    base = table(np.bincount(first, minlength=len(counts)), node.trials)
    tally = call("+", call("matmul", call("*", lost, 1), table(votes, node.trials)), base)
    label = chosen(call("argmax", tally, axis=1), names)
    if attribute_array(node, "prob_a") is None:
        return label, transformed(scores, after)
    if len(counts) > 3:
        help = f"{NO_PROBABILITIES}; or remove the output of the probabilities"
        return label, Absent("probabilities joined from pairs of more than three classes", help)
    return label, transformed(_of_three(_platt(node, scores)), after)


def _of_two(node: Node, score: Term) -> Term:
    """[n, 2]: probabilities by Platt's sigmoid of the score where it was fitted, else the score of each class."""
    if attribute_array(node, "prob_a") is None:
        return call("concat", call("neg", score), score, axis=1)
    p = _platt(node, score)
    return call("concat", p, call("-", 1.0, p), axis=1)


def _platt(node: Node, scores: Term) -> Term:
    """The probability of the first class of each pair."""
    a, b = attribute_array(node, "prob_a"), attribute_array(node, "prob_b")
    if a is None or b is None:
        raise Unsupported("a half of its `prob_a` and `prob_b` is missing", "give both, or neither")
    pairs = scores.shape[1].fixed
    return call("sigmoid", linear(scores, -np.diag(a[:pairs]), -b[:pairs], f"{node.name or 'svm'}.platt"))


def _of_three(r: Term) -> Term:
    """[n, 3]: the probabilities p of three classes from those of the pairs, r = (r01, r02, r12).

    p solves Q p = λ 1, where Q_ii adds r_ji² up and Q_ij = -r_ji r_ij (Wu, Lin and Weng 2004, second method). So p is
    the adjugate of Q times 1, over the sum of its elements. What onnxruntime iterates until it is near has this limit.
    """
    trials = len(r.values)
    s = call("-", 1.0, r)

    def columns(x: Term, *places: int) -> Term:
        return call("gather", x, table(places, trials), axis=1)

    squares = call("square", call("concat", r, s, axis=1))
    adds = np.zeros((6, 3))
    adds[[3, 4, 0, 5, 1, 2], [0, 0, 1, 1, 2, 2]] = 1
    q = call("matmul", squares, table(adds, trials))  # Q_00, Q_11, Q_22
    t = call("*", r, s)  # -Q_01, -Q_02, -Q_12
    cofactors = call("-", call("*", columns(q, 1, 0, 0), columns(q, 2, 2, 1)), call("square", columns(t, 2, 1, 0)))
    others = call("+", call("*", columns(t, 1, 0, 0), columns(t, 2, 2, 1)), call("*", t, columns(q, 2, 1, 0)))
    total = call("sum", others, axis=1, keepdims=True)
    found = call("-", call("+", cofactors, total), columns(others, 2, 1, 0))
    return call("/", found, call("clip", call("sum", found, axis=1, keepdims=True), *SPAN))


def _pairs(node: Node, counts: list[int]) -> tuple[Array, list[tuple[int, int]]]:
    """[pairs, vectors]: what each support vector adds to the score of each pair of classes."""
    given = attribute_array(node, "coefficients")
    assert given is not None
    given = given.reshape(len(counts) - 1, -1)
    ends = np.cumsum([0, *counts])
    ways = list(itertools.combinations(range(len(counts)), 2))
    matrix = np.zeros((len(ways), given.shape[1]), np.float32)
    for row, (i, j) in zip(matrix, ways, strict=True):
        row[ends[i] : ends[i + 1]] = given[j - 1, ends[i] : ends[i + 1]]
        row[ends[j] : ends[j + 1]] = given[i, ends[j] : ends[j + 1]]
    return matrix, ways


def regressor(node: Node) -> Result:
    """[n, 1]; of one class, 1 inside and -1 outside."""
    coefficients, rho = attribute_array(node, "coefficients"), attribute_array(node, "rho")
    assert coefficients is not None and rho is not None
    if not node.attribute("n_supports", 0):
        found = linear(node.term(), coefficients[None], rho[:1], node.name)
    else:
        found = _expanded(node, coefficients[None], rho[:1])
    if node.attribute("one_class", 0):
        return call("where", call(">", found, 0.0), 1.0, -1.0)
    return transformed(found, node.attribute("post_transform", b"NONE").decode())


def _expanded(node: Node, matrix: Array, rho: Array) -> Term:
    """matrix @ kernel(x, support vectors) + rho."""
    x = real(node.term())
    vectors = attribute_array(node, "support_vectors")
    assert vectors is not None
    vectors = vectors.reshape(matrix.shape[1], -1)
    kind = node.attribute("kernel_type", b"LINEAR").decode()
    hint = node.name or "svm"
    if kind == "LINEAR":
        return linear(x, matrix @ vectors, rho, hint)
    return linear(_kernel(node, kind, x, vectors, hint), matrix, rho, f"{hint}.dual")


def _kernel(node: Node, kind: str, x: Term, vectors: Array, hint: str) -> Term:
    """[n, vectors]."""
    gamma, shift, degree = (float(each) for each in node.attributes["kernel_params"])
    if kind == "RBF":
        # -gamma |x - s|^2 = 2 gamma x s - gamma |s|^2 - gamma |x|^2
        product = linear(x, 2 * gamma * vectors, -gamma * (vectors**2).sum(axis=1), hint)
        length = call("sum", call("square", x), axis=1, keepdims=True)
        return call("exp", call("-", product, call("*", length, gamma)))
    product = linear(x, gamma * vectors, np.full(len(vectors), shift, np.float32), hint)
    if kind == "POLY" and degree == int(degree):
        return call("**", product, int(degree))
    if kind == "SIGMOID":
        return call("tanh", product)
    raise Unsupported(f"the kernel {kind}", "LINEAR, POLY with a whole degree, RBF and SIGMOID are supported")


HANDLERS: Mapping[str, Callable[[Node], Result]] = {"SVMClassifier": classifier, "SVMRegressor": regressor}
