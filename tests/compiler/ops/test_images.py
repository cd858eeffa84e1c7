"""Borders, other sizes, means of what is inside and sums by the names of axes: against NumPy and written-out rules."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.graph import Array, OpError, constant
from compiler.ops import FUNCTIONS, LAYERS
from tests.compiler.graphs import leaf

RANDOM = np.random.default_rng(12)


def call(name: str, *args: object, **named: object) -> Array:
    given = [constant(each) if isinstance(each, np.ndarray) else each for each in args]
    return FUNCTIONS[name].call(given, named).array


@pytest.mark.parametrize("mode", ["reflect", "edge"])
@pytest.mark.parametrize("widths", [[[0, 0], [0, 0]], [[1, 2], [0, 3]], [[2, 0], [3, 1]]])
def test_borders_are_numpys(widths: list[list[int]], mode: str) -> None:
    for x in (RANDOM.normal(size=(3, 4)), RANDOM.integers(0, 9, (3, 4)), RANDOM.integers(0, 2, (3, 4)) > 0):
        assert np.array_equal(call("pad", x, widths, mode=mode), np.pad(x, widths, mode=mode))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("ij,jk->ik", ((2, 3), (3, 4))), ("bij,bkj->bik", ((2, 3, 4), (2, 5, 4))), ("ij->ji", ((2, 3),)),
     ("ij->", ((2, 3),)), ("i,j->ij", ((2,), (3,))), ("bhid,bhjd->bhij", ((2, 2, 3, 4), (2, 2, 5, 4))),
     ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 2))), ("ij,jk", ((2, 3), (3, 4))), ("ba", ((2, 3),)),
     ("abc,cd,b->da", ((2, 3, 4), (4, 5), (3,))), ("i,i->", ((3,), (3,))), ("i,i->i", ((3,), (3,))),
     ("ij,k->k", ((2, 3), (4,))), ("bqd,dhk->bqhk", ((2, 3, 4), (4, 2, 5)))],
)  # fmt: skip
def test_einsum_is_numpys(equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    arrays = [RANDOM.normal(size=shape) for shape in shapes]
    assert call("einsum", *arrays, equation=equation) == pytest.approx(np.einsum(equation, *arrays))


def test_nearest_takes_the_pixel_that_covers_the_place() -> None:
    x = RANDOM.normal(size=(1, 2, 3, 4))
    for h, w in ((6, 8), (3, 4), (2, 3), (7, 5), (1, 1)):
        found = call("resize2d", x, [h, w])
        for i, j in np.ndindex(h, w):
            assert np.array_equal(found[..., i, j], x[..., i * 3 // h, j * 4 // w])


@pytest.mark.parametrize("align_corners", [True, False])
def test_bilinear_goes_straight_between_neighbours(align_corners: bool) -> None:
    """A plane stays a plane but at the border, where it stays what it is; corners are met where they are aligned."""
    rows, columns = np.arange(4.0)[:, None], np.arange(3.0)
    x = (2 * rows - columns)[None, None]
    for h, w in ((8, 6), (4, 3), (2, 2), (7, 5), (1, 1)):
        found = call("resize2d", x, [h, w], mode="bilinear", align_corners=align_corners)[0, 0]
        if align_corners:
            down, across = np.linspace(0, 3, h), np.linspace(0, 2, w)  # of one place, the first
        else:
            down = np.clip((np.arange(h) + 0.5) * 4 / h - 0.5, 0, 3)
            across = np.clip((np.arange(w) + 0.5) * 3 / w - 0.5, 0, 2)
        assert found == pytest.approx(2 * down[:, None] - across)


def test_means_of_what_is_inside() -> None:
    x = RANDOM.normal(size=(1, 2, 5, 6))
    found = call("avgpool2d", x, [3, 2], stride=[2, 1], padding=[1, 1], count_include_pad=False)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    for c, i, j in np.ndindex(found.shape[1:]):
        assert found[0, c, i, j] == pytest.approx(np.nanmean(padded[0, c, 2 * i : 2 * i + 3, j : j + 2]))
    assert call("adaptive_avgpool2d", x, [5, 3]) == pytest.approx(x.reshape(1, 2, 5, 1, 3, 2).mean(axis=(3, 5)))
    assert call("adaptive_avgpool1d", x[0], 2) == pytest.approx(x[0].reshape(2, 5, 2, 3).mean(axis=3))
    row = np.pad(x[0], ((0, 0), (0, 0), (1, 1)), constant_values=np.nan)
    inside = np.nanmean(np.stack([row[..., i : i + 6 : 2] for i in range(3)]), axis=0)
    assert call("avgpool1d", x[0], 3, 2, 1, count_include_pad=False) == pytest.approx(inside)


def test_a_slope_for_all_or_for_each_channel() -> None:
    x = RANDOM.normal(size=(2, 3, 4))
    for count, slope in ((1, np.array([0.3])), (3, np.array([0.3, -1, 2.0]))):
        layer = LAYERS["prelu"]
        config = layer.configure((count,), {})
        assert [(each.key, each.shape) for each in layer.parameters_for(config, x.shape)] == [("weight", (count,))]
        found = layer.apply(config, constant(x), {"weight": constant(slope)}).array
        assert np.array_equal(found, np.where(x > 0, x, slope[:, None] * x))


@pytest.mark.parametrize(
    ("name", "args", "named", "message"),
    [("pad", (leaf("x", (3, 4)), [[3, 0], [0, 0]]), {"mode": "reflect"}, "the size of its axis, found 3 for 3"),
     ("pad", (leaf("x", (3, 4)), [[0, 0]]), {"mode": "edge"}, r"expects a pair \[before, after\]"),
     ("pad", (leaf("x", (3,)), [[1, 0]]), {"mode": "wrap"}, '"constant", "reflect" or "edge", found "wrap"'),
     ("resize2d", (leaf("x", (3, 4)), 2), {}, r"\[batch, channels, height, width\], found \[3, 4\]"),
     ("resize2d", (leaf("x", (1, 1, 3, 4)), 0), {}, "expects at least 1"),
     ("resize2d", (leaf("x", (1, 1, 3, 4)), 2), {"align_corners": True}, "is for bilinear resizing"),
     ("adaptive_avgpool2d", (leaf("x", (1, 1, 3, 4)), 2), {}, r"divide those of the image, found \[2, 2\] of \[3, 4\]"),
     ("prelu", (leaf("x", (3, 4)), leaf("s", (3,))), {}, "expects shapes that broadcast"),
     ("prelu", (leaf("x", (4,)), leaf("s", (3, 4))), {}, r"a slope that broadcasts to \[4\], found \[3, 4\]"),
     ("einsum", (leaf("x", (3, 4)),), {"equation": "ii->i"}, "no diagonals"),
     ("einsum", (leaf("x", (3, 4)),), {"equation": "ij->k"}, "no axis `k`"),
     ("einsum", (leaf("x", (3, 4)),), {"equation": "ijk->k"}, r"expects 3 axes for `ijk`, found \[3, 4\]"),
     ("einsum", (leaf("x", (3, 4)),), {"equation": "ij,jk->k"}, "a term for each value, found 2 for 1"),
     ("einsum", (leaf("x", (3, 4)), leaf("y", (3, 4))), {"equation": "ij,jk->k"}, "one size for `j`, found 4 and 3"),
     ("einsum", (leaf("x", (3, 4)),), {"equation": "...j->j"}, "expects letters for axes"),
     ("einsum", (leaf("x", (3, 4)),), {"equation": 3}, 'expects text such as "ij,jk->ik", found 3')],
)  # fmt: skip
def test_refused(name: str, args: tuple[object, ...], named: dict[str, object], message: str) -> None:
    with pytest.raises(OpError, match=message):
        FUNCTIONS[name].call(args, named)
