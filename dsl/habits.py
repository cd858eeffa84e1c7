"""What people write who come from another language, and what to say about it: characters, comments, words.

Tables only; `scan.py` looks for the first two, `complaints.py` for the words.
"""

from __future__ import annotations

import re

__all__ = ["COMMENTS", "HABITS", "WORDS"]

# What is not a token: a pattern, the message about it, and what to do.
HABITS = (
    (r"&&?", "`{}` is not an operator here", "write `and`"),
    (r"\|\|", "`{}` is not an operator here", "write `or`"),
    (r"\|", "`|` is not an operator here", "write `|>` to pass a value on, or `or` for bits"),
    (r"[!~¬]", "`{}` is not an operator here", "write `not`"),
    (r"\^", "`^` is not an operator here", "write `**` for a power"),
    (r"%", "`%` is not an operator here", "there is no remainder; sizes are computed with `+ - * /`"),
    (r"\?", "`?` means nothing in this language", "a size that may change is a dim: `dim batch = 1`"),
    (r";", "a statement needs no `;` at its end", "delete it; in a list, write `,`"),
    (r"\\", "a line needs no `\\` at its end: line breaks have no meaning", "delete it"),
    (r"[−–—]", "`{}` is not the minus sign of a keyboard", "write `-`"),
    (r"[×·∙⋅]", "`{}` is not an operator here", "write `*`"),
    (r"÷", "`÷` is not an operator here", "write `/`"),
    (r"≤", "`≤` is not an operator here", "write `<=`"),
    (r"≥", "`≥` is not an operator here", "write `>=`"),
    (r"≠", "`≠` is not an operator here", "write `!=`"),
    (r"[→➜⟶▷▶]", "`{}` is not an operator here", "write `|>` to pass a value on"),
    (r"…", "`…` is one character", "write three points: `...`"),
    (r"'[^'\n]*'", "a string is written in double quotes", "write `\"` instead of `'`"),
    (r"“[^”\n]*”", "a string is written in straight quotes", 'write `"` on both sides'),
    (r'"[^"\n]*', 'this string has no closing `"`', "a string ends in the line where it starts"),
)

# Comments of other languages, which would be tokens here: `sign` is how they start. Text inside a comment or a
# string of this language is not one.
COMMENTS = re.compile(
    r'#[^\n]*|(?P<text>(?P<sign>"""|\'\'\').*?(?:(?P=sign)|\Z))|"[^"\n]*"'
    r"|(?P<block>/\*.*?(?:\*/|\Z))|^[ \t]*(?P<line>//[^\n]*)",
    re.DOTALL | re.MULTILINE,
)

# Words at the start of a statement or inside an expression, and what stands for them here.
WORDS = {
    "if": "there is no `if`: `where(bit, a, b)` chooses element by element",
    "else": "there is no `else`: `where(bit, a, b)` chooses element by element",
    "while": "there is no `while`: `for i in 0..4 { … }` is unrolled when the model is compiled",
    "let": "a value needs no keyword: `NAME = EXPR`",
    "var": "a value needs no keyword: `NAME = EXPR`",
    "val": "a value needs no keyword: `NAME = EXPR`",
    "print": "only `output NAME = EXPR to ROLE` shows a value, to that role",
    "import": "a model is one file: there is nothing to import",
    "class": "a block of layers is a `def`",
    "func": "a block is `def NAME(x) { … return EXPR }`",
    "function": "a block is `def NAME(x) { … return EXPR }`",
    "fn": "a block is `def NAME(x) { … return EXPR }`",
    "lambda": "a function is `def NAME(x) { return EXPR }`",
    "result": "a result is `output NAME = EXPR to ROLE`",
    "private": "every value is secret that is not `public`: `input NAME : [SIZES] from ROLE`",
    "secret": "every value is secret that is not `public`: `input NAME : [SIZES] from ROLE`",
}
