"""Functions of one operand whose options are at the edge of what they may be."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_models import FLOAT, INT, assert_agrees, model, node


@pytest.mark.parametrize(("lo", "hi"), [(-0.25, 0.5), (0.25, 0.25), (0.5, -0.25)], ids=str)
def test_bounds_that_leave_one_number(lo, hi):
    """Where they are exchanged, everything is the upper one."""
    proto = model([node("Clip", ["x", "lo", "hi"], ["y"])], {"x": (FLOAT, [5])}, ["y"],
                  {"lo": np.float32(lo), "hi": np.float32(hi)})  # fmt: skip
    assert_agrees(proto, {"x": np.linspace(-1, 1, 5)})


def test_bounds_of_whole_numbers():
    proto = model([node("Clip", ["i", "n", "n"], ["y"])], {"i": (INT, [5])}, ["y"], {"n": np.array(3)})
    assert_agrees(proto, {"i": np.arange(5)})
