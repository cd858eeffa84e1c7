"""Dealer and parties against the simulator, bit for bit, and against themselves: variants, tiles, messages, runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from mpc_runtime import kernels, registers
from mpc_runtime.encoding.fixed_point import decode
from mpc_runtime.encoding.sharing import rebuild
from mpc_runtime.execution import instructions
from mpc_runtime.execution import party as executor
from mpc_runtime.gates import base, opening, table
from mpc_runtime.plan import Plan
from mpc_runtime.registers import Domain
from tests.models_in_memory import all_models, model
from tests.traced import KEYS, Trace, trace

MODELS = dict(all_models())
WHOLE = [
    "small lenet",
    "classifier of two owners",
    "hospitals",
    "logic",
    "images",
    "residual",
    "softmax(x + z)",
    "x / (z + x + 8.5)",
]


@cache
def usual_run(name: str) -> Trace:
    m = model(name, MODELS[name])
    return trace(m.program.plan, m.feeds, preprocess=True)


@pytest.mark.parametrize("name", MODELS)
def test_parties_hold_what_the_simulator_computes(name: str) -> None:
    """Every register of the plan, not only the results; and the results as their roles rebuild them."""
    t = usual_run(name)
    t.assert_exact()
    for result in t.plan.results:
        for role in result.roles:
            both = [out[result.name, role] for out in t.outputs]
            meant = t.results[result.name].reshape(result.shape).astype(np.uint64)
            assert np.array_equal(rebuild(result, *both), decode(meant, result.bits, result.scale, result.kind))


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_watched_runs_as_if_it_were_not(name: str) -> None:
    """The same messages, corrections read in the same pieces, results and counts; and every register is shown."""
    m = model(name, MODELS[name])
    watched, unwatched = usual_run(name), trace(m.program.plan, m.feeds, preprocess=True, observe=False)
    assert watched.sent == unwatched.sent
    assert watched.corrections == unwatched.corrections
    for ours, theirs in zip(watched.outputs, unwatched.outputs, strict=True):
        assert {key: bytes(value) for key, value in ours.items()} == {key: bytes(v) for key, v in theirs.items()}
    made = {r for procedure in watched.plan.procedures for gate in procedure.gates for r in gate.outs}
    assert [values.keys() for values in watched.values] == [made, made]
    assert unwatched.values == ({}, {})


def same_run(a: Trace, b: Trace, messages: bool = True) -> None:
    """Both parties hold the same shares and send the same results; with `messages` they send the same bytes."""
    for party in (0, 1):
        assert a.outputs[party].keys() == b.outputs[party].keys()
        assert all(np.array_equal(a.outputs[party][key], b.outputs[party][key]) for key in a.outputs[party])
        for register, value in a.values[party].items():
            t = a.plan.registers[register]
            if t.domain is not Domain.PLANES:
                mask = np.uint64((1 << t.bits) - 1) if t.domain is Domain.WORDS else np.uint8(1)
                assert np.array_equal(value & mask, b.values[party][register] & mask), register
        for stage in ("setup", "run"):
            if messages:
                assert a.sent[stage][party] == b.sent[stage][party]
                assert a.corrections[stage][party] == b.corrections[stage][party]
            assert a.stats[stage][party].sent_bytes == b.stats[stage][party].sent_bytes
    assert a.dealt == b.dealt


@pytest.fixture
def best_variant() -> Iterator[None]:
    before = kernels.variant()
    yield
    kernels.set_variant(before)


@pytest.mark.usefixtures("best_variant")
@pytest.mark.parametrize("name", WHOLE)
def test_every_kernel_variant_sends_the_same_bytes(name: str) -> None:
    """Shares and messages, not only results: machines of one session may differ."""
    m = model(name, MODELS[name])
    runs = []
    for variant in kernels.variants():
        kernels.set_variant(variant)
        runs.append(trace(m.program.plan, m.feeds))
    for other in runs[1:]:
        same_run(runs[0], other)


@pytest.mark.parametrize("name", [*WHOLE, "wide relu"])
@pytest.mark.parametrize("tile", [512, 1024])
def test_tiles_do_not_change_the_numbers(name: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    m = model(name, MODELS[name])
    usual = usual_run(name)
    for module in (registers, base, opening):
        monkeypatch.setattr(module, "TILE", tile)
    monkeypatch.setattr(table, "SAMPLE_TILE", 8)
    same_run(usual, trace(m.program.plan, m.feeds), messages=False)


@pytest.mark.parametrize("window", [1, 6])
@pytest.mark.parametrize("name", ["small lenet", "images", "wide relu"])
def test_many_messages_a_round(name: str, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that do not fit one message: the same bytes in more pieces, the peer's taken in on the way."""
    m = model(name, MODELS[name])
    usual = usual_run(name)
    for module in (registers, base, opening):
        monkeypatch.setattr(module, "TILE", 512)
    monkeypatch.setattr(instructions, "MESSAGE", 700)
    monkeypatch.setattr(executor, "WINDOW", window)
    small = trace(m.program.plan, m.feeds)
    same_run(usual, small, messages=False)
    assert len(small.sent["run"][0]) > len(usual.sent["run"][0])


def test_the_order_of_preprocessing_does_not_matter() -> None:
    m = model("small lenet", MODELS["small lenet"])
    same_run(trace(m.program.plan, m.feeds), trace(m.program.plan, m.feeds, preprocess=True))


def test_other_keys_give_other_messages_and_the_same_meaning() -> None:
    """No message of one run equals one of the other, and neither do their meanings differ."""
    m = model("small lenet", MODELS["small lenet"])
    other = {stage: tuple(bytes([k[0] + 64]) * 16 for k in keys) for stage, keys in KEYS.items()}
    a, b = trace(m.program.plan, m.feeds), trace(m.program.plan, m.feeds, keys=other)  # type: ignore[arg-type]
    b.assert_exact()
    for party in (0, 1):
        assert not set(a.sent["run"][party]) & set(b.sent["run"][party])
        assert not set(a.sent["setup"][party]) & set(b.sent["setup"][party])


def counted(plan: Plan, t: Trace, stage: str) -> list[tuple[str, int, int, int]]:
    """(label, line, online bytes, offline bytes) of each op of the model, from what the executors counted."""
    groups: dict[tuple[int, int, str], list[int]] = {}
    for i in range(len(plan.procedure(stage).ops)):
        o = plan.origin(stage, i)
        groups.setdefault((o.line, o.column, o.label), []).append(i)
    stats = t.stats[stage]
    return [
        (label, line, sum(s.op_sent[i] for s in stats for i in ops), sum(s.op_material[i] for s in stats for i in ops))
        for (line, _, label), ops in sorted(groups.items())
    ]


@pytest.mark.parametrize("name", MODELS)
def test_cost_of_each_op_is_what_it_moves(name: str) -> None:
    """To the byte, by source line: what the parties sent and were sent, and what lay on the channels."""
    m = model(name, MODELS[name])
    plan, cost = m.program.plan, m.program.cost
    t = usual_run(name)
    for stage in ("setup", "run"):
        found = counted(plan, t, stage)
        said = [(op.label, op.line, op.online_bytes, op.offline_bytes) for op in cost.per_op if op.procedure == stage]
        assert found == said
        prefix = "setup_" if stage == "setup" else ""
        assert sum(map(len, t.sent[stage][0])) + sum(map(len, t.sent[stage][1])) == getattr(
            cost, f"{prefix}online_bytes"
        )
        offline = sum(len(piece) for party in (0, 1) for _, piece in t.corrections[stage][party])
        assert offline == t.dealt[stage] == getattr(cost, f"{prefix}offline_bytes")
        assert [s.rounds for s in t.stats[stage]] == [getattr(cost, f"{prefix}rounds")] * 2
