"""Training at servers that run by themselves: each role brings its own columns and calls fit with them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mpc_runtime as mpc
from tests.terminal import free_port, mpcc, started
from tests.trained import LOGISTIC, people
from tests.waiting import SECONDS

START = {"fc.weight": np.linspace(-0.25, 0.25, 5)[None], "fc.bias": np.array([0.125])}
FOLLOWED = LOGISTIC.replace("lr=0.5", "lr=0.5 * 0.5 ** epoch")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "churn.ppml").write_text(FOLLOWED)
    mpcc(tmp_path, "init-cluster", "churn.ppml", "--port", free_port())
    with started(tmp_path, "churn.ppml"):
        yield tmp_path


def test_roles_train_together_each_with_its_own_rows(folder: Path) -> None:
    program = mpc.compile(folder / "churn.ppml")
    data = people(50)
    clear = program.reference_fit(data, START, epochs=2, seed=7)

    def shop() -> mpc.History:
        with mpc.connect(folder / "cluster.toml", program, role="shop") as session:
            with pytest.raises(mpc.InputError, match="seed: shop and bank give rows of the same batches"):
                session.fit(visits=data["visits"], left=data["left"])
            history = session.fit(visits=data["visits"], left=data["left"], epochs=2, seed=7)
            assert session.finish() == {}
            return history

    def bank() -> dict[str, np.ndarray]:
        with mpc.connect(folder / "cluster.toml", program, role="bank") as session:
            session.provide(START)
            assert session.fit(debts=data["debts"], epochs=2, seed=7).outputs == {}
            return session.finish()

    with ThreadPoolExecutor() as pool:
        told, given = pool.submit(shop), pool.submit(bank)
        history, weights = told.result(SECONDS), given.result(SECONDS)
    assert np.allclose(history.outputs["loss"], clear.losses, rtol=1e-3)
    assert history.steps == len(clear.losses) == 6
    for name, array in weights.items():
        assert np.abs(array - clear.weights[name]).max() < 1e-3
