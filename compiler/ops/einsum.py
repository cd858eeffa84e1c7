"""Sums of products by the names of axes, NumPy's `einsum`: transposes, reshapes and matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compiler.graph import OpError, Value
from compiler.ops import build
from compiler.ops.reductions import Sum
from compiler.ops.rules import show
from mpc_runtime.errors import amount

HELP = 'write it as NumPy does: `equation="bij,bjk->bik"`'


def einsum(*values: Value, equation: str) -> Value:
    """The values are multiplied one after another, and axes are summed as soon as nothing needs them."""
    terms, wanted = _parsed(equation, values)
    sizes = _sizes(terms, values)
    if missing := [name for name in wanted if name not in sizes]:
        raise OpError(f"einsum has no axis `{missing[0]}` in its values", HELP, "equation")
    left, names = values[0], terms[0]
    for at, (right, term) in enumerate(zip(values[1:], terms[1:], strict=True), 1):
        needed = set(wanted).union(*terms[at + 1 :])
        left, names = _product(left, names, right, term, needed, sizes)
    left, names = _summed(left, names, set(wanted))
    return build.transpose(left, [names.index(name) for name in wanted]) if names else left


def _parsed(equation: str, values: Sequence[Value]) -> tuple[list[str], str]:
    """The axes of each value, and of the result: without `->` those that occur once, in the alphabet's order."""
    given, arrow, wanted = equation.replace(" ", "").partition("->")
    terms = given.split(",")
    letters = given.replace(",", "")
    if not arrow:
        wanted = "".join(name for name in sorted(set(letters)) if letters.count(name) == 1)
    if not all(name.isascii() and name.isalpha() for name in letters + wanted) or len(set(wanted)) < len(wanted):
        raise OpError(f'`equation` of einsum expects letters for axes, found "{equation}"', HELP, "equation")
    if len(terms) != len(values):
        message = f"einsum expects a term for each value, found {len(terms)} for {len(values)}"
        raise OpError(message, HELP, "equation")
    for at, (term, value) in enumerate(zip(terms, values, strict=True)):
        if len(term) != value.rank:
            raise OpError(
                f"einsum expects {amount(len(term), 'axis', 'axes')} for `{term}`, found {show(value.shape)}", arg=at
            )
        if len(set(term)) < len(term):
            raise OpError(f"einsum takes no diagonals: `{term}` names an axis twice", arg="equation")
    return terms, wanted


def _sizes(terms: Sequence[str], values: Sequence[Value]) -> dict[str, int]:
    found: dict[str, int] = {}
    for at, (term, value) in enumerate(zip(terms, values, strict=True)):
        for name, size in zip(term, value.shape, strict=True):
            if found.setdefault(name, size) != size:
                raise OpError(f"einsum expects one size for `{name}`, found {found[name]} and {size}", arg=at)
    return found


def _summed(value: Value, names: str, kept: set[str]) -> tuple[Value, str]:
    """The sum over axes that are not kept."""
    gone = tuple(axis for axis, name in enumerate(names) if name not in kept)
    if not gone:
        return value, names
    return build.reduce(Sum, value, gone), "".join(name for name in names if name in kept)


def _product(left: Value, a: str, right: Value, b: str, needed: set[str], sizes: dict[str, int]) -> tuple[Value, str]:
    """[stack, rows, inner] @ [stack, inner, columns], of axes that both have and need, one has, and both have."""
    left, a = _summed(left, a, needed | set(b))
    right, b = _summed(right, b, needed | set(a))
    stack = [name for name in a if name in b and name in needed]
    inner = [name for name in a if name in b and name not in needed]
    rows, columns = [name for name in a if name not in b], [name for name in b if name not in a]
    names = "".join((*stack, *rows, *columns))

    def arranged(value: Value, have: str, *groups: list[str]) -> Value:
        moved = build.transpose(value, [have.index(name) for group in groups for name in group])
        return build.reshape(moved, [math.prod(sizes[name] for name in group) for group in groups])

    if inner:
        product = build.matmul(arranged(left, a, stack, rows, inner), arranged(right, b, stack, inner, columns))
    else:
        product = build.mul(arranged(left, a, stack, rows, []), arranged(right, b, stack, [], columns))
    return build.reshape(product, [sizes[name] for name in names]), names
