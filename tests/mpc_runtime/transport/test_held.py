"""What a server may say later arrives with what it says next, or by itself within moments, whoever else is quiet."""

from __future__ import annotations

import time

from mpc_runtime.roles.client import TOLD_SECONDS
from mpc_runtime.transport.call import Call, drive
from mpc_runtime.transport.messages import Message
from tests.mpc_runtime.transport.fronts import calling, fronted, reached
from tests.waiting import until


def messages(call: Call, count: int) -> list[Message]:
    found: list[Message] = []

    def look() -> bool:
        drive([call], 0.01)
        while (message := call.next()) is not None:
            found.append(message)
        return len(found) >= count

    until(look)
    return found


def test_it_comes_with_what_is_said_next() -> None:
    with fronted() as front, calling(front) as call:
        route = reached(front, call).route
        assert front.answer(route, {"kind": "begun", "ids": ["7"]}, later=True)
        assert front.answer(route, {"kind": "held", "id": "8"})
        assert [message.kind for message in messages(call, 2)] == ["begun", "held"]


def test_it_comes_by_itself_though_nobody_says_anything() -> None:
    with fronted() as front, calling(front) as call:
        route = reached(front, call).route
        for number in range(3):
            began = time.monotonic()
            assert front.answer(route, {"kind": "begun", "ids": [str(number)]}, later=True)
            assert [message.body["ids"] for message in messages(call, 1)] == [[str(number)]]
            assert time.monotonic() - began < TOLD_SECONDS


def test_it_comes_though_the_other_end_speaks_on() -> None:
    with fronted() as front, calling(front) as call:
        route = reached(front, call).route
        assert front.answer(route, {"kind": "begun", "ids": ["7"]}, later=True)

        def heard() -> bool:
            call.say({"kind": "withdraw", "stage": "run", "id": "7"})
            drive([call], 0.01)
            while front.receive() is not None:
                continue
            return call.next() is not None

        until(heard)


def test_it_comes_before_a_farewell() -> None:
    with fronted() as front, calling(front) as call:
        route = reached(front, call).route
        front.answer(route, {"kind": "begun", "ids": ["7"]}, later=True)
        front.close({"kind": "failed", "peer": "p0", "op": "", "message": "it ends", "error": ""})
        assert messages(call, 1)[0].kind == "begun"
        until(lambda: drive([call], 0.01) or call.failure)
        assert "it ends" in str(call.failure)
