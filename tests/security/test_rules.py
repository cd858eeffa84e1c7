"""PROTOCOLS' rules on whole models: every padded word and every sent byte is accounted for; broken gates are caught."""

from __future__ import annotations

import numpy as np
import pytest

from mpc_runtime import registers
from mpc_runtime.execution.keys import SeedChain, pair_key
from mpc_runtime.gates import base, opening
from tests.models_in_memory import all_models, model, noisy_models
from tests.plans_by_hand import Builder
from tests.security.audit import audit
from tests.security.broken import BROKEN, MaskOfOneElement

MODELS = dict([*all_models(), *noisy_models()])


@pytest.mark.parametrize("name", MODELS)
def test_rules_hold_on_whole_models(name: str) -> None:
    m = model(name, MODELS[name])
    audit(m.program.plan, m.feeds, preprocess=True).check()


@pytest.mark.parametrize("name", ["wide relu", "small lenet"])
def test_rules_hold_across_tiles(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of one block: a stream's words are counted by the element, whatever the tile."""
    for module in (registers, base, opening):
        monkeypatch.setattr(module, "TILE", 512)
    m = model(name, MODELS[name])
    audit(m.program.plan, m.feeds).check()


@pytest.mark.parametrize("name", BROKEN)
def test_broken_gates_are_caught(name: str) -> None:
    caught = []
    for receiver in (0, 1):
        b = Builder()
        BROKEN[name](b, *(np.arange(40, dtype=np.uint64) % 8 for _ in range(2)))
        try:
            audit(b.plan(receiver), b.values).check()
        except AssertionError:
            caught.append(receiver)
    assert caught


def test_a_mask_that_is_broadcast_is_caught() -> None:
    b = Builder()
    x = b.input(np.arange(40, dtype=np.uint64), 8)
    b.emit(MaskOfOneElement, (40,), 8, x=x)
    with pytest.raises(AssertionError):
        audit(b.plan(), b.values).check()


def test_no_two_executions_have_a_key_in_common() -> None:
    """Keys of setup and run, of every index, of either chain and of the pair are different."""
    chains = [SeedChain(bytes([i]) * 16, "0" * 64) for i in (0, 1)]
    keys = [chain.take(index, stage) for chain in chains for index, stage in enumerate(["setup", *["run"] * 20])]
    again = SeedChain(bytes(16), "0" * 64)
    keys.append(again.take(0, "run"))
    keys.append(SeedChain(bytes(16), "1" * 64).take(0, "setup"))
    keys += [pair_key(bytes(16), "0" * 64, stage, index) for index in range(20) for stage in ("setup", "run")]
    assert len(set(keys)) == len(keys)
