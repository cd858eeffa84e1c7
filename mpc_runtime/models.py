"""The facade for models that were trained elsewhere: what the layers of the language take of them, and which ranges
their weights have.

As in `program.py`, the compiler is imported when a function is called, so that parties and dealer run without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .encoding.arrays import as_array
from .errors import InputError
from .program import Program, with_source
from .roles.files import match_names, parameters

if TYPE_CHECKING:
    from compiler.calibration.calibrate import Calibrated
    from compiler.importers.trees import Forest

__all__ = ["calibrate", "calibrated", "forest_of"]

Array = np.ndarray


def forest_of(estimator: Any) -> Forest:
    """The parameters of the layer `forest` for a tree, a forest or gradient boosting of scikit-learn.

    The result's `feature`, `threshold` and `leaf` are the arrays, `weights(name)` has them under the keys of the layer
    of that name, and `layer` is the layer as `.ppml` text. The layer's outputs are what a regressor predicts, the
    probabilities of the classes of a tree or a forest, or the `decision_function` of gradient boosting.

    Args:
        estimator: Fitted; no tree is deeper than 12 levels.

    Raises:
        InputError: It is another estimator, or not fitted, or a tree is too deep.
    """
    from compiler.importers.trees import from_sklearn

    return from_sklearn(estimator)


def calibrate(
    program: Program,
    *,
    params: Mapping[str, Any] | str | os.PathLike[str],
    inputs: Mapping[str, Any] | None = None,
    guard: float = 2.0,
) -> Program:
    """The program with ranges that nobody has to guess: those of its weights, and of values, in its source.

    Of a value it is proved, for every input within its declared range and these weights, that it stays within its
    range; or, where samples show one that is narrower by half, the range is the largest magnitude on the samples times
    `guard`. All ends are powers of two. The plan, with its ranges, is known to all machines.

    Args:
        program: With its source; the sizes and options stay.
        params: A weights file or a dict of arrays: the parameters of one or several roles.
        inputs: Samples, any number of rows along the dim `batch`. They need the parameters of all roles.
        guard: At least 1.

    Raises:
        InputError: A parameter or an input is missing, unknown or does not fit.
        CompileError: The plan has no source.
    """
    return with_source(program, calibrated(program, params, inputs, guard).source)


def calibrated(
    program: Program,
    params: Mapping[str, Any] | str | os.PathLike[str],
    inputs: Mapping[str, Any] | None = None,
    guard: float = 2.0,
    *,
    strict: bool = True,
    rename: Mapping[str, str] | None = None,
) -> Calibrated:
    """The source that `calibrate` compiles, and what was written into it. strict, rename: as of `Session.provide`."""
    from compiler.calibration.calibrate import calibrate as written

    if not guard >= 1:
        raise InputError(f"guard: expected a number of at least 1, found {guard!r}")
    plan = program.plan
    known = [t.name for t in plan.params]
    weights = _arrays("parameter", parameters(params, rename or {}, known, strict=strict), known)
    samples = None
    if inputs is not None:
        samples = _arrays("input", inputs, [t.name for t in plan.inputs])
        missing = [*(n for n in known if n not in weights), *(t.name for t in plan.inputs if t.name not in samples)]
        if missing:
            raise InputError(f"{', '.join(dict.fromkeys(missing))}: missing; samples need all parameters and inputs")
    try:
        return written(program.stages.tree.source, plan.filename, dict(plan.dims), weights, samples, guard)
    except (KeyError, ValueError) as error:
        raise InputError(str(error.args[0] if error.args else error)) from None


def _arrays(what: str, given: Mapping[str, Any], known: list[str]) -> dict[str, Array]:
    """Those given, by name: numbers, all of them finite."""
    arrays = {name: as_array(name, value) for name, value in given.items()}
    problems = [line for line in match_names(arrays, dict.fromkeys(known, ()), what) if "missing;" not in line]
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            problems.append(f"{name}: expected finite numbers")
    if not arrays:
        problems.append(f"expected at least one {what}, found none")
    if problems:
        raise InputError("\n".join(problems))
    return arrays
