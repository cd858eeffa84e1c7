"""Functions whose gradients are tested: every op, with the shapes, strides and broadcasts that its gradient undoes.

A case is a function of fixed tensors. `loss_of` makes a scalar of it, with a weight for each element of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from compiler import ops
from compiler.graph import Array, Constant, Leaf, TensorOp, Value, apply, constant
from compiler.ops import FUNCTIONS, LOSSES, OPERATORS
from compiler.ops.indexing import Index
from compiler.reading.reference import evaluate_values

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """range: between which numbers the arguments lie."""

    name: str
    function: Callable[..., Value]
    shapes: tuple[Shape, ...]
    range: tuple[float, float] = (-2.0, 2.0)


def _op(op: TensorOp) -> Callable[..., Value]:
    return lambda *args: apply(op, *args)


def _call(name: str, **named: object) -> Callable[..., Value]:
    return lambda *args: FUNCTIONS[name].call(args, named)


def _matmuls() -> list[Case]:
    pairs: list[tuple[Shape, Shape]] = [
        ((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 2)),
        ((2, 3), (5, 3, 2)), ((4, 1, 2, 3), (5, 3, 2)), ((3,), (5, 3, 2)), ((5, 2, 3), (3,)), ((1, 1), (1, 1)),
    ]  # fmt: skip
    return [Case(f"{a} @ {b}", _op(ops.MatMul()), (a, b)) for a, b in pairs]


def _convolutions() -> list[Case]:
    paddings = ((0, 0, 0, 0), (1, 2, 0, 1), (3, 3, 3, 0))
    choices = product((1, 2), ((1, 1), (2, 3)), paddings, ((1, 1), (2, 1)))
    wide = [
        Case(f"conv2d {groups} {stride} {padding} {dilation}", _op(ops.Conv2d(stride, padding, dilation, groups)),
             ((2, 2 * groups, 5, 6), (2 * groups, 2, 2, 3)))
        for groups, stride, padding, dilation in choices
    ]  # fmt: skip
    one = Case("conv2d of one pixel", _op(ops.Conv2d((2, 2))), ((1, 1, 4, 3), (1, 1, 1, 1)))
    return [*wide, one]


def _pools() -> list[Case]:
    windows = [((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 1)), ((3, 3), (2, 2), (1, 0)), ((1, 1), (2, 2), (0, 0))]
    kinds = (ops.MaxPool2d, ops.AvgPool2d)
    inside = Case("avgpool2d of what is inside", _op(ops.AvgPool2d((3, 2), (1, 2), (1, 1), False)), ((2, 2, 5, 6),))
    cases = [Case(f"{kind.symbol} {each}", _op(kind(*each)), ((2, 2, 5, 6),)) for kind in kinds for each in windows]
    return [*cases, inside]


def _elementwise() -> list[Case]:
    smooth = ("relu", "relu6", "leaky_relu", "sigmoid", "tanh", "abs", "square", "exp")
    smooth += ("erf", "softplus", "gelu", "silu", "mish", "selu", "hardswish", "elu", "log_softmax")
    positive = ("reciprocal", "sqrt", "rsqrt", "log")
    found = [Case(name, _call(name), ((3, 4),)) for name in smooth]
    found += [Case(name, _call(name), ((3, 4),), (0.5, 2.0)) for name in positive]
    found += [Case(f"clip to {ends}", _call("clip", lo=ends[0], hi=ends[1]), ((3, 4),))
              for ends in ((-0.5, 1.0), (-9.0, 1.0), (-0.5, 9.0), (-9.0, 9.0))]  # fmt: skip
    found += [Case(f"celu with {alpha}", _call("celu", alpha=alpha), ((3, 4),)) for alpha in (0.4, 3)]
    found += [Case(f"power {p}", _call("pow", exponent=p), ((3, 4),), (0.5, 2.0)) for p in (2.5, -1.3, -3, 0.1, 3)]
    below = partial(_power_of_sum, -3, -3.0)
    found.append(Case("power -3 of both signs", below, ((3, 4),), (0.5, 2.0)))
    found.append(Case("maximum of several", _call("maximum"), ((3, 4), (4,), (3, 1), (1,))))
    broadcasts: list[tuple[Shape, Shape]] = [((3, 4), (4,)), ((3, 1), (4,)), ((), (2, 1)), ((1,), (1, 1))]
    for a, b in broadcasts:
        found += [Case(f"{a} {name} {b}", OPERATORS[name], (a, b), (0.5, 2.0)) for name in "+-*/"]
        found += [Case(f"prelu of {a} and {b}", _call("prelu"), (a, b))] if np.broadcast_shapes(a, b) == a else []
        found += [Case(f"{name} of {a} and {b}", _call(name), (a, b)) for name in ("minimum", "maximum")]
        found.append(Case(f"{a} ** {b}", OPERATORS["**"], (a, b), (0.5, 2.0)))
    return found


def _power_of_sum(exponent: int, shift: float, x: Value) -> Value:
    return OPERATORS["**"](OPERATORS["+"](x, constant(shift)), constant(exponent))


def _chosen(a: Value, b: Value) -> Value:
    bit = constant(np.array([[True], [False], [True]]))
    secret = apply(ops.Or(), bit, apply(ops.Greater(), a, b))
    return ops.FUNCTIONS["where"].call((secret, a, b), {})


def _blended(z: Value, a: Value, b: Value) -> Value:
    return apply(ops.Blend(), z, a, b)


def _shapes() -> list[Case]:
    def indexed(*items: Index) -> Callable[..., Value]:
        return lambda x: ops.index(x, items)

    return [
        Case("sort", _call("sort", axis=0, descending=True), ((4, 3),)),
        Case("topk", _call("topk", k=2), ((2, 3, 4),)),
        Case("cumsum", _call("cumsum", axis=1), ((2, 3, 4),)),
        Case("reshape", _call("reshape", shape=[3, 4]), ((2, 6),)),
        Case("transpose", _call("transpose", axes=[1, 2, 0]), ((3, 3, 3),)),
        Case("concat", _call("concat", axis=1), ((2, 3), (2, 1))),
        Case("pad", _call("pad", widths=[[1, 0], [0, 2]], value=3), ((2, 3),)),
        Case("dropout outside training", _op(ops.Dropout(0.5, 0)), ((2, 3),)),
        Case("a layer's end", _op(ops.Mark("norm", True)), ((2, 3),)),
        Case("a limited norm", _op(ops.Bounded((1,), 9.0)), ((2, 3),)),
        Case("broadcast_to", _call("broadcast_to", shape=[2, 3, 4]), ((3, 1),)),
        Case("x[::-2, 1, None, 1::2]", indexed(slice(None, None, -2), 1, None, slice(1, None, 2)), ((5, 3, 4),)),
        Case("x[3:0:-2]", indexed(slice(3, 0, -2)), ((5, 3),)),
        Case("gather", lambda x: apply(ops.Gather(1), x, constant(np.array([[2, 0], [2, 5]]))), ((2, 3, 2),)),
        Case("spread", _op(ops.Spread((5, 3), (3, 0), (-2, 1))), ((2, 3),)),
    ]


def _reductions() -> list[Case]:
    named = [(name, axis) for name in ("sum", "mean", "max", "min") for axis in ([0], [0, 2], [0, 1, 2])]
    found = [
        Case(f"{name} over {axis}", _call(name, axis=axis, keepdims=len(axis) == 2), ((2, 3, 4),))
        for name, axis in named
    ]
    found += [Case(f"var over {axis}", _call("var", axis=axis, keepdims=len(axis) == 2), ((2, 3, 4),))
              for axis in ([0], [0, 2], [0, 1, 2])]  # fmt: skip
    found += [Case(f"clip_norm to {bound}", _call("clip_norm", bound=bound), ((3, 4),)) for bound in (0.5, 2.0, 9.0)]
    found.append(Case("layernorm", _op(ops.LayerNorm(1e-5)), ((3, 4),)))
    found.append(Case("layernorm of short rows", _op(ops.Standardised(1e-5, 8.0)), ((3, 4),)))
    return [*found, Case("softmax", _call("softmax", axis=0), ((3, 4),)), Case("max of one", _call("max"), ((1,),))]


def _losses() -> list[Case]:
    labels = np.random.default_rng(5).dirichlet(np.ones(4), 3)
    pairs = [Case(name, partial(_loss, name), ((3, 4), (3, 4))) for name in ("mse", "l1")]
    return [
        *pairs,
        Case("binary_cross_entropy", partial(_loss, "binary_cross_entropy_with_logits"), ((3, 4), (3, 4))),
        Case("cross_entropy", lambda x: _loss("cross_entropy", x, constant(labels)), ((3, 4),)),
        Case(
            "cross_entropy of any labels",
            lambda x: _loss("cross_entropy", x, constant(labels * [[3], [0.5], [0]])),
            ((3, 4),),
        ),
        Case("cross_entropy of classes", lambda x: _loss("cross_entropy", x, constant(np.array([0, 3, 1]))), ((3, 4),)),
        Case("cross_entropy of one", lambda x: _loss("cross_entropy", x, constant(np.array([1]))), ((1, 2),)),
    ]


def _loss(name: str, *args: Value) -> Value:
    return LOSSES[name].call(args, {})


def _twice(x: Value, w: Value) -> Value:
    """Each is used several times, in the same product too."""
    h = _call("tanh")(OPERATORS["@"](x, w))
    return OPERATORS["+"](OPERATORS["*"](h, h), OPERATORS["@"](h, w))


CASES = (
    *_matmuls(), *_convolutions(), *_pools(), *_elementwise(), *_shapes(), *_reductions(), *_losses(),
    Case("blend", _blended, ((3, 4), (4,), (3, 1)), (0.1, 0.9)),
    Case("causal softmax", _call("softmax", causal=True), ((2, 3, 4),)),
    Case("where", _chosen, ((3, 4), (4,))),
    Case("minus", OPERATORS["neg"], ((3,),)),
    Case("shifted", _op(ops.Shifted(3)), ((3, 4),)),
    Case("stored", _op(ops.Stored(20, 2)), ((3, 4),)),
    Case("squared", _op(ops.Squared(20)), ((3, 4),)),
    Case("second uses", _twice, ((3, 3), (3, 3))),
)  # fmt: skip


def loss_of(result: Value, seed: int = 2) -> Value:
    """The sum of all elements, each with a weight of its own."""
    weights = np.random.default_rng(seed).normal(size=result.shape)
    return FUNCTIONS["sum"].call((apply(ops.Mul(), result, constant(weights)),), {})


def values(roots: Sequence[Value], arrays: Mapping[Value, Array]) -> list[Array]:
    """The roots in float64."""
    by_leaf = {leaf.op: array for leaf, array in arrays.items()}

    def given(op: Leaf) -> Array:
        assert not isinstance(op, Constant)
        return by_leaf[op]

    return evaluate_values(roots, given)
