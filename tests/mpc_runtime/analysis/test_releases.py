"""A plan cannot say that a release is private where its ops say otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import mpc_runtime as mpc
from mpc_runtime.analysis.verify import verify
from mpc_runtime.gates import DealerNoise, Gate, Materialize, Noise, Open, Reveal
from mpc_runtime.plan import Budget, Plan
from mpc_runtime.procedure import Op

TEXT = """model m
role a, b
input x : [8, 3] from a in [-1, 1]
input y : [8, 3] from b in [-1, 1]
input v : bit[8] from a
budget x = dp(epsilon=3)
output r = mean(x * y, axis=0) to b with laplace(epsilon=0.5)
output s = sum(v) to b
"""
PLAN = mpc.compile(text=TEXT).plan


def with_gates(plan: Plan, change: Any) -> Plan:
    procedures = [
        replace(p, ops=tuple(Op(change(op.gate), op.receiver) for op in p.ops)) if p.name == "run" else p
        for p in plan.procedures
    ]
    return replace(plan, procedures=tuple(procedures))


def with_noise(plan: Plan, **fields: Any) -> Plan:
    results = [replace(r, noise=replace(r.noise, **fields)) if r.noise is not None else r for r in plan.results]
    return replace(plan, results=tuple(results))


def refused(plan: Plan, why: str) -> None:
    with pytest.raises(mpc.CompileError, match=why):
        verify(plan)


def narrower(gate: Gate) -> Gate:
    return replace(gate, numerator=gate.numerator - gate.numerator // 1000) if isinstance(gate, Noise) else gate


def test_the_compilers_plan_is_taken_and_has_its_noise_before_a_truncation() -> None:
    verify(PLAN)
    (noise,) = (gate for gate in PLAN.procedure("run").gates if isinstance(gate, Noise))
    readers = [gate for gate in PLAN.procedure("run").gates if noise.outs[0] in gate.ins]
    assert isinstance(noise, DealerNoise) and [type(gate) for gate in readers] == [Open]


@pytest.mark.parametrize("law", ["laplace(epsilon=0.5)", "gaussian(epsilon=0.5, delta=1e-5)"])
def test_noise_is_not_narrower_than_what_is_declared(law: str) -> None:
    plan = mpc.compile(text=TEXT.replace("laplace(epsilon=0.5)", law)).plan
    too_narrow = "the noise of `r` is too narrow for what is declared of it"
    refused(with_gates(plan, narrower), too_narrow)
    refused(with_noise(plan, epsilon=0.49), too_narrow)
    refused(with_noise(plan, sensitivity=1.01 * plan.outputs[0].noise.sensitivity), too_narrow)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"law": "gaussian", "delta": 1e-5}, "`r` is declared with other noise"),
        ({"made_by": "parties"}, "`r` is declared with other noise"),
        ({"epsilon": 0.0}, "expected an epsilon of 0 to 64"),
        ({"epsilon": 1e9}, "expected an epsilon of 0 to 64"),
        ({"delta": 1e-5}, "a delta is Gaussian noise's alone"),
        ({"sensitivity": 0.0}, "noise that hides nothing"),
        ({"rounding": -1.0}, "expected a rounding of at least 0"),
    ],
)
def test_what_is_declared_of_noise_makes_sense(fields: dict[str, Any], why: str) -> None:
    refused(with_noise(PLAN, **fields), why)


def test_what_is_revealed_has_the_noise() -> None:
    (noise,) = (gate for gate in PLAN.procedure("run").gates if isinstance(gate, Noise))

    def around(gate: Gate) -> Gate:
        return replace(gate, x=noise.ins[0]) if isinstance(gate, Open) and gate.x == noise.outs[0] else gate

    refused(with_gates(PLAN, around), "`r` is declared with noise, but is revealed without")


def test_a_result_without_noise_says_nothing_of_what_has_a_budget() -> None:
    bare = tuple(replace(r, noise=None) for r in PLAN.results)
    refused(replace(PLAN, results=bare), "`r` is declared without noise")
    limited = (*PLAN.budgets, Budget("v", "a", 1.0, 0.0))
    refused(replace(PLAN, budgets=limited), "`s` has no noise, but depends on `v`, which has a budget")
    verify(replace(PLAN, budgets=limited, inputs=tuple(replace(t, flipped=1.0 * (t.name == "v")) for t in PLAN.inputs)))


def test_the_noise_of_a_result_is_in_no_other() -> None:
    """Two results with one noise tell their difference without any."""
    text = TEXT.replace("output s = sum(v) to b", "output s = mean(x * y, axis=0) to b with laplace(epsilon=0.5)")
    plan = mpc.compile(text=text).plan
    noises = [gate for gate in plan.procedure("run").gates if isinstance(gate, Noise)]
    assert len(noises) == 2 and noises[0].ins == noises[1].ins
    reveals = {gate.result_name: gate for gate in plan.procedure("run").gates if isinstance(gate, Reveal)}

    def same(gate: Gate) -> Gate:
        return replace(gate, x=reveals["r"].x) if gate == reveals["s"] else gate

    refused(with_gates(plan, same), "`s` is declared with noise, but is revealed without|is in another result too")


def test_a_budget_is_of_an_input_that_is_secret() -> None:
    refused(replace(PLAN, budgets=(Budget("q", "a", 1.0, 0.0),)), "a budget is for `q` of a, which is no input")
    refused(replace(PLAN, budgets=(Budget("x", "a", 0.0, 0.0),)), "the budget of `x`: expected an epsilon of 0 to 64")


def test_only_bits_are_answered_at_random() -> None:
    flipped = tuple(replace(tensor, flipped=1.0) for tensor in PLAN.inputs)
    refused(replace(PLAN, inputs=flipped), "only bits can be answered at random")


def test_noise_that_is_shipped_is_materialized() -> None:
    plan = mpc.compile(text=TEXT.replace("mean(x * y, axis=0)", "sum(x, axis=0)")).plan
    kinds = [type(gate) for gate in plan.procedure("run").gates]
    assert kinds.index(DealerNoise) + 1 == kinds.index(Materialize)
