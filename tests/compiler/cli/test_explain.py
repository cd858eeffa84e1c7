"""What `mpcc explain` says of bounds. Truth: the file, and the cost of the model with the narrower promise in it."""

from __future__ import annotations

import pytest

import mpc_runtime as mpc
from compiler.cli.bounds import Bound, bounds, table

SOURCE = """model m
role a, b
input x : [2, 64] from a in [-1, 1]
param w : [64, 8] from b in [-4, 4]
h = x @ w
s = h * 0.5 in measured [-16, 16]
v = w * 2
output y = relu(h){more} + sum(v) * relu(s) to a
"""


def text(promise: str = "", more: str = "") -> str:
    return SOURCE.replace("h = x @ w", f"h = x @ w{promise}").format(more=more)


def rows(source: str, *, tighter: bool = False) -> dict[str, Bound]:
    return {row.value: row for row in bounds(mpc.compile(text=source), tighter=tighter)}


def test_every_value_has_its_bound_and_where_it_comes_from() -> None:
    found = rows(text())
    assert (found["h"].line, found["h"].lo, found["h"].hi, found["h"].known) == (5, -256, 256, "derived")
    assert found["x"].known == "a checks it" and found["w"].known == "b checks it"
    assert found["s"].known == "promised, only measured" and found["v"].known == "derived"
    assert rows(text(" in [-256, 256]"))["h"].known == "promised, proved by ranges"
    assert rows(text(" in [-32, 32]"))["h"].known == "promised, b checks it"


def test_rings_and_comparisons_are_as_wide_as_their_bound() -> None:
    wide, narrow = (rows(text(promise)) for promise in ("", " in [-1, 1]"))
    assert (wide["h"].ring or 0) - (narrow["h"].ring or 0) == 8  # 256 is 2^8
    assert (wide["relu"].compared or 0) > (narrow["relu"].compared or 0) > 0


@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_what_a_tighter_promise_saves_is_what_it_saves() -> None:
    found = rows(text(), tighter=True)["h"]
    assert found.tighter == (-16, 16) and found.saving is not None
    before, after = (mpc.compile(text=text(promise)).cost for promise in ("", " in [-16, 16]"))
    sizes = [cost.online_bytes + cost.offline_bytes for cost in (before, after)]
    assert found.saving == pytest.approx(1 - sizes[1] / sizes[0])
    shown = list(table(bounds(mpc.compile(text=text()), tighter=True)))
    assert any(f"promise [-16, 16] here: {100 * found.saving:.0f} % fewer bytes" in line for line in shown)
