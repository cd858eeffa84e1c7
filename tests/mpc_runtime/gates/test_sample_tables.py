"""Sample tables against the function in float64, over their whole domain, with masks from everywhere in the ring."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from mpc_runtime.gates import Table
from tests.mpc_runtime.gates.values import forced_wire, signed, to_words
from tests.plans_by_hand import Builder
from tests.traced import trace

Array = np.ndarray
U = np.uint64
ERF = np.vectorize(math.erf, otypes=[np.float64])
SCALE = 16


@dataclass(frozen=True)
class Case:
    """A function on [low, high) and its error: that of the table, and h 2^-13 |F'| for weights by 12 bits of place."""

    name: str
    function: Callable[[Array], Array]
    low: float
    high: float
    cell_log: int
    nodes_log: int
    points: int
    entry_bits: int
    error: float


CASES = [
    Case("sigmoid", lambda x: 1 / (1 + np.exp(-x)), -12.5, 12.5, -1, 6, 6, 40, 2.0**-14),
    Case("lifted_tanh", lambda x: np.tanh(x) + 1, -6.5, 6.5, -2, 6, 6, 40, 2.0**-13.2),
    Case("exp", np.exp, -11.5, 0.0, -1, 5, 8, 40, 2.0**-13.5),
    Case("lifted_erf", lambda x: 1 + ERF(x), -3.0, 3.0, -2, 5, 6, 40, 2.0**-13.5),
    Case("softplus", lambda x: np.logaddexp(x, 0), -10.5, 10.5, -1, 6, 6, 48, 2.0**-13.5),
    Case("gelu", lambda x: x * (1 + ERF(x / 2**0.5)) / 2, -4.5, 4.5, -1, 5, 10, 48, 2.0**-13),
    Case("silu", lambda x: x / (1 + np.exp(-x)), -12.5, 12.5, -1, 6, 8, 48, 2.0**-13.4),
    Case("mish", lambda x: x * np.tanh(np.logaddexp(x, 0)), -12.5, 7.5, -1, 6, 10, 48, 2.0**-13.2),
    Case("sqrt", np.sqrt, 1.0, 2.0, -3, 4, 6, 40, 2.0**-16),
    Case("rsqrt", lambda x: x**-0.5, 1.0, 2.0, -3, 4, 6, 40, 2.0**-16),
    Case("log", np.log, 1.0, 2.0, -3, 4, 6, 40, 2.0**-15),
    Case("reciprocal", lambda x: 1 / x, 1.0, 2.0, -4, 5, 6, 48, 2.0**-15),
]


def gate(case: Case) -> tuple[dict[str, object], int]:
    """The gate's attributes and the ring bits of its operand."""
    cell_log = SCALE + case.cell_log
    margin = (case.points / 2 + 1) * 2.0**case.cell_log
    weight_scale = 18
    return {
        "function": case.name,
        "input_scale": SCALE,
        "origin": -int(np.floor((case.low - margin) * 2.0**SCALE)),
        "nodes_log": case.nodes_log,
        "cell_log": cell_log,
        "table_scale": 19,
        "weight_scale": weight_scale,
        "points": case.points,
        "index_bits": min(12, cell_log),
        "entry_bits": case.entry_bits,
    }, case.nodes_log + cell_log


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_functions_over_their_domain(case: Case, receiver: int) -> None:
    attributes, l = gate(case)
    random = np.random.default_rng(7)
    low, high = (round(v * 2.0**SCALE) for v in (case.low, case.high))
    z = np.concatenate([[low, high - 1, 0 if low <= 0 < high else low], random.integers(low, high, 3000)])
    masks = random.integers(0, 1 << l, z.size, np.uint64)
    masks[: z.size // 2] = np.array([0, 1, (1 << l) - 1, 1 << (l - 1), 1 << attributes["cell_log"]], U)[  # type: ignore[operator]
        random.integers(0, 5, z.size // 2)
    ]
    b = Builder()
    x = b.wire(to_words(z), l)
    y = b.emit(Table, z.shape, case.entry_bits, x=x, **attributes)
    t = trace(b.plan(receiver), b.values, kernels=forced_wire(b, {x: masks}))
    t.assert_exact()
    got = signed(t.value(y), case.entry_bits) * 2.0 ** -(19 + 18)
    expected = case.function(z * 2.0**-SCALE)
    assert np.abs(got - expected).max() < case.error
    assert t.dealt["run"] == z.size * case.entry_bits << case.nodes_log >> 3


@pytest.mark.parametrize("n", [1, 5, 4095, 4097])
def test_any_number_of_elements(n: int) -> None:
    """Tiles of tables and the real streams: the element's number decides its words, not the tile."""
    attributes, l = gate(CASES[2])
    z = -np.arange(n, dtype=np.int64) * 37 % (10 << SCALE) - (10 << SCALE)
    b = Builder()
    y = b.emit(Table, z.shape, 40, x=b.wire(to_words(z), l), **attributes)
    t = trace(b.plan(1), b.values)
    t.assert_exact()
    assert np.abs(signed(t.value(y), 40) * 2.0**-37 - np.exp(z * 2.0**-SCALE)).max() < CASES[2].error
