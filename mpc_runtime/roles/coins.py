"""Coins that nobody has to hide: which elements `dropout` keeps in a step of training.

They follow from the seed of the call, the number of the step in it, and the name of the coins, by SHAKE-256, so that
the float64 twin has the same ones. The client of one role gives them to both parties in clear.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ..plan import Plan
from ..procedure import TRAIN_STEP

__all__ = ["coins", "drawn"]

Array = np.ndarray
WORD = 8


def drawn(name: str, shape: tuple[int, ...], keep: float, seed: int, step: int) -> Array:
    """1 with probability `keep`, else 0. step: counted from 0 in the call."""
    count = int(np.prod(shape, dtype=np.int64))
    text = f"dropout, seed {seed}, step {step}, {name}".encode()
    words = np.frombuffer(hashlib.shake_256(text).digest(WORD * count), "<u8")
    kept: Array = words < np.uint64(int(keep * 2.0**64))
    return kept.astype(np.int64).reshape(shape)


def coins(plan: Plan, roles: Sequence[str], seed: int, step: int) -> dict[str, Array]:
    """Those that these roles give a step."""
    keep = {each.tensor: each.keep for each in plan.coins}
    mine = [plan.sized(t, TRAIN_STEP) for t in plan.inputs if t.role in roles and t.name in keep]
    return {t.name: drawn(t.name, t.shape, keep[t.name], seed, step) for t in mine}
