"""The float64 twin of `fit`: the same batches, metrics and early end, on plaintext. The steps are the compiler's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..plan import Plan
from ..procedure import EVALUATE, TRAIN_STEP
from ..roles.batches import Batches
from ..roles.coins import coins
from ..roles.draws import drawn_by
from ..roles.epochs import batches_of, counted, validation_of
from ..roles.inputs import check_given
from .history import ReferenceFit, watching
from .training import expect_training, own_tensors

if TYPE_CHECKING:
    from ..program import Program

__all__ = ["followed"]

Array = np.ndarray
Arrays = Mapping[str, Array]


def followed(
    follow: Callable[..., Any],
    program: Program,
    inputs: Arrays,
    params: Arrays,
    epochs: int,
    seed: int,
    validation: Arrays | None,
    patience: int | None,
) -> ReferenceFit:
    """As of `Program.reference_fit`. follow: `compiler.training.twin.follow`."""
    plan = program.plan
    expect_training(plan)
    private = plan.privacy is not None
    batches = drawn_by(plan, inputs, epochs, seed) if private else batches_of(plan, inputs, epochs, seed)
    _check(plan, batches.batches, inputs, TRAIN_STEP)
    rows = []
    if validation is not None:
        others = validation_of(plan, validation)
        _check(plan, others, validation, EVALUATE)
        rows = list(counted(others))

    def drawn(step: int) -> Arrays:
        return coins(plan, plan.roles, batches.seed, step)

    is_over = watching(plan, bool(rows), patience)
    try:
        found = follow(program.stages.lowered, batches, params, batches.steps, drawn, rows, is_over)
    except (KeyError, ValueError) as e:
        raise InputError(str(e.args[0] if e.args else e)) from None
    stopped = len(found.losses) < batches.steps * batches.epochs
    return ReferenceFit(np.array(found.losses), found.params, found.metrics, stopped)


def _check(plan: Plan, batches: Batches, inputs: Arrays, stage: str) -> None:
    """InputError for what `fit` refuses before it shares anything: a label that is no class, for example."""
    tensors = own_tensors(plan, plan.roles, stage)
    stacked = frozenset(t.name for t in tensors if t.stacked)
    check_given(plan, plan.roles, stacked, batches.tensors(tensors), inputs, "input", stage)
