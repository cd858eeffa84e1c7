"""Peers and dealers that misbehave, at the executor: wrong lengths, silence, death. Each error says where."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mpc_runtime import compile
from mpc_runtime.encoding.sharing import rebuild, result_size
from mpc_runtime.errors import CompileError, PeerError
from mpc_runtime.execution.dealer import DealerExecutor
from mpc_runtime.execution.party import ExecutionKeys, PartyExecutor
from mpc_runtime.plan_file import read
from tests.loaded import loaded
from tests.memory_channel import channel_pair, material_pipe
from tests.models_in_memory import all_models, model
from tests.traced import KEYS, random_shares, split
from tests.waiting import SECONDS

NAME = "relu(x * z)"
TEXT = dict(all_models())[NAME]


class Meddled:
    """A channel that does something else to message `at`, or sends nothing from there on."""

    def __init__(self, channel: Any, at: int, what: str) -> None:
        self.channel, self.at, self.what, self.count = channel, at, what, 0

    def send(self, buffer: Any) -> None:
        data = bytes(buffer)
        self.count += 1
        if self.what == "nothing" and self.count > self.at:
            return
        if self.count - 1 != self.at:
            self.channel.send(data)
        elif self.what == "long":
            self.channel.send(data + b"\0")
        elif self.what == "short":
            self.channel.send(data[:-1])
        elif self.what == "dies":
            self.channel.close("killed")
            raise KeyboardInterrupt
        elif self.what == "empty":
            self.channel.send(b"")

    def recv(self, nbytes: int, at: object) -> memoryview:
        return self.channel.recv(nbytes, at)  # type: ignore[no-any-return]


def honest_party_meets(what: str, at: int, bad: int) -> PeerError:
    """What the other party raises when party `bad` does this to its message number `at`."""
    m = model(NAME, TEXT)
    plan = loaded(m.program.plan)
    channels = channel_pair(1.0)
    pipes = [material_pipe(1.0) for _ in (0, 1)]
    dealer = DealerExecutor(plan)
    dealer.execute("setup", KEYS["setup"][:2], (material_pipe()[0], material_pipe()[0]))
    dealer.execute("run", KEYS["run"][:2], (pipes[0][0], pipes[1][0]))
    shares = split(plan, plan.procedure("run"), m.feeds["run"], random_shares(0))
    raised: dict[int, BaseException] = {}

    def work(i: int) -> None:
        channel = Meddled(channels[i], at, what) if i == bad else channels[i]
        party = PartyExecutor(plan, i, channel)  # type: ignore[arg-type]
        try:
            party.execute("run", ExecutionKeys(KEYS["run"][i], KEYS["run"][2]), pipes[i][1], shares[i])
        except BaseException as e:
            raised[i] = e
            channels[i].close(f"it failed: {e}")

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    found = raised[1 - bad]
    assert isinstance(found, PeerError)
    return found


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("what", ["long", "short", "empty"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_message_of_another_length_is_refused(what: str, at: int, bad: int) -> None:
    error = honest_party_meets(what, at, bad)
    assert error.peer == f"p{bad}"
    assert "bytes at" in str(error) and "where the plan has" in str(error)
    assert "(<text>:5, op " in error.op


@pytest.mark.parametrize("bad", [0, 1])
def test_a_dead_peer_is_named_with_the_op(bad: int) -> None:
    error = honest_party_meets("dies", 1, bad)
    assert error.peer == f"p{bad}"
    assert "is gone while we wait at `" in str(error) and "killed" in str(error)


@pytest.mark.parametrize("bad", [0, 1])
def test_a_silent_peer_is_given_up(bad: int) -> None:
    error = honest_party_meets("nothing", 2, bad)
    assert error.peer == f"p{bad}"
    assert "sent nothing for 1 s while we wait at `" in str(error)


@pytest.mark.parametrize("how", ["closes", "stays silent"])
def test_material_that_ends_early(how: str) -> None:
    m = model(NAME, TEXT)
    plan = loaded(m.program.plan)
    channels = channel_pair(1.0)
    shares = split(plan, plan.procedure("run"), m.feeds["run"], random_shares(0))
    raised: dict[int, BaseException] = {}

    def work(i: int) -> None:
        sink, source = material_pipe(0.3)
        sink.write(b"\0" * 5)
        if how == "closes":
            sink.close("it died")
        try:
            PartyExecutor(plan, i, channels[i]).execute(
                "run", ExecutionKeys(KEYS["run"][i], KEYS["run"][2]), source, shares[i]
            )
        except BaseException as e:
            raised[i] = e
            channels[i].close("it failed")

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    named = [e.peer for e in raised.values() if isinstance(e, PeerError)]
    assert len(named) == 2 and "dealer" in named


def test_a_damaged_or_foreign_plan_is_refused() -> None:
    data = model(NAME, TEXT).program.plan.to_bytes()
    for bad in (b"", data[:10], b"NOTAPLAN" + data[8:], data[:200], data[:8] + b"\xff" + data[9:]):
        with pytest.raises(CompileError):
            read(bad)


def test_the_hash_is_of_what_runs_alone() -> None:
    """Another model, dim or network is another hash; comments and line numbers are not in it."""
    plans = [compile(text=text).plan for text in (TEXT, "# remark\n\n" + TEXT, TEXT.replace("x * z", "x * z + 1"))]
    assert plans[0].hash == plans[1].hash != plans[2].hash
    assert read(plans[0].to_bytes()).hash == plans[0].hash
    wan = compile(text=TEXT, network="wan").plan
    assert wan.hash != plans[0].hash


def test_output_messages_have_the_length_of_the_result() -> None:
    m = model(NAME, TEXT)
    (result,) = m.program.plan.results
    good = bytes(result_size(result))
    rebuild(result, good, good)
    for bad in (good[:-1], good + b"\0", b""):
        with pytest.raises(PeerError):
            rebuild(result, bad, good)
        with pytest.raises(PeerError):
            rebuild(result, good, bad)


def test_keys_do_not_show_in_prints() -> None:
    assert "secret" not in repr(ExecutionKeys(b"secret", b"secret"))
