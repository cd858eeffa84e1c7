"""From text to syntax tree."""

from __future__ import annotations

from dsl import ast
from dsl.errors import Diagnostic, SourceErrors

__all__ = ["parse"]


def parse(text: str, filename: str = "<text>") -> ast.Model:
    from lark import UnexpectedInput

    from dsl import grammar
    from dsl.build import Builder

    builder = Builder(text, filename)
    try:
        tree = grammar.parser().parse(text)
    except UnexpectedInput as e:
        raise SourceErrors([Diagnostic(filename, e.line, e.column, e.line, e.column + 1, "syntax error")], text) from None
    model = builder.model(tree)
    if builder.problems:
        raise SourceErrors(builder.problems, text)
    return model
