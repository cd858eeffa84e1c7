"""How far a server is with another before they have met: what was said, and the keys of the stream to come."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import zmq

from ..errors import PeerError
from .hello import Hello
from .link import Link
from .stream import Inlet, Keys, Outlet

__all__ = ["Calling", "Invited", "hear_host"]

STREAM_SECONDS = 10.0  # for a server that has invited us to hear from us


@dataclass
class Invited:
    """A server that was invited to open a stream to us, by the connection on which it said hello."""

    route: int
    keys: Keys
    inlet: Inlet | None = None


@dataclass
class Calling:
    """A server that we call: what we have told it, and what its invitation was."""

    nonce: str
    keys: Keys | None = None
    since: float = 0.0
    welcomed: bool = False


def hear_host(context: zmq.Context[Any], hello: Hello, link: Link, calling: Calling) -> None:
    """Takes what a server that we call has answered: opens the stream to which it invites us, and takes its welcome.
    PeerError when it does neither."""
    while (message := link.call.next()) is not None:
        if message.kind == "invitation" and link.outlet is None:
            ticket, secret = map(bytes, message.payload)
            nonces = calling.nonce, message.body["session"]
            calling.keys = Keys.derive(secret, nonces, hello.plan_hash, hello.name, link.name)
            calling.since = time.monotonic()
            if hello.name < link.name:
                link.label = calling.keys.label
            link.outlet = Outlet(context, link.name, link.call.reached, ticket, calling.keys, hello.plan_hash)
        elif message.kind == "welcome" and calling.keys is not None:
            if not calling.keys.proves(message.body["proof"]):
                raise PeerError(f"{link.name} does not have the keys of its own invitation", link.name)
            calling.welcomed = True
        else:
            raise PeerError(f"{link.name} sent {message.kind!r} out of place", link.name)
    if calling.keys and not calling.welcomed and time.monotonic() > calling.since + STREAM_SECONDS:
        text = f"{link.name} answers at {link.address}, but has not taken the stream to which it invited us"
        raise PeerError(text, link.name)
