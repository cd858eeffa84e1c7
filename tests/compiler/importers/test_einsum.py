"""Einstein's sums with axes of size 1 that are broadcast, and diagonals, beside onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.onnx_models import FLOAT, assert_agrees, imported, model, node

RANDOM = np.random.default_rng(17)

BROADCAST = [
    ("...ij,...jk->...ik", (2, 3, 4), (1, 4, 5)),
    ("...ij,...jk->...ik", (1, 3, 4), (2, 4, 5)),
    ("...ij,...jk", (2, 1, 3, 4), (1, 3, 4, 5)),
    ("...ij,...j->...i", (2, 3, 4), (1, 4)),
    ("i...,i...->...", (3, 2, 4), (3, 1, 4)),  # the axis is kept in one operand only
    ("...i,...i->i...", (1, 3), (2, 1)),
    ("bij,bjk->ik", (1, 3, 4), (2, 4, 5)),  # a letter is broadcast too, and summed over
    ("ij,jk->ik", (3, 1), (4, 5)),
    ("...ij,...jk,...kl->...il", (1, 2, 4), (2, 4, 3), (1, 3, 2)),
    ("...,...->...", (1, 1), (2, 3)),
    ("...ij->...ji", (1, 2, 3)),
]


DIAGONALS = [
    ("bii->b", (2, 3, 3)),
    ("ii", (3, 3)),
    ("bii->bi", (2, 3, 3)),
    ("iib->bi", (3, 3, 2)),
    ("ijij->ij", (2, 3, 2, 3)),
    ("iii->i", (2, 2, 2)),
    ("bii,bik->bk", (2, 3, 3), (2, 3, 4)),
    ("ik,iji->kj", (3, 4), (3, 2, 3)),
]


def normal(shape: tuple[int, ...]) -> np.ndarray:
    return RANDOM.normal(0, 0.5, shape).astype(np.float32)


@pytest.mark.parametrize("known", [None, 0, 1], ids=["values", "weight first", "weight second"])
@pytest.mark.parametrize(("equation", "shapes"), [(equation, shapes) for equation, *shapes in BROADCAST + DIAGONALS])
def test_axes_of_size_1_are_broadcast_and_diagonals_taken(
    equation: str, shapes: list[tuple[int, ...]], known: int | None
) -> None:
    arrays = {f"x{place}": normal(shape) for place, shape in enumerate(shapes)}
    if known is not None and len(arrays) == 1:
        pytest.skip("nothing is left to be computed")
    weights = {} if known is None else {f"x{known}": arrays.pop(f"x{known}")}
    names = [f"x{place}" for place in range(len(shapes))]
    inputs = {name: (FLOAT, array.shape) for name, array in arrays.items()}
    assert_agrees(model([node("Einsum", names, ["y"], equation=equation)], inputs, ["y"], weights), arrays)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_free_batch_meets_an_axis_of_size_1(rows: int) -> None:
    product = node("Einsum", ["x", "w"], ["y"], equation="...ij,...jk->...ik")
    proto = model([product], {"x": (FLOAT, ["batch", 2, 4])}, ["y"], {"w": normal((1, 4, 3))})
    program = assert_agrees(proto, {"x": normal((rows, 2, 4))})
    assert "[batch, 2, 4]" in program.source


def test_a_result_without_the_ellipsis_is_refused() -> None:
    product = node("Einsum", ["x", "z"], ["y"], equation="...ij,...jk->ik", name="product")
    with pytest.raises(mpc.CompileError, match=r"(?s)`product`: .* lacks the `\.\.\.`.*behind `->` too"):
        imported(model([product], {"x": (FLOAT, [2, 3, 4]), "z": (FLOAT, [2, 4, 5])}, ["y"]))
