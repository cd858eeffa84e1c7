"""Every gate on operands as views and plans leave them: turned, with gaps, backwards, broadcast, read-only, of one
element and of no axes, at both parties and the dealer; the truth is Python's integers.

What a gate is tested on is a case: it emits the gate on operands of many shapes and forms into one plan, and says what
the results must be. Every gate of the registry has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, product

import numpy as np
import pytest

from mpc_runtime import gates, kernels
from mpc_runtime.gates import GATES, Gate
from mpc_runtime.registers import Form
from tests.loaded import registers_laid, scattered, scattered_and_read_only
from tests.mpc_runtime.gates.noisy import noisy, noisy_gradient
from tests.mpc_runtime.gates.operands import (
    ADDITIVE,
    LAYOUTS,
    RING,
    SHAPES,
    Array,
    Check,
    Operands,
    Shape,
    U,
    at_most_one_more,
    equals,
)
from tests.mpc_runtime.gates.paired import gaps, wins
from tests.mpc_runtime.gates.test_product import correlation
from tests.mpc_runtime.gates.test_sample_tables import CASES as CURVES
from tests.mpc_runtime.gates.test_sample_tables import SCALE
from tests.mpc_runtime.gates.test_sample_tables import gate as table_of
from tests.mpc_runtime.gates.values import beside, integers, modulo, padded, signed, windows
from tests.plans_by_hand import BITS, PLANES, compare
from tests.traced import Trace, trace

FORMS = tuple(Form)
MASKED = (Form.WIRE, Form.BARE)
KNOWN = (Form.PUBLIC, Form.CONSTANT)
SUMS = (
    (Form.OFFSET, Form.SHARED),
    (Form.OFFSET, Form.PUBLIC),
    (Form.CONSTANT, Form.SHARED),
    (Form.WIRE, Form.WIRE),
    (Form.BARE, Form.WIRE),
    (Form.WIRE, Form.CONSTANT),
    (Form.PUBLIC, Form.BARE),
    (Form.PUBLIC, Form.CONSTANT),
    (Form.CONSTANT, Form.CONSTANT),
)
"""Forms that may be added."""
PRODUCTS = (
    (Form.WIRE, Form.WIRE),
    (Form.SHARED, Form.PUBLIC),
    (Form.CONSTANT, Form.SHARED),
    (Form.OFFSET, Form.CONSTANT),
    (Form.WIRE, Form.CONSTANT),
    (Form.CONSTANT, Form.BARE),
    (Form.PUBLIC, Form.CONSTANT),
    (Form.CONSTANT, Form.CONSTANT),
)
"""Forms that may be multiplied."""


# -- linear maps -------------------------------------------------------------------------------------------------------


def linear_map(
    cls: type[Gate],
    attributes: Callable[[Shape], dict[str, object] | None],
    meaning: Callable[..., Array],
    *,
    bits: bool,
) -> Callable[[Operands], Iterator[Check]]:
    """A map of words and, if it maps `bits` too, of these; attributes None: not for this shape."""

    def case(o: Operands) -> Iterator[Check]:
        for form, shape in product(FORMS, SHAPES):
            named = attributes(shape)
            if named is None:
                continue
            x = o.words(shape)
            expected = modulo(meaning(integers(x), **named), RING)
            yield equals(o.b.emit(cls, expected.shape, RING, x=o.lay(form, x), **named), expected)
            if bits:
                x = o.bits(shape)
                expected = np.asarray(meaning(x, **named))
                yield equals(o.b.emit(cls, expected.shape, 1, BITS, x=o.lay(form, x), **named), expected)

    return case


def concat(o: Operands) -> Iterator[Check]:
    for form, shape in product(FORMS, SHAPES[1:]):
        for make, bits, domain in ((o.words, RING, {}), (o.bits, 1, {"domain": BITS})):
            x, y = make(shape), make(shape)
            expected = np.concatenate([x, y, x], axis=-1)
            xs = o.lay(form, x), o.lay(form, y)
            joined = o.b.emit(gates.Concat, expected.shape, bits, **domain, axis=len(shape) - 1, xs=(*xs, xs[0]))
            yield equals(joined, expected)


def lift(o: Operands) -> Iterator[Check]:
    for first, second in product(ADDITIVE, ADDITIVE):
        for shape in SHAPES:
            x, y = o.words(shape), o.words((2,))
            parts = integers(x) << 5, integers(y), integers(x)
            expected = modulo(np.concatenate([np.asarray(part, object).reshape(-1) for part in parts]), RING)
            xs = o.lay(first, x), o.lay(second, y)
            yield equals(o.b.emit(gates.Lift, expected.shape, RING, by=(5, 0, 0), xs=(*xs, xs[0])), expected)


def add(o: Operands) -> Iterator[Check]:
    for (first, second), shape, negative in product(SUMS, SHAPES, (False, True)):
        for other in beside(shape):
            x, y = o.words(shape), o.words(other)
            expected = modulo(integers(x) - integers(y) if negative else integers(x) + integers(y), RING)
            registers = {"x": o.lay(first, x), "y": o.lay(second, y)}
            yield equals(o.b.emit(gates.Add, expected.shape, RING, negative=negative, **registers), expected)


def xor(o: Operands) -> Iterator[Check]:
    for (first, second), shape in product(SUMS, SHAPES):
        for other in beside(shape):
            x, y = o.bits(shape), o.bits(other)
            expected = np.asarray(x ^ y)
            registers = {"x": o.lay(first, x), "y": o.lay(second, y)}
            yield equals(o.b.emit(gates.Xor, expected.shape, 1, BITS, **registers), expected)


# -- products ----------------------------------------------------------------------------------------------------------


def square(o: Operands) -> Iterator[Check]:
    for shape in SHAPES:
        x = o.words(shape)
        yield equals(o.b.emit(gates.Square, shape, RING, x=o.lay(Form.WIRE, x)), modulo(integers(x) ** 2, RING))


def square_sum(o: Operands) -> Iterator[Check]:
    for shape in SHAPES:
        for axis, end in combinations(range(len(shape) + 1), 2):
            x = o.words(shape)
            expected = modulo((integers(x) ** 2).sum(axis=tuple(range(axis, end))), RING)
            along = {"axis": axis, "axes": end - axis, "shift": 0}
            yield equals(o.b.emit(gates.SquareSum, expected.shape, RING, **along, x=o.lay(Form.WIRE, x)), expected)


def bilinear(
    cls: type[Gate],
    shapes: tuple[tuple[Shape, Shape], ...],
    meaning: Callable[..., Array],
    attributes: dict[str, object],
) -> Callable[[Operands], Iterator[Check]]:
    """A product of secrets from setup or the run, halved or not, and of secrets with what is known."""

    def case(o: Operands) -> Iterator[Check]:
        for (first, second), (x_shape, y_shape), known in product(PRODUCTS, shapes, ("", "x", "y")):
            x, y = o.words(x_shape), o.words(y_shape)
            expected = modulo(meaning(integers(x), integers(y), **attributes), RING)
            secret = first is second is Form.WIRE
            if known and not secret:
                continue
            for half in ("", "x", "y") if secret and cls is not gates.Mul else ("",):
                named: dict[str, object] = {**attributes, "half": half} if half else dict(attributes)
                for name, form, value in (("x", first, x), ("y", second, y)):
                    o.b.stage = "setup" if name == known else "run"
                    named[name] = o.lay(form, value)
                o.b.stage = "run"
                z = o.b.emit(cls, expected.shape, RING, **named)
                yield equals(z, modulo(expected * U(2), RING) if half else expected)

    return case


# -- values entering, leaving and changing form ------------------------------------------------------------------------


def of_words_and_bits(
    o: Operands, shape: Shape, forms: tuple[Form, ...]
) -> Iterator[tuple[int, Array, dict[str, object]]]:
    """(register, its value, what `emit` is told of it)."""
    for form in forms:
        x, d = o.words(shape), o.bits(shape)
        yield o.lay(form, x), x, {"bits": RING}
        yield o.lay(form, d), d, {"domain": BITS}


def changing_form(cls: type[Gate], forms: tuple[Form, ...]) -> Callable[[Operands], Iterator[Check]]:
    """A gate that keeps the value."""

    def case(o: Operands) -> Iterator[Check]:
        for shape in SHAPES:
            for register, value, kind in of_words_and_bits(o, shape, forms):
                yield equals(o.b.emit(cls, shape, **kind, x=register), value)
        yield from planes(o) if cls is not gates.FromPublic else ()

    def planes(o: Operands) -> Iterator[Check]:
        """Planes of bits laid anyhow, through every change of form: BARE, OFFSET, SHARED, WIRE, SHARED."""
        for shape in SHAPES:
            bits = o.bits(shape), o.bits(shape)
            columns = np.stack([d.reshape(-1) for d in bits], axis=1)
            named = {"domain": PLANES, "planes": 2}
            x = o.b.emit(gates.ToPlanes, shape, **named, xs=tuple(o.lay(Form.BARE, d) for d in bits))
            offset = o.b.emit(gates.Unmask, shape, **named, x=x)
            for true in (o.b.emit(gates.Materialize, shape, **named, x=offset), offset):
                wire = o.b.emit(gates.Open, shape, **named, x=true)
                for register in (true, wire, o.b.emit(gates.Unmask, shape, **named, x=wire)):
                    yield equals(register, columns)

    return case


def given(form: Form) -> Callable[[Operands], Iterator[Check]]:
    """What a role or the plan gives; `trace` gives it unaligned and read-only."""

    def case(o: Operands) -> Iterator[Check]:
        for shape in SHAPES:
            for register, value, _ in of_words_and_bits(o, shape, (form,)):
                yield equals(register, value)

    return case


def inputs(o: Operands) -> Iterator[Check]:
    for form in (Form.SHARED, Form.PUBLIC):
        yield from given(form)(o)


def reveal(o: Operands) -> Iterator[Check]:
    for shape in SHAPES:
        for register, value, kind in of_words_and_bits(o, shape, (Form.SHARED,)):
            yield revealed(o, register, value, RING if "bits" in kind else 1)
        for known in KNOWN:
            for register, value, kind in of_words_and_bits(o, shape, (known,)):
                shares = o.b.emit(gates.FromPublic, shape, **kind, x=register)
                yield revealed(o, shares, value, RING if "bits" in kind else 1)


def revealed(o: Operands, register: int, value: Array, bits: int) -> Check:
    name = f"y{register}"
    o.b.reveal(register, ("alice", "bob"), bits, name)

    def check(t: Trace) -> None:
        for role in ("alice", "bob"):
            sent = [t.outputs[i][name, role] for i in (0, 1)]
            if value.dtype == U:
                found = modulo(sum(integers(kernels.unpack(s, value.size, bits)) for s in sent), bits)
            else:
                found = np.bitwise_xor(
                    *(kernels.planes_to_bits(kernels.planes_unpack(s, value.size, 1), value.size) for s in sent)
                )
            assert np.array_equal(found, value.reshape(-1))

    return check


# -- comparison, selection, tables, truncation -------------------------------------------------------------------------


def comparison(o: Operands) -> Iterator[Check]:
    """Both kinds, one and two levels; every register on the way is compared with its meaning."""
    for shape, form, thresholds in product(SHAPES, MASKED, ((0,), (0, 3))):
        z = o.words(shape, 8, -64, 60)
        number = signed(z, 8)
        x = o.lay(form, z, 8)
        for kind, low, tree in (("lt", 7, (2,)), ("eq", 8, (2, 2))):
            widths = (2, 2, low - 6, 2)
            found = compare(o.b, x, 8, 0, widths, tree if kind == "eq" else (4,), kind, thresholds)
            for threshold, bit in zip(thresholds, found, strict=True):
                truth = number >= threshold if kind == "lt" else number == threshold
                yield equals(bit, np.asarray(truth, np.uint8))


def to_planes(o: Operands) -> Iterator[Check]:
    for shape, forms in product(SHAPES, product(MASKED, MASKED)):
        bits = o.bits(shape), o.bits(shape)
        xs = tuple(o.lay(form, d) for form, d in zip(forms, bits, strict=True))
        planes = o.b.emit(gates.ToPlanes, shape, domain=PLANES, planes=2, xs=xs)
        yield equals(planes, np.stack([d.reshape(-1) for d in bits], axis=1))


def bit_to_word(o: Operands) -> Iterator[Check]:
    for shape, form in product(SHAPES, MASKED):
        d = o.bits(shape)
        yield equals(o.b.emit(gates.BitToWord, shape, RING, d=o.lay(form, d)), d.astype(U))


def truncate(o: Operands) -> Iterator[Check]:
    for shape, form, (shift, bits) in product(SHAPES, MASKED, ((0, 20), (0, 64), (7, RING - 7), (7, 64))):
        z = o.words(shape, RING, -(1 << (RING - 2)), 1 << (RING - 2))
        y = o.b.emit(gates.Truncate, shape, bits, shift=shift, width=RING - 1, x=o.lay(form, z))
        yield at_most_one_more(y, signed(z, RING) >> shift, bits, shift)


def select(o: Operands) -> Iterator[Check]:
    for shape, forms, (shift, bits) in product(SHAPES, product(MASKED, MASKED), ((0, RING), (7, RING - 7), (7, 64))):
        z, d = o.words(shape, RING, -(1 << (RING - 2)), 1 << (RING - 2)), o.bits(shape)
        registers = {"d": o.lay(forms[0], d), "x": o.lay(forms[1], z)}
        y = o.b.emit(gates.Select, shape, bits, shift=shift, width=RING - 1, **registers)
        yield at_most_one_more(y, (signed(z, RING) >> shift) * d, bits, shift)


def choose(o: Operands) -> Iterator[Check]:
    for shape, form in product(SHAPES, MASKED):
        z, d = o.words(shape), o.bits(shape)
        y = o.b.emit(gates.Choose, shape, RING, d=o.lay(form, d), x=o.lay(Form.WIRE, z))
        yield equals(y, np.where(d, z, U(0)))


def table(o: Operands) -> Iterator[Check]:
    for curve, shape, form in product(CURVES, SHAPES, MASKED):
        attributes, bits = table_of(curve)
        low, high = (round(v * 2.0**SCALE) for v in (curve.low, curve.high))
        z = signed(o.words(shape, 64, low, high - 1), 64)
        y = o.b.emit(gates.Table, shape, curve.entry_bits, x=o.lay(form, modulo(z, bits), bits), **attributes)
        yield near(y, curve.function(z * 2.0**-SCALE), curve.entry_bits, curve.error)


def near(register: int, expected: Array, bits: int, error: float) -> Check:
    def check(t: Trace) -> None:
        found = signed(t.value(register), bits) * 2.0 ** -(19 + 18)
        assert found.shape == np.shape(expected) and np.abs(found - expected).max() < error

    return check


CASES: dict[str, Callable[[Operands], Iterator[Check]]] = {
    "Add": add,
    "BitToWord": bit_to_word,
    "Broadcast": linear_map(
        gates.Broadcast, lambda s: {"shape": (2, *s)}, lambda a, shape: np.broadcast_to(a, shape), bits=True
    ),
    "Choose": choose,
    "Combine": comparison,
    "Concat": concat,
    "Constant": given(Form.CONSTANT),
    "Conv2d": bilinear(
        gates.Conv2d,
        (((1, 1, 1, 1), (1, 1, 1, 1)), ((2, 2, 3, 4), (3, 2, 1, 1)), ((1, 2, 4, 3), (2, 2, 2, 3))),
        correlation,
        {"stride": (1, 1), "padding": (1, 0, 0, 1), "dilation": (1, 1), "groups": 1},
    ),
    "DealerNoise": noisy(gates.DealerNoise),
    "Gaps": gaps,
    "GradientNoise": noisy_gradient,
    "FromPublic": changing_form(gates.FromPublic, KNOWN),
    "Input": inputs,
    "Leaf": comparison,
    "Lift": lift,
    "MatMul": bilinear(
        gates.MatMul,
        (((1, 1), (1, 1)), ((2, 3), (3, 4)), ((1, 5), (5, 1)), ((2, 1, 3), (3, 2)), ((2, 3), (2, 3, 1))),
        np.matmul,
        {},
    ),
    "Materialize": changing_form(gates.Materialize, (Form.OFFSET,)),
    "Mul": bilinear(gates.Mul, tuple((s, other) for s in SHAPES for other in beside(s)), np.multiply, {}),
    "Open": changing_form(gates.Open, ADDITIVE),
    "Pad": linear_map(gates.Pad, lambda s: {"widths": ((1, 2),) * len(s)}, padded, bits=True),
    "PartyNoise": noisy(gates.PartyNoise),
    "Rescale": linear_map(gates.Rescale, lambda s: {}, lambda a: a, bits=False),
    "Reshape": linear_map(
        gates.Reshape, lambda s: {"shape": (int(np.prod(s)), 1)}, lambda a, shape: a.reshape(shape), bits=True
    ),
    "Reveal": reveal,
    "Scale": linear_map(gates.Scale, lambda s: {"factor": -3}, lambda a, factor: a * factor, bits=False),
    "Select": select,
    "Slice": linear_map(
        gates.Slice,
        lambda s: {"starts": tuple(n - 1 for n in s), "stops": (-1,) * len(s), "steps": (-1,) * len(s)},
        lambda a, starts, stops, steps: np.flip(a),
        bits=True,
    ),
    "Square": square,
    "SquareSum": square_sum,
    "Sum": linear_map(
        gates.Sum,
        lambda s: {"axes": tuple(range(len(s)))},
        lambda a, axes: np.asarray(a.sum(axis=axes, keepdims=True)),
        bits=False,
    ),
    "SumParts": linear_map(
        gates.SumParts,
        lambda s: {"sizes": (s[0] - 1, 1) if s[0] > 1 else (1,)} if len(s) == 1 else None,
        lambda a, sizes: np.array([a[: sizes[0]].sum(), *a[sizes[0] :]], a.dtype),
        bits=False,
    ),
    "Table": table,
    "ToBit": comparison,
    "ToPlanes": to_planes,
    "Transpose": linear_map(
        gates.Transpose, lambda s: {"axes": tuple(range(len(s)))[::-1]}, lambda a, axes: a.T, bits=True
    ),
    "Truncate": truncate,
    "Unmask": changing_form(gates.Unmask, MASKED),
    "Wins": wins,
    "WindowSum": linear_map(
        gates.WindowSum,
        lambda s: {"kernel": (1, min(2, s[-1])), "stride": (1, 1)} if len(s) > 1 else None,
        windows,
        bits=False,
    ),
    "Xor": xor,
}
"""Gate by its name in a plan -> its case."""


def run(name: str, o: Operands) -> None:
    """The gate's case, every result beside the truth, and every register beside its meaning."""
    checks = list(CASES[name](o))
    plan = o.b.plan()
    assert checks and any(type(op.gate).__name__ == name for p in plan.procedures for op in p.ops)
    t = trace(plan, o.b.values, preprocess=True)
    t.assert_exact()
    for check in checks:
        check(t)


def test_every_gate_has_a_case() -> None:
    ours = {name for name, cls in GATES.items() if cls.__module__.startswith("mpc_runtime.")}
    assert CASES.keys() == ours


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_gates_take_operands_as_gates_leave_them(name: str, layout: str) -> None:
    run(name, Operands(layout))


@pytest.mark.parametrize("lay", [scattered, scattered_and_read_only])
@pytest.mark.parametrize("name", CASES)
def test_gates_take_registers_and_masks_with_gaps_between_their_elements(
    name: str, lay: Callable[[Array], Array]
) -> None:
    with registers_laid(lay):
        run(name, Operands("made"))
