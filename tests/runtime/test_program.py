"""The facade's own words: what a program prints as, and what it refuses."""

from __future__ import annotations

import pytest

import mpc_runtime as mpc


def test_a_program_prints_as_a_line() -> None:
    program = mpc.compile(text="model m role a input x : [2, 3] from a output y = x * 2 to a")
    plan = program.plan.hash[:16]
    assert repr(program) == f"<Program m, plan {plan}: inputs x [2, 3]; 0 parameters; outputs y [2, 3]>"


def test_launch_wants_a_program() -> None:
    with pytest.raises(mpc.InputError, match=r"expects a Program.*'m\.ppml'"):
        mpc.launch("m.ppml")  # type: ignore[arg-type]
