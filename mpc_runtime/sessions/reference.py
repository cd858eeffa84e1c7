"""The float64 twins of `run` and `fit`: what they refuse, and the latter's batches, metrics and early end. What a model
means on plaintext, and a step of it, is the compiler's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..errors import InputError
from ..plan import Plan
from ..procedure import EVALUATE, RUN, TRAIN_STEP
from ..roles.batches import Batches
from ..roles.coins import coins
from ..roles.draws import drawn_by
from ..roles.epochs import as_validation, batches_of, counted, expect_validation, validation_of
from ..roles.files import parameters
from ..roles.inputs import check_given
from .history import ReferenceFit, watching
from .training import expect_training, own_tensors

if TYPE_CHECKING:
    from ..program import Program

__all__ = ["evaluated", "followed"]

Array = np.ndarray
Arrays = Mapping[str, Array]
T = TypeVar("T")


def evaluated(evaluate: Callable[..., Any], program: Program, inputs: Arrays, params: Arrays) -> dict[str, Array]:
    """As of `Program.reference`. evaluate: `compiler.reading.reference.evaluate`."""
    lowered = program.stages.lowered
    known = _check_params(program.plan, params)
    _check(program.plan, None, inputs, RUN)
    return _told(lambda: evaluate(lowered, inputs, known))


def _told(twin: Callable[[], T]) -> T:
    """What a twin computes; InputError for what it cannot."""
    try:
        return twin()
    except (KeyError, ValueError) as e:
        raise InputError(str(e.args[0] if e.args else e)) from None


def _check_params(plan: Plan, params: Arrays) -> dict[str, Any]:
    """The parameters that the plan knows, by key. InputError for what `provide` refuses, but what training has made of
    a weight need not be in the range that it had at first."""
    tensors = [replace(t, lo=-math.inf, hi=math.inf, norm=None) if plan.trains else t for t in plan.params]
    known = parameters(params, {}, [t.name for t in tensors], strict=True)
    stacked = frozenset(t.name for t in tensors if t.stacked)
    check_given(plan, plan.roles, stacked, tensors, known, "parameter")
    return known


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
    known = _check_params(plan, params)
    rows = []
    if validation is not None:
        expect_validation(plan)
        with as_validation():
            others = validation_of(plan, validation)
            _check(plan, others, validation, EVALUATE)
        rows = list(counted(others))

    def drawn(step: int) -> Arrays:
        return coins(plan, plan.roles, batches.seed, step)

    is_over = watching(plan, bool(rows), patience)
    lowered = program.stages.lowered
    found = _told(lambda: follow(lowered, batches, known, batches.steps, drawn, rows, is_over))
    stopped = len(found.losses) < batches.steps * batches.epochs
    return ReferenceFit(np.array(found.losses), found.params, found.metrics, stopped)


def _check(plan: Plan, batches: Batches | None, inputs: Arrays, stage: str) -> None:
    """InputError for what a session refuses before it shares anything: a label that is no class, for example. batches:
    for any number of rows."""
    tensors = own_tensors(plan, plan.roles, stage)
    stacked = frozenset(t.name for t in tensors if t.stacked)
    sized = tensors if batches is None else batches.tensors(tensors)
    check_given(plan, plan.roles, stacked, sized, inputs, "input", stage)
