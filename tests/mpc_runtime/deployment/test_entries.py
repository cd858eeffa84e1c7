"""Entries of TOML files are found where they are written."""

from __future__ import annotations

from mpc_runtime.deployment.entries import lines_of

TEXT = """# a comment with = in it
top = 1
[a]
x = "= [not.a.heading]"
"quoted name" = 2
list = [
    "k=ey",
    "[other",
]
inner.deep = 3

[[a.many]]
x = 1
[[a.many]]
x = 2
[a."b c".d]
x = 3
"""


def test_lines_of_entries_and_headings() -> None:
    assert lines_of(TEXT) == {
        ("top",): 2,
        ("a",): 3,
        ("a", "x"): 4,
        ("a", "quoted name"): 5,
        ("a", "list"): 6,
        ("a", "inner", "deep"): 10,
        ("a", "many"): 12,
        ("a", "many", 0): 12,
        ("a", "many", 0, "x"): 13,
        ("a", "many", 1): 14,
        ("a", "many", 1, "x"): 15,
        ("a", "b c", "d"): 16,
        ("a", "b c", "d", "x"): 17,
    }
