"""Control messages, and the one place that says what may be in them.

A control message is a JSON object (its *body*) and the payload behind it: parts of bytes. Who may say what to whom is a
*dialect*, a table from a message's kind to its fields and payload. `read` makes a `Message` of what has arrived;
whatever does not fit its dialect is the sender's fault (`PeerError`), so nothing behind this file meets a field that is
missing, of another type, or larger than its bound. What the plan alone knows (which stages and roles there are, how
long a share is) is checked where it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import PeerError
from .fields import NAME, Digits, Field, Flag, Listed, Mapped, Maybe, Real, Seconds, Shape, Text, Whole

__all__ = [
    "BODY_BYTES",
    "CALLER",
    "CLIENT",
    "DEALER",
    "DEALINGS",
    "HAVES",
    "HOST",
    "LOBBY_HOST",
    "MATERIAL",
    "NAME",
    "PARTY",
    "PARTY_TO_CLIENT",
    "PARTY_TO_DEALER",
    "REASON",
    "RUNS",
    "SEED_BYTES",
    "TOGETHER",
    "VISITOR",
    "Dialect",
    "Kind",
    "Message",
    "encode",
    "read",
]

BODY_BYTES = 1 << 20
"""JSON of the largest message between machines: it grows with the number of roles and of results."""
ID = 64  # characters of a submission's number; clients of ours use 32
WORDS = 1 << 16  # characters of an error's text
REASON = 1 << 10  # and of why a submission is not used
ID_DIGITS = 32  # of a store, or of a dealing: 16 bytes
DEALINGS = 1 << 10  # of a store, the last ones
RUNS = 1 << 20  # of a dealing
MATERIAL = "material"  # the `error` of an ending that is a MaterialError for whoever hears it
TOGETHER = 1 << 10  # submissions in an execution: their ids are one message
HAVES = 1 << 6  # submissions of which a party is told at once: at their largest they are a body still
SEED_BYTES = 16
TICKET_BYTES = 16
SECRET_BYTES = 32
NONCE_DIGITS = 64  # 32 bytes in hexadecimal digits


@dataclass(frozen=True)
class Kind:
    """A kind of message. payload: the sizes of its parts; None for parts whose number and sizes the plan knows."""

    shape: Shape
    payload: tuple[int, ...] | None = ()


def _kind(
    fields: Mapping[str, Field],
    payload: tuple[int, ...] | None = (),
    *,
    open: bool = False,
    optional: Mapping[str, Field] | None = None,
) -> Kind:
    return Kind(Shape({"kind": Text(NAME), **fields}, open, optional or {}), payload)


Dialect = Mapping[str, Kind]

_NUMBER = Text(ID)
_SUBMISSION: dict[str, Field] = {"stage": Text(NAME), "role": Text(NAME), "id": _NUMBER}
_MEETING: dict[str, Field] = {"meeting": Shape({"name": Text(NAME), "run": Whole()})}
"""What the roles of a run have agreed on, and which of its runs it is: of submissions that are paired by it."""
_ROWS: dict[str, Field] = {"rows": Whole(least=1)}
"""How many rows of a batch a submission has; without it, it has all of them."""
_DATASET: dict[str, Field] = {"dataset": Text(NAME)}
"""The name that an owner gives its data, in the privacy ledger."""
_SEED = Whole(most=(1 << 63) - 1)
_DATA_DIGITS = 64  # 32 bytes
_CHECKPOINT = Shape(
    {
        "name": Text(NAME),
        "start": Whole(),
        "seed": _SEED,
        "data": Digits(_DATA_DIGITS),
        "clear": Flag(),
        "resume": Flag(),
        "write": Flag(),
    }
)
_FIT = Shape(
    {
        "epochs": Whole(least=1),
        "rows": Whole(),
        "steps": Whole(least=1),
        "start": Whole(),
        "seed": _SEED,
        "validation": Whole(),
        "patience": Whole(),
    },
    optional={"ids": Digits(64)},
)
"""What all roles of a call of `fit` have to say alike: how many rows there are (0 where each role has its own), the
steps of an epoch, how many were made before the call, how many rows of validation there are, for how many epochs a
metric may be no better (0 for any number), and a hash of the rows' ids."""
_STEP: dict[str, Field] = {
    "training": Shape(
        {"step": Whole()},
        optional={"checkpoint": _CHECKPOINT, "fit": _FIT, "place": Whole(), "rows": Whole(least=1)},
    )
}
"""Which step of training a submission is for, what it says of checkpoints and of the call that it is part of, which
batch of validation rows it has, and, where training is private, from how many rows its own are drawn."""
_HAD = Shape(_SUBMISSION, optional={**_MEETING, **_ROWS, **_STEP})
_DECIDED = Shape({"step": Whole(), "stop": Flag()})
"""Whether training ends early, behind this step."""
_LIMIT = Shape({"epsilon": Real(), "delta": Real()})
_ANSWERED: dict[str, Field] = {"id": _NUMBER}
_IDS = Listed(_NUMBER, TOGETHER)
_KNOWN = Shape({"step": Whole(), "start": Whole(), "seed": _SEED, "data": Text(_DATA_DIGITS), "scale": Real()})
"""A checkpoint, as a role is told of it."""
_REPORT: dict[str, Field] = {
    "rounds": Whole(),
    "sent_bytes": Whole(),
    "material_bytes": Whole(),
    "online_seconds": Seconds(),
    "offline_seconds": Seconds(),
    "peak_memory": Whole(),
}
_HELLO = _kind(
    {
        "name": Text(NAME),
        "version": Whole(),
        "format": Whole(),
        "plan": Text(NAME),
        "nonce": Digits(NONCE_DIGITS),
    },
    open=True,  # a machine of another version has other fields; it is told which version we have
)
_ERROR = {"error": Text(NAME)}
_FAILED = _kind({"peer": Text(NAME), "op": Text(WORDS), "message": Text(WORDS)}, optional=_ERROR)
_REFUSED = _kind({"message": Text(WORDS)}, optional=_ERROR)
_ENDINGS: Dialect = {"failed": _FAILED, "refused": _REFUSED}
_OFFER = Shape(
    {
        "store": Digits(ID_DIGITS),
        "number": Whole(),
        "dealings": Listed(Digits(ID_DIGITS), DEALINGS),
        "refill": Flag(),
        "next": Whole(),
        "confirmed": Whole(),
        "standing": Mapped(Text(NAME), Shape({"record": Whole(), "ids": Mapped(Text(NAME), _NUMBER)})),
    }
)
"""What a party says of its stored material."""
_BARE = _kind({})
_PONG = _kind({"clock": Seconds()})  # since 1970, for `mpcc doctor`: nothing depends on it

CLIENT: Dialect = {
    "hello": _HELLO,
    "ping": _BARE,
    "submit": _kind({"stage": Text(NAME), "id": _NUMBER}, None, optional={**_MEETING, **_ROWS, **_DATASET, **_STEP}),
    "withdraw": _kind({"stage": Text(NAME), "id": _NUMBER}),
    "budget": _kind({"id": _NUMBER, **_DATASET}, optional={"limit": _LIMIT}),
    "trained": _kind({"id": _NUMBER}, optional={"name": Text(NAME), "meeting": Text(NAME), "decided": _DECIDED}),
}
"""A client to a party."""

PARTY_TO_CLIENT: Dialect = {
    **_ENDINGS,
    "welcome": _kind({"name": Text(NAME)}),
    "pong": _PONG,
    "held": _kind(_ANSWERED),
    "begun": _kind({"ids": _IDS}),
    "word": _kind({**_ANSWERED, "message": Text(WORDS)}),
    "denied": _kind({**_ANSWERED, "message": Text(WORDS)}),
    "spent": _kind(
        {**_ANSWERED, "epsilon": Maybe(Real()), "delta": Real(), "by": Text(NAME), "limits": Listed(_LIMIT)}
    ),
    "progress": _kind(
        {
            **_ANSWERED,
            "step": Whole(),
            "checkpoints": Listed(_KNOWN),
            "fit": Maybe(_FIT),
            "decided": Maybe(_DECIDED),
        }
    ),
    "result": _kind({"ids": _IDS, "names": Listed(Text(NAME)), **_REPORT, "setup": Maybe(Shape(_REPORT))}, None),
}

VISITOR: Dialect = {
    "hello": _HELLO,
    "ping": _BARE,
    "offer": _kind({"name": Text(NAME)}, None),
    "fetch": _kind({"name": Text(NAME)}),
}
"""Anybody to the lobby of a service."""

LOBBY_HOST: Dialect = {
    **_ENDINGS,
    "welcome": _kind({"name": Text(NAME)}),
    "pong": _BARE,
    "offered": _kind({"name": Text(NAME)}),
    "plan": _kind({"name": Text(NAME)}, None),
}
"""The lobby of a service to a visitor."""

CALLER: Dialect = {"hello": _HELLO, "ping": _BARE, "failed": _FAILED}
"""A server to another that it calls."""

HOST: Dialect = {
    **_ENDINGS,
    "invitation": _kind({"session": Digits(NONCE_DIGITS)}, (TICKET_BYTES, SECRET_BYTES)),
    "welcome": _kind({"name": Text(NAME), "proof": Digits(NONCE_DIGITS)}),
    "pong": _PONG,
}
"""A server to another that has called it."""

PARTY: Dialect = {
    "failed": _FAILED,
    "contribution": _kind({}, (SEED_BYTES,), optional={"offer": _OFFER}),
    "persisted": _kind({"next": Whole()}),
    "added": _kind({"dealing": Digits(ID_DIGITS)}),
    "have": _kind({"submissions": Listed(_HAD, HAVES), "runs": Whole()}),
    "seek": _kind(_SUBMISSION),
    "lost": _kind({**_SUBMISSION, "why": Text(REASON)}),
    "drop": _kind({**_SUBMISSION, "why": Text(REASON), "error": Text(NAME)}),
    "begin": _kind({"procedure": Text(NAME), "index": Whole(), "ids": Mapped(Text(NAME), _IDS)}),
}
"""A party to the other, on their stream."""

DEALER: Dialect = {
    "failed": _FAILED,
    "seed": _kind({}, (SEED_BYTES,)),
    "dealing": _kind({"dealing": Digits(ID_DIGITS), "runs": Whole(1, RUNS)}, (SEED_BYTES,)),
    "record": _kind({"procedure": Text(NAME), "index": Whole()}),
    "dealt": _kind({"seconds": Seconds(), "bytes": Whole()}),
}
"""The dealer to a party, on their stream."""

PARTY_TO_DEALER: Dialect = {
    "failed": _FAILED,
    "credit": _kind({"bytes": Whole(), "used": Maybe(Whole(least=-1))}),
    "wanted": _kind({"procedure": Text(NAME)}),
    "refill": _kind({"runs": Whole(1, RUNS)}),
}
"""A party to the dealer, on their stream."""


@dataclass(frozen=True)
class Message:
    """A control message that fits its dialect: who sent it (by key), the way back, and what it says."""

    sender: str
    route: int
    """The connection it came by, for answers; 0 for one that is not answered there."""
    body: dict[str, Any]
    payload: Sequence[memoryview] = ()
    key: str = ""
    """The sender's public key, where several may have its name."""

    @property
    def kind(self) -> str:
        return str(self.body["kind"])


def encode(body: Mapping[str, Any]) -> bytes:
    """The first part of a message."""
    return json.dumps(body).encode()


def read(
    sender: str,
    route: int,
    parts: Sequence[memoryview],
    dialect: Dialect,
    most: int = BODY_BYTES,
    key: str = "",
) -> Message:
    """The message of these parts, its body of `most` bytes at most; PeerError, the sender's fault, when it is none of
    the dialect's."""
    try:
        body = _object(parts, most)
        kind = body.get("kind")
        known = dialect.get(kind) if isinstance(kind, str) else None
        if known is None:
            raise ValueError(f"its kind is {str(kind)[:NAME]!r}; expected one of {', '.join(dialect)}")
        if problem := known.shape.problem(body):
            raise ValueError(f"{kind}: {problem}")
        sizes = tuple(part.nbytes for part in parts[1:])
        if known.payload is not None and sizes != known.payload:
            raise ValueError(f"{kind}: expected a payload of {_listed(known.payload)}, found {_listed(sizes)}")
    except (ValueError, RecursionError) as error:
        raise PeerError(f"{sender} sent a control message that cannot be read: {str(error)[:NAME]}", sender) from None
    return Message(sender, route, body, parts[1:], key)


def _object(parts: Sequence[memoryview], most: int) -> dict[str, Any]:
    if not parts or parts[0].nbytes > most:
        raise ValueError(f"{parts[0].nbytes if parts else 0} bytes, where at most {most} are expected")
    body = _DECODER.decode(str(parts[0], "utf-8"))
    if not isinstance(body, dict):
        raise ValueError("no object")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _listed(sizes: Sequence[int]) -> str:
    listed = " and ".join(map(str, sizes[:4])) or "no"
    return f"{listed}{' and more' if len(sizes) > 4 else ''} bytes"
