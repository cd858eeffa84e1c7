"""The batches of private training: every step draws each row by itself, with the same chance.

Poisson sampling, of which rows that did not take part are proved to gain. Who gives the rows knows which were drawn;
the parties are sent as many rows at every step, and in shares which of them count, so that they learn nothing of it.
When more are drawn than a step has room for, as many as it has are kept, chosen at random.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..plan import Plan, Privacy, Tensor
from ..procedure import CLOCK, DRAWN, TRAIN_STEP
from .batches import Batches
from .epochs import check_epochs, check_seed

__all__ = ["Draws", "drawn_by"]

Array = np.ndarray
WORDS = 1 << 64
Words = Callable[[int, int], Array]
"""words(step, n): n uniform uint64, of its own for each step."""


def _fresh(step: int, n: int) -> Array:
    """The system's randomness: nobody can tell it."""
    return np.frombuffer(os.urandom(8 * n), np.uint64)


def _of_seed(seed: int) -> Words:
    """What a seed decides. For training on plaintext, where it hides nothing."""

    def words(step: int, n: int) -> Array:
        text = f"rows drawn, seed {seed}, step {step}".encode()
        return np.frombuffer(hashlib.shake_256(text).digest(8 * n), "<u8").astype(np.uint64)

    return words


class Draws:
    """The rows of `inputs` along the dim `batch`; an epoch has as many steps as it has batches of the plan. stacked: as
    of `Batches`. drawn: how often each row was, in the `made` steps so far; seed: of other coins, no secrets."""

    def __init__(
        self,
        plan: Plan,
        tensors: Sequence[Tensor],
        inputs: Mapping[str, Any],
        stacked: frozenset[str],
        epochs: int,
        words: Words = _fresh,
        seed: int = 0,
    ) -> None:
        assert plan.privacy is not None, "rows are drawn where training is private"
        self.batches = Batches(plan, tensors, (), inputs, stacked, single="fit")
        self.epochs, self.seed = check_epochs(epochs), seed
        self._privacy: Privacy = plan.privacy
        self._words = words
        rows = self.batches.rows
        if rows < self._privacy.batch:
            raise InputError(f"expected at least as many rows as a batch has, {self._privacy.batch}, found {rows}")
        self.drawn, self.made = np.zeros(rows, np.int64), 0

    @property
    def rows(self) -> int:
        """From how many rows they are."""
        return len(self.drawn)

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.batches.rows // self._privacy.batch

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return self.after(0)

    def after(self, made: int) -> Iterator[dict[str, Array]]:
        """The inputs of each step but the first ones, which were made."""
        for step in range(made, self.epochs * self.steps):
            rows = self._draw(step)
            self.drawn[rows] += 1
            self.made += 1
            spare = np.zeros(self._privacy.most - len(rows), np.int64)
            counts = np.arange(self._privacy.most) < len(rows)
            yield {**self.batches.take(np.concatenate([rows, spare])), DRAWN: counts}

    def _draw(self, step: int) -> Array:
        rows, most = self.rows, self._privacy.most
        below = min(WORDS * self._privacy.batch // rows, WORDS - 1)
        chance, order = np.split(self._words(step, 2 * rows), 2)
        drawn = np.flatnonzero(chance < np.uint64(below))
        return drawn[np.argsort(order[drawn], kind="stable")][:most]


def drawn_by(plan: Plan, inputs: Mapping[str, Any], epochs: int, seed: int) -> Draws:
    """Of a plan whose inputs of training are all here, the tensors of array roles stacked. For training on plaintext:
    drawn by a seed, they hide nothing."""
    tensors = [t for t in plan.inputs if TRAIN_STEP in t.stages and not t.name.startswith(CLOCK)]
    stacked = frozenset(t.name for t in tensors if t.stacked)
    return Draws(plan, tensors, inputs, stacked, epochs, _of_seed(check_seed(seed)), seed)
