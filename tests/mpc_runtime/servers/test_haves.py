"""What p1 tells p0 of what has come: all of it, once, in its order, in messages of a bounded size."""

from __future__ import annotations

import json
from typing import Any

from mpc_runtime.servers.haves import Haves, said_of
from mpc_runtime.servers.submissions import Submission
from mpc_runtime.transport.messages import BODY_BYTES, HAVES, PARTY, encode, read


def submission(**facts: Any) -> Submission:
    return Submission(1, memoryview(b""), 0.0, **facts)


def test_all_is_told_once_and_in_its_order() -> None:
    told: list[Any] = []
    haves = Haves(told.append)
    for i in range(HAVES + 3):
        haves.add(("run", "client", str(i)), submission(rows=2))
    haves.tell()
    haves.tell()
    assert [len(body["submissions"]) for body in told] == [HAVES, 3]
    found = [said_of(each) for body in told for each in body["submissions"]]
    assert found == [(("run", "client", str(i)), (None, 2, None)) for i in range(HAVES + 3)]


def test_what_it_says_of_a_submission_arrives() -> None:
    told: list[Any] = []
    haves = Haves(told.append)
    haves.add(("run", "a", "1"), submission(meeting=("x", 4), step={"step": 3}))
    haves.tell()
    message = read("p1", 0, [memoryview(encode(told[0]))], PARTY)
    assert said_of(message.body["submissions"][0]) == (("run", "a", "1"), (("x", 4), 1, {"step": 3}))


def test_a_look_after_an_execution_is_told_even_if_nothing_has_come() -> None:
    told: list[Any] = []
    haves = Haves(told.append)
    haves.tell(looked=True)
    assert not told
    haves.ran()
    haves.tell()
    assert not told
    haves.tell(looked=True)
    haves.tell(looked=True)
    assert told == [{"kind": "have", "submissions": [], "runs": 1}]


def test_only_the_last_of_a_look_says_that_it_is_over() -> None:
    told: list[Any] = []
    haves = Haves(told.append)
    haves.ran()
    for i in range(HAVES + 1):
        haves.add(("run", "client", str(i)), submission())
    haves.tell(looked=True)
    assert [body["runs"] for body in told] == [0, 1]


def test_the_largest_is_a_body_still() -> None:
    told: list[Any] = []
    haves = Haves(told.append)
    name = "\N{GRINNING FACE}" * 256
    checkpoint = {"name": name, "start": 1 << 48, "seed": 1 << 62, "data": "0" * 64}
    for i in range(HAVES):
        step = {"step": 1 << 48, "checkpoint": {**checkpoint, "clear": False, "resume": False, "write": False}}
        haves.add((name, name, f"{i:064}"), submission(meeting=(name, 1 << 48), step=step))
    haves.tell()
    (body,) = told
    assert len(json.dumps(body)) < BODY_BYTES
    read("p1", 0, [memoryview(encode(body))], PARTY)
