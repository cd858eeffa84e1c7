"""What patterns of terms are made of: affine expressions, products, and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.importers.terms import Call, Table, Term

NEAR = 1e-3  # relative: constants of exporters are of single or half precision


def is_call(term: Term, *names: str) -> bool:
    return isinstance(term.form, Call) and term.form.name in names


def options_of(term: Term) -> dict[str, object]:
    return dict(term.form.options) if isinstance(term.form, Call) else {}


def number_in(term: Term) -> float | None:
    """The number that a term is."""
    if isinstance(term.form, Table) and term.form.array.size == 1 and not term.form.endless:
        return float(term.form.array.reshape(-1)[0])
    return None


@dataclass(frozen=True)
class Affine:
    """`factor * base + addend`."""

    base: Term
    factor: float = 1.0
    addend: float = 0.0


def affine(term: Term) -> Affine:
    """A term without the numbers that it is multiplied by and added to, however they are written."""
    factor, addend = 1.0, 0.0
    while isinstance(term.form, Call):
        name, args = term.form.name, term.args
        if name == "neg":
            term, factor = args[0], -factor
            continue
        if len(args) != 2 or name not in ("+", "-", "*", "/"):
            break
        left, right = number_in(args[0]), number_in(args[1])
        if right is not None:
            term = args[0]
        elif left is not None and name != "/":
            term = args[1]
        else:
            break
        number = right if right is not None else left
        assert number is not None
        if name == "+":
            addend += factor * number
        elif name == "-" and right is not None:
            addend -= factor * number
        elif name == "-":
            addend, factor = addend + factor * number, -factor
        elif name == "*":
            factor *= number
        else:
            factor /= number
    return Affine(term, factor, addend)


def factors(term: Term) -> tuple[list[Term], float]:
    """The factors of a product, and its number."""
    found: list[Term] = []
    pending, number = [term], 1.0
    while pending:
        each = pending.pop()
        given = number_in(each)
        if given is not None:
            number *= given
        elif is_call(each, "*"):
            pending += each.args
        elif is_call(each, "/") and (divisor := number_in(each.args[1])):
            number /= divisor
            pending.append(each.args[0])
        elif is_call(each, "neg"):
            number = -number
            pending.append(each.args[0])
        else:
            found.append(each)
    return found, number


def near(a: float, b: float) -> bool:
    return abs(a - b) <= NEAR * abs(b)


def squared(term: Term) -> Term | None:
    """What is squared."""
    if is_call(term, "square") or (is_call(term, "**") and number_in(term.args[1]) == 2):
        return term.args[0]
    return term.args[0] if is_call(term, "*") and term.args[0] is term.args[1] else None


def rooted(term: Term) -> tuple[Term, Term] | None:
    """(a, b) of a / sqrt(b), however it is written."""
    if is_call(term, "/") and (below := _root(term.args[1])) is not None:
        return term.args[0], below
    if is_call(term, "*"):
        for a, b in (term.args, term.args[::-1]):
            below = _reciprocal_root(b)
            if below is not None:
                return a, below
    return None


def _root(term: Term) -> Term | None:
    half = is_call(term, "**") and number_in(term.args[1]) == 0.5
    return term.args[0] if half or is_call(term, "sqrt") else None


def _reciprocal_root(term: Term) -> Term | None:
    if is_call(term, "rsqrt") or (is_call(term, "**") and number_in(term.args[1]) == -0.5):
        return term.args[0]
    if is_call(term, "reciprocal"):
        return _root(term.args[0])
    return _root(term.args[1]) if is_call(term, "/") and number_in(term.args[0]) == 1 else None
