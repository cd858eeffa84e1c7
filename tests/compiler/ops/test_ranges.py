"""For every op: samples of the arguments never leave the derived range, and the inferred type is the evaluated one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler import ops
from compiler.graph import Kind, Leaf, Norm, TensorOp, Value, apply, constant
from compiler.graph.interval import Interval
from compiler.reading import serial
from tests.compiler.graphs import leaf, sample

RANGES = [(-1.0, 1.0), (0.0, 1.0), (-3.0, -0.5), (0.25, 7.0), (-0.1, 4.0)]
PAIR = ((2, 3), (2, 3))
IMAGE = ((1, 4, 5, 6),)

CASES: list[tuple[TensorOp, tuple[tuple[int, ...], ...]]] = [
    *((op(), PAIR) for op in (ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Minimum, ops.Maximum)),
    *((op(), PAIR) for op in (ops.Greater, ops.GreaterEqual, ops.Less, ops.LessEqual, ops.Equal, ops.NotEqual)),
    *((op(), ((2, 3),)) for op in (ops.Neg, ops.Square, ops.Abs, ops.Sign, ops.Relu, ops.Relu6)),
    *((op(), ((2, 3),)) for op in (ops.Sigmoid, ops.Tanh, ops.Exp, ops.Reciprocal, ops.Sqrt, ops.Rsqrt, ops.Log)),
    *((op(), ((2, 3),)) for op in (ops.Erf, ops.Softplus, ops.Gelu, ops.Silu, ops.Mish, ops.HardSwish, ops.Selu)),
    *((ops.Power(p), ((2, 3),)) for p in (2.5, 0.01, -1.5, -3.0, 16.0)),
    (ops.PowerOf(), PAIR),
    (ops.PowerOf(), ((2, 3), (3,))),
    (ops.Celu(0.3), ((2, 3),)),
    (ops.Celu(4.0), ((2, 3),)),
    (ops.Elu(1.0), ((2, 3),)),
    (ops.Elu(2.5), ((2, 3),)),
    (ops.LogSoftmax(1), ((2, 3),)),
    (ops.Clip(-0.5, 0.75), ((2, 3),)),
    (ops.LeakyRelu(0.01), ((2, 3),)),
    (ops.LeakyRelu(-2.0), ((2, 3),)),
    (ops.Softmax(1), ((2, 3),)),
    (ops.MatMul(), ((2, 3), (3, 4))),
    (ops.MatMul(), ((3,), (3,))),
    (ops.MatMul(), ((5, 2, 3), (3,))),
    (ops.MatMul(), ((5, 2, 3), (1, 3, 2))),
    (ops.Conv2d(), (*IMAGE, (2, 4, 3, 3))),
    (ops.Conv2d((2, 1), (1, 0, 2, 1), (1, 2), 2), (*IMAGE, (6, 2, 3, 2))),
    (ops.Sum((0, 1)), ((2, 3),)),
    (ops.Sum((1,), True), ((2, 3),)),
    (ops.Mean((1,)), ((2, 3),)),
    (ops.LayerNorm(1e-5), ((2, 3),)),
    (ops.LayerNorm(0.5), ((2, 1),)),
    (ops.ClipNorm(0.75, (1,)), ((2, 3),)),
    (ops.ClipNorm(2.0, (0, 1)), ((2, 3),)),
    (ops.Var((1,)), ((2, 3),)),
    (ops.Var((0, 1), True), ((2, 3),)),
    (ops.Max((0,)), ((2, 3),)),
    (ops.Min((0, 1), True), ((2, 3),)),
    (ops.ArgMax(1), ((2, 3),)),
    (ops.MaxPool2d((2, 3), (2, 1), (1, 1)), IMAGE),
    (ops.AvgPool2d((2, 2), (1, 2), (1, 0)), IMAGE),
    (ops.Reshape((3, 2)), ((2, 3),)),
    (ops.Transpose((1, 0)), ((2, 3),)),
    (ops.Slice((1, 2), (1, -2), (1, 2)), ((2, 3),)),
    (ops.Concat(1), ((2, 3), (2, 1))),
    (ops.Pad(((0, 1), (2, 0)), 0.5), ((2, 3),)),
    (ops.BroadcastTo((4, 2, 3)), ((2, 3),)),
    (ops.MaxPool2d((2, 2), (2, 2)), IMAGE),
    (ops.MaxPool2dGradient((2, 2), (2, 3)), (*IMAGE, (1, 4, 2, 2))),
    (ops.AvgPool2d((2, 3), (2, 3)), IMAGE),
    (ops.MaxGradient((1,)), ((2, 3), (2, 1))),
    (ops.Reshape((2, 12)), ((2, 3, 4),)),
    (ops.Reshape((2, 2, 2, 3)), ((4, 6),)),
    (ops.Reshape((1, 6, 1)), ((2, 1, 3),)),
    (ops.Concat(0), ((2, 3), (1, 3))),
    (ops.Pad(((0, 1), (2, 0))), ((2, 3),)),
    (ops.Add(), ((2, 3), (3,))),
    (ops.Mul(), ((2, 3), (2, 1))),
    (ops.BroadcastTo((2, 4, 3)), ((2, 1, 3),)),
]


@pytest.mark.parametrize(("op", "shapes"), CASES, ids=lambda part: part.name if isinstance(part, TensorOp) else None)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_samples_stay_in_the_range(op: TensorOp, shapes: tuple[tuple[int, ...], ...], data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    args = [leaf(f"x{place}", shape, data.draw(st.sampled_from(RANGES))) for place, shape in enumerate(shapes)]
    arrays = [sample(arg, random) for arg in args]
    if len(args) > 1 and data.draw(st.booleans()):  # a constant's elements are taken exactly
        args[1] = constant(arrays[1])
    elif len(args) > 1 and data.draw(st.booleans()):
        args[0] = constant(arrays[0])
    check(apply(op, *args), arrays)


@pytest.mark.parametrize(("op", "shapes"), CASES, ids=lambda part: part.name if isinstance(part, TensorOp) else None)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_samples_stay_within_their_norms(
    op: TensorOp, shapes: tuple[tuple[int, ...], ...], data: st.DataObject
) -> None:
    """Arguments of which norms are known: ranges and norms of the result hold for what has just these norms."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    args, arrays = [], []
    for place, shape in enumerate(shapes):
        arg = leaf(f"x{place}", shape, data.draw(st.sampled_from(RANGES)))
        array = sample(arg, random) * (random.uniform(size=shape) < data.draw(st.sampled_from([0.2, 1.0])))
        arg = replace(arg, range=arg.range.hull(Interval(0, 0)))
        axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
        order, along = data.draw(st.sampled_from([1, 2])), tuple(sorted(axes))
        norm = Norm(order, along, float(norms_of(array, order, along).max()) + 1e-12)
        args.append(replace(arg, norms=(norm,)))
        arrays.append(array)
    check(apply(op, *args), arrays)


def norms_of(array: np.ndarray, order: int, axes: tuple[int, ...]) -> np.ndarray:
    with np.errstate(over="ignore"):
        powers = np.abs(array.astype(np.float64)) ** order
        return np.asarray(powers.sum(axis=axes) ** (1 / order))


ENDS = [-np.inf, -1e308, -1e9, -1.0, -1e-300, 0.0, 1e-300, 0.5, 3.0, 1e200, 1e308, np.inf]


@pytest.mark.parametrize(("op", "shapes"), CASES, ids=lambda part: part.name if isinstance(part, TensorOp) else None)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_no_range_is_nan_and_all_hold_what_is_computed(
    op: TensorOp, shapes: tuple[tuple[int, ...], ...], data: st.DataObject
) -> None:
    """With ends that are unknown, huge, tiny or zero, and constants of such elements."""
    args, arrays = [], []
    for place, shape in enumerate(shapes):
        lo, hi = sorted(data.draw(st.tuples(st.sampled_from(ENDS), st.sampled_from(ENDS))))
        inside = [each for each in ENDS if lo <= each <= hi and np.isfinite(each)]
        if not inside:
            return
        numbers = data.draw(
            st.lists(st.sampled_from(inside), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
        )
        arrays.append(np.array(numbers).reshape(shape))
        given_range = replace(leaf(f"x{place}", shape, None), range=Interval(lo, hi))
        is_constant = len(shapes) > 1 and place == len(shapes) - 1 and data.draw(st.booleans())
        args.append(constant(arrays[-1]) if is_constant else given_range)
    value = apply(op, *args)
    assert not np.isnan([value.range.lo, value.range.hi]).any()
    check(value, arrays)


@pytest.mark.parametrize("op", [ops.Add(), ops.Mul(), ops.MatMul(), ops.Maximum()], ids=lambda op: op.name)
def test_whole_numbers_stay_whole(op: TensorOp) -> None:
    random = np.random.default_rng(1)
    args = [leaf(name, (3, 3), (-9, 5), kind=Kind.INT) for name in "ab"]
    value = apply(op, *args)
    assert value.kind is Kind.INT
    check(value, [sample(arg, random) for arg in args])


@pytest.mark.parametrize("op", [ops.And(), ops.Or(), ops.Not(), ops.ToInt()], ids=lambda op: op.name)
def test_bits(op: TensorOp) -> None:
    random = np.random.default_rng(1)
    args = [leaf(name, (3, 3), None, kind=Kind.BIT) for name in "ab"][: 1 + isinstance(op, ops.And | ops.Or)]
    check(apply(op, *args), [sample(arg, random) for arg in args])


@pytest.mark.parametrize("within", [(0, 3), (-2, 9), (7, 9)])
def test_one_hot(within: tuple[int, int]) -> None:
    i = leaf("i", (2, 3), within, kind=Kind.INT)
    value = apply(ops.OneHot(6), i)
    assert value.shape == (2, 3, 6) and value.kind is Kind.BIT
    check(value, [sample(i, np.random.default_rng(2))])


@pytest.mark.parametrize(("within", "lo"), [((0, 2), 3), ((-1, 2), 0), ((0, 3), 0)])
def test_gather_lies_in_the_range_of_its_elements(within: tuple[int, int], lo: float) -> None:
    random = np.random.default_rng(3)
    args = [leaf("x", (2, 3), (3, 4)), leaf("i", (4, 2), within, kind=Kind.INT)]
    value = apply(ops.Gather(1), *args)
    assert value.shape == (2, 4, 2) and (value.range.lo, value.range.hi) == (lo, 4)
    check(value, [sample(arg, random) for arg in args])


def test_where_lies_in_the_hull() -> None:
    random = np.random.default_rng(1)
    args = [leaf("c", (2, 1), None, kind=Kind.BIT), leaf("a", (2, 3), (0, 1)), leaf("b", (3,), (5, 6))]
    value = apply(ops.Where(), *args)
    assert (value.range.lo, value.range.hi) == (0, 6)
    check(value, [sample(arg, random) for arg in args])


def check(value: Value, arrays: list[np.ndarray]) -> None:
    with np.errstate(all="ignore"):
        result = np.asarray(value.op.evaluate(*arrays)) if not value.is_constant else value.array
    assert result.shape == value.shape
    assert result.dtype == value.kind.dtype
    if not isinstance(value.op, Leaf):
        known = result[np.isfinite(result)] if result.dtype == np.float64 else result
        slack = 1e-12 * max(1.0, *(abs(end) for end in (value.range.lo, value.range.hi) if np.isfinite(end)), 0.0)
        assert np.all(known >= value.range.lo - slack) and np.all(known <= value.range.hi + slack)
        numbers = np.where(np.isfinite(result), result, 0)  # float64 itself overflows
        for norm in value.norms:
            assert norms_of(numbers, norm.order, norm.axes).max() <= norm.bound * (1 + 1e-12) + 1e-12
        assert serial.to_plain(serial.from_plain(serial.to_plain(value))) == serial.to_plain(value)


def test_ranges_are_reached() -> None:
    """Tight where arithmetic is: a matrix product of constants' signs, a convolution's padding, a sum."""
    x = leaf("x", (1, 1, 4, 4), (0, 1))
    weight = constant(np.array([[[[1.0, -2.0], [0.5, 0.0]]]]))
    found = apply(ops.Conv2d(), x, weight).range
    assert (found.lo, found.hi) == (-2, 1.5)
    positive = leaf("x", (1, 1, 4, 4), (1, 2))
    assert apply(ops.Conv2d(), positive, weight).range.lo == -2.5  # 1 + 0.5 - 2 * 2
    assert apply(ops.Conv2d(padding=(1, 0, 0, 0)), positive, weight).range.lo == -4
    row = leaf("row", (1, 3), (0, 2))
    product = apply(ops.MatMul(), row, constant(np.array([[1.0, 1], [1, -1], [1, 0]]))).range
    assert (product.lo, product.hi) == (-2, 6)
    weights = leaf("w", (3, 1), (-1, 1), param=True)
    assert apply(ops.MatMul(), row, weights).range.magnitude == 6


def test_a_value_times_itself_is_a_square() -> None:
    x = leaf("x", (2,), (-3, 2))
    assert apply(ops.Mul(), x, x).range.lo == 0
    assert apply(ops.Sub(), x, x).range.magnitude == 0


def test_softmax_of_a_narrow_range_is_narrow() -> None:
    found = apply(ops.Softmax(0), leaf("x", (4,), (0, np.log(3)))).range
    assert found.lo == pytest.approx(1 / 10) and found.hi == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("op", "within", "reached"),
    [(ops.Gelu(), (-3, 1), -0.17), (ops.Silu(), (-9, 0), -0.2785), (ops.HardSwish(), (-4, 3), -0.375),
     (ops.Mish(), (-5, 2), -0.3088434), (ops.Mish(), (-1, 1), -0.3034014),
     (ops.Gelu(), (-9, -2), -0.0456), (ops.Silu(), (1, 2), 0.731), (ops.HardSwish(), (-1, 0), -1 / 3)],
)  # fmt: skip
def test_what_falls_and_rises_is_least_in_its_valley_or_at_an_end(
    op: TensorOp, within: tuple[float, float], reached: float
) -> None:
    x = np.linspace(*within, 100_001)
    found = apply(op, leaf("x", (2,), within)).range
    assert found.lo == pytest.approx(op.evaluate(x).min(), abs=1e-8) and found.lo == pytest.approx(reached, abs=1e-4)
    assert found.hi == pytest.approx(op.evaluate(x).max(), abs=1e-8)


def test_log_softmax_of_a_narrow_range_is_narrow() -> None:
    found = apply(ops.LogSoftmax(0), leaf("x", (4,), (0, np.log(3)))).range
    assert found.lo == pytest.approx(-np.log(10)) and found.hi == pytest.approx(-np.log(2))
