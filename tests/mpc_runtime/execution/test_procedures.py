"""A procedure is data: machines execute one that reads shares and leaves shares as they do `setup` and `run`.

An accumulator: `begin` leaves a state, each `step` adds x to it and leaves it again, `finish` reveals it.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from mpc_runtime import kernels
from mpc_runtime.analysis.cost import cost
from mpc_runtime.analysis.verify import verify
from mpc_runtime.errors import CompileError
from mpc_runtime.execution.dealer import DealerExecutor
from mpc_runtime.execution.party import PartyExecutor
from mpc_runtime.execution.simulator import Simulator
from mpc_runtime.gates import Add, Materialize, Square, Unmask
from mpc_runtime.limits import WINDOW_BYTES
from mpc_runtime.plan import Plan
from mpc_runtime.procedure import Kept
from mpc_runtime.program import prepare_feed
from mpc_runtime.sessions.deployed import launched
from mpc_runtime.transport.channel import Keeper
from tests.loaded import loaded
from tests.machines import both
from tests.memory_channel import channel_pair, material_pipe
from tests.mpc_runtime.plans import linear
from tests.plans_by_hand import Builder
from tests.traced import random_shares, split

Array = np.ndarray
U = np.uint64
START = np.array([5, 0, (1 << 64) - 1, 1 << 63], U)
XS = [np.array([i, 7 * i, 1, 1 << 62], U) for i in (1, 2, 3)]


def accumulator() -> Plan:
    """state = state + x and squares = squares + x^2, both opened in every step under the masks of its own record."""
    b = Builder(("begin", "step", "finish"))
    b.stage = "begin"
    state, squares = b.input(START), b.input(START)
    b.stage = "step"
    x = b.input(XS[0])
    square = b.emit(Materialize, START.shape, x=b.emit(Square, START.shape, 64, x=b.open(x)), bits=64)
    for kept, more in ((state, x), (squares, square)):
        shares = b.emit(Unmask, START.shape, 64, x=b.open(kept))
        b.keep(b.emit(Add, START.shape, 64, negative=False, x=shares, y=more), kept)
    b.stage = "finish"
    b.reveal(state, ("a",), 64, "state")
    b.reveal(squares, ("a",), 64, "squares")
    return b.plan()


class Machines:
    """Dealer, parties and simulator of a plan; every execution has keys of its own, and every word is used once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = loaded(plan)
        self.channels = channel_pair()
        self.dealer = DealerExecutor(self.plan, once=True)
        self.parties = [PartyExecutor(self.plan, i, self.channels[i], once=True) for i in (0, 1)]
        self.simulator = Simulator(self.plan)
        self.executions = 0

    def execute(self, procedure: str, *given: Array) -> dict[str, list[int]]:
        """The results. given: the feeds in the order in which the procedure takes them."""
        self.executions += 1
        keys = bytes([self.executions] * 16), bytes([128 + self.executions] * 16)
        pipes = [material_pipe() for _ in (0, 1)]
        self.dealt = self.dealer.execute(procedure, keys, (pipes[0][0], pipes[1][0]))
        names = [name for gate in self.plan.procedure(procedure).gates for name in gate.feeds]
        feeds = dict(zip(names, given, strict=True))
        shares = split(self.plan, self.plan.procedure(procedure), feeds, random_shares(self.executions))
        pair = bytes([64 + self.executions] * 16)
        out = both(self.parties, self.channels, procedure, keys, (pipes[0][1], pipes[1][1]), shares, pair)
        meant = self.simulator.execute(procedure, keys, feeds)
        found = {name: sum(kernels.unpack(o[name, "a"], START.size, 64) for o in out) for name in meant}
        assert all(np.array_equal(found[name], meant[name]) for name in meant)
        return {name: [int(n) for n in words] for name, words in found.items()}


def modulo(*terms: Array) -> list[int]:
    return [sum(int(n) for n in column) % (1 << 64) for column in zip(*terms, strict=True)]


def test_state_stays_as_shares_between_executions() -> None:
    machines = Machines(accumulator())
    machines.execute("begin", START, START)
    assert machines.execute("finish") == {"state": modulo(START), "squares": modulo(START)}
    for x in XS:
        machines.execute("step", x)
    squares = [x * x for x in XS]
    expected = {"state": modulo(START, *XS), "squares": modulo(START, *squares)}
    assert machines.execute("finish") == machines.execute("finish") == expected
    machines.execute("step", XS[0])
    assert machines.execute("finish")["state"] == modulo(START, *XS, XS[0])
    machines.execute("begin", START, START)
    assert machines.execute("finish")["state"] == modulo(START)


def test_state_is_opened_under_the_masks_of_each_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the parties see of one and the same state has nothing in common from one step to the next."""
    machines = Machines(accumulator())
    machines.execute("begin", START, START)
    sent: list[bytes] = []
    send = type(machines.channels[0]).send
    monkeypatch.setattr(
        type(machines.channels[0]), "send", lambda self, m: (sent.append(bytes(memoryview(m))), send(self, m))[1]
    )
    for _ in range(3):
        machines.execute("step", np.zeros_like(START))
    words = [sent[i][j : j + 8] for i in range(len(sent)) for j in range(0, len(sent[i]), 8)]
    assert len(words) == 3 * 2 * 3 * START.size == len(set(words))


def test_a_record_of_a_step_depends_on_nothing_before_it() -> None:
    """So that steps can be dealt in any order, and one that is lost costs a step."""

    def dealt(dealer: DealerExecutor) -> list[bytes]:
        written: list[bytes] = []

        class Sink(Keeper):
            def write(self, buffer: object) -> None:
                written.append(bytes(memoryview(buffer)))  # type: ignore[arg-type]

        dealer.execute("step", (bytes([251] * 16), bytes([252] * 16)), (Sink(), Sink()))
        return written

    machines = Machines(accumulator())
    machines.execute("begin", START, START)
    machines.execute("step", XS[0])
    assert dealt(machines.dealer) == dealt(DealerExecutor(machines.plan)) != []


def test_cost_counts_every_procedure() -> None:
    plan = accumulator()
    machines, said = Machines(plan), cost(plan)
    assert machines.execute("begin", START, START) == {} and machines.dealt == said.setup_offline_bytes == 0
    machines.execute("step", XS[0])
    stats = [party.last for party in machines.parties]
    assert machines.dealt == said.offline_bytes == sum(s.material_bytes for s in stats) > 0
    assert said.online_bytes == sum(s.sent_bytes for s in stats) == 2 * 3 * 8 * START.size
    assert said.rounds == stats[0].rounds == 1
    assert {op.procedure for op in said.per_op} == {"begin", "step", "finish"}


def test_procedures_that_machines_cannot_execute_are_no_plan() -> None:
    plan = accumulator()
    begin, step, finish = plan.procedures
    masked = next(gate.outs[0] for gate in step.gates if gate.communicates)
    for wrong, why in (
        (
            (replace(begin, keeps=()), replace(step, keeps=()), finish),
            "reads register .0., which nothing leaves",
        ),
        ((begin, replace(step, keeps=(Kept(masked, 0),)), finish), "cannot be left in 0"),
        ((begin, replace(step, keeps=(Kept(masked, masked),)), finish), "is left as a wire value, but must cross as"),
        ((begin, step), "is sent by 0 ops"),
    ):
        with pytest.raises(CompileError, match=why):
            verify(replace(plan, procedures=wrong))


def test_a_feed_and_a_result_are_the_business_of_one_procedure() -> None:
    """So that nothing else need say which: what a role gives and is sent at a stage is what its gates say."""
    plan = linear()
    setup, run = plan.procedures
    assert [(f.name, p.name) for p in plan.procedures for r in plan.roles for f in plan.feeds_of(r, p.name)] == [
        ("w", "setup"),
        ("x", "run"),
    ]
    for wrong, why in (
        ({"feeds": (*plan.feeds, replace(plan.feeds[0], name="z"))}, "`z` is taken by 0 ops"),
        ({"results": (*plan.results, replace(plan.results[0], name="z"))}, "`z` is sent by 0 ops"),
        ({"procedures": (setup, run, replace(run, name="again", ahead=False))}, "`x` is taken by 2 ops"),
    ):
        with pytest.raises(CompileError, match=why):
            verify(replace(plan, **wrong))


def test_the_servers_execute_a_third_procedure() -> None:
    """In real processes: `begin` when parameters come, a step when inputs come, `finish` with material on request."""
    plan = accumulator()
    given = [(p.name, name) for p in plan.procedures for gate in p.gates for name in gate.feeds]
    names = {stage: [name for at, name in given if at == stage] for stage in ("begin", "step")}
    small = np.array([1, 2, 3, 4], U)
    deployment = launched(plan, prepare_feed, 10.0, WINDOW_BYTES, lambda _, addresses: addresses, lambda: None)
    with closing(deployment):
        (client,) = deployment.clients
        client.wait_held(client.submit("begin", dict.fromkeys(names["begin"], small)))
        for done in (1, 2):
            for _ in range(2):
                assert client.wait_answer(client.submit("step", {names["step"][0]: small})).results == {}
            answer = client.wait_answer(client.submit("finish", {}))
            assert answer.results["state"].tolist() == [(1 + 2 * done) * int(n) for n in small]
            assert answer.results["squares"].tolist() == [int(n) + 2 * done * int(n) ** 2 for n in small]
