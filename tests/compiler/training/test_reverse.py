"""Gradients in float64, against central differences and NumPy; what is shared; and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from compiler import ops
from compiler.graph import OPS, Array, Kind, Leaf, NoGradient, OpError, TensorOp, Value, apply, constant, topological
from compiler.ops import FUNCTIONS, LOSSES, OPERATORS
from compiler.training.reverse import NotTrainable, gradients, trained
from tests.compiler.gradients import CASES, Case, loss_of, values
from tests.compiler.graphs import leaf

STEP = 1e-6
WITHOUT = {"Sign", "ArgMax", "OneHot", "And", "Or", "Not", "Greater", "GreaterEqual", "Less", "LessEqual", "Equal",
           "NotEqual", "Positive", "Larger", "Within", "WithinNorm", "BeyondNorms", "SquaredNorms", "MaxGradient",
           "MaxPool2dGradient", "ArgSort", "Floor", "Round", "Chosen", "Leaves", "Largest", "OverRoot", "Paced",
           "Carried", "Scaled", "ClipFactor", "Clipped", "FactorSum", "OuterSum", "Noised", "BatchNorm"}  # fmt: skip
"""Ops that say that they have no gradient."""
CONVERSIONS = {"ToInt", "ToFixed"}
RANDOM = np.random.default_rng(4)


def leaves_of(case: Case) -> list[Value]:
    return [leaf(f"x{i}", shape, case.range, param=True) for i, shape in enumerate(case.shapes)]


def differences(loss: Value, x: Value, arrays: Mapping[Value, Array]) -> Array:
    """The gradient of a loss along a leaf, by central differences."""
    found = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        moved = {}
        for side in (-1, 1):
            array = arrays[x].copy()
            array[index] += side * STEP
            moved[side] = float(values([loss], {**arrays, x: array})[0])
        found[index] = (moved[1] - moved[-1]) / (2 * STEP)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradients_are_what_differences_say(case: Case) -> None:
    leaves = leaves_of(case)
    arrays = {x: np.random.default_rng(i).uniform(*case.range, x.shape) for i, x in enumerate(leaves)}
    loss = loss_of(case.function(*leaves))
    for x, found in zip(leaves, values(gradients(loss, leaves), arrays), strict=True):
        assert found.shape == x.shape
        assert found == pytest.approx(differences(loss, x, arrays), rel=1e-5, abs=1e-7)


def test_every_op_has_a_case_or_says_that_it_has_no_gradient() -> None:
    made = {type(value.op) for case in CASES for value in topological([case.function(*leaves_of(case))])}
    tested = {op.__name__ for op in made if not issubclass(op, Leaf)}
    all_ops = {name for name, op in OPS.items() if not issubclass(op, Leaf) and op.__module__.startswith("compiler.")}
    assert tested | WITHOUT | CONVERSIONS == all_ops
    assert not (tested - {"Or", "Greater", "Less", "Equal"}) & WITHOUT


@pytest.mark.parametrize(
    "op", [ops.Sign(), ops.ArgMax(0), ops.Greater(), ops.And(), ops.Positive()], ids=lambda op: op.name
)
def test_what_changes_in_jumps_says_so(op: TensorOp) -> None:
    x, bit = leaf(shape=(3,)), apply(ops.Positive(), leaf(shape=(3,)))
    args = {"Greater": (x, x), "And": (bit, bit)}.get(op.name, (x,))
    found = op.gradient(args, apply(op, *args), constant(1.0))
    assert all(isinstance(each, NoGradient) and "jumps" in each.reason for each in found)


# -- against NumPy ----------------------------------------------------------------------------------------------------


def along(function: Callable[[Value], Value], array: Array) -> Array:
    """The gradient of the sum of a function's results."""
    x = leaf("x", array.shape, (-100, 100), param=True)
    loss = FUNCTIONS["sum"].call((function(x),), {})
    return values(gradients(loss, [x]), {x: array})[0]


def test_a_cross_entropy_is_a_probability_minus_a_label() -> None:
    logits = 40 * RANDOM.normal(size=(5, 3))
    labels = np.array([0, 2, 1, 1, 0])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = (powers / powers.sum(axis=1, keepdims=True) - np.eye(3)[labels]) / 5
    assert along(lambda x: LOSSES["cross_entropy"].call((x, constant(labels)), {}), logits) == pytest.approx(expected)


def test_a_binary_cross_entropy_is_finite_far_out() -> None:
    logits, labels = np.array([-90.0, 0, 90]), np.array([1.0, 0, 1])
    x = leaf("x", (3,), (-100, 100), param=True)
    loss = LOSSES["binary_cross_entropy_with_logits"].call((x, constant(labels)), {})
    value, gradient = values([loss, *gradients(loss, [x])], {x: logits})
    assert value == pytest.approx((90 + np.log(2) + 0) / 3)
    assert gradient == pytest.approx(np.array([-1, 0.5, 0]) / 3)


def test_at_a_kink_the_right_side_counts() -> None:
    """As the bits of the private comparison have it, x >= 0."""
    zeros = np.zeros(2)
    for name in ("relu", "relu6", "leaky_relu", "abs"):
        assert np.array_equal(along(lambda x, name=name: FUNCTIONS[name].call((x,), {}), zeros), [1, 1])
    assert np.array_equal(along(lambda x: apply(ops.Clip(-1, 0), x), zeros), [0, 0])


@pytest.mark.parametrize("size", range(1, 8))
def test_one_of_equals_gets_all(size: int) -> None:
    alike = np.ones((2, size))
    for name in ("max", "min"):
        found = along(lambda x, name=name: FUNCTIONS[name].call((x,), {"axis": 1}), alike)
        assert np.array_equal(np.sort(found, axis=1)[:, ::-1], np.eye(1, size).repeat(2, 0))
    pooled = along(lambda x: apply(ops.MaxPool2d((2, size), (2, size)), x), np.ones((1, 1, 4, size)))
    assert np.array_equal(pooled.reshape(2, -1).sum(axis=1), [1, 1]) and set(pooled.flat) <= {0, 1}
    a, b = (leaf(name, (3,), param=True) for name in "ab")
    for name, winner in (("maximum", 0), ("minimum", 1)):
        loss = FUNCTIONS["sum"].call((FUNCTIONS[name].call((a, b), {}),), {})
        both = values(gradients(loss, [a, b]), {a: np.ones(3), b: np.ones(3)})
        assert [each.tolist() for each in both] == ([[1] * 3, [0] * 3] if winner == 0 else [[0] * 3, [1] * 3])


def test_whole_numbers_pass_gradients_on() -> None:
    """An int in between does not end them; a mask of bits chooses."""
    array = np.array([-1.0, 2, 3])
    assert np.array_equal(along(lambda x: OPERATORS["*"](x, constant(np.int64(3))), array), [3, 3, 3])
    masked = along(lambda x: OPERATORS["*"](OPERATORS[">"](x, constant(0.0)), x), array)
    assert np.array_equal(masked, [0, 1, 1])


# -- what is shared and what is not built -----------------------------------------------------------------------------


def test_a_seed_multiplies_and_one_costs_nothing() -> None:
    x, w = leaf("x", (4, 3)), leaf("w", (3, 2), param=True)
    loss = LOSSES["cross_entropy"].call((OPERATORS["@"](x, w), constant(np.array([0, 1, 1, 0]))), {})
    arrays = {x: RANDOM.normal(size=(4, 3)), w: RANDOM.normal(size=(3, 2))}
    once, fourfold = (gradients(loss, [w], seed)[0] for seed in (1.0, 4.0))
    assert values([fourfold], arrays)[0] == pytest.approx(4 * values([once], arrays)[0])
    products = [value for value in topological([fourfold]) if isinstance(value.op, ops.Mul)]
    assert products == []  # the mean's 1/4 and the seed's 4 are one: the signal is softmax - label


def test_what_no_parameter_depends_on_has_no_gradient() -> None:
    image, kernel = leaf("image", (2, 1, 6, 6)), leaf("conv.weight", (3, 1, 3, 3), param=True)
    loss = loss_of(FUNCTIONS["relu"].call((apply(ops.Conv2d(), image, kernel),), {}))
    (found,) = gradients(loss, [kernel])
    made = [value for value in topological([found]) if isinstance(value.op, ops.Conv2d)]
    assert len(made) == 2  # forward, and along the weight


# -- refusals ---------------------------------------------------------------------------------------------------------


def refused(loss: Value, *wanted: Value) -> list[tuple[str, str]]:
    with pytest.raises(NotTrainable) as caught:
        gradients(loss, wanted)
    return [(each.value.name or each.value.op.name, each.message) for each in caught.value.blames]


def test_a_loss_is_a_scalar() -> None:
    w = leaf("w", (2, 3), param=True)
    assert refused(w, w) == [("w", "the loss is expected to be fixed[], a scalar, found fixed[2, 3]")]
    count = FUNCTIONS["sum"].call((OPERATORS[">"](w, constant(0.0)),), {})
    assert refused(count, w) == [("Sum", "the loss is expected to be fixed[], a scalar, found int[]")]


def test_ops_without_a_gradient_are_named_all_at_once() -> None:
    w = leaf("w", (2, 3), param=True)
    best = FUNCTIONS["argmax"].call((w,), {"axis": 1})
    sign = FUNCTIONS["sign"].call((w,), {})
    loss = OPERATORS["+"](FUNCTIONS["mean"].call((best,), {}), FUNCTIONS["mean"].call((sign,), {}))
    assert sorted(refused(loss, w)) == [
        ("ArgMax", "`argmax` has no gradient: an index changes in jumps"),
        ("Sign", "`sign` has no gradient: a sign changes in jumps"),
    ]
    x = leaf("x", (2, 3))
    assert "argmax" not in str(refused(FUNCTIONS["mean"].call((FUNCTIONS["argmax"].call((x,), {}),), {}), w))


def test_a_comparison_in_arithmetic_is_refused_and_one_that_chooses_is_not() -> None:
    w, t = leaf("w", (3,), param=True), leaf("t", (), param=True)
    above = OPERATORS[">"](w, t)
    share = FUNCTIONS["mean"].call((above,), {})
    assert refused(share, w) == [("Greater", "`>` has no gradient: a bit changes in jumps")]
    chosen = FUNCTIONS["sum"].call((FUNCTIONS["where"].call((above, w, constant(0.0)), {}),), {})
    assert len(gradients(chosen, [w])) == 1
    assert refused(chosen, t) == [("t", "the loss depends on `t` only through choices, which change in jumps")]


def test_a_gradient_that_is_too_large_is_told_at_its_op() -> None:
    """The sum's own gradient is one number; the way back through the reshape has all of them."""
    w = leaf("w", (3000, 3000), param=True)
    flat = FUNCTIONS["reshape"].call((w, [3000 * 3000]), {})
    found = refused(FUNCTIONS["sum"].call((flat,), {}), w)
    assert found == [("Reshape", "the gradient of `reshape`: a constant [9000000] is too large to compile")]
    regulariser = FUNCTIONS["mean"].call((FUNCTIONS["square"].call((w,), {}),), {})
    assert gradients(regulariser, [w])[0].shape == w.shape


def test_a_parameter_beside_the_loss_is_named() -> None:
    w, other = leaf("w", (3,), param=True), leaf("other", (3,), param=True)
    loss = FUNCTIONS["sum"].call((w,), {})
    assert refused(loss, w, other) == [("other", "the loss does not depend on `other`")]


def test_labels_that_are_trained_are_refused_where_there_is_no_gradient() -> None:
    x, y = leaf("x", (2, 3)), leaf("y", (2, 3), param=True)
    message = "`cross_entropy` has no gradient: its labels are given"
    assert refused(LOSSES["cross_entropy"].call((x, y), {}), y) == [("CrossEntropy", message)]


def test_which_parameters_are_trained() -> None:
    w, frozen = leaf("fc.weight", (3,), param=True), leaf("conv.weight", (3,), param=True)
    public, whole = leaf("embed", (3,), param=True, public=True), leaf("tree.feature", (3,), param=True)
    x = leaf("x", (3,))
    loss = FUNCTIONS["sum"].call((OPERATORS["*"](OPERATORS["*"](frozen, w), OPERATORS["+"](public, x)),), {})
    assert trained(loss) == (frozen, w)
    assert trained(loss, [frozen]) == (w,)
    with pytest.raises(NotTrainable, match=r"only on `conv.weight` \(frozen\), `fc.weight` \(frozen\), `embed`"):
        trained(loss, [frozen, w])
    with pytest.raises(NotTrainable, match=r"depends on no parameter$"):
        trained(FUNCTIONS["sum"].call((x,), {}), [whole])


def test_losses_refuse_labels_that_do_not_fit() -> None:
    logits, x = leaf("logits", (4, 3)), leaf("x", (4,))
    classes = leaf("label", (5,), (0, 2), kind=Kind.INT)
    with pytest.raises(OpError, match=r"labels int\[batch\] or \[4, 3\], found int\[5\]"):
        LOSSES["cross_entropy"].call((logits, classes), {})
    with pytest.raises(OpError, match=r"logits \[batch, classes\], found \[4\]"):
        LOSSES["cross_entropy"].call((x, x), {})
    for name in ("mse", "l1", "binary_cross_entropy_with_logits"):
        with pytest.raises(OpError, match=rf"{name} expects one label for each score, found \[4, 3\] and \[4\]"):
            LOSSES[name].call((logits, x), {})
