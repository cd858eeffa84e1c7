"""A plan holds the same arrays however it was made; what runs with a plan runs with its file, wherever that lies."""

from __future__ import annotations

import mmap
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.reading import simulation
from mpc_runtime.execution.simulator import Simulator
from mpc_runtime.plan import Plan
from mpc_runtime.plan_file import read
from tests.loaded import plan_bytes, stubborn
from tests.machines import run_plan
from tests.models_in_memory import all_models, model
from tests.plans_by_hand import Builder
from tests.zoo import data

Array = np.ndarray
MODELS = dict(all_models())
WORDS = np.arange(12, dtype=np.uint64).reshape(3, 4)
BITS = np.array([1, 0, 1], np.uint8)
HOW = {
    "as they are": lambda x: x,
    "transposed": lambda x: x.T.copy().T,
    "in Fortran's order": np.asfortranarray,
    "reversed": lambda x: x[::-1].copy()[::-1],
    "broadcast": lambda x: np.broadcast_to(x, (1, *x.shape))[0],
    "read-only and unaligned": stubborn,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
}


def plan_of(*constants: Array) -> Plan:
    return replace(Builder().plan(), constants=constants)


def assert_held(plan: Plan, *expected: Array) -> None:
    for found, meant in zip(plan.constants, expected, strict=True):
        assert found.dtype == meant.dtype and found.dtype.isnative
        assert found.shape == meant.shape and np.array_equal(found, meant)
        assert found.flags.aligned and found.flags.c_contiguous and not found.flags.writeable


@pytest.mark.parametrize("how", HOW)
def test_constants_are_the_same_arrays_and_bytes_however_they_are_given(how: str) -> None:
    usual = plan_of(WORDS, BITS, WORDS[0, 1])
    plan = plan_of(HOW[how](WORDS.copy()), HOW[how](BITS.copy()), np.asarray(WORDS[0, 1]))
    assert_held(plan, WORDS, BITS, np.asarray(WORDS[0, 1]))
    assert plan.to_bytes() == usual.to_bytes()
    assert_held(read(plan.to_bytes()), WORDS, BITS, np.asarray(WORDS[0, 1]))


def test_constants_are_stored_little_endian() -> None:
    stored = plan_of(np.array([0x0102030405060708], ">u8")).to_bytes()
    assert b'[["<u8",[1]]]' in stored and b"\x08\x07\x06\x05\x04\x03\x02\x01" in stored


@pytest.mark.parametrize("place", range(8))
def test_constants_are_aligned_wherever_the_file_lies(place: int) -> None:
    plan = plan_of(BITS, WORDS)
    found = read(plan_bytes(plan, place))
    assert_held(found, BITS, WORDS)
    assert found.hash == plan.hash


def test_a_plan_keeps_nothing_of_the_buffer_it_was_read_from(tmp_path: Path) -> None:
    plan = plan_of(WORDS, BITS)
    buffer = bytearray(plan.to_bytes())
    found = read(buffer)
    buffer[:] = bytes(len(buffer))
    assert_held(found, WORDS, BITS)
    plan.save(tmp_path / "a.plan")
    with (tmp_path / "a.plan").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        view = memoryview(mapped)
        found = read(view)
        view.release()
        mapped.close()  # an error while anything still shows the file
    assert_held(found, WORDS, BITS)


def test_a_plan_leaves_the_arrays_that_it_was_given_to_their_owner() -> None:
    given = WORDS.copy()
    plan_of(given)
    given[0] = 7


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_read_is_the_plan_that_was_written(name: str) -> None:
    """Field by field, types included: what a machine loads has no other numbers than what was compiled."""
    plan = model(name, MODELS[name]).program.plan
    found = read(plan.to_bytes())
    assert_held(found, *plan.constants)
    for field in fields(Plan):
        if field.name != "constants":
            assert repr(getattr(found, field.name)) == repr(getattr(plan, field.name)), field.name


def test_the_simulator_executes_a_plan_that_was_saved_and_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    program = mpc.compile(text="model m\nrole a\ninput x : [2] from a in [0, 1]\noutput y = x * [1, 2] to a\n")
    seen: list[Plan] = []

    def simulator(plan: Plan) -> Simulator:
        seen.append(plan)
        return Simulator(plan)

    monkeypatch.setattr(simulation, "Simulator", simulator)
    program.simulate({"x": [0, 1]})
    assert seen[0] is not program.plan and seen[0].to_bytes() == program.plan.to_bytes()


OWNERS = "role a, b\ninput x : [{n}, 4] from a in [-4, 4]\ninput z : [{n}, 4] from b in [-4, 4]\n"
WITH_CONSTANTS = {
    "a constant matrix": OWNERS + "output y = (x + z) @ [[1, 2], [3, 4], [5, 6], [0.5, 1]] to a\n",
    "sizes as an output": OWNERS + "output n = x.shape to a\noutput y = x + z to b\n",
    "the power of zero": OWNERS + "output y = (x + z) ** 0 to a\n",
    "a place among three": "role a, b\ninput x : [{n}, 4] from a in [-4, 4]\nlayer fc = dense(3)\n"
    "weights from b in [-1, 1]\noutput y = argmax(x |> fc, axis=1) to a\n",
    "a table of bits": OWNERS + "output y = where([1, 0, 1, 0] > 0, x * z, z) to b\n",
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("what", WITH_CONSTANTS)
def test_constants_are_computed_with_whatever_the_length_of_the_models_name(what: str, batch: int) -> None:
    for length in range(1, 9):
        program = mpc.compile(text=f"model {'m' * length}\n" + WITH_CONSTANTS[what].format(n=batch))
        inputs, params = data(program.plan, length)
        found = run_plan(program.plan, inputs, params).results
        for name, expected in program.reference(inputs, params).items():
            assert found[name].shape == expected.shape and found[name].dtype == expected.dtype, name
            assert np.allclose(found[name].astype(float), expected.astype(float), atol=2e-3), name
