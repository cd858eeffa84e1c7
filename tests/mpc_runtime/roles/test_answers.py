"""A message about several submissions: each gets its own shares, and what does not fit is the party's fault."""

from __future__ import annotations

from typing import Any

import pytest

import mpc_runtime as mpc
from mpc_runtime.analysis.rows import rows_apart
from mpc_runtime.errors import PeerError
from mpc_runtime.execution.stats import OP_BYTES
from mpc_runtime.roles.answers import Parts, Sent, apart_of
from mpc_runtime.transport.messages import Message

PLAN = mpc.compile(
    text="""model rows
role client, modeller
dim batch = 4
input x : int[batch, 3] from client in [-100, 100]
param w : int[3, 2] from modeller in [-100, 100]
output y = relu(x @ w) to client
output positive = x @ w > 0 to client
"""
).plan
PARTS = Parts(PLAN, "client", rows_apart(PLAN, "run"))
NAMES = [result.name for result in PLAN.results_of("client", "run")]
OPS = len(PLAN.procedure("run").ops)
REPORT = bytes(OP_BYTES * OPS)
SENT = {"a": Sent("run", 0, None, 1), "b": Sent("run", 0, None, 2), "s": Sent("setup", 0, None, None)}


def sizes(rows: int | None) -> tuple[int, ...]:
    return PARTS.of("run", rows).sizes


def shares(*ids: str) -> list[bytes]:
    """Of each result, as many of a submission's own letter as it has bytes."""
    return [b"".join(number.encode() * sizes(SENT[number].rows)[i] for number in ids) for i in range(len(NAMES))]


def taken(ids: list[str], parts: list[bytes], names: list[str] = NAMES) -> list[tuple[str, Message]]:
    body: dict[str, Any] = {"kind": "result", "ids": ids, "names": names, "rounds": 7}
    message = Message("p0", 0, body, [memoryview(part) for part in parts])
    return list(apart_of(PARTS, message, [SENT.get(number) for number in ids]))


def test_each_gets_its_own_shares_and_the_report() -> None:
    found = taken(["b", "a"], [*shares("b", "a"), REPORT])
    assert [number for number, _ in found] == ["b", "a"]
    for number, message in found:
        of_it = sizes(SENT[number].rows)
        assert [bytes(part) for part in message.payload] == [*(number.encode() * size for size in of_it), REPORT]
        assert message.body["rounds"] == 7


def test_who_receives_nothing_gets_the_report() -> None:
    assert [[bytes(part) for part in m.payload] for _, m in taken(["a", "b"], [REPORT], [])] == [[REPORT]] * 2


@pytest.mark.parametrize(
    ("ids", "parts", "names", "problem"),
    [
        ([], [REPORT], [], "'result' for something that we have not submitted"),
        (["a", "z"], [REPORT], [], "'result' for something that we have not submitted"),
        (["a", "a"], [REPORT], [], "'result' for something that we have not submitted"),
        (["a", "s"], [REPORT], [], "'result' for something that we have not submitted"),
        (["a"], [*shares("a"), REPORT], NAMES[::-1], "sent results"),
        (["a"], [*shares("a"), REPORT], NAMES[:1], "sent results"),
        (["a"], [*shares("a")], NAMES, "sent results"),
        (["a"], [], [], "sent results|sent a report"),
        (["a"], [*shares("a"), REPORT[:-1]], NAMES, "sent a report that does not fit the plan"),
        (["a"], [*shares("a"), REPORT + b"\0"], NAMES, "sent a report that does not fit the plan"),
        (["a"], [*shares("b"), REPORT], NAMES, f"bytes for {NAMES[0]}, where the plan has {sizes(1)[0]}"),
        (["a", "b"], [*shares("a"), REPORT], NAMES, f"bytes for {NAMES[0]}"),
        (["a", "b"], [shares("a", "b")[0], b"", REPORT], NAMES, f"sent 0 bytes for {NAMES[1]}"),
    ],
)
def test_what_does_not_fit_is_the_party_s_fault(
    ids: list[str], parts: list[bytes], names: list[str], problem: str
) -> None:
    with pytest.raises(PeerError, match=problem) as caught:
        taken(ids, parts, names)
    assert caught.value.peer == "p0"


def test_begun_names_those_whose_run_it_is() -> None:
    message = Message("p0", 0, {"kind": "begun", "ids": ["a", "b"]})
    found = list(apart_of(PARTS, message, [SENT["a"], SENT["b"]]))
    assert [(each.kind, number) for number, each in found] == [("begun", "a"), ("begun", "b")]
    with pytest.raises(PeerError, match="'begun' for something that we have not submitted"):
        list(apart_of(PARTS, message, [SENT["a"], None]))
