"""The batches of training: in every epoch all rows in a new order, which everybody can know.

The order of an epoch is that of 64-bit words of SHAKE-256 over the seed and the epoch's number: every role that knows
the seed, and the float64 twin, take the same rows.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..plan import Plan, Tensor
from ..procedure import CLOCK, EVALUATE, TRAIN_STEP
from .batches import Batches

__all__ = [
    "Epochs",
    "Followed",
    "as_validation",
    "batches_of",
    "check_epochs",
    "check_seed",
    "counted",
    "expect_validation",
    "fresh_seed",
    "order",
    "validation_of",
]

Array = np.ndarray
SEEDS = 1 << 63
WORD = 8


def order(seed: int, epoch: int, rows: int) -> Array:
    """The rows of an epoch; epochs count from 0."""
    text = f"batch order, seed {seed}, epoch {epoch}".encode()
    words = np.frombuffer(hashlib.shake_256(text).digest(WORD * rows), "<u8")
    return np.argsort(words, kind="stable")


def fresh_seed() -> int:
    return secrets.randbelow(SEEDS)


def check_seed(seed: object) -> int:
    """InputError unless it is a seed."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < SEEDS:
        raise InputError(f"seed: expected a whole number of at least 0 and below 2^63, found {seed!r}")
    return int(seed)


def check_epochs(epochs: object) -> int:
    """InputError unless it counts epochs."""
    if isinstance(epochs, bool) or not isinstance(epochs, (int, np.integer)) or epochs < 1:
        raise InputError(f"epochs: expected a whole number from 1, found {epochs!r}")
    return int(epochs)


class Epochs:
    """The rows of `inputs` along the dim `batch`, as often as there are epochs. The last rows of an epoch that fill no
    batch are left out of it. stacked: as of `Batches`."""

    def __init__(
        self,
        plan: Plan,
        tensors: Sequence[Tensor],
        inputs: Mapping[str, Any],
        stacked: frozenset[str],
        epochs: int,
        seed: int,
    ) -> None:
        self.batches = Batches(plan, tensors, (), inputs, stacked, single="train")
        self.epochs, self.seed = check_epochs(epochs), seed
        if self.batches.rows < self.batches.size:
            raise InputError(
                f"expected at least as many rows as a batch has, {self.batches.size}, found {self.batches.rows}"
            )

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.batches.rows // self.batches.size

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """The inputs of each step."""
        return self.after(0)

    def after(self, made: int) -> Iterator[dict[str, Array]]:
        """The inputs of each step but the first ones, which were made."""
        size = self.batches.size
        first, step = divmod(made, self.steps)
        for epoch in range(first, self.epochs):
            rows = order(self.seed, epoch, self.batches.rows)
            for start in range(step * size, self.steps * size, size):
                yield self.batches.take(rows[start : start + size])
            step = 0


@dataclass(frozen=True)
class Followed:
    """The batches of a role that gives no rows: as many as those of others."""

    steps: int
    epochs: int

    def after(self, made: int) -> Iterator[dict[str, Array]]:
        """As of `Epochs`."""
        return ({} for _ in range(made, self.steps * self.epochs))


def batches_of(plan: Plan, inputs: Mapping[str, Any], epochs: int, seed: int) -> Epochs:
    """Of a plan whose inputs of training are all here, the tensors of array roles stacked."""
    tensors = [t for t in plan.inputs if TRAIN_STEP in t.stages and not t.name.startswith(CLOCK)]
    stacked = frozenset(t.name for t in tensors if t.stacked)
    return Epochs(plan, tensors, inputs, stacked, epochs, check_seed(seed))


def validation_of(plan: Plan, inputs: Mapping[str, Any]) -> Batches:
    """The batches of validation rows of all roles."""
    tensors = [t for t in plan.inputs if EVALUATE in t.stages and not t.name.startswith(CLOCK)]
    return Batches(plan, tensors, (), inputs, frozenset(t.name for t in tensors if t.stacked), single="train")


def expect_validation(plan: Plan) -> None:
    """InputError for a model that says nothing of validation rows."""
    if not plan.validates:
        help = "declare one in its `train` block: `metric accuracy to …`"
        raise InputError(f"validation: the model {plan.name} tells no metric of validation rows; {help}")


@contextmanager
def as_validation() -> Iterator[None]:
    """An InputError within is said to be of validation rows."""
    try:
        yield
    except InputError as error:
        raise InputError(f"validation: {error}") from None


def counted(batches: Batches) -> Iterator[tuple[dict[str, Array], int]]:
    """Each batch, and how many of its rows count: the last row is repeated where rows are missing."""
    for place, batch in enumerate(batches):
        yield batch, min(batches.size, batches.rows - place * batches.size)
