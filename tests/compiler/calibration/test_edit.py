"""Ranges in the text: the model means what it meant, comments stay, and names are new."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.calibration.calibrate import calibrate

HEAD = """model m  # the model
role client, owner
input x : [1, 4] from client in [-1, 1]
"""
WEIGHTS = np.random.default_rng(2).uniform(-0.1, 0.1, (4, 4))
CASES = {
    "a value": ("layer a = dense(4, bias=false)\nweights from owner  # whose\nh = x |> a  # first\n"
                "output y = relu(h) to client\n", "h = x |> a in [-0.25, 0.25]  # first"),
    "an output": ("layer a = dense(4, bias=false)\nweights from owner\noutput y = relu(x |> a) to client  # all\n",
                  "a_out = x |> a in [-0.25, 0.25]\noutput y = relu(a_out) to client  # all"),
    "a def": ("def f(v) {\n    layer a = dense(4, bias=false)\n    # of the def\n    return v |> a |> relu\n}\n"
              "layer b = f()\nweights from owner\noutput y = x |> b to client\n",
              "    # of the def\n    a_out = v |> a in [-0.25, 0.25]\n    return a_out |> relu"),
    "one line": ("def f(v) { layer a = dense(4, bias=false) return relu(v |> a) } layer b = f() weights from owner "
                 "a_out = x |> b output y = a_out to client\n",
                 "a_out2 = v |> a in [-0.25, 0.25] return relu(a_out2)"),
    "a loop": ("h = x\nfor i in 0..2 {\n    layer a[i] = dense(4, bias=false)\n    h = h |> a[i] |> relu\n}\n"
               "weights from owner\noutput y = h to client\n",
               "    a_out = h |> a[i] in [-0.25, 0.25]\n    h     = a_out |> relu"),  # laid out as before
    "a comment inside": ("layer a = dense(4, bias=false)\nweights from owner\nh = x  # in\n      |> a  # by\n"
                         "      |> relu\noutput y = h to client\n",
                         "a_out = x  # in\n      |> a in [-0.25, 0.25]\nh = a_out  # by\n      |> relu"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), CASES.values(), ids=CASES)
def test_a_range_stands_where_it_holds_and_the_rest_stays(body: str, expected: str) -> None:
    program = mpc.compile(text=HEAD + body)
    params = {t.name: WEIGHTS for t in program.plan.params}
    found = calibrate(HEAD + body, "m.ppml", {}, params)
    assert expected in found.source and found.source.startswith(HEAD)
    after = mpc.compile(text=found.source)
    inputs = {"x": np.array([[1.0, -0.5, 0.25, 1]])}
    assert np.array_equal(after.reference(inputs, params)["y"], program.reference(inputs, params)["y"])
    assert calibrate(found.source, "m.ppml", {}, params).source == found.source
