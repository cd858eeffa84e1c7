"""Checkpoints as files: what is written of a plan's states, and what an earlier version wrote."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.procedure import BROKEN, UNCHECKED
from mpc_runtime.servers.checkpoints import Checkpoint, Checkpoints

MODEL = """model net
role client, modeller
dim batch = 8
input x : [batch, 6] from client in [-1, 1]
layer fc1 = dense(5)
layer fc2 = dense(3)
weights from modeller in [-1, 1]
output y = x |> fc1 |> relu |> fc2 to client
train { input target : [batch, 3] from client in [-4, 4] loss = mse(y, target) optimizer = sgd(lr=0.1, momentum=0.5) }
"""
PLAN = mpc.compile(text=MODEL).plan
HEAD = Checkpoint(PLAN.model, 5, 0, 7, {"client": "rows"})
Array = np.ndarray


def states() -> dict[int, Array]:
    random = np.random.default_rng(4)
    shapes = {state.register: PLAN.registers[state.register].shape for state in PLAN.states}
    return {register: random.integers(1, 2**63, shape).astype(np.uint64) for register, shape in shapes.items()}


def expect(found: dict[int, Array], given: dict[int, Array]) -> None:
    """What checks have left begins anew."""
    assert {BROKEN, UNCHECKED} < {state.name for state in PLAN.states}
    for state in PLAN.states:
        anew = state.name in (BROKEN, UNCHECKED)
        assert np.array_equal(found[state.register], 0 * given[state.register] if anew else given[state.register])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    checkpoints, given = Checkpoints(PLAN, tmp_path), states()
    checkpoints.write("mine", HEAD, given)
    assert [head.step for head in checkpoints.known("mine")] == [5]
    expect(checkpoints.read("mine", 5), given)
    with pytest.raises(mpc.MaterialError, match="no checkpoint 'mine' at step 4"):
        checkpoints.read("mine", 4)


def test_what_an_earlier_version_wrote_is_read(tmp_path: Path) -> None:
    """It wrote the counts of checks too, among the other states."""
    checkpoints, given = Checkpoints(PLAN, tmp_path), states()
    checkpoints.write("mine", HEAD, given)
    (path,) = tmp_path.rglob("*.checkpoint")
    text = path.read_bytes()
    size = 4 + struct.unpack_from("<I", text)[0]
    head = json.loads(text[4:size])
    first = head["states"][0]["shape"]
    head["format"] = 1
    head["states"].insert(1, {"name": BROKEN, "shape": [11], "bits": 10, "scale": 0, "unit": 1.0})
    behind, words = size + 8 * int(np.prod(first)), json.dumps(head).encode()
    old = struct.pack("<I", len(words)) + words + text[size:behind] + bytes(8 * 11) + text[behind:-32]
    path.write_bytes(old + hashlib.sha256(old).digest())
    expect(checkpoints.read("mine", 5), given)


def test_what_a_later_version_writes_is_no_checkpoint_of_this_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(PLAN, tmp_path)
    checkpoints.write("mine", HEAD, states())
    (path,) = tmp_path.rglob("*.checkpoint")
    text = path.read_bytes()[:-32].replace(b'"format": 2', b'"format": 3')
    path.write_bytes(text + hashlib.sha256(text).digest())
    assert checkpoints.known("mine") == []
