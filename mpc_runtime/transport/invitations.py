"""What a server remembers, until both ends have met, of the invitations to streams that it has given and got.

What is done about them is `node.py`'s.
"""

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
