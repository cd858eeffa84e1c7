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
WATCHED = """model watched
role client, modeller
dim batch = 16
input x : [batch, 5] from client in [-4, 4]
layer fc = dense(1)
weights from modeller in [-1, 1]
score = fc(x)
output risk = sigmoid(score) to client
train {
    input left : [batch, 1] from client in [0, 1]
    loss = binary_cross_entropy_with_logits(score, left)
    optimizer = sgd(lr=0.5, momentum=0.75)
    metric accuracy to modeller
}
"""
FOLLOWED = LOGISTIC.replace("lr=0.5", "lr=0.5 * 0.5 ** epoch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from deployed(tmp_path_factory.mktemp("followed"), FOLLOWED)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from deployed(tmp_path_factory.mktemp("watched"), WATCHED)


def deployed(folder: Path, text: str) -> Iterator[Path]:
    (folder / "churn.ppml").write_text(text)
    mpcc(folder, "init-cluster", "churn.ppml", "--port", free_port())
    with started(folder, "churn.ppml"):
        yield folder


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


def of_one(rows: int, seed: int) -> dict[str, np.ndarray]:
    data = people(rows, seed)
    return {"x": np.concatenate([data["visits"], data["debts"]], axis=1), "left": data["left"]}


def test_the_receiver_of_a_metric_ends_training_for_all(watched: Path) -> None:
    """It gives no rows, and learns from the role that does how many steps there are."""
    program = mpc.compile(watched / "churn.ppml")
    data, others = of_one(53, 1), of_one(35, 2)
    options = {"epochs": 9, "seed": 7, "patience": 2}
    clear = program.reference_fit(data, START, validation=others, **options)
    assert clear.stopped

    def client() -> mpc.History:
        with mpc.connect(watched / "cluster.toml", program, role="client") as session:
            return session.fit(data, validation=others, **options)

    def modeller() -> mpc.History:
        with mpc.connect(watched / "cluster.toml", program, role="modeller") as session:
            session.provide(START)
            return session.fit(epochs=9, patience=2)

    with ThreadPoolExecutor() as pool:
        blind, told = (each.result(SECONDS) for each in (pool.submit(client), pool.submit(modeller)))
    assert told.validation_accuracy == pytest.approx(clear.validation_accuracy, abs=1e-9)
    assert told.accuracy == pytest.approx(clear.accuracy, abs=1e-9)
    assert told.stopped and blind.stopped and told.steps == blind.steps == len(clear.losses)
    assert blind.metrics == {} and told.seed == 7


def test_roles_that_want_another_training_are_refused(watched: Path) -> None:
    program = mpc.compile(watched / "churn.ppml")
    for theirs, message in (
        ({"epochs": 3}, "epochs: expected 2, as the others train, found 3"),
        ({"epochs": 2, "patience": 1}, "the roles do not agree on patience: [01] and [01]"),
        ({"epochs": 2, "seed": 8}, "the roles do not agree on seed: [78] and [78]"),
    ):
        with (
            mpc.connect(watched / "cluster.toml", program, role="client") as client,
            mpc.connect(watched / "cluster.toml", program, role="modeller") as modeller,
            ThreadPoolExecutor() as pool,
        ):
            modeller.provide(START)
            ours = pool.submit(client.fit, of_one(32, 1), epochs=2, seed=7)
            with pytest.raises(mpc.Error, match=message):
                modeller.fit(**theirs)
            client.close()  # it may wait for a role that does not come any more
            with pytest.raises(mpc.Error):
                ours.result(SECONDS)


KEY = "what only shop and bank know"


@pytest.mark.parametrize(
    ("rows", "theirs", "message"),
    [
        (34, {}, "the roles do not agree on the number of rows: 3[24] and 3[24]"),
        (32, {"ids": [f"u{i}" for i in range(31, -1, -1)], "ids_key": KEY}, "do not bring the same rows"),
        (32, {}, "do not bring the same rows"),
    ],
    ids=["other rows", "another order", "no ids"],
)
def test_rows_that_do_not_belong_together_are_refused(folder: Path, rows: int, theirs: dict, message: str) -> None:
    """Both counts make two batches, which would be of other people at either role."""
    program, data = mpc.compile(folder / "churn.ppml"), people(34)
    ids = {} if rows == 34 else {"ids": [f"u{i}" for i in range(32)], "ids_key": KEY}
    with (
        mpc.connect(folder / "cluster.toml", program, role="shop") as shop,
        mpc.connect(folder / "cluster.toml", program, role="bank") as bank,
        ThreadPoolExecutor() as pool,
    ):
        bank.provide(START)
        given = {name: data[name][:32] for name in ("visits", "left")}
        ours = pool.submit(shop.fit, given, epochs=2, seed=7, **ids)
        with pytest.raises(mpc.Error, match=message):
            bank.fit(debts=data["debts"][:rows], epochs=2, seed=7, **theirs)
        with pytest.raises(mpc.Error, match=message):
            ours.result(SECONDS)


def test_the_same_ids_under_the_same_key_are_trained_on(folder: Path) -> None:
    program, data = mpc.compile(folder / "churn.ppml"), people(32)
    ids = {"ids": np.arange(100, 132), "ids_key": KEY}
    with (
        mpc.connect(folder / "cluster.toml", program, role="shop") as shop,
        mpc.connect(folder / "cluster.toml", program, role="bank") as bank,
        ThreadPoolExecutor() as pool,
    ):
        bank.provide(START)
        ours = pool.submit(shop.fit, visits=data["visits"], left=data["left"], seed=7, **ids)
        assert bank.fit(debts=data["debts"], seed=7, **ids).steps == 2
        assert ours.result(SECONDS).steps == 2
