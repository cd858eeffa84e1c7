"""Cases of the gates for all pairs of an axis, on operands laid anyhow."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np

from mpc_runtime import gates
from mpc_runtime.registers import Form
from tests.mpc_runtime.gates.operands import RING, Check, Operands, Shape, equals
from tests.mpc_runtime.gates.values import integers, modulo
from tests.plans_by_hand import PLANES

PLACES: tuple[Shape, ...] = ((2,), (3, 5), (2, 1, 4))


def gaps(o: Operands) -> Iterator[Check]:
    """Without a shift, where the truth knows no masks; `test_pairs.py` has the others."""
    for shape, form in product(PLACES, (Form.WIRE, Form.BARE)):
        x = o.words(shape)
        first, second = np.triu_indices(shape[-1], 1)
        expected = modulo(integers(x)[..., first] - integers(x)[..., second], RING)
        yield equals(o.b.emit(gates.Gaps, expected.shape, RING, shift=0, x=o.lay(form, x)), expected)


def wins(o: Operands) -> Iterator[Check]:
    for shape, form in product(PLACES, (Form.WIRE, Form.BARE)):
        n = shape[-1]
        pairs = list(combinations(range(n), 2))
        d = o.bits((*shape[:-1], len(pairs)))
        met = np.empty((*shape, n), np.uint8)
        for at, (i, j) in enumerate(pairs):
            met[..., i, j], met[..., j, i] = d[..., at], 1 - d[..., at]
        others = [[j for j in range(n) if j != i] for i in range(n)]
        expected = np.stack([met[..., i, others[i]] for i in range(n)], axis=-2).reshape(-1, n - 1)
        named = {"domain": PLANES, "planes": n - 1, "places": n}
        yield equals(o.b.emit(gates.Wins, shape, **named, x=o.lay(form, d)), expected)
