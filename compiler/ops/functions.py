"""The functions and operators of the language by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from compiler.graph import Value, apply
from compiler.ops import build, powers, resizing, windows
from compiler.ops.activations import Exp, LeakyRelu, Log, Reciprocal, Relu, Relu6, Rsqrt, Sigmoid, Sqrt, Tanh
from compiler.ops.comparisons import And, Equal, Greater, GreaterEqual, Less, LessEqual, Not, NotEqual, Or
from compiler.ops.curves import Erf, Gelu, HardSwish, Mish, Selu, Silu, Softplus
from compiler.ops.einsum import einsum
from compiler.ops.elementwise import (
    Abs,
    Sign,
    Square,
)
from compiler.ops.reductions import Max, Mean, Min, Reduction, Sum, Var
from compiler.ops.selection import OneHot
from compiler.ops.signatures import Parameter, Takes, bind, signature


@dataclass(frozen=True)
class Function:
    """A built-in function. `call` binds and converts."""

    name: str
    parameters: tuple[Parameter, ...]
    build: Callable[..., Value]

    @property
    def signature(self) -> str:
        return signature(self.name, self.parameters)

    def call(self, positional: Sequence[Any], named: Mapping[str, Any]) -> Value:
        """The value of `name(*positional, **named)`; see `signatures.bind` for what arguments may be."""
        values, rest = bind(self.name, self.parameters, positional, named)
        return self.build(*values, **rest)


X = Parameter("x")
AXIS = Parameter("axis", Takes.WHOLE, -1)
SEVERAL = (Parameter("a"), Parameter("b"), Parameter("more", Takes.VALUES, shown="…"))
REDUCED = (X, Parameter("axis", Takes.WHOLES, None, "…"), Parameter("keepdims", Takes.FLAG, False))
ORDER = (X, AXIS, Parameter("descending", Takes.FLAG, False))
STRETCH = (
    X,
    Parameter("k", Takes.WHOLE),
    Parameter("stride", Takes.WHOLE, None, "k"),
    Parameter("padding", Takes.WHOLE, 0),
)
WINDOW = (
    X,
    Parameter("k", Takes.PAIR),
    Parameter("stride", Takes.PAIR, None, "k"),
    Parameter("padding", Takes.PAIR, (0, 0), "0"),
)


COUNTED = Parameter("count_include_pad", Takes.FLAG, True)
PADDED = (
    X,
    Parameter("widths", Takes.PAIRS),
    Parameter("value", Takes.NUMBER, 0),
    Parameter("mode", Takes.BORDER, "constant", '"constant"'),
)
RESIZED = (
    X,
    Parameter("size", Takes.PAIR),
    Parameter("mode", Takes.RESIZING, "nearest", '"nearest"'),
    Parameter("align_corners", Takes.FLAG, False),
)


def _elementwise(name: str, op: Any) -> Function:
    return Function(name, (X,), lambda x: build.numeric(op, x))


def _smooth(name: str, op: Any) -> Function:
    return Function(name, (X,), lambda x: build.smooth(op, x))


def _reduction(kind: type[Reduction], parameters: tuple[Parameter, ...] = REDUCED) -> Function:
    return Function(kind.symbol, parameters, partial(build.reduce, kind))


def _extreme(kind: type[Reduction], of_several: str) -> Function:
    """max or min, which others take of several values."""
    axis = replace(REDUCED[1], advice=f"`{of_several}(a, b)` is that of several values, element by element")
    return _reduction(kind, (X, axis, REDUCED[2]))


_SUPPORTED = (
    # activations
    _elementwise("relu", Relu()),
    _elementwise("relu6", Relu6()),
    Function(
        "leaky_relu",
        (X, Parameter("slope", Takes.NUMBER, 0.01)),
        lambda x, slope: build.smooth(LeakyRelu(float(slope)), x),
    ),
    Function("prelu", (X, Parameter("slope")), build.prelu),
    Function("elu", (X, Parameter("alpha", Takes.NUMBER, 1)), build.elu),
    Function("celu", (X, Parameter("alpha", Takes.NUMBER, 1)), build.celu),
    _smooth("selu", Selu()),
    _smooth("gelu", Gelu()),
    _smooth("silu", Silu()),
    _smooth("mish", Mish()),
    _smooth("softplus", Softplus()),
    _smooth("sigmoid", Sigmoid()),
    _smooth("tanh", Tanh()),
    Function("softmax", (X, AXIS, Parameter("causal", Takes.FLAG, False)), build.softmax),
    Function("log_softmax", (X, AXIS), build.log_softmax),
    _smooth("hardswish", HardSwish()),
    Function("hardsigmoid", (X,), build.hardsigmoid),
    # arithmetic
    _elementwise("abs", Abs()),
    _elementwise("sign", Sign()),
    _elementwise("square", Square()),
    _smooth("sqrt", Sqrt()),
    _smooth("rsqrt", Rsqrt()),
    _smooth("reciprocal", Reciprocal()),
    _smooth("exp", Exp()),
    _smooth("log", Log()),
    Function("pow", (X, Parameter("exponent")), powers.power),
    _smooth("erf", Erf()),
    Function("minimum", SEVERAL, build.minimum),
    Function("maximum", SEVERAL, build.maximum),
    Function("clip", (X, Parameter("lo", Takes.NUMBER), Parameter("hi", Takes.NUMBER)), build.clip),
    Function("where", (Parameter("bit"), Parameter("a"), Parameter("b")), build.where),
    Function("floor", (X,), build.floor),
    Function("ceil", (X,), build.ceil),
    Function("round", (X,), build.round_),
    # linear
    Function("matmul", (Parameter("a"), Parameter("b")), build.matmul),
    Function("einsum", (Parameter("values", Takes.VALUES), Parameter("equation", Takes.EQUATION)), einsum),
    Function("transpose", (X, Parameter("axes", Takes.LIST, None, "…")), build.transpose),
    # reductions
    _reduction(Sum),
    _reduction(Mean),
    _reduction(Var),
    _extreme(Max, "maximum"),
    _extreme(Min, "minimum"),
    Function("argmax", (X, Parameter("axis", Takes.WHOLE, None, "…")), build.argmax),
    Function("argmin", (X, Parameter("axis", Takes.WHOLE, None, "…")), build.argmin),
    Function("cumsum", (X, AXIS), build.cumsum),
    Function("any", REDUCED, build.any_),
    Function("all", REDUCED, build.all_),
    # shape
    Function("reshape", (X, Parameter("shape", Takes.LIST)), build.reshape),
    Function("flatten", (X,), build.flatten),
    Function("concat", (Parameter("values", Takes.VALUES), Parameter("axis", Takes.WHOLE, 0)), build.concat),
    Function("stack", (Parameter("values", Takes.VALUES), Parameter("axis", Takes.WHOLE, 0)), build.stack),
    Function("pad", PADDED, resizing.pad),
    Function("resize2d", RESIZED, resizing.resize2d),
    Function("squeeze", (X, Parameter("axis", Takes.WHOLES)), build.squeeze),
    Function("unsqueeze", (X, Parameter("axis", Takes.WHOLE)), build.unsqueeze),
    Function("broadcast_to", (X, Parameter("shape", Takes.LIST)), build.broadcast_to),
    # pooling
    Function("maxpool1d", STRETCH, windows.maxpool1d),
    Function("avgpool1d", (*STRETCH, COUNTED), windows.avgpool1d),
    Function("maxpool2d", WINDOW, windows.maxpool2d),
    Function("avgpool2d", (*WINDOW, COUNTED), windows.avgpool2d),
    Function("adaptive_avgpool1d", (X, Parameter("size", Takes.WHOLE)), windows.adaptive_avgpool1d),
    Function("adaptive_avgpool2d", (X, Parameter("size", Takes.PAIR)), windows.adaptive_avgpool2d),
    Function("global_avgpool2d", (X,), windows.global_avgpool2d),
    # selection
    Function("one_hot", (Parameter("i"), Parameter("n", Takes.WHOLE)), lambda i, n: apply(OneHot(n), i)),
    Function("gather", (X, Parameter("i"), Parameter("axis", Takes.WHOLE, 0)), build.gather),
    Function("sort", ORDER, build.sort),
    Function("argsort", ORDER, build.argsort),
    Function("topk", (X, Parameter("k", Takes.WHOLE)), build.topk),
    Function("argtopk", (X, Parameter("k", Takes.WHOLE)), build.argtopk),
    # privacy
    Function(
        "clip_norm",
        (X, Parameter("bound", Takes.NUMBER), Parameter("axis", Takes.WHOLES, (-1,), "-1")),
        build.clip_norm,
    ),
    # random
    Function("dropout", (X, Parameter("p", Takes.NUMBER)), build.dropout),
)

FUNCTIONS: dict[str, Function] = {function.name: function for function in _SUPPORTED}

# Binary and unary operators by their spelling; `neg` is the unary minus. Each takes values.
OPERATORS: dict[str, Callable[..., Value]] = {
    "+": build.add,
    "-": build.sub,
    "*": build.mul,
    "/": build.div,
    "@": build.matmul,
    "**": powers.power,
    "neg": build.neg,
    "<": partial(build.numeric, Less()),
    "<=": partial(build.numeric, LessEqual()),
    ">": partial(build.numeric, Greater()),
    ">=": partial(build.numeric, GreaterEqual()),
    "==": partial(build.numeric, Equal()),
    "!=": partial(build.numeric, NotEqual()),
    "and": partial(apply, And()),
    "or": partial(apply, Or()),
    "not": partial(apply, Not()),
}
