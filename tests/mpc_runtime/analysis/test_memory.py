"""The forecast of a party's memory against what its process held, where large parameters make the most of it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import mpc_runtime as mpc

WIDE = """model wide
role client, modeller
dim  batch = 1
input x : [batch, 2048] from client in [0, 1]
layer fc1 = dense(2048)
layer fc2 = dense(2048)
weights from modeller in [-0.05, 0.05]
output y = x |> fc1 |> relu |> fc2 to client
"""
PRODUCT = """model product
role client, modeller
input x : [4, 2048] from client in [0, 1]
param w : [2048, 2048] from modeller in [-0.05, 0.05]
output y = x @ w to client
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the forecast's base was measured on Linux")
@pytest.mark.parametrize("text", [WIDE, PRODUCT])
def test_wide_layers_take_what_was_forecast(text: str) -> None:
    program = mpc.compile(text=text)
    rng = np.random.default_rng(0)
    with mpc.launch(program) as session:
        session.provide({t.name: rng.uniform(-0.05, 0.05, t.shape) for t in program.plan.params})
        for _ in range(2):
            session.run(x=rng.uniform(0, 1, program.plan.inputs[0].shape))
        held = session.stats.peak_memory
    assert 0.9 < held / program.cost.peak_memory < 1.1
