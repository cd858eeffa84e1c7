"""What one role sends goes on while the session waits for another: inputs far larger than what sockets take at once."""

from __future__ import annotations

import numpy as np

import mpc_runtime as mpc

COUNT = 1_000_000  # eight megabytes to a party from each role
TEXT = f"""model m
role a, b
input x : int[{COUNT}] from a in [-4, 4]
input z : int[{COUNT}] from b in [-4, 4]
output y = sum(x + z) to a, b
"""


def test_roles_with_large_inputs_do_not_wait_for_each_other() -> None:
    x = np.arange(COUNT) % 9 - 4
    with mpc.launch(mpc.compile(text=TEXT), timeout=30) as session:
        for z in (x, -x):
            assert session.run(x=x, z=z)["y"] == (x + z).sum()
