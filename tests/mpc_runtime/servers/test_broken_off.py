"""A run that breaks off at this party: its releases stay spent, and those whose run had not begun get theirs back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

import mpc_runtime as mpc
from mpc_runtime.encoding.sharing import payload_sizes
from mpc_runtime.errors import MaterialError, PeerError
from mpc_runtime.servers.consent import Consent
from mpc_runtime.servers.members import Member
from mpc_runtime.servers.party import Party
from mpc_runtime.servers.spending import MEMORY, Spending
from mpc_runtime.servers.trained import Trained
from mpc_runtime.servers.uses import Uses
from mpc_runtime.transport.messages import MATERIAL, Message

PLAN = mpc.compile(
    text="model private\nrole client\ninput x : [8] from client in [0, 1]\nbudget x = dp(epsilon=9)\n"
    "output r = sum(x) to client with laplace(epsilon=0.5)"
).plan
KEY, ROUTE = "k" * 40, 7
SIZE = payload_sizes(PLAN.feeds_of("client", "run"))[1]
IDS = ("first", "second", "third")


class Node:
    """Of p1: three submissions of a client arrive, and p0 begins a run with the first."""

    timeout = 60.0

    def __init__(self) -> None:
        self.hello = SimpleNamespace(name="p1")
        self.guests = {ROUTE: "client"}
        self.replies: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self._arriving = deque(IDS)
        self._begun = [{"kind": "begin", "procedure": "run", "index": 0, "ids": {"client": IDS[:1]}}]

    def hear_clients(self, take: Callable[[Message], bool]) -> bool:
        heard = bool(self._arriving)
        while self._arriving:
            body = {"kind": "submit", "stage": "run", "id": self._arriving.popleft(), "dataset": "d"}
            assert take(Message("client", ROUTE, body, [memoryview(bytes(SIZE))], KEY))
        return heard

    def control(self) -> Message | None:
        return Message("p0", 0, self._begun.pop(), []) if self._begun and not self._arriving else None

    def reply(self, route: int, role: str, body: dict[str, Any], later: bool = False) -> None:
        self.replies.append(body)

    def refuse(self, route: int, message: str, error: str = "") -> None:
        self.refusals.append(error)

    def say(self, peer: str, body: dict[str, Any]) -> None:
        """To p0, which is not there."""

    def finished(self) -> nullcontext[None]:
        return nullcontext()


@pytest.mark.parametrize(
    ("error", "kind"), [(PeerError("p0 is gone", "p0", "run 0"), ""), (MaterialError("the disk is full"), MATERIAL)]
)
def test_what_had_begun_stays_spent(error: PeerError | MaterialError, kind: str) -> None:
    def execute(*_: object) -> None:
        raise error

    node = Node()
    supply = SimpleNamespace(
        remembered=lambda: (), standing=dict, receive=lambda: False, hear=lambda _: False, forget=lambda _: None
    )
    executions: Any = SimpleNamespace(
        plan=PLAN,
        number=1,
        node=node,
        peer="p0",
        doing="run 0",
        supply=supply,
        channel=node,
        begin=lambda: None,
        execute=execute,
        lowest=lambda _: 0,
        trained=Trained(PLAN, 1, None),
    )
    spending = Spending(PLAN, 1, MEMORY)
    party = Party(executions, Consent(PLAN, 1, {KEY: Member("client")}, Uses(), spending))
    with pytest.raises(type(error)):
        party.serve()
    party.broken_off(error)
    assert [(body["id"] if "id" in body else IDS[0], body["error"]) for body in node.replies] == [(IDS[0], kind)]
    assert spent(spending) == 1.5
    party.turn_away(MaterialError("the disk is full"))
    assert node.refusals == [MATERIAL] * 2
    assert spent(spending) == 0.5, "the first may have been answered"


def spent(spending: Spending) -> object:
    told = spending.tell(KEY, "d", None)
    assert not isinstance(told, str)
    return told["epsilon"]
