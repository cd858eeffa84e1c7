"""What several commands take: sizes."""

from __future__ import annotations

import click
import pytest

from compiler.cli.options import sizes_of


def test_a_size_is_a_whole_number() -> None:
    assert sizes_of(["batch=8", "n=001"]) == {"batch": 8, "n": 1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", "a whole number from 1, found '0'"),
        ("²", "a whole number from 1, found '²'"),
        ("٣", "a whole number from 1, found '٣'"),
        ("-1", "a whole number from 1, found '-1'"),
        ("9" * 5000, "a number of at most 18 digits, found one of 5000"),
    ],
)
def test_what_is_no_size_is_refused(value: str, expected: str) -> None:
    with pytest.raises(click.BadParameter, match=expected):
        sizes_of([f"batch={value}"])
