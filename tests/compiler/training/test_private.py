"""Forward passes and gradients of two owners' values, as plans: in the ring's clear meaning and between real parties.

What is compared with is the same gradients in float64, which `test_reverse.py` holds against differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from compiler import ops, passes
from compiler.expand import Expanded, expand
from compiler.expand.layouts import LAN
from compiler.graph import OPS, Array, Graph, Kind, Value, apply, topological
from compiler.ops import FUNCTIONS, LOSSES, OPERATORS
from compiler.passes.stored_ranges import with_rounding
from compiler.planning.assign import assign
from compiler.planning.plan import feed_name, feed_stages, make_plan, origin
from compiler.reading import reference
from compiler.reading.simulation import simulate
from compiler.training.optimizers import Sgd, State
from compiler.training.reverse import gradients
from compiler.training.twin import Twin
from mpc_runtime.plan import Options, Plan
from tests.compiler.gradients import CASES, Case
from tests.compiler.graphs import graph, leaf
from tests.compiler.models import layer
from tests.machines import run_plan

STEP = 2.0**-16
EMPTY: State = {}
ROLES = ("client", "modeller")
PUBLIC_ONLY = {"CrossEntropy", "BinaryCrossEntropy"}
"""Ops whose values (not their gradients) have a plaintext meaning only."""


def compiled(model: Graph) -> tuple[Plan, Expanded]:
    optimised, _ = passes.run(model)
    expanded = expand(with_rounding(optimised), LAN, feed_name, origin)
    plan = make_plan(
        optimised, model, expanded, assign(expanded, feed_stages(optimised)), Options("lan", checked=False)
    )
    return plan, expanded


def model_of(outputs: Sequence[Value]) -> Graph:
    """Outputs to both roles: what they are made of is all the leaves that they need."""
    leaves = [value for value in topological(outputs) if not value.args and not value.is_constant]
    inputs = tuple(each for each in leaves if isinstance(each.op, OPS["Input"]))
    params = tuple(each for each in leaves if isinstance(each.op, OPS["Param"]))
    made = graph(*outputs, inputs=inputs, params=params)
    return replace(made, outputs=tuple(replace(each, roles=ROLES) for each in made.outputs))


def numbers(model: Graph, seed: int = 3) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs and parameters inside their ranges, on the grid of the format."""
    random = np.random.default_rng(seed)

    def draw(leaves: Sequence[Value]) -> dict[str, Array]:
        found = {}
        for each in leaves:
            lo, hi = each.range.lo, each.range.hi
            whole = each.kind.value == "int"
            found[each.op.key] = (  # type: ignore[attr-defined]
                random.integers(int(lo), int(hi) + 1, each.shape)
                if whole
                else np.rint(random.uniform(lo, hi, each.shape) / STEP) * STEP
            )
        return found

    return draw(model.inputs), draw(model.params)


def shared_sum(name: str, shape: tuple[int, ...], range: tuple[float, float]) -> Value:
    """A value that no owner knows: the sum of one of the client and one of the modeller."""
    lo, hi = range[0] / 2, range[1] / 2
    halves = leaf(f"{name}_a", shape, (lo, hi)), leaf(f"{name}_b", shape, (lo, hi), "modeller", param=True)
    return apply(ops.Add(), *halves)


def errors(model: Graph) -> list[float]:
    """The largest difference of each output to float64, over max(1, |result|): in clear, and between parties."""
    plan, _ = compiled(model)
    inputs, params = numbers(model)
    expected = reference.evaluate(model, inputs, params)
    simulation = simulate(plan, model, inputs, params)
    assert simulation.violations == ()
    found = []
    for results in (simulation.results, run_plan(plan, inputs, params).results):
        for name, array in expected.items():
            found.append(float((np.abs(results[name] - array) / np.maximum(1, np.abs(array))).max()))
    return found


def is_private(case: Case) -> bool:
    made = topological([case.function(*(leaf(f"x{i}", shape, case.range) for i, shape in enumerate(case.shapes)))])
    return not {value.op.name for value in made} & PUBLIC_ONLY


@pytest.mark.parametrize("case", [case for case in CASES if is_private(case)], ids=lambda case: case.name)
def test_gradients_of_shared_values(case: Case) -> None:
    """Whatever reaches the result is secret too."""
    args = [shared_sum(f"x{i}", shape, case.range) for i, shape in enumerate(case.shapes)]
    result = case.function(*args)
    weights = shared_sum("w", result.shape, (-1, 1))
    loss = FUNCTIONS["sum"].call((apply(ops.Mul(), result, weights),), {})
    assert max(errors(model_of(gradients(loss, args)))) < tolerance(case)


def tolerance(case: Case) -> float:
    """Some steps for sums of products, 2^-12 times what multiplies a smooth function."""
    smooth = ("exp", "tanh", "sigmoid", "softmax", "reciprocal", " / ", "second uses", "cross_entropy", "layernorm")
    return 2.0**-10 if any(word in case.name for word in smooth) else 16 * STEP


def test_rows_that_are_gathered_by_a_secret_index() -> None:
    """Each row of the table gets the sum of what reaches its copies."""
    table, index = shared_sum("table", (5, 3), (-2, 2)), leaf("i", (2, 4), (0, 4), kind=Kind.INT)
    found = apply(ops.Gather(0), table, index)
    loss = FUNCTIONS["sum"].call((apply(ops.Mul(), found, shared_sum("w", found.shape, (-1, 1))),), {})
    model = model_of(gradients(loss, [table]))
    assert max(errors(model)) < 16 * STEP
    inputs, params = numbers(model)
    expected = np.zeros((5, 3))
    np.add.at(expected, inputs["i"], inputs["w_a"] + params["w_b"])
    assert reference.evaluate(model, inputs, params)["y0"] == pytest.approx(expected)


# -- ties -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 5])
def test_of_equals_the_same_one_gets_all_as_in_float64(size: int) -> None:
    a, b = leaf("a", (1, 1, 4, size), (-1, 1)), leaf("b", (1, 1, 4, size), (-1, 1), "modeller", param=True)
    x = apply(ops.Add(), a, b)
    pooled = apply(ops.MaxPool2d((2, size), (2, size)), x)
    results = [FUNCTIONS["sum"].call((each,), {}) for each in (pooled, FUNCTIONS["max"].call((x,), {"axis": [2, 3]}))]
    kinks = FUNCTIONS["sum"].call((FUNCTIONS["relu"].call((x,), {}),), {})
    model = model_of([gradient for loss in (*results, kinks) for gradient in gradients(loss, [a])])
    plan, _ = compiled(model)
    halves = np.full(a.shape, 0.5)
    for inputs, params in (({"a": halves}, {"b": halves}), ({"a": halves}, {"b": -halves})):
        expected = reference.evaluate(model, inputs, params)
        found = run_plan(plan, inputs, params).results
        assert expected["y0"].sum() == 2 and expected["y1"].sum() == 1 and expected["y2"].all()
        for name, array in expected.items():
            assert np.array_equal(found[name], array)


# -- whole models -----------------------------------------------------------------------------------------------------


def lenet() -> tuple[Value, list[Value]]:
    """A loss and its parameters."""
    params: dict[str, Value] = {}
    h = leaf("image", (4, 1, 9, 9), (0, 1))
    for name in ("conv1", "conv2"):
        h = layer("conv2d", name, h, params, 3, kernel=2)
        h = FUNCTIONS["maxpool2d"].call((FUNCTIONS["relu"].call((h,), {}), 2), {})
    h = FUNCTIONS["relu"].call((layer("dense", "fc1", FUNCTIONS["flatten"].call((h,), {}), params, 5),), {})
    logits = layer("dense", "fc2", h, params, 3)
    labels = leaf("label", (4,), (0, 2), kind=Kind.INT)
    return LOSSES["cross_entropy"].call((logits, labels), {}), list(params.values())


def optimised(loss: Value) -> Value:
    """As a forward pass is, before it is differentiated: its activations stand behind its pools."""
    one = passes.pool_first(passes.common_subexpressions(graph(loss)))
    return one.outputs[0].value


def gate_count(model: Graph, *kinds: str) -> Counter[str]:
    _, expanded = compiled(model)
    return Counter(type(gate).__name__ for gate, _ in expanded.ops if type(gate).__name__ in kinds)


def test_a_convolutional_net_learns_as_in_float64() -> None:
    loss, params = lenet()
    model = model_of(gradients(optimised(loss), params, seed=4.0))
    assert {each.name for each in model.outputs} == {f"y{i}" for i in range(8)}
    assert max(errors(model)) < 2.0**-9


CHOICES: dict[str, Callable[[Value, Value], Value]] = {
    "relu": lambda a, b: FUNCTIONS["relu"].call((a,), {}),
    "relu6": lambda a, b: FUNCTIONS["relu6"].call((a,), {}),
    "leaky_relu": lambda a, b: FUNCTIONS["leaky_relu"].call((a,), {}),
    "abs": lambda a, b: FUNCTIONS["abs"].call((a,), {}),
    "clip": lambda a, b: FUNCTIONS["clip"].call((a, -1, 2), {}),
    "maximum": lambda a, b: FUNCTIONS["maximum"].call((a, b), {}),
    "minimum": lambda a, b: FUNCTIONS["minimum"].call((a, b), {}),
    "max": lambda a, b: FUNCTIONS["max"].call((a,), {"axis": 3}),
    "min": lambda a, b: FUNCTIONS["min"].call((a,), {"axis": [2, 3]}),
    "maxpool2d": lambda a, b: apply(ops.MaxPool2d((3, 2), (2, 1), (1, 1)), a),
    "where": lambda a, b: FUNCTIONS["where"].call((OPERATORS[">"](a, b), a, b), {}),
}


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("wide", [False, True], ids=["a sum", "a product"])
def test_a_choice_compares_once(name: str, wide: bool) -> None:
    """Whether its operand stands at the format's scale or, behind a product, at twice that. A maximum may compare all
    pairs where no gradient goes back through it: that asks for the comparisons of a tournament."""
    args = [shared_sum(f"x{i}", (2, 2, 5, 4), (-2, 2)) for i in (0, 1)]
    a, b = (apply(ops.Mul(), arg, shared_sum(f"y{i}", arg.shape, (-2, 2))) if wide else arg
            for i, arg in enumerate(args))  # fmt: skip
    result = CHOICES[name](a, b)
    weighted = apply(ops.Mul(), result, shared_sum("w", result.shape, (-1, 1)))
    there = model_of([weighted])
    back = gradients(FUNCTIONS["sum"].call((weighted,), {}), args[: 1 + (name in ("maximum", "minimum", "where"))])
    once = gate_count(model_of(back) if name in ("max", "min") else there, "Leaf")
    assert once["Leaf"] > 0
    for both in (model_of([weighted, *back]), model_of([*back, weighted])):
        assert gate_count(both, "Leaf") == once and gate_count(both, "Gaps").total() == 0


def test_what_products_share_is_opened_once() -> None:
    """x @ w and both its gradients: x, w and what reaches the product are opened, each once."""
    x, w, d = (shared_sum(name, (4, 4), (-2, 2)) for name in "xwd")
    product = apply(ops.MatMul(), x, w)
    loss = FUNCTIONS["sum"].call((apply(ops.Mul(), product, d),), {})
    alone = gate_count(model_of([product]), "Open")
    both = gate_count(model_of([product, *gradients(loss, [x, w])]), "Open")
    results = 3  # each is opened at twice the scale, to be truncated
    assert alone.total() == 2 + 1 and both.total() == 3 + results


def test_the_way_back_compares_nothing_again() -> None:
    """The leaves of the comparison trees, and the openings of what both ways multiply, are those of the way there."""
    loss, params = lenet()
    forward = optimised(loss)
    logits = forward.args[0]
    scores = model_of([FUNCTIONS["softmax"].call((logits,), {})])
    both = model_of([FUNCTIONS["softmax"].call((logits,), {}), *gradients(forward, params)])
    assert gate_count(both, "Leaf", "Table") == gate_count(scores, "Leaf", "Table")


def test_descending_by_private_gradients_follows_the_twin() -> None:
    """The same batches, weights and optimizer; each side has its own gradients."""
    loss, leaves = lenet()
    batch = 4.0
    model = model_of(gradients(optimised(loss), leaves, seed=batch))
    plan, _ = compiled(model)
    random = np.random.default_rng(8)
    start = {each.name or "": random.uniform(-0.5, 0.5, each.shape) for each in leaves}
    params, states = dict(start), dict.fromkeys(start, EMPTY)
    rule = Sgd(momentum=0.9)
    twin = Twin(loss, rule, start)
    images = random.uniform(0, 1, (4, 1, 9, 9))
    rows = {"image": np.rint(images / STEP) * STEP, "label": np.array([0, 1, 2, 0])}
    losses = []
    for step in range(1, 9):
        expected = twin.train(rows, lr=0.05)
        mine = graph(loss, inputs=model.inputs, params=tuple(leaves))
        losses.append(float(reference.evaluate(mine, rows, params)["y0"]))
        assert losses[-1] == pytest.approx(expected, rel=0.01)
        found = run_plan(plan, rows, params).results
        for place, key in enumerate(start):
            gradient = found[f"y{place}"] / batch
            params[key], states[key] = rule.update(params[key], gradient, states[key], 0.05, step)
    assert losses[-1] < 0.9 * losses[0]
