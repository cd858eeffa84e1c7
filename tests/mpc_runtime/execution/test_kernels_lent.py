"""Gates compute with the kernels that their executor was given, and with nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from mpc_runtime import kernels
from mpc_runtime.gates import Choose
from mpc_runtime.kernels import Kernels
from tests.models_in_memory import all_models, model
from tests.mpc_runtime.execution.test_executors import same_run
from tests.plans_by_hand import Builder
from tests.traced import Trace, trace
from tests.zoo import MODELS

Array = np.ndarray
U = np.uint64
TEXTS = dict(all_models())
NAMES = sorted(path.stem for path in MODELS.glob("*.ppml"))
MEMBERS = {name for name in vars(Kernels) if not name.startswith("_")}


class Counting(Kernels):
    """The same kernels, with a count of calls."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        member = super().__getattribute__(name)
        return self._counted(name, member) if name in MEMBERS else member

    def _counted(self, name: str, member: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self.calls[name] += 1
            return member(*args, **named)

        return call


class ByDefinition(Kernels):
    """Matrix products by Python's integers."""

    def matmul(self, a: Array, b: Array, out: Array | None = None, sign: int = 0, bits: int = 64) -> Array:
        z = np.asarray(np.matmul(a.astype(object), b.astype(object)) % (1 << bits), U)
        if out is None:
            return z
        out += z if sign > 0 else -z
        return out


@cache
def usual(name: str) -> Trace:
    m = model(name, TEXTS[name])
    return trace(m.program.plan, m.feeds)


@cache
def counted(name: str) -> tuple[Trace, Counter[str]]:
    m, counting = model(name, TEXTS[name]), Counting()
    return trace(m.program.plan, m.feeds, kernels=counting), counting.calls


@pytest.mark.parametrize("name", NAMES)
def test_kernels_that_count_compute_the_same(name: str) -> None:
    same_run(usual(name), counted(name)[0])


def test_every_kernel_is_reached_through_them() -> None:
    """So none of them is there in vain, and no gate goes another way."""
    b, counting = Builder(), Counting()
    b.emit(Choose, (3,), 8, d=b.wire(np.ones(3, np.uint8)), x=b.wire(np.ones(3, U), 8))  # only steps of training do
    trace(b.plan(), b.values, kernels=counting)
    reached = counting.calls
    for name in NAMES:
        reached += counted(name)[1]
    assert reached.keys() == MEMBERS


def test_other_kernels_may_compute_in_their_own_way() -> None:
    m = model("credit", TEXTS["credit"])
    same_run(usual("credit"), trace(m.program.plan, m.feeds, kernels=ByDefinition()))


def test_members_are_the_kernels_and_numpy_s_ring_arithmetic() -> None:
    arithmetic = {name for name in MEMBERS if isinstance(getattr(Kernels, name), np.ufunc)}
    assert arithmetic == {"add", "subtract", "negative"}
    for name in MEMBERS:
        assert getattr(kernels.CPU, name) is getattr(np if name in arithmetic else kernels, name)
