"""How far a server is with another before they have met: what was said, and the keys of the stream to come."""

from __future__ import annotations

from dataclasses import dataclass

from .stream import Inlet, Keys

__all__ = ["Calling", "Invited"]


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
