"""`with l1(B)`: what it proves of a layer, and what its owner's client refuses. Truth: |w · x| <= |w|_1 max |x|."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.roles.client import check_tensors

HEAD = "model m role a, b input x : [1, 4, 6, 6] from a in [-2, 2] "
LAYERS = {
    "conv2d": 'layer c = conv2d(3, 3, padding="same") ',
    "grouped": "layer c = conv2d(4, 3, groups=2) ",
    "normed": "layer c = conv2d(3, 1) layer n = batchnorm() ",
    "dense": "layer c = dense(5) ",
}
TAIL = "weights c from b in [-1, 1] with l1(1.5) "


def program(layer: str) -> mpc.Program:
    flow = "flatten(x) |> c" if layer == "dense" else "x |> c |> n" if layer == "normed" else "x |> c"
    rest = "weights from b in [-0.5, 0.5] " if layer == "normed" else ""
    return mpc.compile(text=HEAD + LAYERS[layer] + TAIL + rest + f"h = {flow} output y = relu(h) to a")


@pytest.mark.parametrize(("layer", "most"), [("conv2d", 4), ("grouped", 4), ("dense", 4), ("normed", 2)])
def test_a_layer_is_bounded_by_the_norm_of_its_rows(layer: str, most: float) -> None:
    """1.5 · 2 and a bias of 1; behind the batchnorm half of that and its shift of 0.5."""
    (relu,) = (value for value in program(layer).stages.graph.values() if value.op.name == "Relu")
    assert relu.range.hi == pytest.approx(most + 0.5 * (layer == "normed"), abs=5e-3)


def checked(layer: str, weight: np.ndarray) -> list[str]:
    plan = program(layer).plan
    (tensor,) = (t for t in plan.params if t.name == "c.weight")
    return check_tensors(plan, [tensor], {"c.weight": weight})[1]


def test_the_owners_client_checks_every_output() -> None:
    weight = np.full((3, 4, 3, 3), 1.5 / 36)
    assert checked("conv2d", weight) == []
    weight[1, 2, 0, 0] = -0.5
    (problem,) = checked("conv2d", weight)
    assert "magnitudes sum to at most 1.50" in problem and "found 1.958" in problem and "output 1" in problem


def test_an_output_of_a_transposed_convolution_has_the_weights_of_its_group() -> None:
    text = HEAD + "layer c = conv_transpose2d(4, 1, groups=2) " + TAIL + "output y = x |> c to a"
    plan = mpc.compile(text=text).plan
    (tensor,) = (t for t in plan.params if t.name == "c.weight")
    weight = np.full((4, 2, 1, 1), 0.75)  # two channels in a group: 1.5 for each output
    assert check_tensors(plan, [tensor], {"c.weight": weight})[1] == []
    weight[3, 1] = 0.8
    assert "for output 3" in check_tensors(plan, [tensor], {"c.weight": weight})[1][0]


@pytest.mark.parametrize(
    ("norm", "message"),
    [("l2(1)", "weights are given `with l1"), ("l1(0)", "one number above 0"), ("l1()", "one number above 0")],
)
def test_another_norm_is_refused(norm: str, message: str) -> None:
    with pytest.raises(mpc.CompileError, match=message):
        mpc.compile(text=HEAD + LAYERS["dense"] + f"weights from b with {norm} output y = flatten(x) |> c to a")
