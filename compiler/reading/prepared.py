"""What a role's client computes before it shares: the prepared expressions of a plan, in float64."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from compiler.graph import Precision, Value
from compiler.reading.reference import BrokenPromise, prepare_value
from compiler.reading.serial import from_plain
from mpc_runtime.errors import InputError
from mpc_runtime.plan import Feed, Plan

__all__ = ["prepare_feed"]

Array = np.ndarray
EXPRESSIONS_KEPT = 1024
"""Expressions that are read once, however often a feed is prepared: those of a few large models."""


def prepare_feed(plan: Plan, feed: Feed, tensors: Mapping[str, Array]) -> Array:
    """The feed's expression of its role's own checked tensors (by name, of their declared shapes).

    Raises InputError when a promise inside the expression does not hold.
    """

    def leaf(op: Any) -> Array:
        return np.asarray(tensors[op.key]).astype(op.kind.dtype)

    try:
        return prepare_value(_expression(feed.expression), leaf, Precision(plan.bits, plan.frac))
    except BrokenPromise as e:
        raise InputError(str(e)) from None


@lru_cache(EXPRESSIONS_KEPT)
def _expression(text: str) -> Value:
    return from_plain(json.loads(text))
