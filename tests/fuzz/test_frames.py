"""A short run of `frames`: what nobody of us would send is answered with a typed error."""

from __future__ import annotations

from random import Random

import pytest

from mpc_runtime.errors import PeerError
from mpc_runtime.transport.messages import read
from tests.fuzz.frames import DIALECTS, RARE, judged, sample, written


@pytest.mark.parametrize("first", range(0, 2000, 500))
def test_fuzzed_frames_are_answered(first: int) -> None:
    for number in range(first, first + 500):
        found = judged(3, number)
        assert found is None, f"{found}\npython -m tests.fuzz.frames --seed 3 --only {number}"


@pytest.mark.parametrize("number", range(RARE - 1, 10 * RARE, RARE))
def test_fuzzed_handshakes_are_answered(number: int) -> None:
    found = judged(4, number)
    assert found is None, f"{found}\npython -m tests.fuzz.frames --seed 4 --only {number}"


def test_control_messages_are_neither_all_refused_nor_all_taken() -> None:
    """Else the run would show nothing."""
    random, taken, cases = Random(1), 0, 2000
    for _ in range(cases):
        dialect = random.choice(list(DIALECTS.values()))
        try:
            read("p0", 0, [memoryview(written(random, sample(random, dialect)))], dialect)
            taken += 1
        except PeerError:
            continue
    assert cases // 20 < taken < cases * 19 // 20
