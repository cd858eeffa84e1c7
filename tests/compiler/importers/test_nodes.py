"""ONNX's own backend tests of single operators, through import, compiler and simulator.

An operator outside the scope may be refused, by name; none may crash or give another result.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.onnx_models import PRIVATE, onnx

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the cases overflow on purpose while they are made
    from onnx.backend.test.case.node import collect_testcases

    CASES = {case.name: case for case in collect_testcases(None)}

EVERY = 12  # of the cases: the others take the same ways
SINGLE = 3e-4  # what half precision may differ from float64 is left to the cases of single precision
CHOSEN = [name for place, name in enumerate(sorted(CASES)) if place % EVERY == 0 and "16" not in name]


def frozen(model, feeds, names):
    """The model with some of its inputs as weights, as an exporter would have them."""
    made = copy.deepcopy(model)
    made.graph.initializer.extend(onnx.numpy_helper.from_array(feeds[name], name) for name in names)
    kept = [each for each in made.graph.input if each.name not in names]
    del made.graph.input[:]
    made.graph.input.extend(kept)
    return made


def attempts(model, feeds):
    """Nothing frozen; shapes, axes and other lists of whole numbers; all but the first input."""
    rest = list(feeds)[1:]
    whole = [name for name in rest if feeds[name].dtype.kind in "iu" and feeds[name].ndim <= 1]
    small = [name for name in rest if feeds[name].size <= 1]
    return [[], whole, list(dict.fromkeys([*whole, *small])), rest]


@pytest.mark.parametrize("name", CHOSEN)
def test_a_case_agrees_or_is_refused(name):
    case = CASES[name]
    inputs, expected = case.data_sets[0]
    names = [each.name for each in case.model.graph.input]
    if len(names) != len(inputs) or not all(isinstance(each, np.ndarray | np.generic) for each in inputs):
        pytest.skip("its inputs are no tensors of NumPy")
    feeds = dict(zip(names, map(np.asarray, inputs), strict=True))
    for held in attempts(case.model, feeds):
        try:
            program = mpc.import_onnx(frozen(case.model, feeds, held))
            break
        except mpc.Error as error:
            assert str(error)
    else:
        return
    given = [feeds[name] for name in names if name not in held]
    values = dict(zip([each.name for each in program.plan.inputs], given, strict=True))
    if any(array.dtype.kind == "f" and not np.isfinite(array).all() for array in given):
        return
    exact, private = program.reference(values, program.weights), program.simulate(values, program.weights).results
    for output, wanted in zip(program.plan.outputs, expected, strict=False):
        wanted = np.asarray(wanted, np.float64)
        finite = np.isfinite(wanted)
        scale = np.maximum(1, np.abs(wanted[finite]))
        assert exact[output.name].shape == wanted.shape
        assert (np.abs(exact[output.name][finite] - wanted[finite]) < SINGLE * scale).all()
        assert (np.abs(private[output.name][finite] - wanted[finite]) < PRIVATE * scale).all()
