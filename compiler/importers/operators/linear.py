"""Products: dense layers, convolutions and what einsum says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from compiler.graph import Array
from compiler.importers.known import Known
from compiler.importers.nodes import Node, Result, fixed
from compiler.importers.operators.einsum import einsum
from compiler.importers.operators.elementwise import both, summed
from compiler.importers.operators.padding import Sides, padded
from compiler.importers.problems import Unsupported
from compiler.importers.terms import Term, call, index, layer, table, weight

MATRIX = 2  # the rank of what Gemm multiplies and adds


def matmul(node: Node) -> Result:
    """With known weights on the right, a dense layer; a bias that is added to it joins it later (`rewriting`)."""
    a, b = node.value(0), node.value(1)
    if isinstance(a, Term) and isinstance(b, Known) and b.rank == 2 and a.rank in (2, 3) and b.weight:
        return layer("dense", a, {"weight": b.array.T}, b.hint, units=b.array.shape[1])
    return call("matmul", node.term(0), node.term(1))


def gemm(node: Node) -> Result:
    """alpha * A' @ B' + beta * C."""
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    a = call("transpose", node.term(0)) if node.attribute("transA", 0) else node.term(0)
    b, turned = node.value(1), bool(node.attribute("transB", 0))
    c = node.value(2) if node.has(2) and beta else None
    if isinstance(b, Known) and b.weight:
        matrix = _scaled(b.array if turned else b.array.T, alpha)
        held = {"weight": matrix}
        bias = _bias(c, len(matrix), beta)
        if bias is not None:
            held["bias"], c = bias, None
        product = layer("dense", a, held, b.hint, units=len(matrix))
    else:
        other = call("transpose", node.term(1)) if turned else node.term(1)
        product = _times(call("matmul", a, other), alpha)
    if c is None:
        return product
    _, addend = both(product, c, node.trials)
    return summed(product, _times(addend, beta))


def _times(x: Term, factor: float) -> Term:
    return x if factor == 1 else call("*", x, factor)


def _scaled(array: Array, factor: float) -> Array:
    return array if factor == 1 else np.asarray(array * factor)


def _bias(c: Term | Known | None, units: int, beta: float) -> Array | None:
    """A known addend that is one number, or one row, as a layer's bias."""
    if not isinstance(c, Known) or c.rank > MATRIX:
        return None
    if c.array.size != 1 and (c.array.size, *c.array.shape[-1:]) != (units, units):
        return None
    row = c.array.reshape(-1)
    return _scaled(row if row.size == units else np.ascontiguousarray(np.broadcast_to(row, (units,))), beta)


# -- convolutions ------------------------------------------------------------------------------------------------------


def window_sides(node: Node, x: Term, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Sides:
    """(before, behind) for each axis of the image, from `pads` or `auto_pad`."""
    auto = node.attribute("auto_pad", b"NOTSET").decode()
    axes = len(kernel)
    if auto in ("NOTSET", ""):
        pads = [int(each) for each in node.attribute("pads", [0] * 2 * axes)]
        return tuple(zip(pads[:axes], pads[axes:], strict=True))
    if auto == "VALID":
        return ((0, 0),) * axes
    sides = []
    for size, k, s, d in zip(fixed(x.shape[2:]), kernel, strides, dilations, strict=True):
        needed = max(0, (-(-size // s) - 1) * s + d * (k - 1) + 1 - size)
        small, large = needed // 2, needed - needed // 2
        sides.append((small, large) if auto == "SAME_UPPER" else (large, small))
    return tuple(sides)


def convolution(node: Node) -> Result:
    x, kernel = node.term(0), node.known(1, "the kernel of a convolution")
    array, axes = kernel.array, x.rank - 2
    if axes not in (1, 2):
        raise Unsupported(f"a convolution over {axes} axes", "convolutions over one or two axes are supported")
    size = array.shape[2:]
    strides = [int(n) for n in node.attribute("strides", [1] * axes)]
    dilations = [int(n) for n in node.attribute("dilations", [1] * axes)]
    sides = window_sides(node, x, size, strides, dilations)
    x, padding = _even(x, sides)
    held = {"weight": array}
    if node.has(2):
        held["bias"] = node.array(2, "the bias of a convolution")
    one = axes == 1
    options = {
        "out": array.shape[0],
        "kernel": size[0] if one else _square(size),
        "stride": _unless(strides, 1, one),
        "padding": _unless(padding, 0, one),
        "dilation": _unless(dilations, 1, one),
        "groups": _group(node),
    }
    return layer("conv1d" if one else "conv2d", x, held, kernel.hint, **options)


def _even(x: Term, sides: Sides) -> tuple[Term, list[int]]:
    """Padding that is alike on both sides is the layer's own, other padding is put on before."""
    if all(before == behind and before >= 0 for before, behind in sides):
        return x, [before for before, _ in sides]
    return padded(x, ((0, 0), (0, 0), *sides)), [0] * len(sides)


def _unless(numbers: Sequence[int], default: int, one: bool) -> int | tuple[int, ...] | None:
    """An option for one or two axes; None where it is the default."""
    if all(n == default for n in numbers):
        return None
    return numbers[0] if one else _square(numbers)


def _square(numbers: Sequence[int]) -> int | tuple[int, ...]:
    return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)


def _group(node: Node) -> int | None:
    groups = int(node.attribute("group", 1))
    return None if groups == 1 else groups


def transposed_convolution(node: Node) -> Result:
    """Over one axis, that of an image of height 1. Padding that differs on the two sides is cut off afterwards."""
    x, kernel = node.term(0), node.known(1, "the kernel of a convolution")
    array, axes = kernel.array, x.rank - 2
    if axes not in (1, 2):
        raise Unsupported(f"a convolution over {axes} axes", "convolutions over one or two axes are supported")
    strides = [int(n) for n in node.attribute("strides", [1] * axes)]
    dilations = [int(n) for n in node.attribute("dilations", [1] * axes)]
    extra = [int(n) for n in node.attribute("output_padding", [0] * axes)]
    array = _dilated(array, dilations)
    sides = _transposed_sides(node, x, array.shape[2:], strides, extra)
    held = {"weight": array if axes == 2 else array[:, :, None, :]}
    if node.has(2):
        held["bias"] = node.array(2, "the bias of a convolution")
    one = [] if axes == 2 else [1]
    none = [] if axes == 2 else [0]
    image = x if axes == 2 else call("unsqueeze", x, axis=2)
    even = all(before == behind for before, behind in sides)
    padding = [before for before, _ in sides] if even else [0] * axes
    cuts = [(before, behind - more) for (before, behind), more in zip(sides, extra, strict=True)]
    if not even:  # where the image grows behind, the layer does it, because the bias is added there too
        extra = [max(0, -behind) for _, behind in cuts]
    made = layer(
        "conv_transpose2d",
        image,
        held,
        kernel.hint,
        out=array.shape[1] * int(node.attribute("group", 1)),
        kernel=_square([*one, *array.shape[2:]]),
        stride=_unless([*one, *strides], 1, False),
        padding=_unless([*none, *padding], 0, False),
        output_padding=_unless([*none, *extra], 0, False),
        groups=_group(node),
    )
    made = made if axes == 2 else call("squeeze", made, axis=2)
    if even:
        return made
    return padded(made, ((0, 0), (0, 0), *((-before, -max(0, behind)) for before, behind in cuts)))


def _dilated(array: Array, dilations: Sequence[int]) -> Array:
    """The kernel with zeros between its elements."""
    if set(dilations) == {1}:
        return array
    sizes = [(n - 1) * d + 1 for n, d in zip(array.shape[2:], dilations, strict=True)]
    spread = np.zeros((*array.shape[:2], *sizes), array.dtype)
    places = (slice(None), slice(None), *(slice(None, None, d) for d in dilations))
    spread[places] = array
    return spread


def _transposed_sides(
    node: Node, x: Term, kernel: Sequence[int], strides: Sequence[int], extra: Sequence[int]
) -> Sides:
    """What is cut off on each side."""
    auto = node.attribute("auto_pad", b"NOTSET").decode()
    wanted = node.attribute("output_shape", None)
    if wanted is None and auto in ("NOTSET", "", "VALID"):
        pads = [int(each) for each in node.attribute("pads", [0] * 2 * len(kernel))]
        if min(pads) < 0:
            raise Unsupported("its padding is below 0", "use output_padding, or pad its result")
        return tuple(zip(pads[: len(kernel)], pads[len(kernel) :], strict=True))
    sizes = fixed(x.shape[2:])
    targets = [int(n) for n in wanted] if wanted is not None else [n * s for n, s in zip(sizes, strides, strict=True)]
    sides = []
    for size, k, s, more, target in zip(sizes, kernel, strides, extra, targets[-len(kernel) :], strict=True):
        total = s * (size - 1) + more + k - target
        if total < 0:
            raise Unsupported(f"its result is {-total} longer than what the kernel reaches", "use output_padding")
        small, large = total // 2, total - total // 2
        sides.append((small, large) if auto == "SAME_UPPER" else (large, small))
    return tuple(sides)


def embedded(x: Known, i: Term, trials: int) -> Term:
    """Rows of a known table, chosen by the data."""
    array = x.array
    if array.ndim == 2 and x.weight:
        return layer("embedding", i, {"weight": array}, x.hint, count=array.shape[0], size=array.shape[1])
    held = weight(array, trials, x.hint) if x.weight else table(array, trials)
    return call("gather", held, i)


__all__ = ["HANDLERS", "embedded", "index"]

HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Einsum": einsum,
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
}
