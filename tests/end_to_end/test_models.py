"""Every kind of model, through dealer and both parties: the float reference is the outside truth, the wire is
counted.
"""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.machines import run_plan
from tests.models_in_memory import all_models
from tests.zoo import at_batch, data, leading_size, sources

TOLERANCE = 2e-3
COARSE = {"small_ring": 0.05}  # ten fraction bits


@pytest.mark.parametrize(("name", "text"), sources(), ids=[name for name, _ in sources()])
def test_private_result_is_the_plaintext_one_and_costs_what_was_said(name: str, text: str) -> None:
    _right_and_counted(name, mpc.compile(text=text))


BATCHED = [(name, text) for name, text in all_models() if leading_size(text)]
OF_ONE_SIZE = {"(x + z)[1:3, ::-2]": (1,), "reshape(x * z, [7, 5])": (1, 2), "shapes": (1,), "tables": (1, 2)}
"""Models that do not exist at these batch sizes."""


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("name", "text"), BATCHED, ids=[name for name, _ in BATCHED])
def test_models_at_the_smallest_batches(name: str, text: str, batch: int) -> None:
    small = at_batch(text, batch)
    if batch in OF_ONE_SIZE.get(name, ()):
        with pytest.raises(mpc.CompileError):
            mpc.compile(text=small)
        return
    program = mpc.compile(text=small)
    assert all(t.shape[0] == batch for t in program.plan.inputs[:1])
    _right_and_counted(name, program)


def _right_and_counted(name: str, program: mpc.Program) -> None:
    """In real executors: results near the float reference, rounds and bytes as the plan says."""
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


@pytest.mark.parametrize(
    ("lo", "hi"), [(-1, 1000), (-30000, 30000), (0, 2**29), (0.01, 1000), (-4, -0.25), (0.5, 0.75)]
)
def test_reciprocals_over_wide_ranges(lo: float, hi: float) -> None:
    """Powers of two and their neighbours, of both signs: relative error 2^-12 (or two steps)."""
    step = 2.0**-16
    powers = 2.0 ** np.arange(-10, 15)
    x = np.concatenate([powers, powers - step, powers + step])
    x = np.concatenate([x, -x])
    x = x[(x >= lo) & (x <= hi)]
    first = f"input x : [{x.size}] from a in [{lo}, {hi}]\n"
    head = f"model wide\nrole a, b\n{first}input z : [{x.size}] from b in [0, {step}]\n"
    program = mpc.compile(text=head + "t = x + z\noutput y = 1 / t to a\noutput w = 3 / t to b\n")
    results = run_plan(program.plan, {"x": x, "z": np.zeros(x.size)}).results
    for name, numerator in (("y", 1.0), ("w", 3.0)):
        expected = numerator / x
        allowed = np.maximum(2.0**-12 * np.maximum(1, np.abs(expected)), 2 * step)
        assert (np.abs(results[name] - expected) <= allowed).all(), name


@pytest.mark.parametrize("quotient", ["w / w", "w / (w + 1)", "z / w", "w / (z + 0.5)", "(w * 2) / w"])
def test_quotients_of_whole_numbers(quotient: str) -> None:
    """Small ones stand in a ring that leaves nothing to cut; a divisor of 0 gives 0."""
    x, z = np.meshgrid(np.arange(-9, 10), np.arange(-9, 10))
    sizes = f"int[{x.size}]"
    text = f"model whole\nrole a, b\ninput x : {sizes} from a in [-9, 9]\ninput z : {sizes} from b in [-9, 9]\n"
    program = mpc.compile(text=f"{text}w = x + z\noutput q = {quotient} to a\n")
    values = {"w": (x + z).ravel().astype(float), "z": z.ravel().astype(float)}
    above, below = (eval(part, {}, values) for part in quotient.split(" / "))
    expected = np.divide(above, below, out=np.zeros(x.size), where=below != 0)
    found = run_plan(program.plan, {"x": x.ravel(), "z": z.ravel()}).results["q"]
    assert (np.abs(found - expected) <= 2.0**-12 * np.maximum(1, np.abs(expected)) + 2.0**-15).all()


def _counted(program: mpc.Program, run: object) -> None:
    cost, stats, dealt = program.cost, run.stats, run.dealt  # type: ignore[attr-defined]
    for stage, prefix in (("setup", "setup_"), ("run", "")):
        both = stats[stage]
        assert [s.rounds for s in both] == [getattr(cost, f"{prefix}rounds")] * 2
        assert sum(s.sent_bytes for s in both) == getattr(cost, f"{prefix}online_bytes")
        assert sum(s.material_bytes for s in both) == getattr(cost, f"{prefix}offline_bytes") == dealt[stage]
