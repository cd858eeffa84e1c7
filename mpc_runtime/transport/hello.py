"""What a connection to a server begins with: who says it, and what both ends must have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .messages import SECRET_BYTES

__all__ = ["PROTOCOL_VERSION", "Hello", "new_nonce"]

PROTOCOL_VERSION = 7


@dataclass(frozen=True)
class Hello:
    """What both ends of a connection must have in common, and the name of the one who says it."""

    name: str
    plan_hash: str
    plan_format: int

    def refusal(self, other: Mapping[str, Any]) -> str:
        """Why a hello from another machine cannot be accepted; empty when it can."""
        for what, mine, theirs in (
            ("protocol version", PROTOCOL_VERSION, other["version"]),
            ("plan format", self.plan_format, other["format"]),
            ("plan", self.plan_hash, other["plan"]),
        ):
            if mine != theirs:
                return f"{self.name} has {what} {mine}, {other['name']} has {theirs}; start both from the same plan"
        return ""

    def body(self, nonce: str) -> dict[str, Any]:
        return {
            "kind": "hello",
            "name": self.name,
            "version": PROTOCOL_VERSION,
            "format": self.plan_format,
            "plan": self.plan_hash,
            "nonce": nonce,
        }


def new_nonce() -> str:
    return os.urandom(SECRET_BYTES).hex()
