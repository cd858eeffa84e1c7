"""`precision fixed(bits=64, frac=16)`: the number format of a model."""

from __future__ import annotations

from compiler.graph import Precision
from compiler.lowering.context import Context
from compiler.lowering.problems import Problem
from compiler.lowering.readings import whole_at
from compiler.lowering.scope import Scope
from dsl import ast

__all__ = ["precision"]

DEFAULT_FRAC = {64: 16, 32: 10}  # by ring bits; these are the rings there are


def precision(context: Context, statement: ast.Precision, scope: Scope) -> Precision | None:
    """The format that the statement asks for; None after a reported error."""
    bits = _given(context, statement.bits, scope, "`bits`", 64)
    if bits is None:
        return None
    if bits not in DEFAULT_FRAC:
        message = f"a number has 64 or 32 bits, found bits={bits}"
        context.reporter.error(Problem(_place(statement.bits, statement), message, "write `bits=64` or `bits=32`"))
        return None
    frac = _given(context, statement.frac, scope, "`frac`", DEFAULT_FRAC[bits])
    most = (bits - 3) // 2
    if frac is None:
        return None
    if not 1 <= frac <= most:
        context.reporter.error(
            Problem(
                _place(statement.frac, statement),
                f"with bits={bits}, frac is from 1 to {most}, found frac={frac}",
                "a product holds twice as many, and |v| < 2^(bits-2-2*frac) is what remains for values",
            )
        )
        return None
    return Precision(bits, frac)


def _given(context: Context, expression: ast.Expression | None, scope: Scope, what: str, default: int) -> int | None:
    return default if expression is None else whole_at(context, expression, scope, what)


def _place(expression: ast.Expression | None, statement: ast.Precision) -> ast.Span:
    return statement.span if expression is None else expression.span
