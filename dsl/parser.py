"""From text to syntax tree, or to all the syntax errors of the text.

`scan.py` makes the tokens, `recovery.py` parses them by the grammar, `build.py` makes the tree. They are imported when
there is something to parse: lark takes longer to import than the rest of a program that only loads a plan.
"""

from __future__ import annotations

from dsl.ast import Model
from dsl.errors import SyntaxErrors

__all__ = ["parse"]


def parse(text: str, filename: str = "<text>") -> Model:
    """The syntax tree of a `.ppml` text; `filename` is what messages call it.

    Raises `SyntaxErrors` with every syntax error found, in the order of the text, and the statements without one.
    """
    from dsl.build import Builder
    from dsl.recovery import derive, without_faults
    from dsl.scan import MAX_PROBLEMS, scan

    scanned = scan(text, filename)
    builder = Builder(text, filename)
    tree = derive(scanned, filename)
    model = builder.model(tree) if tree is not None else None
    problems = scanned.problems + builder.problems
    if model is not None and not problems:
        return model
    rest, unread = None, None
    if model is not None and len(problems) < MAX_PROBLEMS and not scanned.unsure:
        rest, unread = without_faults(model, scanned, builder.refused)
    raise SyntaxErrors(problems[:MAX_PROBLEMS], text, rest, unread)
