"""Images, layers with their parameters, blocks and loops, for generated programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tests.fuzz import meaning as m
from tests.fuzz.boxes import Box, Outside, admitted, point, provided, stored
from tests.fuzz.building import Builder, Value
from tests.fuzz.orders import prelu_of


def _image(value: Value) -> bool:
    return len(value.shape) == 4


def pool(b: Builder) -> Value | None:
    x = b.operand(_image)
    if x is None:
        return None
    if b.chance(4):
        return b.make("global_avgpool2d({0})", partial(m.mean, axis=(2, 3), keepdims=True), x)
    k, stride = (b.whole(1, 3), b.whole(1, 3)), (b.whole(1, 3), b.whole(1, 2))
    padding = tuple(b.whole(0, size // 2) for size in k)
    if any(size + 2 * p < side for size, p, side in zip(x.shape[2:], padding, k, strict=True)):
        return None
    name, meaning = b.pick([("maxpool2d", m.maxpool), ("avgpool2d", m.avgpool)])
    form = f"{name}({{0}}, {{k}}, stride={{stride}}, padding={{padding}})"
    return b.make(form, meaning, x, k=k, stride=stride, padding=padding)


def pool1d(b: Builder) -> Value | None:
    """As an image of height 1."""
    x = b.operand(lambda value: len(value.shape) == 3)
    if x is None:
        return None
    k, stride = b.whole(1, 3), b.whole(1, 3)
    padding = b.whole(0, k // 2)
    if x.shape[2] + 2 * padding < k:
        return None
    name, pooled = b.pick([("maxpool1d", m.maxpool), ("avgpool1d", m.avgpool)])

    def meaning(f: m.Format, box: Box) -> Box:
        image = m.moved(lambda end: end[:, :, None])(f, box)
        return m.moved(lambda end: end[:, :, 0])(f, pooled(f, image, (1, k), (1, stride), (0, padding)))

    return b.make(f"{name}({{0}}, {k}, stride={stride}, padding={padding})", meaning, x)


def _parameter(b: Builder, key: str, shape: tuple[int, ...], allowed: tuple[float, float]) -> Value:
    values = b.data("fixed", shape, allowed)
    b.params[key] = values
    return Value(key, provided(b.f, "fixed", values))


def _layer(b: Builder, kind: str, x: Value, allowed: tuple[float, float] | None, meaning: Callable[..., Box], key: str,
           *params: Value) -> Value | None:  # fmt: skip
    """`x |> key` with its layer and the owner of its weights; its parameters are forgotten where it has no meaning."""
    owner = b.owner()
    before = len(b.lines)
    contract = f" in [{allowed[0]}, {allowed[1]}]" if allowed else ""
    b.lines += [f"layer {key} = {kind}", f"weights {key} from {owner}{contract}"]
    owned_params = [Value(p.text, p.box, frozenset({owner})) for p in params]
    made = b.make(f"{{0}} |> {key}", meaning, x, *owned_params)
    if made is None:
        del b.lines[before:]
        for name in [name for name in b.params if name.startswith(f"{key}.")]:
            del b.params[name]
    return made


def dense(b: Builder) -> Value | None:
    x = b.operand(lambda value: len(value.shape) in (2, 3))
    if x is None:
        return None
    key, units, allowed = b.name("l"), b.whole(1, 4), b.pick([(-1, 1), (-0.5, 0.5), (0, 3), None])
    numbers = allowed or (-2.0, 2.0)
    weight = _parameter(b, f"{key}.weight", (units, x.shape[-1]), numbers)
    bias = _parameter(b, f"{key}.bias", (units,), numbers)

    def meaning(f: m.Format, box: Box, w: Box, c: Box) -> Box:
        return m.add(f, m.matmul(f, box, m.moved(np.transpose)(f, w)), c)

    return _layer(b, f"dense({units})", x, allowed, meaning, key, weight, bias)


def conv2d(b: Builder) -> Value | None:
    x = b.operand(_image)
    if x is None:
        return None
    channels = x.shape[1]
    groups = b.pick([g for g in (1, 2, channels) if channels % g == 0])
    k, stride = (b.whole(1, 3), b.whole(1, 3)), (b.whole(1, 2), b.whole(1, 2))
    padding, dilation = (b.whole(0, 1), b.whole(0, 1)), (b.whole(1, 2), b.whole(1, 2))
    reach = [d * (side - 1) + 1 for d, side in zip(dilation, k, strict=True)]
    if any(size + 2 * p < r for size, p, r in zip(x.shape[2:], padding, reach, strict=True)):
        return None
    key, out, allowed = b.name("l"), groups * b.whole(1, 2), b.pick([(-1, 1), (-0.5, 0.5), (0, 3), None])
    weight = _parameter(b, f"{key}.weight", (out, channels // groups, *k), allowed or (-2.0, 2.0))

    def meaning(f: m.Format, box: Box, w: Box) -> Box:
        return m.conv2d(f, box, w, stride, padding, dilation, groups)

    options = f"stride={list(stride)}, padding={list(padding)}, dilation={list(dilation)}, groups={groups}, bias=false"
    return _layer(b, f"conv2d({out}, {list(k)}, {options})", x, allowed, meaning, key, weight)


def conv1d(b: Builder) -> Value | None:
    """As an image of height 1."""
    x = b.operand(lambda value: len(value.shape) == 3)
    if x is None:
        return None
    k, stride, padding, dilation = b.whole(1, 3), b.whole(1, 2), b.whole(0, 1), b.whole(1, 2)
    if x.shape[2] + 2 * padding < dilation * (k - 1) + 1:
        return None
    key, out, allowed = b.name("l"), b.whole(1, 3), b.pick([(-1, 1), (-0.5, 0.5), (0, 3), None])
    weight = _parameter(b, f"{key}.weight", (out, x.shape[1], k), allowed or (-2.0, 2.0))

    def meaning(f: m.Format, box: Box, w: Box) -> Box:
        image, kernel = (m.moved(lambda end: end[:, :, None])(f, each) for each in (box, w))
        made = m.conv2d(f, image, kernel, (1, stride), (0, padding), (1, dilation), 1)
        return m.moved(lambda end: end[:, :, 0])(f, made)

    options = f"stride={stride}, padding={padding}, dilation={dilation}, bias=false"
    return _layer(b, f"conv1d({out}, {k}, {options})", x, allowed, meaning, key, weight)


def conv_transpose2d(b: Builder) -> Value | None:
    x = b.operand(_image)
    if x is None:
        return None
    k, stride = (b.whole(1, 3), b.whole(1, 2)), (b.whole(1, 2), b.whole(1, 3))
    key, out, allowed = b.name("l"), b.whole(1, 2), b.pick([(-1, 1), (-0.5, 0.5), (0, 3), None])
    weight = _parameter(b, f"{key}.weight", (x.shape[1], out, *k), allowed or (-2.0, 2.0))

    def meaning(f: m.Format, box: Box, w: Box) -> Box:
        return m.conv_transpose2d(f, box, w, stride)

    kind = f"conv_transpose2d({out}, {list(k)}, stride={list(stride)}, bias=false)"
    return _layer(b, kind, x, allowed, meaning, key, weight)


def batchnorm(b: Builder) -> Value | None:
    """Scale and shift are their owner's, exact but for one rounding; the range of the weights is theirs."""
    x = b.operand(lambda value: 2 <= len(value.shape) <= 4)
    if x is None:
        return None
    key, channels = b.name("l"), (x.shape[1],)
    ranges = {"weight": (-1.0, 1.0), "bias": (-0.5, 0.5), "running_mean": (-0.5, 0.5), "running_var": (1.0, 4.0)}
    params = [_parameter(b, f"{key}.{word}", channels, allowed) for word, allowed in ranges.items()]
    weight, bias, mean, var = (b.params[param.text] for param in params)
    scale = weight / np.sqrt(var + 1e-5)
    factors = [stored(b.f, point("fixed", each)) for each in (scale, bias - mean * scale)]

    def meaning(f: m.Format, box: Box, *params: Box) -> Box:
        along = (1, -1, *(1,) * (len(box.shape) - 2))
        by, shift = (m.moved(lambda end: end.reshape(along))(f, each) for each in factors)
        return m.add(f, m.mul(f, box, by), shift)

    return _layer(b, "batchnorm()", x, (-1, 1), meaning, key, *params)


def layernorm(b: Builder) -> Value | None:
    """Of numbers in a range that leaves room for their squares; its error is then the weight's, too."""
    x = b.operand(lambda value: value.kind == "fixed" and value.shape != ())
    if x is None:
        return None
    key, shape = b.name("l"), x.shape[-1:]
    params = [_parameter(b, f"{key}.{word}", shape, (-1.0, 1.0)) for word in ("weight", "bias")]

    def meaning(f: m.Format, box: Box, weight: Box, bias: Box) -> Box:
        normed = m.layernorm(f, m.clip(f, box, -4, 4), 1e-3)
        return m.add(f, m.mul(f, normed, weight), bias)

    before = len(b.lines)
    name = b.name("v")
    b.lines.append(f"{name} = clip({x.text}, -4, 4)")
    clipped = Value(name, x.box, x.owners)
    made = _layer(b, "layernorm(eps=1e-3)", clipped, (-1, 1), meaning, key, *params)
    if made is None:
        del b.lines[before:]
    else:
        b.used.add(x)
    return made


def prelu_layer(b: Builder) -> Value | None:
    """A slope for all, or one for each channel."""
    x = b.operand(lambda value: len(value.shape) >= 2)
    if x is None:
        return None
    key, count, allowed = b.name("l"), b.pick([1, x.shape[1]]), b.pick([(-1, 1), (0, 0.5), None])
    slope = _parameter(b, f"{key}.weight", (count,), allowed or (-2.0, 2.0))

    def meaning(f: m.Format, box: Box, w: Box) -> Box:
        return prelu_of(f, box, m.moved(lambda end: end.reshape(-1, *(1,) * (len(box.shape) - 2)))(f, w))

    return _layer(b, f"prelu({count})", x, allowed, meaning, key, slope)


def embedding(b: Builder) -> Value | None:
    """Rows of a secret table; for an index outside it, zeros."""
    i = b.operand(lambda value: value.kind == "int" and len(value.shape) < 3)
    if i is None or int(np.prod(i.shape)) > 100:
        return None
    key, count, size, allowed = b.name("l"), b.whole(1, 6), b.whole(1, 3), b.pick([(-1, 1), (0, 3), None])
    if np.array_equal(i.box.lo, i.box.hi) and (i.box.lo.min() < 0 or i.box.hi.max() >= count):
        return None  # it may be a constant, which is refused
    table = _parameter(b, f"{key}.weight", (count, size), allowed or (-2.0, 2.0))

    def meaning(f: m.Format, index: Box, w: Box) -> Box:
        return m.gather(f, w, index, 0)

    return _layer(b, f"embedding({count}, {size})", i, allowed, meaning, key, table)


# -- blocks and loops --------------------------------------------------------------------------------------------------


def block(b: Builder) -> Value | None:
    """A `def` and a call of it."""
    x = b.operand()
    if x is None:
        return None
    name = b.name("f")
    b.lines.append(f"def {name}(p, n=2) {{ q = p * n return q - p }}")

    def meaning(f: m.Format, p: Box) -> Box:
        return m.sub(f, admitted(f, m.mul(f, p, point("int", 2.0))), p)

    return b.make(f"{name}({{0}})", meaning, x)


def loop(b: Builder) -> Value | None:
    """A value carried from turn to turn."""
    x = b.operand(lambda value: value.kind == "fixed")
    y = None if x is None else b.operand(lambda value: value.shape == x.shape)
    if x is None or y is None:
        return None
    turns, factor, box = b.whole(0, 3), b.pick([0.5, -0.25, 0.1]), x.box
    try:
        for _ in range(turns):
            box = admitted(b.f, m.mul(b.f, box, point("fixed", factor)))
            box = admitted(b.f, m.add(b.f, box, y.box))
    except Outside:
        return None
    name = b.name("h")
    b.lines += [f"{name} = {x.text}", f"for i in 0..{turns} {{ {name} = {name} * {factor!r} + {y.text} }}"]
    value = Value(name, box, x.owners | (y.owners if turns else frozenset()))
    b.used.update((x, y))
    b.values.append(value)
    return value
