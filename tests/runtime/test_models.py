"""Every kind of model, through dealer and both parties: the float reference is the outside truth, the wire is
counted.
"""

from __future__ import annotations

import numpy as np
import pytest
from machines import run_plan
from zoo import data, sources

import mpc_runtime as mpc

TOLERANCE = 2e-3
COARSE = {"small_ring": 0.05}  # ten fraction bits


@pytest.mark.parametrize(("name", "text"), sources(), ids=[name for name, _ in sources()])
def test_private_result_is_the_plaintext_one_and_costs_what_was_said(name: str, text: str) -> None:
    program = mpc.compile(text=text)
    inputs, params = data(program.plan)
    reference = program.reference(inputs, params)
    run = run_plan(program.plan, inputs, params)
    assert run.results.keys() == reference.keys()
    for key, expected in reference.items():
        found = run.results[key]
        assert found.shape == expected.shape and found.dtype == expected.dtype, key
        allowed = COARSE.get(name, TOLERANCE) * np.maximum(1, np.abs(expected.astype(float)))
        assert (np.abs(found.astype(float) - expected.astype(float)) <= allowed).all(), key
    _counted(program, run)


def _counted(program: mpc.Program, run: object) -> None:
    cost, stats, dealt = program.cost, run.stats, run.dealt  # type: ignore[attr-defined]
    for stage, prefix in (("setup", "setup_"), ("run", "")):
        both = stats[stage]
        assert [s.rounds for s in both] == [getattr(cost, f"{prefix}rounds")] * 2
        assert sum(s.sent_bytes for s in both) == getattr(cost, f"{prefix}online_bytes")
        assert sum(s.material_bytes for s in both) == getattr(cost, f"{prefix}offline_bytes") == dealt[stage]
