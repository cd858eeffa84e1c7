"""Functions of one operand: activations, and what else has a name of its own in the language."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from compiler.graph import Kind
from compiler.importers.known import HUGE, Known, scalar
from compiler.importers.nodes import Node, Result
from compiler.importers.operators.elementwise import beside
from compiler.importers.terms import Term, call
from compiler.ops.curves import SELU_ALPHA, SELU_SCALE

NEARLY = 1e-6  # equal in single precision


def plain(name: str) -> Callable[[Node], Result]:
    """A function of the language of the same meaning."""
    return lambda node: call(name, node.term())


def clip(node: Node) -> Result:
    x = node.term()
    lo, hi = node.number("min", 1), node.number("max", 2)
    lo = None if lo is None or lo <= -HUGE else lo
    hi = None if hi is None or hi >= HUGE else hi
    if x.kind is Kind.INT:
        lo, hi = (None if end is None else int(end) for end in (lo, hi))
    if lo is None and hi is None:
        return x
    if lo == 0 and hi is None:
        return call("relu", x)
    if lo is None:
        return call("minimum", x, _short(hi))
    if hi is None:
        return call("maximum", x, _short(lo))
    if lo >= hi:  # everything is the upper bound
        return call("minimum", call("maximum", x, _short(lo)), _short(hi))
    return call("clip", x, lo=_short(lo), hi=_short(hi))


def _short(number: float | int | None) -> float | int:
    """Single precision by its shortest decimals."""
    assert number is not None
    return number if isinstance(number, int) else float(str(np.float32(number)))


def elu(node: Node) -> Result:
    return call("elu", node.term(), alpha=_short(node.attribute("alpha", 1.0)))


def leaky_relu(node: Node) -> Result:
    return call("leaky_relu", node.term(), slope=_short(node.attribute("alpha", 0.01)))


def prelu(node: Node) -> Result:
    """One slope for all, or for each channel."""
    x = node.term()
    slope = node.value(1)
    one = scalar(slope) if isinstance(slope, Known) else None
    if one is not None and 0 <= one < 1:
        return call("leaky_relu", x, slope=_short(float(one)))
    return call("prelu", x, beside(slope, x, node.trials))


def selu(node: Node) -> Result:
    alpha, gamma = node.attribute("alpha", SELU_ALPHA), node.attribute("gamma", SELU_SCALE)
    if math.isclose(alpha, SELU_ALPHA, rel_tol=NEARLY) and math.isclose(gamma, SELU_SCALE, rel_tol=NEARLY):
        return call("selu", node.term())
    return call("*", call("elu", node.term(), alpha=_short(alpha)), _short(gamma))


def celu(node: Node) -> Result:
    alpha = float(node.attribute("alpha", 1.0))
    return call("celu", node.term(), alpha=None if alpha == 1 else _short(alpha))


def thresholded_relu(node: Node) -> Result:
    x = node.term()
    return call("where", call(">", x, _short(node.attribute("alpha", 1.0))), x, 0.0)


def gelu(node: Node) -> Result:
    x = node.term()
    return call("gelu", x) if node.attribute("approximate", b"none") == b"none" else gelu_tanh(x)


def gelu_tanh(x: Term) -> Term:
    """x (1 + tanh(u)) / 2 = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    inner = call("*", x, call("+", call("*", call("**", x, 2), 0.044715), 1.0))
    return call("*", x, call("sigmoid", call("*", inner, 2 * math.sqrt(2 / math.pi))))


def swish(node: Node) -> Result:
    x, alpha = node.term(), float(node.attribute("alpha", 1.0))
    return call("silu", x) if alpha == 1 else call("*", x, call("sigmoid", call("*", x, _short(alpha))))


def hard_sigmoid(node: Node) -> Result:
    """clip(alpha x + beta, 0, 1); PyTorch's, with 1/6 and 1/2, is a function of the language."""
    x, alpha, beta = node.term(), float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5))
    if abs(alpha - 1 / 6) < NEARLY and beta == 0.5:
        return call("hardsigmoid", x)
    return call("clip", call("+", call("*", x, _short(alpha)), _short(beta)), lo=0, hi=1)


def softsign(node: Node) -> Result:
    return call("/", node.term(), call("+", call("abs", node.term()), 1.0))


def rounded(name: str) -> Callable[[Node], Result]:
    """The language's give whole numbers, ONNX's real ones."""
    return lambda node: call("*", call(name, node.term()), 1.0)


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "Abs": plain("abs"),
    "Neg": plain("neg"),
    "Sign": plain("sign"),
    "Sqrt": plain("sqrt"),
    "Reciprocal": plain("reciprocal"),
    "Exp": plain("exp"),
    "Log": plain("log"),
    "Erf": plain("erf"),
    "Floor": rounded("floor"),
    "Ceil": rounded("ceil"),
    "Round": rounded("round"),
    "Relu": plain("relu"),
    "Sigmoid": plain("sigmoid"),
    "Tanh": plain("tanh"),
    "Softplus": plain("softplus"),
    "Softsign": softsign,
    "HardSwish": plain("hardswish"),
    "HardSigmoid": hard_sigmoid,
    "Clip": clip,
    "Elu": elu,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Selu": selu,
    "Celu": celu,
    "ThresholdedRelu": thresholded_relu,
    "Gelu": gelu,
    "Mish": plain("mish"),
    "Swish": swish,
}
