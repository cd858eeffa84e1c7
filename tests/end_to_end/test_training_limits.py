"""A learning rate that is too high, in real processes: training ends with the tensor's name, nothing is released, and
it goes on with a smaller rate."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.trained import LOGISTIC, people

START = {"fc.weight": np.linspace(-0.25, 0.25, 5)[None], "fc.bias": np.array([0.125])}
SCHEDULE = LOGISTIC.replace("lr=0.5", "lr=where(epoch < 1, 40, 0.1)").replace("in [-1, 1]", "in [-2, 2]")


def test_a_rate_that_is_too_high_ends_in_a_range_error() -> None:
    data = people(16 * 6)
    with mpc.launch(mpc.compile(text=SCHEDULE)) as session:
        session.provide(START)
        with pytest.raises(mpc.RangeError, match=r"fc\.(weight|bias)") as caught:
            session.fit(data, seed=1)
        assert 1 <= caught.value.first <= caught.value.last <= 6 and "fc." in caught.value.tensor
        for attempt in (session.finish, lambda: session.run({name: data[name][:16] for name in ("visits", "debts")})):
            with pytest.raises(mpc.RangeError, match="fc"):
                attempt()
        assert session.stats.rounds  # it was executed, and told zeros
    with mpc.launch(mpc.compile(text=LOGISTIC)) as session:
        session.provide(START)
        losses = session.fit(data, epochs=2, seed=1).outputs["loss"]
        assert losses[-1] < losses[0] and session.finish().keys() == START.keys()


def test_single_steps_go_on_behind_a_call_that_broke_off() -> None:
    """Steps that a broken call had submitted ahead are made: the session asks how many those were."""
    data = people(16 * 6)
    batch = {name: array[:16] for name, array in data.items()}
    with mpc.launch(mpc.compile(text=SCHEDULE)) as session:
        session.provide(START)
        for _ in range(3):
            with pytest.raises(mpc.RangeError, match="fc"):
                for _ in range(6):
                    session.train(batch)
        session.provide(START)  # as the error says
        assert session.finish().keys() == START.keys()

    def fail(done: int, total: int) -> None:
        raise OSError("the log is full")

    with mpc.launch(mpc.compile(text=LOGISTIC)) as session:
        session.provide(START)
        for _ in range(3):
            with pytest.raises(OSError, match="the log is full"):
                session.fit(data, seed=1, progress=fail)
            assert session.train(batch).keys() == {"loss"}
