"""Pins: the first plan of a name is taken, the same one always, another one only when it is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

import mpc_runtime as mpc
from mpc_runtime.deployment.lobby import Pins
from mpc_runtime.errors import InputError

MODEL = "model m\nrole a, b\ninput x : [2] from a in [0, 1]\noutput y = x + x to {}\n"
PLAN, WIDER = (mpc.compile(text=MODEL.format(to)).plan for to in ("a", "a, b"))


def test_a_change_is_told_with_what_is_revealed_now(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "a.pins.json")
    assert pins.problem("digits", PLAN) == "" and not pins.known("digits")
    pins.pin("digits", PLAN)
    assert pins.known("digits")
    again = Pins(pins.path)
    assert again.problem("digits", PLAN) == "" and again.problem("other", WIDER) == ""
    problem = again.problem("digits", WIDER)
    assert PLAN.hash[:16] in problem and WIDER.hash[:16] in problem
    assert "new:" in problem and "b" in problem.split("new:")[1]
    again.pin("digits", WIDER)
    assert again.problem("digits", WIDER) == ""
    assert "no longer:" in again.problem("digits", PLAN)


@pytest.mark.parametrize("text", ["", "[]", '{"digits": 3}', '{"digits": {"hash": 3, "revealed": []}}', "[" * 100_000])
def test_pins_that_cannot_be_read_are_no_reason_to_trust(tmp_path: Path, text: str) -> None:
    pins = Pins(tmp_path / "a.pins.json")
    pins.path.write_text(text)
    with pytest.raises(InputError, match=r"a\.pins\.json"):
        pins.problem("digits", PLAN)
