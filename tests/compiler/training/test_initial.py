"""Initial weights: PyTorch's bounds, worked out by hand, and what the model declares."""

from __future__ import annotations

import numpy as np

import mpc_runtime as mpc

MODEL = """model m
role a, b
input x : [2, 3, 8, 8] from a in [-1, 1]
input i : int[2, 4] from a in [0, 9]
param scale : [1] from b in [-1, 1]
def block(x, units) {
    layer conv = conv2d(units, kernel=3, groups=3)
    layer norm = batchnorm()
    return x |> conv |> norm
}
layer first = block(6)
layer words = embedding(10, 50)
layer fc = dense(20)
weights from b in [-0.5, 0.5]
output y = concat(flatten(first(x)), flatten(words(i)), axis=1) * scale |> fc to a
"""


def test_they_are_uniform_within_the_bounds_of_pytorch() -> None:
    found = mpc.compile(text=MODEL).initial_weights(seed=1)
    bounds = {"first.conv.weight": 1 / 3, "first.conv.bias": 1 / 3, "fc.weight": 416**-0.5, "fc.bias": 416**-0.5}
    for name, bound in bounds.items():
        assert 0.7 * bound < np.abs(found[name]).max() <= bound and abs(found[name].mean()) < bound / 2
    assert found["fc.weight"].std() < bound and found["words.weight"].shape == (10, 50)
    assert np.abs(found["words.weight"]).max() == 0.5  # as the model declares
    assert found["first.norm.running_var"].tolist() == [1.0] * 6 and found["first.norm.bias"].tolist() == [0.0] * 6
    assert found["scale"].tolist() == [0.0]


def test_a_seed_gives_the_same_ones() -> None:
    program = mpc.compile(text=MODEL)
    same, other, random = (program.initial_weights(seed)["fc.weight"] for seed in (1, 2, None))
    assert np.array_equal(same, program.initial_weights(1)["fc.weight"])
    assert not np.array_equal(same, other) and not np.array_equal(same, random)
