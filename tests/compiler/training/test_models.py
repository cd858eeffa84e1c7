"""Every model of tests/models as part of a loss, with the gradients along all that its owners provide."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from compiler.graph import Array, Graph, Input, Kind, Output, Owned, Param, Value, topological
from compiler.lowering.model import lower
from compiler.ops import FUNCTIONS, OPERATORS
from compiler.reading import reference
from compiler.reading.simulation import simulate
from compiler.training.reverse import NotTrainable, gradients
from dsl import parse
from mpc_runtime import compile
from tests.compiler.training.test_private import compiled, optimised
from tests.zoo import MODELS, data

MODEL_FILES = sorted(MODELS.glob("*.ppml"))
JUMPING = {"hospitals": "`>` has no gradient", "trees": "`forest` has no gradient"}
"""Models whose results change in jumps, and what says so."""
DISTANCE = 1e-6
STEPS = 512
"""Steps of the format, over max(1, the largest element), by which private gradients may differ: a bias adds up what 162
pixels got, each up to three steps off."""


def loss_of(model: Graph) -> Value:
    """The sum of the squares of all fixed results."""
    results = [output.value for output in model.outputs if output.value.kind is Kind.FIXED]
    squares = [FUNCTIONS["sum"].call((FUNCTIONS["square"].call((each,), {}),), {}) for each in results]
    return optimised(reduce(OPERATORS["+"], squares))


def provided(loss: Value) -> list[Value]:
    return [value for value in topological([loss]) if isinstance(value.op, Owned) and value.kind is Kind.FIXED]


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_gradients_of_a_model(path: Path) -> None:
    model = lower(parse(path.read_text(encoding="utf-8"), str(path)), {})[0]
    loss = loss_of(model)
    leaves = provided(loss)
    if path.stem in JUMPING:
        with pytest.raises(NotTrainable, match=JUMPING[path.stem]):
            gradients(loss, leaves)
        return
    found = gradients(loss, leaves)
    placed = [value for value in topological(found) if value not in topological([loss])]
    assert placed and all(value.span is not None for value in placed if not value.is_constant)
    inputs, params = data(compile(path).plan)
    back = replace(model, outputs=tuple(Output(f"y{i}", each, model.roles) for i, each in enumerate(found)))
    expected = reference.evaluate(back, inputs, params)
    there = replace(model, outputs=(Output("loss", loss, model.roles),))
    for place, each in enumerate(leaves):
        slope = slope_along(there, each, inputs, params)
        assert float(expected[f"y{place}"].sum()) == pytest.approx(slope, rel=1e-6, abs=1e-6)
    simulation = simulate(compiled(back)[0], back, inputs, params)
    assert simulation.violations == ()
    for name, error in simulation.errors.items():
        assert error <= STEPS * model.precision.step * max(1.0, float(np.abs(expected[name]).max()))


def slope_along(there: Graph, leaf: Value, inputs: dict[str, Array], params: dict[str, Array]) -> float:
    """How the loss changes as all elements of a leaf grow alike, by a central difference."""
    op = leaf.op
    assert isinstance(op, (Input, Param))
    losses = []
    for side in (-1, 1):
        provided = {**(inputs if isinstance(op, Input) else params)}
        array = np.array(provided[op.key], float)
        array[op.index_path] += side * DISTANCE
        provided[op.key] = array
        both = (provided, params) if isinstance(op, Input) else (inputs, provided)
        losses.append(float(reference.evaluate(there, *both)["loss"]))
    return (losses[1] - losses[0]) / (2 * DISTANCE)
