"""Which stream of a key is for what: no two uses have one in common, so that no word of a stream pads two things."""

from __future__ import annotations

__all__ = ["PURPOSE_MASK", "PURPOSE_NOISE", "PURPOSE_OUTPUT", "PURPOSE_SHARE", "stream"]

PURPOSE_MASK = 1
"""Stream purpose of free masks (the pad words of openings)."""
PURPOSE_SHARE = 2
"""Stream purpose of the seeded half of a dependent secret (the pad words of corrections)."""
PURPOSE_OUTPUT = 3
"""Stream purpose of the re-randomisation of outputs (under the parties' own common key)."""
PURPOSE_NOISE = 4
"""Stream purpose of noise: the dealer's, from both parties' streams together, or a party's, under a key of its own."""


def stream(purpose: int, op: int, slot: int = 0) -> int:
    """Upper half of the counter block: purpose (8 bits), op (40), slot within the op (16). PROTOCOLS section 9."""
    return purpose << 56 | op << 16 | slot
