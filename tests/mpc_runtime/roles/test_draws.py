"""The rows that steps of private training draw: each by itself, and never more than there is room for."""

from __future__ import annotations

import math

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.privacy.accountant import capacity
from mpc_runtime.procedure import DRAWN
from mpc_runtime.roles.draws import Draws, drawn_by
from tests.trained import LOGISTIC

PRIVATE = LOGISTIC.replace("    output loss to shop\n", "    privacy = dp(clip=1.0, noise=1.1, delta=1e-5)\n")
PLAN = mpc.compile(text=PRIVATE).plan
ROWS, STEPS, BATCH = 60, 3000, 16


def table(rows: int) -> dict[str, np.ndarray]:
    """Each row says in every input which it is."""
    number = np.arange(rows)[:, None] / 256
    return {"visits": number + np.zeros(3), "debts": number + np.zeros(2), "left": number}


def drawn(rows: int, epochs: int) -> tuple[Draws, np.ndarray]:
    """The draws, and by step whether each row was drawn."""
    tensors = [t for t in PLAN.inputs if t.name in ("visits", "debts", "left")]
    draws = Draws(PLAN, tensors, table(rows), frozenset(), epochs)
    found = []
    for batch in draws.after(0):
        assert batch["visits"].shape == (capacity(BATCH), 3) and batch[DRAWN].shape == (capacity(BATCH),)
        each = np.rint(batch["left"][batch[DRAWN], 0] * 256).astype(int)
        assert len(set(each)) == len(each), "no row twice in a step"
        assert np.array_equal(batch["visits"][:, 0], batch["left"][:, 0])
        found.append(np.isin(np.arange(rows), each))
    return draws, np.array(found)


def test_every_step_draws_each_row_by_itself() -> None:
    draws, found = drawn(ROWS, STEPS // (ROWS // BATCH))
    steps, chance = len(found), BATCH / ROWS
    assert steps == draws.made == STEPS
    assert np.array_equal(found.sum(axis=0), draws.drawn)
    far = 6 * math.sqrt(steps * chance * (1 - chance))
    assert np.abs(found.sum(axis=0) - steps * chance).max() < far
    sizes = found.sum(axis=1)
    assert abs(sizes.var() / (ROWS * chance * (1 - chance)) - 1) < 6 * math.sqrt(2 / steps), "as many coins as rows"
    together = np.corrcoef(found.T)[~np.eye(ROWS, dtype=bool)]
    assert np.abs(together).max() < 6 / math.sqrt(steps)


def test_there_is_room_for_as_many_as_are_drawn() -> None:
    """And rows that nobody drew are never in a step: those that fill it do not count."""
    _, found = drawn(BATCH, 5)
    assert found.all(), "as many rows as a batch: each in every step"
    assert drawn(4 * BATCH, 10)[1].sum(axis=1).max() <= capacity(BATCH) == 40


def test_more_than_there_is_room_for_are_left_out_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [t for t in PLAN.inputs if t.name in ("visits", "debts", "left")]
    generator = np.random.default_rng(1)

    def words(step: int, n: int) -> np.ndarray:
        return np.concatenate([np.zeros(n // 2, np.uint64), generator.integers(0, 1 << 63, n // 2).astype(np.uint64)])

    kept = np.zeros(50, int)
    for batch in Draws(PLAN, tensors, table(50), frozenset(), 200, words).after(0):
        assert batch[DRAWN].all()
        kept[np.rint(batch["left"][:, 0] * 256).astype(int)] += 1
    steps = 200 * (50 // BATCH)
    assert np.abs(kept - steps * 40 / 50).max() < 6 * math.sqrt(steps * 0.8 * 0.2)


def test_a_seed_draws_the_same_rows_for_the_twin() -> None:
    one, other = (drawn_by(PLAN, table(ROWS), 2, 7) for _ in range(2))
    batches = [list(each.after(0)) for each in (one, other)]
    assert len(batches[0]) == 2 * (ROWS // BATCH)
    for first, second in zip(*batches, strict=True):
        assert all(np.array_equal(first[name], second[name]) for name in first)
    with pytest.raises(mpc.InputError, match="at least as many rows as a batch has, 16, found 15"):
        drawn_by(PLAN, table(15), 1, 7)
