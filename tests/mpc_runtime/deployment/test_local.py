"""The servers of a local session as processes: which of them is at fault when one has died."""

from __future__ import annotations

import pytest

from mpc_runtime.deployment.local import explained


@pytest.mark.parametrize(
    ("codes", "enough"),
    [
        ({"p0": None, "p1": None, "dealer": None}, False),
        ({"p0": None, "p1": None, "dealer": 1}, False),  # it missed p1 too, and ended first
        ({"p0": 0, "p1": None, "dealer": 1}, False),
        ({"p0": None, "p1": 1, "dealer": None}, True),
        ({"p0": 1, "p1": -9, "dealer": 1}, True),
        ({"p0": None, "p1": None, "dealer": -9}, True),  # which p1 may not have outlived
    ],
)
def test_a_machine_that_is_missed_is_waited_for_unless_another_was_killed(
    codes: dict[str, int | None], enough: bool
) -> None:
    assert explained(codes, "p1") == enough
