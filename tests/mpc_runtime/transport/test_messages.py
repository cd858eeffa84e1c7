"""Schemas of control messages: each field in each way that it can be wrong is the sender's fault, said in few words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mpc_runtime.errors import PeerError
from mpc_runtime.transport.messages import CLIENT, DEALER, HOST, PARTY, PARTY_TO_CLIENT, PARTY_TO_DEALER, Dialect, read

SUBMIT: dict[str, Any] = {"kind": "submit", "stage": "run", "id": "7"}
BEGIN: dict[str, Any] = {"kind": "begin", "procedure": "run", "index": 3, "ids": {"a": ["1"]}}
RECORD: dict[str, Any] = {"kind": "record", "procedure": "run", "index": 3}
DEALT: dict[str, Any] = {"kind": "dealt", "seconds": 0.5, "bytes": 7}
CREDIT: dict[str, Any] = {"kind": "credit", "bytes": 7, "used": None}
REPORT = {
    "rounds": 1, "sent_bytes": 2, "material_bytes": 3, "online_seconds": 0.1, "offline_seconds": 0, "peak_memory": 4,
}  # fmt: skip
RESULT: dict[str, Any] = {"kind": "result", "ids": ["7"], "names": ["y"], **REPORT, "setup": REPORT}
HAD: dict[str, Any] = {"stage": "run", "role": "client", "id": "7"}
HAVE: dict[str, Any] = {"kind": "have", "submissions": [HAD, {**HAD, "id": "8", "rows": 2}], "runs": 3}
INVITATION: dict[str, Any] = {"kind": "invitation", "session": "0" * 64}


def said(body: object, dialect: Dialect, *payload: int) -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read("p0", 0, [memoryview(text), *[memoryview(bytes(n)) for n in payload]], dialect)


@pytest.mark.parametrize(
    ("body", "dialect", "payload"),
    [
        (SUBMIT, CLIENT, (5, 6)),
        (BEGIN, PARTY, ()),
        (RECORD, DEALER, ()),
        ({"kind": "seed"}, DEALER, (16,)),
        (DEALT, DEALER, ()),
        (CREDIT, PARTY_TO_DEALER, ()),
        ({**CREDIT, "used": -1}, PARTY_TO_DEALER, ()),
        (RESULT, PARTY_TO_CLIENT, (8, 8, 8)),
        ({**RESULT, "setup": None}, PARTY_TO_CLIENT, ()),
        (RESULT, PARTY_TO_CLIENT, (3,)),
        (HAVE, PARTY, ()),
        ({**HAVE, "submissions": []}, PARTY, ()),
        ({"kind": "begun", "ids": ["7", "8"]}, PARTY_TO_CLIENT, ()),
        (INVITATION, HOST, (16, 32)),
    ],
)
def test_what_fits_is_read(body: dict[str, Any], dialect: Dialect, payload: tuple[int, ...]) -> None:
    message = said(body, dialect, *payload)
    assert (message.body, message.kind, message.sender) == (body, body["kind"], "p0")
    assert tuple(len(part) for part in message.payload) == payload


@pytest.mark.parametrize(
    ("body", "dialect", "payload", "problem"),
    [
        (b"", CLIENT, (), "cannot be read"),
        (b"[]", CLIENT, (), "no object"),
        (b"\xff", CLIENT, (), "cannot be read"),
        (b'{"kind": NaN}', CLIENT, (), "NaN is no number of JSON"),
        (b"[" * 100_000, CLIENT, (), "cannot be read"),
        (b" " * ((1 << 20) + 1), CLIENT, (), "where at most 1048576 are expected"),
        ({}, CLIENT, (), "its kind is 'None'"),
        ({"kind": ["submit"]}, CLIENT, (), "its kind is"),
        ({"kind": "welcome"}, CLIENT, (), "expected one of hello, ping, submit, withdraw"),
        ({"kind": "submit", "stage": "run"}, CLIENT, (), "submit: id is missing"),
        ({**SUBMIT, "of": 1}, CLIENT, (), "submit: 'of' is not known"),
        ({**SUBMIT, "id": 7}, CLIENT, (), "id: expected a text of at most 64 characters"),
        ({**SUBMIT, "id": "7" * 65}, CLIENT, (), "id: expected a text of at most 64 characters"),
        ({**SUBMIT, "stage": None}, CLIENT, (), "stage: expected a text"),
        ({**BEGIN, "index": -1}, PARTY, (), "index: expected a whole number"),
        ({**BEGIN, "index": 1.0}, PARTY, (), "index: expected a whole number"),
        ({**BEGIN, "index": True}, PARTY, (), "index: expected a whole number"),
        ({**BEGIN, "index": 10**30}, PARTY, (), "index: expected a whole number"),
        ({**BEGIN, "ids": ["a"]}, PARTY, (), "ids: expected an object"),
        ({**BEGIN, "ids": {"a": [1]}}, PARTY, (), "ids: expected a text"),
        ({**BEGIN, "ids": {"a": "1"}}, PARTY, (), "ids: expected a list"),
        ({**BEGIN, "ids": {str(i): "1" for i in range(5000)}}, PARTY, (), "ids: expected an object of at most 4096"),
        ({**DEALT, "seconds": "1"}, DEALER, (), "seconds: expected a number of seconds"),
        ({**DEALT, "seconds": -1}, DEALER, (), "seconds: expected a number of seconds"),
        (b'{"kind": "dealt", "seconds": 1e999, "bytes": 1}', DEALER, (), "seconds: expected a number of seconds"),
        ({**CREDIT, "used": -2}, PARTY_TO_DEALER, (), "used: expected a whole number"),
        ({**RESULT, "setup": {}}, PARTY_TO_CLIENT, (), "setup: material_bytes is missing"),
        (
            {**RESULT, "setup": {**REPORT, "rounds": None}},
            PARTY_TO_CLIENT,
            (),
            "setup: rounds: expected a whole number",
        ),
        ({**HAVE, "submissions": [{**HAD, "role": 7}]}, PARTY, (), "submissions: role: expected a text"),
        ({**HAVE, "submissions": [{**HAD, "kind": "x"}]}, PARTY, (), "submissions: 'kind' is not known"),
        ({**HAVE, "submissions": [HAD] * 65}, PARTY, (), "submissions: expected a list of at most 64"),
        ({**HAVE, "runs": -1}, PARTY, (), "runs: expected a whole number"),
        ({**RESULT, "ids": "7"}, PARTY_TO_CLIENT, (), "ids: expected a list"),
        ({**RESULT, "ids": ["7"] * 1025}, PARTY_TO_CLIENT, (), "ids: expected a list of at most 1024"),
        ({"kind": "begun", "ids": [7]}, PARTY_TO_CLIENT, (), "ids: expected a text"),
        ({**RESULT, "names": "y"}, PARTY_TO_CLIENT, (), "names: expected a list"),
        ({**RESULT, "names": [1]}, PARTY_TO_CLIENT, (), "names: expected a text"),
        ({**INVITATION, "session": "0" * 63}, HOST, (16, 32), "session: expected 64 hexadecimal digits"),
        ({**INVITATION, "session": "G" * 64}, HOST, (16, 32), "session: expected 64 hexadecimal digits"),
        (INVITATION, HOST, (16,), "expected a payload of 16 and 32 bytes, found 16 bytes"),
        ({"kind": "seed"}, DEALER, (16, 16), "expected a payload of 16 bytes, found 16 and 16 bytes"),
        ({"kind": "seed"}, DEALER, (), "expected a payload of 16 bytes, found no bytes"),
        ({"kind": "ping"}, CLIENT, (0,) * 9, "a payload of no bytes, found 0 and 0 and 0 and 0 and more bytes"),
        ({"kind": "x" * 10_000}, CLIENT, (), "its kind is"),
    ],
)
def test_what_does_not_fit_is_the_sender_s_fault(
    body: object, dialect: Dialect, payload: tuple[int, ...], problem: str
) -> None:
    with pytest.raises(PeerError) as caught:
        said(body, dialect, *payload)
    assert caught.value.peer == "p0"
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_machine_of_another_version_may_say_more() -> None:
    hello = {"kind": "hello", "name": "p1", "version": 9, "format": 9, "plan": "x", "nonce": "0" * 64, "new": [1]}
    assert said(hello, CLIENT).body["version"] == 9
