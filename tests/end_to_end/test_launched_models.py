"""Models of every kind through real processes: the float reference is the outside truth, and what a session counts is
what the plan says it costs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.zoo import MODELS, data

LAUNCHED = [
    *("hospitals", "images", "smooth"),
    *(pytest.param(name, marks=pytest.mark.long) for name in ("logic", "public_values")),
]
COUNTED = (
    "rounds",
    "online_bytes",
    "offline_bytes",
    "setup_rounds",
    "setup_online_bytes",
    "setup_offline_bytes",
    "client_bytes",
)
PROMISE = """model promise
role a, b
input x : [3] from a in [-4, 4]
input n : int[3] from b in [0, 9]
input g : bit[3] from b
param w : [3] from b in [-1, 1]
output y = where(g, sigmoid(x * w), n) to a
output m = max(x * w + n) to b
"""


@pytest.mark.parametrize("name", LAUNCHED)
def test_processes_compute_the_plaintext_result_and_cost_what_was_said(name: str) -> None:
    program = mpc.compile(Path(MODELS / f"{name}.ppml"))
    with mpc.launch(program) as session:
        for seed in range(2):
            inputs, params = data(program.plan, seed)
            if params:
                session.provide(params)
            found = session.run(**inputs)
            expected = program.reference(inputs, params)
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                assert found[key].dtype == value.dtype and found[key].shape == value.shape, key
                allowed = 2e-3 * np.maximum(1, np.abs(value.astype(float)))
                assert (np.abs(found[key].astype(float) - value.astype(float)) <= allowed).all(), key
            for word in COUNTED:
                assert getattr(session.stats, word) == getattr(program.cost, word), word


def test_what_is_refused_leaves_the_session_as_it_was() -> None:
    program = mpc.compile(text=PROMISE)
    good = {"x": np.array([1.0, -2, 3]), "n": np.array([0, 5, 9]), "g": np.array([1, 0, 1])}
    params = {"w": np.array([1.0, 0.5, -1])}
    with mpc.launch(program) as session:
        session.provide(params)
        expected = program.reference(good, params)
        for bad, message in (
            ({"x": np.array([1, 2, 4.5])}, r"x\[2\]: expected a value in \[-4, 4\], found 4.5"),
            ({"n": np.array([1, 2, 2.5])}, r"n\[2\]: expected a whole number"),
            ({"g": np.array([0, 1, 2])}, r"g\[2\]"),
            ({"x": np.zeros(4), "g": np.zeros((3, 1))}, r"(?s)wrong inputs:.*x: expected shape.*g: expected shape"),
        ):
            with pytest.raises(mpc.InputError, match=message):
                session.run(**{**good, **bad})
            found = session.run(**good)
            assert all(np.allclose(found[key], expected[key], atol=2e-3) for key in expected)
        with pytest.raises(mpc.InputError, match="w"):
            session.provide({"w": np.full(3, 1.5)})
        assert np.allclose(session.run(**good)["y"], expected["y"], atol=2e-3)
