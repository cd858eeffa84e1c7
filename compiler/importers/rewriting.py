"""Small patterns of terms and what is written for them; each is a function from a term to a better one, or to None."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.importers.emission import postorder
from compiler.importers.lowering import Lowered
from compiler.importers.terms import Layer, Term, Weight, remade

Rule = Callable[[Term], Term | None]


def rewritten(lowered: Lowered) -> Lowered:
    """All rules at every term, arguments first, until none applies."""
    done: dict[int, Term] = {}
    for term in postorder([term for _, term in lowered.outputs]):
        args = [done[id(arg)] for arg in term.args]
        new = term if all(a is b for a, b in zip(args, term.args, strict=True)) else remade(term, args)
        done[id(term)] = _applied(new, RULES)
    outputs = tuple((name, done[id(term)]) for name, term in lowered.outputs)
    return Lowered(lowered.inputs, outputs, lowered.labels)


def _applied(term: Term, rules: Sequence[Rule]) -> Term:
    changed = True
    while changed:
        changed = False
        for rule in rules:
            better = rule(term)
            if better is not None:
                term, changed = better, True
    return term


def bias_joins(term: Term) -> Term | None:
    """A layer's product and an addend for each unit, on either side, are the layer with a bias."""
    if getattr(term.form, "name", "") != "+":
        return None
    for product, addend in (term.args, term.args[::-1]):
        form = product.form
        if (
            isinstance(form, Layer)
            and form.kind == "dense"
            and "bias" not in form.arrays
            and isinstance(addend.form, Weight)
        ):
            array = addend.form.array
            if array.size == form.arrays["weight"].shape[0] == array.shape[-1]:
                options = tuple((key, value) for key, value in form.options if key != "bias")
                held = {**form.arrays, "bias": array.reshape(-1)}
                hint = product.hint
                return remade(Term(Layer("dense", options, held), product.args, product.values, hint), product.args)
    return None


RULES: tuple[Rule, ...] = (bias_joins,)
