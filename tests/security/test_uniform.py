"""What crosses a model's channels is uniform whatever the data: chi-square of the bytes for two very different inputs.

The views of tiny rings are exact (`test_views`); this is the real size, the real streams and the real channel. Keys are
fixed, so the statistics are the same in every run; the bounds are six standard deviations wide.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from mpc_runtime import compile
from mpc_runtime.plan import Plan
from tests.models_in_memory import feeds_of
from tests.traced import Trace, trace

Array = np.ndarray
MODEL = """
model classifier
role client, modeller
input x : [64, 32] from client in [-4, 4]
layer hidden = dense(64)
layer out = dense(8)
weights from modeller in [-1, 1]
output y = x |> hidden |> relu |> out |> sigmoid to client
"""
DATA = ("zeros", "extremes")
DEVIATION = 6


@cache
def runs() -> tuple[Plan, dict[str, Trace]]:
    """The same model on all zeros and on random ends of the ranges, each under keys of its own."""
    program = compile(text=MODEL)
    random = np.random.default_rng(0)
    out = {}
    for number, name in enumerate(DATA):
        tensors = {t.name: t.shape for t in (*program.plan.inputs, *program.plan.params)}
        far = {key: random.choice([-1.0, 1.0], shape) * (4 if key == "x" else 1) for key, shape in tensors.items()}
        given = far if name == "extremes" else {key: np.zeros(shape) for key, shape in tensors.items()}
        inputs, params = {"x": given["x"]}, {key: a for key, a in given.items() if key != "x"}
        keys = {
            stage: tuple(bytes([16 * i + j, number]) * 8 for j in range(3)) for i, stage in enumerate(("setup", "run"))
        }
        out[name] = trace(program.plan, feeds_of(program, inputs, params), keys=keys, seed=number)  # type: ignore[arg-type]
    return program.plan, out


def chi_square(data: bytes) -> float:
    """Deviations of the histogram of bytes from a uniform one, in standard deviations of the statistic."""
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    expected = len(data) / 256
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float((statistic - 255) / np.sqrt(2 * 255))


def opened(t: Trace, stage: str, party: int) -> bytes:
    return b"".join(t.sent[stage][party])


def corrections(t: Trace, stage: str, party: int) -> bytes:
    return b"".join(piece for _, piece in t.corrections[stage][party])


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("party", [0, 1])
def test_messages_and_corrections_are_uniform(name: str, party: int) -> None:
    _, found = runs()
    for data in (
        opened(found[name], "setup", party),
        opened(found[name], "run", party),
        corrections(found[name], "run", party),
    ):
        assert len(data) > 10_000
        assert abs(chi_square(data)) < DEVIATION


@pytest.mark.parametrize("name", DATA)
def test_every_opening_by_itself(name: str) -> None:
    """Both directions of each op together, where there are enough bytes for a histogram."""
    plan, found = runs()
    t = found[name]
    run, checked = plan.procedure("run"), 0
    data = {party: np.frombuffer(opened(t, "run", party), np.uint8) for party in (0, 1)}
    at = 0
    for r in run.rounds:
        for i in r.opens:
            size = sum(size for _, _, size in run.ops[i].gate.segments(plan.registers))  # type: ignore[attr-defined]
            if size >= 2000:
                assert abs(chi_square(b"".join(data[p][at : at + size].tobytes() for p in (0, 1)))) < DEVIATION, i
                checked += 1
            at += size
    assert at == data[0].size and checked >= 4


@pytest.mark.parametrize("stage", ["setup", "run"])
def test_masked_values_that_both_parties_rebuild_are_uniform(stage: str) -> None:
    """The opened words themselves, not only each party's half of them."""
    plan, found = runs()
    for t in found.values():
        words = [
            t.values[0][y].reshape(-1) & np.uint64((1 << plan.registers[y].bits) - 1)
            for op in plan.procedure(stage).ops
            if type(op.gate).__name__ == "Open" and plan.registers[y := op.gate.outs[0]].bits >= 32
        ]
        low = b"".join((w & np.uint64((1 << 32) - 1)).astype(np.uint32).tobytes() for w in words)
        assert len(low) > 8000
        assert abs(chi_square(low)) < DEVIATION


def test_the_statistic_sees_a_value_without_its_mask() -> None:
    """Control: the same words less their masks are far from uniform, for either input."""
    plan, found = runs()
    for t in found.values():
        x = next(op.gate.outs[0] for op in plan.procedure("run").ops if type(op.gate).__name__ == "Open")
        assert abs(chi_square(t.value(x).tobytes())) > 100 * DEVIATION


def test_two_inputs_look_alike() -> None:
    """Histograms of what a party receives in the two runs differ by no more than two samples of one distribution do."""
    _, found = runs()
    for party in (0, 1):
        counts = [
            np.bincount(
                np.frombuffer(opened(found[n], "run", party) + corrections(found[n], "run", 1 - party), np.uint8),
                minlength=256,
            )
            for n in DATA
        ]
        assert counts[0].sum() == counts[1].sum()
        statistic = ((counts[0] - counts[1]) ** 2 / (counts[0] + counts[1])).sum()
        assert abs(statistic - 255) / np.sqrt(2 * 255) < DEVIATION
