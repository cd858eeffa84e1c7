"""A number that stands for minus infinity has to end in a softmax, where it gives 0: anywhere else it is refused."""

from __future__ import annotations

from compiler.importers.lowering import Lowered
from compiler.importers.problems import ImportFailed, Refusal
from compiler.importers.terms import Call, Indexed, Table, Term, postorder

ENDS = ("softmax", "log_softmax", "==", "!=", "<", "<=", ">", ">=")
"""What takes infinity for what it is; comparisons see the same number on both sides."""
PASSING = (
    "+", "-", "*", "where", "minimum", "maximum",
    "reshape", "flatten", "squeeze", "unsqueeze", "transpose", "broadcast_to", "concat", "gather", "pad",
)  # fmt: skip


def check(model: str, lowered: Lowered) -> None:
    """Raises ImportFailed."""
    endless: set[int] = set()
    refused: list[Refusal] = []
    for term in postorder([term for _, term in lowered.outputs]):
        if isinstance(term.form, Table) and term.form.endless:
            endless.add(id(term))
        elif any(id(arg) in endless for arg in term.args) and not _ends(term):
            if _passes(term):
                endless.add(id(term))
            else:
                refused.append(_refusal(term.hint))
    refused += [_refusal(name) for name, term in lowered.outputs if id(term) in endless]
    if refused:
        raise ImportFailed(model, refused)


def _ends(term: Term) -> bool:
    return isinstance(term.form, Call) and term.form.name in ENDS


def _passes(term: Term) -> bool:
    return isinstance(term.form, Indexed) or (isinstance(term.form, Call) and term.form.name in PASSING)


def _refusal(name: str) -> Refusal:
    return Refusal(name, "value", "an infinite number goes into it", "infinity may be in a mask before a softmax only")
