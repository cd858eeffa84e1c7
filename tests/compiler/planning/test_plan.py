"""What a plan says to machines and to people: feeds, stages, rows, origins. Truth: the source text."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.graph import Kind
from compiler.pipeline import compile_source
from compiler.planning.plan import feed_name, origin
from mpc_runtime.gates import Input, Reveal
from mpc_runtime.plan import Options
from tests.compiler.graphs import leaf
from tests.zoo import MODELS

MODEL = """model small
role client, modeller
dim batch = 3
input x : [batch, 4] from client in [-2, 2]
param w : [4, 2] from modeller in [-1, 1]
param shift : [] from modeller in [0, 1]
y = x @ (w * 2)
output scores = y + shift to client, modeller
output best = argmax(y, axis=1) to client
output total = sum(y) to modeller
"""
PLAN = compile_source(MODEL, "small.ppml", {"batch": 5}, "wan").plan


def test_a_plan_says_what_it_was_compiled_with() -> None:
    assert PLAN.name == "small" and PLAN.roles == ("client", "modeller") and PLAN.dims == (("batch", 5),)
    assert PLAN.options == Options("wan", checked=False) and (PLAN.bits, PLAN.frac) == (64, 16)


def test_what_a_role_gives_is_what_the_model_says() -> None:
    (x,), params = PLAN.inputs, {t.name: t for t in PLAN.params}
    assert (x.name, x.role, x.kind, x.shape, x.dims, x.lo, x.hi) == (
        "x",
        "client",
        "fixed",
        (5, 4),
        ("batch", ""),
        -2,
        2,
    )
    assert {(t.name, t.role, t.shape, t.lo, t.hi) for t in params.values()} == {
        ("w", "modeller", (4, 2), -1.0, 1.0),
        ("shift", "modeller", (), 0.0, 1.0),
    }


def test_parameters_arrive_before_the_setup_and_inputs_before_a_run() -> None:
    assert [f.name for f in PLAN.feeds_of("client", "run")] == ["x"]
    assert {f.name for f in PLAN.feeds_of("modeller", "setup")} == {"prepared.0", "shift"}
    assert PLAN.feeds_of("client", "setup") == PLAN.feeds_of("modeller", "run") == ()


def test_rows_of_results_are_named_where_there_are_rows() -> None:
    assert {r.name: (r.shape, r.dims) for r in PLAN.results} == {
        "scores": ((5, 2), ("batch", "")),
        "best": ((5,), ("batch",)),
        "total": ((), ()),
    }
    assert {r.name: r.roles for r in PLAN.results}["scores"] == ("client", "modeller")


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.ppml")), ids=lambda path: path.stem)
def test_a_feed_is_read_once_and_every_result_is_revealed_once(path: Path) -> None:
    plan = compile_source(path.read_text(encoding="utf-8"), path.name).plan
    read = [
        (op.gate.feed, plan.registers[op.gate.y]) for p in plan.procedures for op in p.ops if isinstance(op.gate, Input)
    ]
    assert sorted(name for name, _ in read) == sorted(feed.name for feed in plan.feeds)
    feeds = {feed.name: feed for feed in plan.feeds}
    for name, register in read:
        feed = feeds[name]
        assert (feed.shape, feed.domain, feed.bits) == (register.shape, register.domain, register.bits)
    revealed = [
        (g.result_name, g.roles, g.bits) for op in plan.procedure("run").ops if isinstance(g := op.gate, Reveal)
    ]
    assert sorted(revealed) == sorted((r.name, r.roles, r.bits) for r in plan.results)


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.ppml")), ids=lambda path: path.stem)
def test_every_op_comes_from_a_line_of_the_source(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    plan = compile_source(text, path.name).plan
    for procedure in plan.procedures:
        for i in range(len(procedure.ops)):
            found = plan.origin(procedure.name, i)
            assert found.label and 0 <= found.line <= len(text.splitlines())


def test_the_names_of_leaves_and_their_origins() -> None:
    x = leaf("x", (2,), kind=Kind.FIXED)
    assert feed_name(x) == "x" and origin(x).label == "x" and origin(x).line == 0
