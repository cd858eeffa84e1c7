"""Pooling and resizing. Windows that the language's pooling does not have are made of gathers of known indices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.importers.nodes import Absent, Node, Result, fixed
from compiler.importers.operators.linear import window_sides
from compiler.importers.operators.padding import padded, taken
from compiler.importers.problems import Unsupported
from compiler.importers.terms import Term, call, table

PLACES = Absent("where the largest elements are", "take the values alone")


@dataclass(frozen=True)
class Windows:
    """Along one axis of a size: windows of `k` elements, `dilation` apart, that start `stride` apart."""

    size: int
    k: int
    stride: int
    dilation: int
    before: int
    behind: int
    ceil: bool

    @property
    def count(self) -> int:
        room = self.size + self.before + self.behind - self.dilation * (self.k - 1) - 1
        count = (-(-room // self.stride) if self.ceil else room // self.stride) + 1
        if self.ceil and (count - 1) * self.stride >= self.size + self.before:
            count -= 1  # the last one would start behind the image
        return count

    @property
    def starts(self) -> np.ndarray:
        return np.arange(self.count) * self.stride - self.before

    @property
    def places(self) -> np.ndarray:
        """[count, k], some of them outside the axis."""
        return np.asarray(self.starts[:, None] + np.arange(self.k) * self.dilation)

    @property
    def is_plain(self) -> bool:
        """Whether PyTorch's pooling has it: alike on both sides, with nothing left over that `ceil` would count."""
        past = (self.count - 1) * self.stride + self.k - self.size - self.before
        return self.before == self.behind and self.dilation == 1 and 2 * self.before <= self.k and past <= self.behind


def _windows(node: Node, x: Term) -> list[Windows]:
    axes = x.rank - 2
    if axes not in (1, 2):
        raise Unsupported(f"pooling over {axes} axes", "pooling over one or two axes is supported")
    kernel = [int(n) for n in node.attributes["kernel_shape"]]
    strides = [int(n) for n in node.attribute("strides", [1] * axes)]
    dilations = [int(n) for n in node.attribute("dilations", [1] * axes)]
    sides = window_sides(node, x, kernel, strides, dilations)
    ceil = bool(node.attribute("ceil_mode", 0))
    along = zip(fixed(x.shape[2:]), kernel, strides, dilations, sides, strict=True)
    return [Windows(n, k, s, d, *side, ceil) for n, k, s, d, side in along]


def _pooled(name: str, x: Term, windows: Sequence[Windows], padding: Sequence[int]) -> Term:
    def option(numbers: Sequence[int]) -> int | tuple[int, ...]:
        return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)

    kernel, strides = [w.k for w in windows], [w.stride for w in windows]
    return call(
        f"{name}{len(windows)}d",
        x,
        k=option(kernel),
        stride=None if kernel == strides else option(strides),
        padding=option(padding) if any(padding) else None,
    )


def max_pool(node: Node) -> Result:
    x = node.term()
    windows = _windows(node, x)
    if all(w.is_plain for w in windows):
        return (_pooled("maxpool", x, windows, [w.before for w in windows]), PLACES)
    apart = []
    for axis, w in enumerate(windows, 2):
        # an element of the window twice does not change its maximum: places outside are those at the edge
        x = taken(x, _inside(w).reshape(-1), axis)
        apart.append(Windows(w.count * w.k, w.k, w.k, 1, 0, 0, False))
    return (_pooled("maxpool", x, apart, [0] * len(apart)), PLACES)


def _inside(w: Windows) -> np.ndarray:
    """The places of each window, those outside the axis replaced by one of its own inside."""
    places = w.places
    inner = (places >= 0) & (places < w.size)
    first = places[np.arange(len(places)), inner.argmax(axis=1)]
    return np.where(inner, places, first[:, None])


def average_pool(node: Node) -> Result:
    """Sums over windows with zeros around, divided by what is counted of each window."""
    x = node.term()
    windows = _windows(node, x)
    counts_padding = bool(node.attribute("count_include_pad", 0))
    counted = [_counted(w, counts_padding) for w in windows]
    if all(w.is_plain for w in windows) and all((c == w.k).all() for w, c in zip(windows, counted, strict=True)):
        return _pooled("avgpool", x, windows, [w.before for w in windows])
    sides = [(0, 0), (0, 0)]
    for w in windows:
        last = int(w.starts[-1]) + w.dilation * (w.k - 1)
        sides.append((w.before, last + 1 - w.size))
    x = padded(x, tuple(sides))
    apart = []
    for axis, w in enumerate(windows, 2):
        if w.dilation > 1:
            x = taken(x, (w.places + w.before).reshape(-1), axis)
            apart.append(Windows(w.count * w.k, w.k, w.k, 1, 0, 0, False))
        else:
            apart.append(Windows(x.shape[axis].fixed, w.k, w.stride, 1, 0, 0, False))
    means = _pooled("avgpool", x, apart, [0] * len(apart))
    for axis, (w, count) in enumerate(zip(windows, counted, strict=True)):
        if (count != w.k).any():
            behind = len(windows) - 1 - axis
            means = call("*", means, table((w.k / count).reshape(-1, *[1] * behind), node.trials))
    return means


def _counted(w: Windows, counts_padding: bool) -> np.ndarray:
    lo, hi = (-w.before, w.size + w.behind) if counts_padding else (0, w.size)
    return np.asarray(((w.places >= lo) & (w.places < hi)).sum(axis=1))


def global_average(node: Node) -> Result:
    x = node.term()
    return call("global_avgpool2d", x) if x.rank == 4 else call("mean", x, axis=tuple(range(2, x.rank)), keepdims=True)


def global_max(node: Node) -> Result:
    x = node.term()
    return call("max", x, axis=tuple(range(2, x.rank)), keepdims=True)


# -- resizing ----------------------------------------------------------------------------------------------------------


def resize(node: Node) -> Result:
    """Along each axis: rows that are chosen, or sums of neighbours with known weights."""
    x = node.term()
    mode = node.attribute("mode", b"nearest").decode()
    axes = node.attribute("axes", None)
    given, scales = _sizes_and_scales(node, x, axes)
    if node.attribute("antialias", 0) and any(scale < 1 for scale in scales):
        raise Unsupported("it averages while it makes smaller", "export with antialias=False, or pool before")
    if node.attribute("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise Unsupported("the ratio of the sides is kept", "give the sizes")
    for axis, (scale, target) in enumerate(zip(scales, given, strict=True)):
        if target is None:
            continue
        size = x.shape[axis].fixed
        where = np.asarray(_coordinates(node, size, target, scale), np.float64)
        if mode == "nearest":
            x = taken(x, _nearest(node, where, size, scale), axis)
        elif mode in ("linear", "bilinear"):
            x = _linear(x, where, axis, size)
        else:
            raise Unsupported(f"resizing by {mode} interpolation", "nearest and linear are supported")
    return x


def _sizes_and_scales(node: Node, x: Term, axes: Sequence[int] | None) -> tuple[list[int | None], list[float]]:
    rank = x.rank
    chosen = [axis % rank for axis in axes] if axes is not None else list(range(rank))
    sizes: list[int | None] = [None] * rank
    scales = [1.0] * rank
    if node.op == "Upsample" or node.opset < 11:
        factors = node.attributes["scales"] if "scales" in node.attributes else node.array(1, "the scale").tolist()
        wanted = None
    elif node.has(3) and len(node.known(3, "the size").size_list()):
        factors, wanted = None, node.known(3, "the size").size_list()
    else:
        factors, wanted = node.array(2, "the scale").tolist(), None
    for place, axis in enumerate(chosen):
        here = x.shape[axis]
        if wanted is not None:
            if wanted[place] == here:
                continue
            sizes[axis] = wanted[place].fixed
            scales[axis] = wanted[place].fixed / here.fixed
        elif factors is not None and factors[place] != 1:
            scales[axis] = float(factors[place])
            sizes[axis] = int(np.floor(here.fixed * np.float32(factors[place])))
    return sizes, scales


def _coordinates(node: Node, size: int, target: int, scale: float) -> np.ndarray:
    """Where each element of the result lies in the axis (ONNX, Resize: coordinate_transformation_mode)."""
    default = b"asymmetric" if node.op == "Upsample" or node.opset < 11 else b"half_pixel"
    mode = node.attribute("coordinate_transformation_mode", default).decode()
    place = np.arange(target, dtype=np.float64)
    match mode:
        case "asymmetric":
            return np.asarray(place / scale)
        case "align_corners":
            if target != scale * size:
                raise Unsupported("its scale leaves part of an element over", "give the sizes of the result")
            return np.asarray(place * (size - 1) / (target - 1) if target > 1 else place * 0)
        case "pytorch_half_pixel":
            return np.asarray((place + 0.5) / scale - 0.5 if target > 1 else place * 0)
        case "tf_half_pixel_for_nn":
            return np.asarray((place + 0.5) / scale)
        case "half_pixel":
            return np.asarray((place + 0.5) / scale - 0.5)
        case "half_pixel_symmetric":
            offset = size / 2 * (1 - target / (scale * size))
            return np.asarray(offset + (place + 0.5) / scale - 0.5)
    raise Unsupported(f"resizing with {mode} coordinates", "half_pixel, asymmetric and align_corners are supported")


def _nearest(node: Node, where: np.ndarray, size: int, scale: float) -> np.ndarray:
    if node.op == "Upsample" or node.opset < 11:
        # these versions round down what is enlarged, and up what is made smaller, as in their reference
        mode = "floor" if node.op == "Upsample" or scale >= 1 else "ceil"
    else:
        mode = node.attribute("nearest_mode", b"round_prefer_floor").decode()
    rounded = {
        "floor": np.floor(where),
        "ceil": np.ceil(where),
        "round_prefer_floor": np.ceil(where - 0.5),
        "round_prefer_ceil": np.floor(where + 0.5),
    }[mode]
    return np.asarray(np.clip(rounded, 0, size - 1).astype(np.int64))


def _linear(x: Term, where: np.ndarray, axis: int, size: int) -> Term:
    """The neighbours before and behind, weighed by their nearness."""
    inside = np.clip(where, 0, size - 1)
    before = np.floor(inside).astype(np.int64)
    behind = np.minimum(before + 1, size - 1)
    part = (inside - before).reshape(-1, *[1] * (x.rank - axis - 1))
    trials = len(x.values)
    first, second = taken(x, before, axis), taken(x, behind, axis)
    return call("+", first, call("*", call("-", second, first), table(part, trials)))


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average,
    "GlobalMaxPool": global_max,
    "Resize": resize,
    "Upsample": resize,
}
