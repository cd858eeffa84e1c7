"""Small patterns of terms and what is written for them; each is a function from a term to a better one, or to None.

Exporters take apart what the language has a word for: a function that is one gate, a layer, a mask that the compiler
knows. A rule looks down from its last operation; what it leaves unused is not written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compiler.graph import Kind
from compiler.importers.lowering import Lowered
from compiler.importers.matching import affine, factors, is_call, near, number_in, options_of, rooted, squared
from compiler.importers.names import is_automatic, path_of
from compiler.importers.operators.elementwise import MASKED
from compiler.importers.operators.norms import layer_normalised
from compiler.importers.terms import Call, Indexed, Layer, Table, Term, Weight, call, layer, named, postorder, remade

Rule = Callable[[Term], Term | None]


def rewritten(lowered: Lowered) -> Lowered:
    """All rules at every term, arguments first, until none applies; equal terms become one."""
    done: dict[int, Term] = {}
    equal: dict[object, Term] = {}
    for term in postorder([term for _, term in lowered.outputs]):
        args = [done[id(arg)] for arg in term.args]
        same = all(a is b for a, b in zip(args, term.args, strict=True))
        new = _applied(term if same else remade(term, args), RULES)
        if isinstance(new.form, Call | Indexed):
            new = equal.setdefault((repr(new.form), tuple(map(id, new.args))), new)
        done[id(term)] = new
    outputs = tuple((name, done[id(term)]) for name, term in lowered.outputs)
    return Lowered(lowered.inputs, outputs, lowered.labels)


def _applied(term: Term, rules: Sequence[Rule]) -> Term:
    changed = True
    while changed:
        changed = False
        for rule in rules:
            better = rule(term)
            # a number of several axes adds axes to what it meets, which a rule does not look at
            if better is not None and better.shape == term.shape and better.kind is term.kind:
                term, changed = named(better, term.hint), True
    return term


# -- layers ------------------------------------------------------------------------------------------------------------


def bias_joins(term: Term) -> Term | None:
    """A product with weights and an addend for each unit or channel, on either side, are the layer with a bias."""
    if not is_call(term, "+"):
        return None
    for product, addend in (term.args, term.args[::-1]):
        form = product.form
        if not isinstance(form, Layer) or "bias" in form.arrays or not isinstance(addend.form, Weight):
            continue
        array = addend.form.array
        behind = {"dense": 0, "conv1d": 1, "conv2d": 2}.get(form.kind)
        if behind is None or array.shape[-1 - behind :] != (len(form.arrays["weight"]), *[1] * behind):
            continue
        if array.size == len(form.arrays["weight"]):
            return _with(product, {**form.arrays, "bias": array.reshape(-1)}, addend.hint)
    return None


def _with(product: Term, arrays: dict[str, np.ndarray], hint: str) -> Term:
    """A layer with other tensors."""
    form = product.form
    assert isinstance(form, Layer)
    options: dict[str, Any] = {key: value for key, value in form.options if key != "bias"}
    name = hint if is_automatic(path_of(product.hint)) else product.hint
    return layer(form.kind, product.args[0], arrays, name, **options)


def normalised(term: Term) -> Term | None:
    """(x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) over the last axis is a layernorm."""
    found = rooted(term)
    if found is None:
        return None
    centred, below = found
    variance = affine(below)
    x = _centred(centred)
    if x is None or variance.factor != 1 or not 0 < variance.addend < 1:
        return None
    spread = variance.base
    if is_call(spread, "mean") and _over_last(spread):
        inner = squared(spread.args[0])
        if inner is None or _centred(inner) is not x:
            return None
    elif not (is_call(spread, "var") and _over_last(spread) and spread.args[0] is x):
        return None
    count = x.shape[-1].fixed
    ones, zeros = np.ones(count, np.float32), np.zeros(count, np.float32)
    return layer_normalised(x, ones, zeros, "", float(f"{variance.addend:.6g}"))


def _centred(term: Term) -> Term | None:
    """x of x - mean(x)."""
    if is_call(term, "-") and is_call(term.args[1], "mean") and _over_last(term.args[1]):
        return term.args[0] if term.args[1].args[0] is term.args[0] else None
    return None


def _over_last(term: Term) -> bool:
    options = options_of(term)
    return options.get("keepdims") is True and options.get("axis") in (-1, term.args[0].rank - 1)


def scale_joins(term: Term) -> Term | None:
    """A layernorm without scale and shift, and numbers for each feature behind it."""
    if not is_call(term, "*", "+"):
        return None
    key = "weight" if is_call(term, "*") else "bias"
    for normed, numbers in (term.args, term.args[::-1]):
        form = normed.form
        if not isinstance(form, Layer) or form.kind != "layernorm" or not isinstance(numbers.form, Weight):
            continue
        array, plain = numbers.form.array, not form.arrays["bias"].any()
        unit = plain and (key == "bias" or bool((form.arrays["weight"] == 1).all()))
        if unit and array.size == array.shape[-1] == len(form.arrays["weight"]):
            held = {**form.arrays, key: array.reshape(-1)}
            hint = normed.hint or numbers.hint
            options: dict[str, Any] = dict(form.options)
            return layer("layernorm", normed.args[0], held, hint, note=form.note, **options)
    return None


# -- functions ---------------------------------------------------------------------------------------------------------


def gelu(term: Term) -> Term | None:
    """x (1 + erf(x / sqrt(2))) / 2."""
    if not is_call(term, "*", "/"):
        return None
    parts, number = factors(term)
    if len(parts) != 2:
        return None
    for x, other in (parts, parts[::-1]):
        bell = affine(other)
        if not is_call(bell.base, "erf") or not bell.addend:
            continue
        inner = affine(bell.base.args[0])
        sign = bell.factor / bell.addend * inner.factor
        if inner.base is x and not inner.addend and near(abs(bell.factor), abs(bell.addend)):
            if not near(sign, math.sqrt(0.5)):
                continue
            rest = 2 * number * bell.addend
            return call("gelu", x) if near(rest, 1) else call("*", call("gelu", x), rest)
    return None


def sigmoid(term: Term) -> Term | None:
    """1 / (1 + exp(-x))."""
    if is_call(term, "reciprocal"):
        below = affine(term.args[0])
    elif is_call(term, "/") and number_in(term.args[0]) == 1:
        below = affine(term.args[1])
    else:
        return None
    if not is_call(below.base, "exp") or below.factor != 1 or below.addend != 1:
        return None
    x = below.base.args[0]
    return call("sigmoid", x.args[0] if is_call(x, "neg") else call("neg", x))


def half_tanh(term: Term) -> Term | None:
    """x (1 + tanh(u)) / 2 is x sigmoid(2u)."""
    if not is_call(term, "*", "/"):
        return None
    parts, number = factors(term)
    bell = next((part for part in parts if _shifted_tanh(part)), None)
    if bell is None or len(parts) != 2:
        return None
    x = parts[0] if parts[1] is bell else parts[1]
    found = affine(bell)
    gate = call("sigmoid", _doubled(found.base.args[0]))
    rest = 2 * number * found.addend
    made = call("*", x, gate)
    return made if near(rest, 1) else call("*", made, rest)


def _shifted_tanh(term: Term) -> bool:
    found = affine(term)
    return is_call(found.base, "tanh") and found.addend != 0 and found.factor == found.addend


def _doubled(term: Term) -> Term:
    """Twice the term, with one factor."""
    if is_call(term, "*"):
        for x, other in (term.args, term.args[::-1]):
            number = number_in(other)
            if number is not None:
                return call("*", x, 2 * number)
    return call("*", term, 2.0)


def silu(term: Term) -> Term | None:
    """x sigmoid(x), and x hardsigmoid(x)."""
    if not is_call(term, "*"):
        return None
    for x, gate in (term.args, term.args[::-1]):
        for name, whole in (("sigmoid", "silu"), ("hardsigmoid", "hardswish")):
            if is_call(gate, name) and gate.args[0] is x:
                return call(whole, x)
    return None


def mish(term: Term) -> Term | None:
    """x tanh(softplus(x))."""
    if not is_call(term, "*"):
        return None
    for x, gate in (term.args, term.args[::-1]):
        if is_call(gate, "tanh") and is_call(gate.args[0], "softplus") and gate.args[0].args[0] is x:
            return call("mish", x)
    return None


def hardsigmoid(term: Term) -> Term | None:
    """clip(x + 3, 0, 6) / 6, and with x as a factor."""
    if not is_call(term, "*", "/"):
        return None
    parts, number = factors(term)
    clipped = next((part for part in parts if _clipped(part, 6)), None)
    if clipped is None or not near(number, 1 / 6):
        return None
    inner = affine(clipped.args[0])
    rest = [part for part in parts if part is not clipped]
    if inner.factor != 1 or inner.addend != 3 or len(rest) > 1:
        return None
    if not rest:
        return call("hardsigmoid", inner.base)
    return call("hardswish", inner.base) if rest[0] is inner.base else None


def _clipped(term: Term, hi: float) -> bool:
    return is_call(term, "relu6") if hi == 6 else False


def relu6(term: Term) -> Term | None:
    if is_call(term, "clip") and options_of(term) == {"lo": 0, "hi": 6}:
        return call("relu6", term.args[0])
    if is_call(term, "minimum") and is_call(term.args[0], "relu") and number_in(term.args[1]) == 6:
        return call("relu6", term.args[0].args[0])
    return None


def logarithm(term: Term) -> Term | None:
    """Of what is nearly 0 at times, as one function: the logarithm itself would see 0."""
    if not is_call(term, "log"):
        return None
    x = term.args[0]
    if is_call(x, "softmax") and "causal" not in options_of(x):
        return call("log_softmax", x.args[0], **options_of(x))
    if is_call(x, "sigmoid"):
        return call("neg", call("softplus", call("neg", x.args[0])))
    inner = affine(x)
    if is_call(inner.base, "exp") and inner.factor == inner.addend == 1:
        return call("softplus", inner.base.args[0])
    return None


def softmax(term: Term) -> Term | None:
    """exp(x) / sum(exp(x)), with or without a maximum taken off that is one number along the axis."""
    if not is_call(term, "/") or not is_call(term.args[1], "sum"):
        return None
    top, total = term.args
    options = options_of(total)
    axis = options.get("axis")
    if not is_call(top, "exp") or total.args[0] is not top or options.get("keepdims") is not True:
        return None
    if not isinstance(axis, int):
        return None
    x = top.args[0]
    if is_call(x, "-") and is_call(x.args[1], "max") and x.args[1].args[0] is x.args[0]:
        x = x.args[0] if _alike_along(x.args[1], axis % x.rank) else x
    return call("softmax", x, axis=None if axis in (-1, x.rank - 1) else axis)


def _alike_along(found: Term, axis: int) -> bool:
    """Whether a reduction is one number along an axis of what it is taken from."""
    options, rank = options_of(found), found.args[0].rank
    given = options.get("axis")
    axes = given if isinstance(given, tuple) else range(rank) if given is None else (given,)
    gone = {each % rank for each in axes if isinstance(each, int)}
    return len(gone) == rank or (axis in gone and options.get("keepdims") is True)


def root_below(term: Term) -> Term | None:
    """x / sqrt(v) is one function of v, and a product."""
    if not is_call(term, "/") or not is_call(term.args[1], "sqrt") or term.args[1].is_public:
        return None
    if number_in(term.args[0]) == 1:
        return call("rsqrt", term.args[1].args[0])
    return call("*", term.args[0], call("rsqrt", term.args[1].args[0]))


def numbers_join(term: Term) -> Term | None:
    """Two numbers that a real value is multiplied by are one, or none."""
    if not is_call(term, "*") or term.is_public:
        return None
    for number, product in (term.args, term.args[::-1]):
        first = number_in(number)
        if first is None or number.rank or not is_call(product, "*") or term.kind is not Kind.FIXED:
            continue
        for inner, x in (product.args, product.args[::-1]):
            second = number_in(inner)
            if second is not None and not inner.rank and x.kind is Kind.FIXED:
                return x if first * second == 1 else call("*", x, first * second)
    return None


# -- masks -------------------------------------------------------------------------------------------------------------


def causal(term: Term) -> Term | None:
    """A softmax of scores under a mask that hides all later keys."""
    if not is_call(term, "softmax") or options_of(term).get("axis", -1) not in (-1, term.rank - 1):
        return None
    masked = term.args[0]
    if is_call(masked, "where"):
        bits, scores, other = masked.args
        hides = _endless(scores)
        scores, other = (other, scores) if hides else (scores, other)
        if not isinstance(bits.form, Table) or not _endless(other):
            return None
        seen: np.ndarray | None = ~bits.form.array if hides else bits.form.array
    elif is_call(masked, "+"):
        scores, mask = masked.args if isinstance(masked.args[1].form, Table) else masked.args[::-1]
        seen = _open(mask)
    else:
        return None
    if seen is None or scores.rank < 2 or not all(size.is_fixed for size in scores.shape[-2:]):
        return None
    square = tuple(size.fixed for size in scores.shape[-2:])
    lower = np.tril(np.ones(square, np.bool_))
    if square[0] != square[1] or seen.shape[-2:] != square or seen.size != lower.size or not (seen == lower).all():
        return None
    return call("softmax", scores, causal=True)


def _endless(term: Term) -> bool:
    """Whether all its numbers stand for minus infinity."""
    return isinstance(term.form, Table) and term.form.endless and bool((term.form.array == MASKED).all())


def _open(mask: Term) -> np.ndarray | None:
    """Where an added mask hides nothing, if it is one."""
    form = mask.form
    if not isinstance(form, Table) or not form.endless:
        return None
    return form.array == 0 if bool(((form.array == 0) | (form.array == MASKED)).all()) else None


# -- shapes ------------------------------------------------------------------------------------------------------------


def transposes(term: Term) -> Term | None:
    """Two transposes are one, or none."""
    if not is_call(term, "transpose") or not is_call(term.args[0], "transpose"):
        return None
    inner = term.args[0]
    first, second = (_axes(each) for each in (inner, term))
    order = tuple(first[axis] for axis in second)
    x = inner.args[0]
    if order == tuple(range(x.rank)):
        return x
    return call("transpose", x, axes=None if order == tuple(range(x.rank))[::-1] else order)


def _axes(term: Term) -> tuple[int, ...]:
    given = options_of(term).get("axes")
    return given if isinstance(given, tuple) else tuple(range(term.rank))[::-1]


def reshapes(term: Term) -> Term | None:
    """Only the last of several shapes counts; one that is there already is nothing."""
    if not is_call(term, "reshape", "flatten", "squeeze", "unsqueeze"):
        return None
    x = term.args[0]
    if term.shape == x.shape:
        return x
    if is_call(x, "reshape", "flatten", "squeeze", "unsqueeze"):
        first = x.args[0]
        return first if first.shape == term.shape else call("reshape", first, shape=term.shape)
    if is_call(term, "reshape") and x.rank > 2 and term.rank == 2 and term.shape[0] == x.shape[0]:
        return call("flatten", x)
    return None


RULES: tuple[Rule, ...] = (
    transposes,
    reshapes,
    bias_joins,
    relu6,
    numbers_join,
    sigmoid,
    hardsigmoid,
    silu,
    mish,
    gelu,
    half_tanh,
    softmax,
    logarithm,
    normalised,
    scale_joins,
    root_below,
    causal,
)
"""A rule stands behind those whose results it looks for."""
