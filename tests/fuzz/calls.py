"""What a generated program may say next: for each function of the language one that draws a call of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tests.fuzz import meaning as m
from tests.fuzz.boxes import Box, point
from tests.fuzz.building import Builder, Value
from tests.fuzz.layers import (
    batchnorm,
    block,
    conv1d,
    conv2d,
    conv_transpose2d,
    dense,
    embedding,
    layernorm,
    loop,
    pool,
    pool1d,
    prelu_layer,
)
from tests.fuzz.orders import adaptive, cumsum, einsum, fraction, order, prelu, resize2d, several, whole

Call = Callable[[Builder], Value | None]


def _numbers(value: Value) -> bool:
    return value.kind != "bit"


def _partner(b: Builder, first: Value, fits: Callable[[Value], bool] = lambda value: True) -> Value | None:
    """A second operand that broadcasts with the first."""
    return b.operand(lambda value: fits(value) and _broadcasts(first, value))


def _broadcasts(*values: Value) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(*(value.shape for value in values)))) <= 2000
    except ValueError:
        return False


# -- element by element ------------------------------------------------------------------------------------------------


def unary(b: Builder, form: str, meaning: Callable[..., Box], **options: object) -> Value | None:
    x = b.operand()
    return None if x is None else b.make(form, meaning, x, **options)


def binary(b: Builder, sign: str, meaning: Callable[..., Box]) -> Value | None:
    x = b.operand()
    if x is None:
        return None
    y = b.literal() if b.chance(3) else _constant(b, x) if b.chance(6) else _partner(b, x)
    if y is None:
        return None
    if sign == "/" and y.constant:
        meaning = m.div_constant
        if not (np.abs(y.box.lo) > 1e-5).all():
            return None
    if b.chance(3):
        x, y = y, x
        if sign == "/" and y.constant:
            return None
        meaning = m.div if sign == "/" else meaning
    form = f"{sign}({{0}}, {{1}})" if sign.isalpha() else f"{{0}} {sign} {{1}}"
    return b.make(form, meaning, x, y)


def _constant(b: Builder, like: Value) -> Value | None:
    """A `const` table with the last axis of a value."""
    rows = list(like.shape[-1:] or (2,))
    numbers = [b.literal() for _ in range(min(rows[0], 3))]
    cycle = [numbers[i % len(numbers)] for i in range(rows[0])]
    name = b.name("c")
    b.lines.append(f"const {name} = [{', '.join(n.text.strip('()') for n in cycle)}]")
    kind = "fixed" if any(n.kind == "fixed" for n in cycle) else "int"
    return Value(name, point(kind, [float(n.box.lo) for n in cycle]), constant=True)


def power(b: Builder) -> Value | None:
    n = b.pick([2, 3, 0, 1, -1, 4, 5, -2, -3])
    return unary(b, "{0} ** {n}", m.power, n=n)


def root(b: Builder) -> Value | None:
    """What has a value for positive numbers only."""
    x = b.operand(lambda value: bool((value.box.lo > 0).all()))
    square_root, logarithm = m.monotone(np.sqrt), m.monotone(np.log)
    forms = [("sqrt({0})", square_root), ("log({0})", logarithm), ("rsqrt({0})", m.rsqrt), ("{0} ** 0.5", square_root),
             ("{0} ** -0.5", m.rsqrt)]  # fmt: skip
    return None if x is None else b.make(*b.pick(forms), x)


def elu(b: Builder) -> Value | None:
    alpha = b.pick([1.0, 0.5, 1.6733, 4.0])
    bent = m.monotone(lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))))
    scaled = m.monotone(lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha)))
    form, meaning = b.pick([(f"elu({{0}}, alpha={alpha})", bent), (f"celu({{0}}, alpha={alpha})", scaled)])
    return unary(b, form, meaning)


def selu(x: np.ndarray) -> np.ndarray:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return np.where(x > 0, scale * x, scale * alpha * np.expm1(np.minimum(x, 0.0)))


def gather(b: Builder) -> Value | None:
    x = b.operand(lambda value: value.shape != ())
    i = None if x is None else b.operand(lambda value: value.kind == "int" and len(value.shape) < 3)
    if x is None or i is None:
        return None
    axis = b.whole(0, len(x.shape) - 1)
    if int(np.prod(x.shape)) * int(np.prod(i.shape)) > 2000:
        return None
    if np.array_equal(i.box.lo, i.box.hi) and (i.box.lo.min() < 0 or i.box.hi.max() >= x.shape[axis]):
        return None  # it may be a constant: those count from the end where they are negative, and are refused beyond it
    return b.make("gather({0}, {1}, axis={axis})", m.gather, x, i, axis=axis)


def clip_norm(b: Builder) -> Value | None:
    """Of numbers in a range that leaves room for their squares."""
    x = b.operand(lambda value: value.kind == "fixed" and value.shape != ())
    if x is None:
        return None
    axis, bound = b.whole(0, len(x.shape) - 1), b.pick([0.5, 1.0, 3.0])

    def meaning(f: m.Format, box: Box) -> Box:
        return m.clip_norm(f, m.clip(f, box, -8, 8), bound, axis)

    return b.make(f"clip_norm(clip({{0}}, -8, 8), {bound}, axis={axis})", meaning, x)


def clip(b: Builder) -> Value | None:
    ends = sorted([b.literal(), b.literal()], key=lambda n: float(n.box.lo))
    lo, hi = (int(n.box.lo) if n.kind == "int" else float(n.box.lo) for n in ends)
    return unary(b, "clip({0}, {lo}, {hi})", m.clip, lo=lo, hi=hi)


def leaky_relu(b: Builder) -> Value | None:
    return unary(b, "leaky_relu({0}, slope={slope})", m.leaky_relu, slope=b.pick([0.01, 0.1, 0.5, 0.001, 1.0, 0.0]))


def where(b: Builder) -> Value | None:
    bit = b.operand(lambda value: value.kind == "bit")
    x = None if bit is None else _partner(b, bit)
    if bit is None or x is None:
        return None
    y = b.literal() if b.chance(3) else b.operand(lambda value: _broadcasts(bit, x, value))
    x, y = (y, x) if b.chance(3) else (x, y)
    return None if y is None or x is None else b.make("where({0}, {1}, {2})", m.where, bit, x, y)


def comparison(b: Builder) -> Value | None:
    sign = b.pick([">", "<", ">=", "<=", "==", "!="])
    return binary(b, sign, lambda f, x, y: m.compare(f, x, y, sign))


def logic(b: Builder) -> Value | None:
    x = b.operand(lambda value: value.kind == "bit")
    if x is None:
        return None
    y = _partner(b, x, lambda value: value.kind == "bit")
    if y is None or b.chance(3):
        return b.make("not {0}", m.inverted, x)
    return b.make(*b.pick([("{0} and {1}", m.both), ("{0} or {1}", m.either)]), x, y)


# -- products ----------------------------------------------------------------------------------------------------------


def matmul(b: Builder) -> Value | None:
    x = b.operand(lambda value: len(value.shape) >= 1)
    if x is None:
        return None
    inner = x.shape[-1]
    y = b.operand(lambda value: _rows(value) == inner and len(value.shape) <= 3 and len(x.shape) <= 3)
    if y is not None and not b.chance(4):
        fits = len(x.shape) < 3 or len(y.shape) < 3 or 1 in (x.shape[0], y.shape[0]) or x.shape[0] == y.shape[0]
        return b.make(b.pick(["{0} @ {1}", "matmul({0}, {1})"]), m.matmul, x, y) if fits else None
    if y is None and b.chance(2):
        return (
            b.make("{0} @ transpose({1})", lambda f, p, q: m.matmul(f, p, m.moved(np.transpose)(f, q)), x, x)
            if len(x.shape) == 2
            else None
        )
    table = _constant(b, x)
    return None if table is None else b.make("{0} @ {1}", m.matmul, x, table)


def _rows(value: Value) -> int:
    return 0 if not value.shape else value.shape[-2] if len(value.shape) > 1 else value.shape[0]


# -- reductions --------------------------------------------------------------------------------------------------------


def reduction(b: Builder) -> Value | None:
    x = b.operand()
    if x is None:
        return None
    known = [("sum", m.total), ("mean", m.mean), ("max", m.largest), ("min", m.smallest), ("var", m.variance)]
    name, meaning = b.pick(known if x.kind != "bit" else [*known, ("any", m.some), ("all", m.every)])
    rank = len(x.shape)
    keepdims = b.chance(4)
    options = ", keepdims=true" if keepdims else ""
    if not rank or b.chance(3):
        return b.make(f"{name}({{0}}{options})", partial(meaning, axis=None, keepdims=keepdims), x) if rank else None
    first = b.whole(0, rank - 1)
    axes = tuple(sorted({first, b.whole(0, rank - 1)})) if b.chance(3) else (first,)
    written = list(axes) if len(axes) > 1 else axes[0] - (rank if b.chance(3) else 0)
    return b.make(f"{name}({{0}}, axis={written}{options})", partial(meaning, axis=axes, keepdims=keepdims), x)


def argmax(b: Builder) -> Value | None:
    x = b.operand(lambda value: value.shape != ())
    if x is None:
        return None
    name, meaning = b.pick([("argmax", m.argmax), ("argmin", m.argmin)])
    if b.chance(4):
        return b.make(f"{name}({{0}})", partial(meaning, axis=None), x)
    axis = b.whole(0, len(x.shape) - 1)
    return b.make(f"{name}({{0}}, axis={{axis}})", meaning, x, axis=axis)


def one_hot(b: Builder) -> Value | None:
    x = b.operand(lambda value: value.kind == "int")
    n = b.whole(1, 5)
    return None if x is None or int(np.prod(x.shape)) * n > 2000 else b.make("one_hot({0}, {n})", m.one_hot, x, n=n)


def softmax(b: Builder) -> Value | None:
    x = b.operand(lambda value: value.shape != ())
    if x is None:
        return None
    axis = b.whole(0, len(x.shape) - 1)
    name, meaning = b.pick([("softmax", m.softmax), ("log_softmax", m.log_softmax)])
    return b.make(f"{name}({{0}}, axis={{axis}})", meaning, x, axis=axis)


# -- shapes ------------------------------------------------------------------------------------------------------------


def transpose(b: Builder) -> Value | None:
    x = b.operand(lambda value: len(value.shape) > 1)
    if x is None:
        return None
    if b.chance(2):
        return b.make("transpose({0})", m.moved(np.transpose), x)
    turn = b.whole(1, len(x.shape) - 1)
    axes = tuple(np.roll(range(len(x.shape)), turn).tolist())
    return b.make(f"transpose({{0}}, {list(axes)})", m.moved(lambda end: np.transpose(end, axes)), x)


def reshape(b: Builder) -> Value | None:
    x = b.operand()
    if x is None:
        return None
    size = int(np.prod(x.shape))
    rows = b.pick([n for n in range(1, size + 1) if size % n == 0][:6])
    shapes: list[list[int]] = [[-1], [rows, -1], [size // rows, rows], [1, -1, rows]]
    shape = b.pick(shapes)
    return b.make(f"reshape({{0}}, {shape})", m.moved(lambda end: end.reshape(shape)), x)


def axes(b: Builder) -> Value | None:
    """flatten, squeeze, unsqueeze, broadcast_to."""
    x = b.operand()
    if x is None:
        return None
    rank, ones = len(x.shape), [axis for axis, size in enumerate(x.shape) if size == 1]
    form = b.pick(["unsqueeze", "broadcast", *(["squeeze"] if ones else []), *(["flatten"] if rank else [])])
    if form == "flatten":
        return b.make("flatten({0})", m.moved(lambda end: end.reshape(end.shape[0], -1)), x)
    if form == "squeeze":
        axis = b.pick(ones)
        return b.make(f"squeeze({{0}}, {axis})", m.moved(lambda end: end.squeeze(axis)), x)
    if form == "unsqueeze":
        axis = b.whole(0, rank)
        return b.make(f"unsqueeze({{0}}, {axis})", m.moved(lambda end: np.expand_dims(end, axis)), x)
    shape = [b.pick(b.sizes), *(b.pick(b.sizes) if size == 1 else size for size in x.shape)]
    if int(np.prod(shape)) > 2000:
        return None
    return b.make(f"broadcast_to({{0}}, {shape})", m.moved(lambda end: np.broadcast_to(end, shape)), x)


def join(b: Builder) -> Value | None:
    x = b.operand()
    if x is None:
        return None
    y = b.operand(lambda value: value.shape == x.shape)
    rank = len(x.shape)
    if y is None:
        return None
    if rank and b.chance(2):
        axis = b.whole(0, rank - 1)
        return b.make(f"concat({{0}}, {{1}}, axis={axis})", lambda f, p, q: m.joined(f, (p, q), axis), x, y)
    axis = b.whole(0, rank)

    def stacked(f: m.Format, p: Box, q: Box) -> Box:
        return m.joined(f, [m.moved(lambda end: np.expand_dims(end, axis))(f, each) for each in (p, q)], axis)

    return b.make(f"stack({{0}}, {{1}}, axis={axis})", stacked, x, y)


def pad(b: Builder) -> Value | None:
    x = b.operand(lambda value: 0 < len(value.shape) <= 2)
    if x is None:
        return None
    widths = tuple((b.whole(0, 2), b.whole(0, 1)) for _ in x.shape)
    n = b.literal()
    value = int(n.box.lo) if n.kind == "int" else float(n.box.lo)
    if x.kind == "bit" and value not in (0, 1) and isinstance(value, int):
        return None
    return b.make("pad({0}, {widths}, value={value})", m.pad, x, widths=widths, value=value)


def index(b: Builder) -> Value | None:
    x = b.operand(lambda value: value.shape != ())
    if x is None:
        return None
    items, places = [], []
    for size in x.shape:
        form = b.whole(0, 4)
        at = b.whole(0, size - 1)
        item, place = [
            (":", slice(None)), (str(at), at), (f"{at}:", slice(at, None)), ("::-1", slice(None, None, -1)),
            (f"{at}::2", slice(at, None, 2)),
        ][form]  # fmt: skip
        items.append(item)
        places.append(place)
    return b.make(f"{{0}}[{', '.join(items)}]", m.moved(lambda end: np.asarray(end[tuple(places)])), x)


def shape(b: Builder) -> Value | None:
    x = b.operand(lambda value: value.shape != ())
    return None if x is None else b.make("{0}.shape", lambda f, box: point("int", box.shape), x)


CALLS: list[Call] = [
    partial(binary, sign="+", meaning=m.add),
    partial(binary, sign="*", meaning=m.mul),
    partial(binary, sign="-", meaning=m.sub),
    partial(unary, form="relu({0})", meaning=m.each_end(lambda x: np.maximum(x, 0.0))),
    comparison,
    matmul,
    reduction,
    where,
    partial(binary, sign="/", meaning=m.div),
    logic,
    partial(unary, form="-{0}", meaning=m.neg),
    partial(unary, form="{0} |> relu", meaning=m.each_end(lambda x: np.maximum(x, 0.0))),
    partial(unary, form="relu6({0})", meaning=m.each_end(lambda x: np.clip(x, 0.0, 6.0))),
    partial(unary, form="abs({0})", meaning=m.absolute),
    partial(unary, form="sign({0})", meaning=m.each_end(np.sign)),
    partial(unary, form="square({0})", meaning=m.square),
    partial(unary, form="sigmoid({0})", meaning=m.monotone(m.logistic)),
    partial(unary, form="tanh({0})", meaning=m.monotone(np.tanh)),
    partial(unary, form="exp({0})", meaning=m.monotone(np.exp)),
    partial(unary, form="erf({0})", meaning=m.monotone(m.erf)),
    partial(unary, form="softplus({0})", meaning=m.monotone(lambda x: np.logaddexp(x, 0.0))),
    partial(unary, form="hardsigmoid({0})", meaning=m.monotone(lambda x: np.clip(x + 3, 0.0, 6.0) / 6)),
    partial(unary, form="gelu({0})", meaning=m.falls_then_rises(lambda x: x * (1 + m.erf(x / 2**0.5)) / 2, -0.75179)),
    partial(unary, form="silu({0})", meaning=m.falls_then_rises(lambda x: x * m.logistic(x), -1.27846)),
    partial(unary, form="hardswish({0})", meaning=m.falls_then_rises(lambda x: x * np.clip(x + 3, 0.0, 6.0) / 6, -1.5)),
    partial(unary, form="mish({0})", meaning=m.falls_then_rises(lambda x: x * np.tanh(np.logaddexp(x, 0)), -1.19243)),
    partial(unary, form="selu({0})", meaning=m.monotone(selu)),
    partial(unary, form="reciprocal({0})", meaning=m.reciprocal),
    partial(unary, form="dropout({0}, 0.5)", meaning=m.moved(lambda end: end)),
    partial(binary, sign="minimum", meaning=m.each_end(np.minimum)),
    partial(binary, sign="maximum", meaning=m.each_end(np.maximum)),
    softmax, argmax, one_hot, gather, clip, clip_norm, leaky_relu, power, root, elu, transpose, reshape, axes, join,
    pad, index, shape, pool, pool1d, dense, conv1d, conv2d, conv_transpose2d, batchnorm, layernorm, block, loop,
    whole, cumsum, order, fraction, several, prelu, einsum, resize2d, adaptive, prelu_layer, embedding,
]  # fmt: skip
