"""Operators that work element by element: arithmetic, comparisons, activations, conversions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import numpy as np
import onnx

from compiler.graph import Kind
from compiler.importers.known import HUGE, Known, is_huge, scalar, spread, to_broadcast, to_term
from compiler.importers.nodes import Absent, Node, Result, Undecided
from compiler.importers.problems import Unsupported
from compiler.importers.sizes import Size
from compiler.importers.terms import Source, Table, Term, call, endless, origin, table

MASKED = -(2.0**14)
"""What stands for minus infinity in a mask: a softmax gives 0 for scores so far below the others."""

REAL_TYPES = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
)
WHOLE_TYPES: Mapping[int, tuple[int, int] | None] = {
    onnx.TensorProto.INT8: (-(2**7), 2**7 - 1),
    onnx.TensorProto.UINT8: (0, 2**8 - 1),
    onnx.TensorProto.INT16: (-(2**15), 2**15 - 1),
    onnx.TensorProto.UINT16: (0, 2**16 - 1),
    onnx.TensorProto.INT32: None,
    onnx.TensorProto.UINT32: None,
    onnx.TensorProto.INT64: None,
    onnx.TensorProto.UINT64: None,
}
"""What fits, where that is less than the format of `int` holds."""
MASK_OF_DROPOUT = 12  # the version since which all agree on the mask of dropout that drops nothing
NEARLY = 1e-6  # of twice an exponent, in single precision


# -- operands ----------------------------------------------------------------------------------------------------------


def beside(value: Term | Known, other: Term, trials: int) -> Term:
    """An operand beside another: a known one that is one number all over is a number, if broadcasting allows it."""
    if isinstance(value, Term):
        return value
    one, fits = scalar(value), _fits(value, other)
    if one is None or not fits:
        masked = _masked(value)
        split = value.weight and masked is not value
        term = _owners_mask(value, trials) if split else endless(to_broadcast(masked, trials), masked is not value)
        return term if fits else spread(term, value.shape)
    return endless(table(_bounded(one), trials), isinstance(one, float) and is_huge(one))


def _fits(known: Known, other: Term) -> bool:
    """Whether broadcasting against it leaves the other's shape."""
    if known.rank > other.rank:
        return False
    for mine, size in zip(known.shape, other.shape[other.rank - known.rank :], strict=True):
        if mine == size or _is_one(mine):
            continue
        if _is_one(size) or (mine.is_fixed and size.is_fixed):
            return False
        raise Undecided
    return True


def _is_one(size: Size) -> bool:
    return size.is_fixed and size.fixed == 1


def joint_shape(*shapes: Sequence[Size]) -> tuple[Size, ...]:
    """What shapes are broadcast to. Raises Undecided where that depends on which size a free one has."""
    ranks = max(map(len, shapes))
    columns = zip(*([None] * (ranks - len(shape)) + list(shape) for shape in shapes), strict=True)
    return tuple(_joint([size for size in column if size is not None]) for column in columns)


def _joint(sizes: Sequence[Size]) -> Size:
    wide = list(dict.fromkeys(size for size in sizes if not _is_one(size)))
    if len(wide) > 1 and any(not size.is_fixed for size in wide):
        raise Undecided
    if len(wide) > 1:
        raise Unsupported(f"sizes of {' and '.join(str(size.fixed) for size in wide)} do not fit", "check its operands")
    return wide[0] if wide else sizes[0]


def _bounded(one: float | int | bool) -> float | int | bool:
    if isinstance(one, float) and math.isnan(one):
        raise Unsupported("a constant is not a number (NaN)")
    return one if not isinstance(one, float) or not is_huge(one) else math.copysign(MASKED, one)


def _masked(known: Known) -> Known:
    """The infinities of a mask as numbers of the format; `masks` sees to it that they end in a softmax."""
    if known.arrays[0].dtype.kind != "f":
        return known
    finite = tuple(_finite(array) for array in known.arrays)
    unchanged = all(a is b for a, b in zip(finite, known.arrays, strict=True))
    return known if unchanged else Known(finite, known.hint)


def _owners_mask(known: Known, trials: int) -> Term:
    """The owner's numbers where they are finite, which stay secret, and the mask, which is public."""
    far = [np.abs(array) >= HUGE for array in known.arrays]
    numbers = tuple(np.where(at, 0, array) for at, array in zip(far, known.arrays, strict=True))
    mask = tuple(np.where(at, np.copysign(MASKED, array), 0.0) for at, array in zip(far, known.arrays, strict=True))
    finite = to_broadcast(Known(numbers, known.hint, True), trials)
    return call("+", finite, endless(to_broadcast(Known(mask), trials), True))


def _finite(array: np.ndarray) -> np.ndarray:
    if np.isnan(array).any():
        raise Unsupported("a constant is not a number (NaN)")
    far = np.abs(array) >= HUGE
    return np.where(far, np.copysign(MASKED, array), array) if far.any() else array


def pair(node: Node) -> tuple[Term, Term]:
    """Both operands."""
    return both(node.value(0), node.value(1), node.trials)


def both(a: Term | Known, b: Term | Known, trials: int) -> tuple[Term, Term]:
    if isinstance(a, Term):
        return a, beside(b, a, trials)
    if isinstance(b, Term):
        return beside(a, b, trials), b
    return to_term(a, trials), to_term(b, trials)


def number_of(term: Term) -> float | int | bool | None:
    """The number that a term is."""
    if isinstance(term.form, Table) and term.form.array.size == 1:
        found: float | int | bool = term.form.array.reshape(-1)[0].item()
        return found
    return None


def _is(term: Term, number: float, other: Term) -> bool:
    """Whether it is that number, and the other keeps its shape and kind beside it."""
    return number_of(term) == number and term.rank <= other.rank and term.kind is other.kind


# -- arithmetic --------------------------------------------------------------------------------------------------------


def add(node: Node) -> Result:
    a, b = pair(node)
    return summed(a, b)


def summed(a: Term, b: Term) -> Term:
    if _is(b, 0, a):
        return a
    return b if _is(a, 0, b) else call("+", a, b)


def sub(node: Node) -> Result:
    a, b = pair(node)
    return a if _is(b, 0, a) else call("-", a, b)


def mul(node: Node) -> Result:
    a, b = pair(node)
    if _is(b, 1, a):
        return a
    return b if _is(a, 1, b) else call("*", a, b)


def div(node: Node) -> Result:
    a, b = pair(node)
    if a.kind is Kind.INT and b.kind is Kind.INT:
        raise Unsupported("whole numbers are divided, which rounds", "divide real numbers, or compute it before")
    return a if _is(b, 1, a) else call("/", a, b)


def power(node: Node) -> Result:
    """A whole exponent is written without a point."""
    base, exponent = node.value(0), node.value(1)
    if isinstance(exponent, Term):
        base, exponent = both(base, exponent, node.trials)
        return call("**", base, exponent)
    n = scalar(exponent)
    if n is None:
        raise Unsupported("the exponents differ between elements", "use one constant exponent")
    n = round(2 * n) / 2 if abs(2 * n - round(2 * n)) < NEARLY else n
    x = node.term()
    x = spread(x, joint_shape(x.shape, exponent.shape))
    return x if n == 1 else call("**", x, table(int(n) if n == int(n) else n, node.trials))


def _most(name: str, nothing: float) -> Callable[[Node], Result]:
    """The largest or smallest of all, in one call. nothing: the sign of a huge number that is never chosen."""

    def build(node: Node) -> Result:
        values = [node.value(place) for place in range(len(node.inputs))]
        values = [each for each in values if not (isinstance(each, Known) and _binds_nothing(each, nothing))]
        if len(values) == 1:
            return values[0]
        widest = max((each for each in values if isinstance(each, Term)), key=lambda each: each.rank)
        return call(name, *(beside(each, widest, node.trials) for each in values))

    return build


def _binds_nothing(known: Known, sign: float) -> bool:
    """Whether it is one number, far beyond all that others may be."""
    return known.rank == 0 and all(float(array) * sign >= HUGE for array in known.arrays)


def _many(name: str) -> Callable[[Node], Result]:
    def build(node: Node) -> Result:
        values = [node.value(place) for place in range(len(node.inputs))]
        return reduce(lambda a, b: call(name, *both(a, b, node.trials)), values[1:], node.term(0))

    return build


def mean(node: Node) -> Result:
    total = _many("+")(node)
    assert isinstance(total, Term)
    return call("/", total, len(node.inputs)) if len(node.inputs) > 1 else total


# -- comparisons and bits ----------------------------------------------------------------------------------------------


def _compared(name: str) -> Callable[[Node], Result]:
    def build(node: Node) -> Result:
        a, b = pair(node)
        return call(name, a, b)

    return build


def xor(node: Node) -> Result:
    """Of bits, whether they differ."""
    return call("!=", *pair(node))


def negated(node: Node) -> Result:
    return call("not", node.term())


def where(node: Node) -> Result:
    bit, a, b = node.value(0), node.value(1), node.value(2)
    if isinstance(bit, Known) and (one := scalar(bit)) is not None:
        chosen = a if one else b
        if isinstance(chosen, Term):
            return spread(chosen, joint_shape(bit.shape, a.shape, b.shape))
    widest = max((each for each in (bit, a, b) if isinstance(each, Term)), key=lambda each: each.rank)
    terms = [beside(each, widest, node.trials) for each in (bit, a, b)]
    return call("where", *terms)


def is_nan(node: Node) -> Result:
    """No number of the language is NaN, that of an input neither; only what softmax makes of a row whose scores are all
    minus infinity is one."""
    x = node.term()
    if getattr(x.form, "name", "") != "softmax" and not isinstance(origin(x).form, Source):
        raise Unsupported("there is no NaN here", "remove the node, and what it guards against")
    return Known(tuple(np.zeros(value.shape, np.bool_) for value in x.values))


def is_infinite(node: Node) -> Result:
    """No number of an input is infinite."""
    if not isinstance(origin(node.term()).form, Source):
        raise Unsupported("there is no infinity here", "remove the node, and what it guards against")
    return Known(tuple(np.zeros(value.shape, np.bool_) for value in node.term().values))


# -- conversions -------------------------------------------------------------------------------------------------------


def cast(node: Node) -> Result:
    return cast_to(node.term(), int(node.attributes["to"]))


def cast_like(node: Node) -> Result:
    x, like = node.value(0), node.value(1)
    if isinstance(x, Known):
        wanted = like.kind.dtype if isinstance(like, Term) else like.arrays[0].dtype
        return Known(tuple(np.asarray(array.astype(wanted)) for array in x.arrays), x.hint, x.weight)
    if isinstance(like, Known):
        return cast_to(x, onnx.helper.np_dtype_to_tensor_dtype(like.arrays[0].dtype))
    kinds = {Kind.FIXED: onnx.TensorProto.FLOAT, Kind.INT: onnx.TensorProto.INT64, Kind.BIT: onnx.TensorProto.BOOL}
    return cast_to(x, kinds[like.kind])


def cast_to(x: Term, to: int) -> Term:
    if to in REAL_TYPES:
        return x if x.kind is Kind.FIXED else call("*", x, 1.0)
    if to == onnx.TensorProto.BOOL:
        return x if x.kind is Kind.BIT else call("!=", x, 0)
    if to == onnx.TensorProto.STRING:
        raise Unsupported("text is computed from the data", "leave the last step out of the model")
    if to not in WHOLE_TYPES:
        raise Unsupported("it rounds to a format of few bits", "export the model before it is quantised, in float32")
    _expect_room(x, WHOLE_TYPES[to])
    if x.kind is Kind.FIXED:
        whole = _whole(x)
        return _cut(x) if whole is None else whole
    return x if x.kind is Kind.INT else call("*", x, 1)


def _expect_room(x: Term, limits: tuple[int, int] | None) -> None:
    """Refuses what may wrap around."""
    if limits is None or x.kind is Kind.BIT:
        return
    if any(value.range.lo < limits[0] or value.range.hi > limits[1] for value in x.values):
        help = "cast to int32 or int64, or clip before"
        raise Unsupported(f"numbers beyond [{limits[0]}, {limits[1]}] would wrap around", help)


def _cut(x: Term) -> Term:
    """Rounded towards 0."""
    if x.lowest >= 0:
        return call("floor", x)
    return call("where", call("<", x, 0.0), call("ceil", x), call("floor", x))


def _whole(x: Term) -> Term | None:
    """The whole number that was made real."""
    if getattr(x.form, "name", "") == "*" and number_of(x.args[1]) == 1 and x.args[0].kind is Kind.INT:
        return x.args[0]
    return None


def same(node: Node) -> Result:
    return node.value(0)


def dropout(node: Node) -> Result:
    """Identity; the mask, if anything asks for it, is all ones."""
    if node.has(2) and bool(node.array(2, "training_mode").any()):
        raise Unsupported("the model was exported in training mode", "call model.eval() before the export")
    if node.opset < MASK_OF_DROPOUT:
        doubt = (
            f"the mask of dropout before opset {MASK_OF_DROPOUT}, on which onnxruntime and ONNX's own evaluator differ"
        )
        return node.term(), Absent(doubt, f"take the result alone, or export with opset {MASK_OF_DROPOUT}")
    return node.term(), Known(tuple(np.ones(value.shape, np.bool_) for value in node.term().values))


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "Add": add,
    "Sub": sub,
    "Mul": mul,
    "Div": div,
    "Pow": power,
    "Sum": _many("+"),
    "Mean": mean,
    "Max": _most("maximum", -1.0),
    "Min": _most("minimum", 1.0),
    "Equal": _compared("=="),
    "Less": _compared("<"),
    "LessOrEqual": _compared("<="),
    "Greater": _compared(">"),
    "GreaterOrEqual": _compared(">="),
    "And": _compared("and"),
    "Or": _compared("or"),
    "Xor": xor,
    "Not": negated,
    "Where": where,
    "IsNaN": is_nan,
    "IsInf": is_infinite,
    "Cast": cast,
    "CastLike": cast_like,
    "Identity": same,
    "Dropout": dropout,
}
