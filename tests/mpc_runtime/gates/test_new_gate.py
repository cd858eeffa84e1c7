"""A gate is one class: one that only this file knows runs, is stored, costed and reported like any other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mpc_runtime.analysis.cost import cost
from mpc_runtime.analysis.leakage import manifest
from mpc_runtime.analysis.memory import BASE
from mpc_runtime.analysis.reuse import overwritable
from mpc_runtime.gates import GATES, Add, Gate, Materialize, Secret, Words
from mpc_runtime.gates.base import In, Out, Owners, Part, Revelation, flat, tiles
from mpc_runtime.gates.contexts import Array, DealerContext, MeaningContext, PartyContext, Types
from mpc_runtime.gates.rules import Declared, Layout, expect_masked
from mpc_runtime.plan import Plan
from mpc_runtime.plan_file import read
from mpc_runtime.registers import Form
from tests.plans_by_hand import Builder
from tests.traced import trace

U = np.uint64
THREE = U(3)


@dataclass(frozen=True)
class Cube(Gate):
    """x^3 of a masked x: X^3 - 3 X^2 [l] + 3 X [l^2]; the mask's cube is the offset."""

    fresh = True
    reveals = False
    protocol = Part("masked cube", "the third power")

    x: In
    y: Out

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        expect_masked(types, self.x)
        return (given.layout(self.x),)

    def result(self, out: int, types: Types) -> Form:
        return Form.OFFSET

    def wants_mask(self, register: int, types: Types) -> bool:
        return True

    def secrets(self, types: Types) -> tuple[Secret, ...]:
        return (Words(types[self.y].bits),)

    def deal(self, d: DealerContext) -> None:
        mask = flat(d.mask(self.x))
        for start, n in tiles(mask.size):
            d.share(0, start, n, mask[start : start + n] ** U(2))
        d[self.y] = np.negative(mask**THREE).reshape(d.types[self.y].shape)

    def evaluate(self, p: PartyContext) -> None:
        hat = flat(p[self.x])
        out = np.zeros_like(hat)
        for start, n in tiles(hat.size):
            piece = slice(start, start + n)
            out[piece] = THREE * hat[piece] * p.secret(0, start, n)
        out -= THREE * hat * hat * flat(p.mask(self.x))
        out += flat(p.public(self.x)) ** THREE
        p[self.y] = out.reshape(p.types[self.y].shape)

    def meaning(self, s: MeaningContext) -> None:
        s[self.y] = s[self.x] ** THREE


@dataclass(frozen=True)
class Confide(Gate):
    """Sends a role a share as it is."""

    fresh = True
    reveals = True

    role: str
    x: In

    def infer(self, types: Types, given: Declared) -> tuple[Layout, ...]:
        return ()

    def demand(self, register: int, types: Types) -> int:
        return 64

    def revelations(self, owners: Owners, types: Types) -> tuple[Revelation, ...]:
        return (Revelation(f"{self.role} is told a secret"),)

    def deal(self, d: DealerContext) -> None:
        """Nothing to deal."""

    def evaluate(self, p: PartyContext) -> None:
        p.reveal("secret", self.role, p[self.x])

    def meaning(self, s: MeaningContext) -> None:
        s.reveal("secret", s[self.x])


@dataclass(frozen=True)
class Blab(Confide):
    """The same, but it says that nobody learns anything."""

    reveals = False
    revelations = Gate.revelations


X = np.array([0, 1, 2, (1 << 64) - 3, 1 << 63, 12345678901], U)


def built(teller: type[Gate]) -> tuple[Plan, Builder, int]:
    """x^3 + x^3, revealed in its own way."""
    b = Builder()
    x = b.wire(X)
    cube = b.emit(Cube, X.shape, 64, x=x)
    shares = b.emit(Materialize, X.shape, 64, x=cube)
    y = b.emit(Add, X.shape, 64, negative=False, x=shares, y=shares)
    b.act(teller, role="eve", x=y)
    return b.plan(), b, y


def test_a_gate_of_this_file_runs_in_the_executors_from_a_stored_plan() -> None:
    plan, b, y = built(Confide)
    assert read(plan.to_bytes()).procedures == plan.procedures
    t = trace(plan, b.values)
    t.assert_exact()
    expected = [2 * int(x) ** 3 % (1 << 64) for x in X]
    assert [int(v) for v in t.value(y)] == expected
    told: list[Array] = [out["secret", "eve"] for out in t.outputs]
    assert [int(v) for v in told[0] + told[1]] == expected == [int(v) for v in t.results["secret"]]


def test_reports_name_it_and_count_what_it_moves() -> None:
    plan, b, _ = built(Confide)
    t, said = trace(plan, b.values), cost(plan)
    assert "masked cube" in said.per_op[-1].protocol
    assert said.protocols["masked cube"] == "the third power"
    assert said.offline_bytes == t.dealt["run"] == 2 * 8 * X.size
    assert said.online_bytes == sum(len(m) for party in t.sent["run"] for m in party)
    assert said.peak_memory > BASE
    assert "eve is told a secret" in manifest(plan)


def test_the_storage_of_its_result_may_be_reused() -> None:
    plan, _, _ = built(Confide)
    run = plan.procedure("run")
    cube = next(gate for gate in run.gates if isinstance(gate, Cube))
    place = next(i for i, gate in enumerate(run.gates) if isinstance(gate, Materialize))
    assert overwritable(run, plan.registers)[place] == {cube.y}


def test_a_gate_cannot_reveal_what_it_keeps_from_the_manifest() -> None:
    plan, b, _ = built(Blab)
    assert not any("eve" in line for line in manifest(plan))
    with pytest.raises(AssertionError, match="manifest"):
        trace(plan, b.values)


def test_a_gate_that_forgets_a_fact_cannot_be_defined() -> None:
    with pytest.raises(TypeError, match="gate Forgetful does not declare fresh and reveals and infer"):

        class Forgetful(Gate):
            """Says nothing."""

    with pytest.raises(TypeError, match="gate Mute has `reveals` and `revelations` that contradict each other"):

        class Mute(Gate):
            """Says that somebody learns something, and not what."""

            fresh = True
            reveals = True
            infer = Cube.infer

    assert not {"Forgetful", "Mute"} & GATES.keys()


def test_two_gates_cannot_have_one_name() -> None:
    with pytest.raises(TypeError, match=r"gate Open of \S+: mpc_runtime.gates.opening has one of that name"):

        class Open(Gate):
            """Another one."""

            fresh = True
            reveals = False
            infer = Cube.infer

    assert GATES["Open"].__module__ == "mpc_runtime.gates.opening"
