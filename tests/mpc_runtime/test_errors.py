"""What messages are made with."""

from __future__ import annotations

import pytest

import mpc_runtime as mpc
from mpc_runtime.errors import amount
from mpc_runtime.sessions.history import Epoch, History


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (-1, "-1 row"), (10**6, "1000000 rows")]
)
def test_one_is_one(count: int, text: str) -> None:
    assert amount(count, "row") == text


def test_nouns_and_changes_of_their_own() -> None:
    assert (amount(1, "axis", "axes"), amount(2, "axis", "axes")) == ("1 axis", "2 axes")
    assert (amount(1, "round", sign="+"), amount(-2, "round", sign="+")) == ("+1 round", "-2 rounds")


def test_what_is_printed_of_one_thing() -> None:
    program = mpc.compile(
        text="model m role a input x : bit[1] from a param w : [1] from a output y = x and w > 0 to a"
    )
    assert "; 1 parameter;" in repr(program) and any(line.endswith(": 1 bit") for line in program.leakage)
    assert str(mpc.Interrupted({}, 1)).startswith("interrupted after 1 row, ")
    history = History(seed=1)
    history.add(Epoch(1, 1, 1.0, {}))
    assert str(history.epochs[0]) == "epoch 1: 1 step in 1.0 s"
