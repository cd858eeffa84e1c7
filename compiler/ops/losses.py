"""The losses of a `train` block: scalars whose gradients are what training computes with.

Cross-entropies are ops of their own, because their gradients need no logarithm: they are a probability minus a label.
Their values have a plaintext meaning only. `mse` and `l1` are made of other ops. Means are over what PyTorch's are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.graph import (
    ROWS_MEET,
    Array,
    Gradients,
    Kind,
    NoGradient,
    OpError,
    Rounding,
    Shape,
    Value,
    apply,
    constant,
)
from compiler.graph.interval import Interval
from compiler.ops import build
from compiler.ops.activations import Sigmoid, Softmax
from compiler.ops.comparisons import Equal
from compiler.ops.curves import LogSoftmax, Softplus
from compiler.ops.elementwise import Abs, Add, Mul, Neg, Square, Sub, ToFixed, ToInt, times
from compiler.ops.families import Ordinary
from compiler.ops.functions import Function
from compiler.ops.reductions import Mean
from compiler.ops.rules import expect_count, expect_kind, show, typed
from compiler.ops.selection import OneHot
from compiler.ops.shapes import Reshape
from compiler.ops.signatures import Parameter
from compiler.ops.sums import Sum

SUM_DIGITS = 9
"""Decimal digits with which sums of labels are equal: 0.7 + 0.2 + 0.1 is 1."""


@dataclass(frozen=True)
class Loss(Ordinary, abstract=True):
    """Scores and labels of one shape give a scalar."""

    symbol: ClassVar[str] = ""
    compares: ClassVar[bool] = False
    rounding: ClassVar[Rounding] = Rounding.RELATIVE
    private: ClassVar[bool] = False

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        expect_count(self.symbol, args, 2)
        kind = expect_kind(self.symbol, args, (Kind.FIXED,))
        _expect_alike(self.symbol, *args)
        return kind, ()

    def rows(self, args: tuple[Value, ...], axes: Sequence[int], shape: Shape) -> int:
        return ROWS_MEET

    def written_out(self, *args: Value) -> Value:
        """The same number, of ops that are computed privately."""
        raise AssertionError(f"{self.name} does not say how it is computed")

    def of_each_row(self, *args: Value) -> Value:
        """What this is the mean of, along the first axis, of the same ops."""
        raise AssertionError(f"{self.name} does not say what a row brings")


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """The mean over the batch of sum(y) log(sum(exp(x))) - sum(y x), for logits x and labels y, [batch, classes], as of
    PyTorch: a row counts as much as its labels add up to, which is 1 for a distribution."""

    symbol: ClassVar[str] = "cross_entropy"

    def infer(self, *args: Value) -> tuple[Kind, Shape]:
        found = super().infer(*args)
        if args[0].rank != 2:
            raise OpError(f"{self.symbol} expects logits [batch, classes], found {show(args[0].shape)}", arg=0)
        return found

    def interval(self, *args: Value) -> Interval:
        logits, labels = args
        classes = logits.shape[1]
        total = _known_sum(labels, labels.shape)
        totals = labels.range.times(classes) if total is None else Interval(total, total)
        above_largest = Interval(0, classes - 1)  # log(n) <= n - 1
        return (logits.range + above_largest) * totals - (logits.range * labels.range).times(classes)

    def evaluate(self, *arrays: Array) -> Array:
        logits, labels = arrays
        largest = logits.max(axis=1, keepdims=True)
        whole = np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0]
        return np.asarray((labels.sum(axis=1) * whole - (labels * logits).sum(axis=1)).mean())

    def written_out(self, *args: Value) -> Value:
        return apply(Neg(), build.reduce(Mean, self._likelihoods(*args)))

    def of_each_row(self, *args: Value) -> Value:
        return apply(Neg(), self._likelihoods(*args))

    def _likelihoods(self, logits: Value, labels: Value) -> Value:
        return build.reduce(Sum, apply(Mul(), apply(LogSoftmax(1), logits), labels), axis=(1,))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """(softmax(x) sum(y) - y) / batch; a product less where it is known what labels add up to."""
        logits, labels = args
        each = apply(Mul(), gradient, constant(1 / logits.shape[0]))
        likely, total = apply(Softmax(1), logits), _known_sum(labels, labels.shape)
        if total is None:
            likely = apply(Mul(), likely, build.reduce(Sum, labels, axis=(1,), keepdims=True))
        elif total != 1:
            likely = apply(Mul(), likely, constant(total))
        return times(apply(Sub(), likely, labels), each), NoGradient("its labels are given")


def classes_of(labels: Value) -> list[Value]:
    """The classes, int[batch], of which labels [batch, classes] are made, also where they are smoothed."""
    if isinstance(labels.op, ToFixed | ToInt | Mul | Add | Sub):
        return [each for arg in labels.args for each in classes_of(arg)]
    if isinstance(labels.op, OneHot):
        return [labels.args[0]]
    if not isinstance(labels.op, Equal) or not isinstance(labels.args[0].op, Reshape) or labels.rank != 2:
        return []
    label, numbers = labels.args[0].args[0], labels.args[1]
    numbered = numbers.is_constant and np.array_equal(numbers.array, np.arange(labels.shape[1]))
    return [label] if numbered and label.kind is Kind.INT and label.shape == labels.shape[:1] else []


def _known_sum(labels: Value, shape: Shape) -> float | None:
    """What each row of labels [batch, classes] adds up to, broadcast to this shape, where that is the same number
    whatever is given."""
    if labels.is_constant:
        sums = np.broadcast_to(np.asarray(labels.array, np.float64), shape).sum(axis=1)
        return round(float(sums[0]), SUM_DIGITS) if np.ptp(sums) < 10.0**-SUM_DIGITS else None
    if labels.shape != shape:
        return None
    match labels.op:
        case ToFixed() | ToInt():
            return _known_sum(labels.args[0], shape)
        case Add() | Sub():
            first, second = (_known_sum(arg, shape) for arg in labels.args)
            if first is None or second is None:
                return None
            return round(first + second if isinstance(labels.op, Add) else first - second, SUM_DIGITS)
        case Mul():
            number, other = labels.args if labels.args[0].is_constant else labels.args[::-1]
            known = _known_sum(other, shape)
            scales = number.is_constant and number.array.size == 1 and known is not None
            return round(known * float(number.array.item()), SUM_DIGITS) if scales and known is not None else None
        case Softmax(axis=1):
            return 1.0
    found = classes_of(labels)
    return 1.0 if found and Interval(0, shape[1] - 1).contains(found[0].range) else None


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """The mean over all elements of log(1 + exp(x)) - y x, for logits x and labels y in [0, 1]."""

    symbol: ClassVar[str] = "binary_cross_entropy_with_logits"

    def interval(self, *args: Value) -> Interval:
        logits, labels = args
        return logits.range.clip(0, np.inf) + Interval(0, 1) - logits.range * labels.range

    def evaluate(self, *arrays: Array) -> Array:
        logits, labels = arrays
        softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
        return np.asarray((softplus - labels * logits).mean())

    def written_out(self, *args: Value) -> Value:
        return build.reduce(Mean, self._each(*args))

    def of_each_row(self, *args: Value) -> Value:
        each = self._each(*args)
        return build.reduce(Mean, each, axis=tuple(range(1, each.rank))) if each.rank > 1 else each

    def _each(self, logits: Value, labels: Value) -> Value:
        return apply(Sub(), apply(Softplus(), logits), apply(Mul(), logits, labels))

    def gradient(self, args: tuple[Value, ...], result: Value, gradient: Value) -> Gradients:
        """(sigmoid(x) - y) / elements, and -x / elements along the labels."""
        logits, labels = args
        each = apply(Mul(), gradient, constant(1 / logits.size))
        wrong = apply(Sub(), apply(Sigmoid(), logits), labels)
        return times(wrong, each), times(apply(Neg(), logits), each)


def _expect_alike(name: str, scores: Value, labels: Value) -> None:
    if scores.shape != labels.shape:
        raise OpError(
            f"{name} expects one label for each score, found {show(scores.shape)} and {show(labels.shape)}",
            "`reshape` or `squeeze` one of them",
            1,
        )


# -- what the language calls -------------------------------------------------------------------------------------------


def cross_entropy(logits: Value, label: Value) -> Value:
    """A label is a distribution [batch, classes], or a class, int[batch]."""
    logits = build.to_fixed(logits)
    if label.kind is Kind.INT and label.rank == 1 and logits.rank == 2 and label.shape[0] == logits.shape[0]:
        classes = constant(np.arange(logits.shape[1]))
        label = apply(Equal(), build.reshape(label, (-1, 1)), classes)
    elif label.shape != logits.shape:
        message = f"cross_entropy expects labels int[batch] or {show(logits.shape)}, found {typed(label)}"
        raise OpError(message, "a class is a whole number from 0 to classes - 1", 1)
    return apply(CrossEntropy(), logits, build.to_fixed(label))


def binary_cross_entropy_with_logits(logits: Value, label: Value) -> Value:
    return apply(BinaryCrossEntropy(), build.to_fixed(logits), build.to_fixed(label))


def mse(prediction: Value, label: Value) -> Value:
    return build.reduce(Mean, apply(Square(), _difference("mse", prediction, label)))


def l1(prediction: Value, label: Value) -> Value:
    return build.reduce(Mean, apply(Abs(), _difference("l1", prediction, label)))


def _difference(name: str, prediction: Value, label: Value) -> Value:
    _expect_alike(name, prediction, label)
    return apply(Sub(), build.to_fixed(prediction), build.to_fixed(label))


LOGITS, PREDICTION, LABEL = Parameter("logits"), Parameter("prediction"), Parameter("label")

LOSSES: dict[str, Function] = {
    function.name: function
    for function in (
        Function("cross_entropy", (LOGITS, LABEL), cross_entropy),
        Function("binary_cross_entropy_with_logits", (LOGITS, LABEL), binary_cross_entropy_with_logits),
        Function("mse", (PREDICTION, LABEL), mse),
        Function("l1", (PREDICTION, LABEL), l1),
    )
}
"""By their names in a `train` block; they are no functions of the rest of the language."""
