"""What a session does for training beside single steps."""

from __future__ import annotations

from ..errors import InputError
from ..plan import Plan

__all__ = ["WEIGHTS", "expect_training"]

WEIGHTS = "weights."
"""Before the keys of parameters, in the names of what `finish` releases."""


def expect_training(plan: Plan) -> None:
    """InputError for a model without a `train` block."""
    if not plan.trains:
        raise InputError(f"the model {plan.name} has no `train` block, so it cannot be trained")
