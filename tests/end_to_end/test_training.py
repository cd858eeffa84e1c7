"""Training in real processes, held against the same steps in float64, which `compiler.training.twin` computes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.training.twin import Twin
from mpc_runtime.session import Session
from tests.trained import LOGISTIC, people

Array = np.ndarray
ROWS, STEPS = 16, 6
RATE = 0.5
START = {"fc.weight": np.linspace(-0.25, 0.25, 5)[None], "fc.bias": np.array([0.125])}


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with mpc.launch(mpc.compile(text=LOGISTIC)) as opened:
        yield opened


def batches() -> list[dict[str, Array]]:
    data = people(ROWS * STEPS)
    return [{name: rows[i * ROWS : (i + 1) * ROWS] for name, rows in data.items()} for i in range(STEPS)]


def twin() -> Twin:
    training = mpc.compile(text=LOGISTIC).stages.lowered.training
    assert training is not None
    return Twin(training.loss, training.optimizer, START)


def predicted(weights: dict[str, Array], batch: dict[str, Array]) -> Array:
    score = np.concatenate([batch["visits"], batch["debts"]], axis=1) @ weights["fc.weight"].T + weights["fc.bias"]
    return 1 / (1 + np.exp(-score))


def test_training_follows_float64_and_stays_with_the_parties(session: Session) -> None:
    session.provide(START)
    clear = twin()
    for batch in batches():
        said = session.train(batch)
        assert said.keys() == {"loss"} and said["loss"] == pytest.approx(clear.train(batch, RATE), rel=1e-3)
    batch = batches()[0]
    shown = {name: batch[name] for name in ("visits", "debts")}
    risk = session.run(shown)["risk"]  # with weights that nobody was told
    assert np.abs(risk - predicted(clear.params, batch)).max() < 2e-3
    weights = session.finish()
    assert weights.keys() == START.keys()
    for name, array in weights.items():
        assert array.shape == START[name].shape and np.abs(array - clear.params[name]).max() < 1e-3
    assert np.abs(risk - predicted(weights, batch)).max() < 2e-3
    assert session.train(batch)["loss"] == pytest.approx(clear.train(batch, RATE), rel=1e-3)  # it goes on
    session.provide(START)  # and begins anew
    assert session.train(batch)["loss"] == pytest.approx(twin().train(batch, RATE), rel=1e-3)


def test_a_step_costs_what_the_program_says(session: Session) -> None:
    session.provide(START)
    session.train(batches()[0])
    cost, stats = mpc.compile(text=LOGISTIC).cost, session.stats
    assert (stats.rounds, stats.online_bytes, stats.offline_bytes) == (
        cost.train_rounds,
        cost.train_online_bytes,
        cost.train_offline_bytes,
    )
    assert {op.part for op in cost.per_op} == {"", "forward", "backward", "update"}
    session.run({name: batches()[0][name] for name in ("visits", "debts")})
    assert (session.stats.rounds, session.stats.online_bytes) == (cost.rounds, cost.online_bytes)


def test_what_is_given_is_checked_before_anything_is_shared(session: Session) -> None:
    session.provide(START)
    batch = batches()[0]
    for wrong, message in (
        ({"left": batch["left"] + 1}, r"left\[\d+, 0\]: expected a value in \[0, 1\]"),
        ({"left": batch["left"][:3]}, r'left: expected .*found \[3, 1\]; dims=\{"batch": 3\} compiles for so many'),
        ({"left": np.tile(batch["left"], (2, 1))}, r"left: expected .*found \[32, 1\]; fit takes any number of rows"),
        ({"right": 1}, "right"),
    ):
        with pytest.raises(mpc.InputError, match=message):
            session.train({**batch, **wrong})
    with pytest.raises(mpc.InputError, match="missing"):
        session.train({name: batch[name] for name in ("visits", "debts")})
    with pytest.raises(mpc.InputError, match=r"left.*is an input of training of shop; `train` and `fit` give it"):
        session.run(batch)
    assert session.train(batch)["loss"] == pytest.approx(twin().train(batch, RATE), rel=1e-3)


def test_the_manifest_says_what_a_step_and_the_end_reveal() -> None:
    said = mpc.compile(text=LOGISTIC).leakage
    told = [line.partition(": ")[0] for line in said if "revealed" in line and "checked: " not in line]
    assert told == [
        "output `risk` is revealed to shop",
        "in every step of training, output `loss` is revealed to shop",
        "whenever training is finished, output `weights.fc.weight` is revealed to bank",
        "whenever training is finished, output `weights.fc.bias` is revealed to bank",
    ]
    silent = LOGISTIC.replace("output loss to shop", "").replace("output weights to bank", "")
    left = [line for line in mpc.compile(text=silent).leakage if "revealed" in line and "checked: " not in line]
    assert len(left) == 1
    bits = [line for line in said if "checked: " in line and "revealed" in line]
    assert len(bits) == 4 and all(line.endswith(": 2 bits") for line in bits)  # run, train_step, check, finish


def test_fit_makes_the_steps_of_its_float64_twin(session: Session) -> None:
    program = mpc.compile(text=LOGISTIC)
    data = people(3 * ROWS + 5)
    session.provide(START)
    seen: list[mpc.Epoch] = []
    counted: list[tuple[int, int]] = []
    history = session.fit(data, epochs=2, seed=7, on_epoch=seen.append, progress=lambda *each: counted.append(each))
    clear = program.reference_fit(data, START, epochs=2, seed=7)
    assert history.seed == 7 and history.steps == len(clear.losses) == 6
    assert np.allclose(history.outputs["loss"], clear.losses, rtol=1e-3)
    assert [epoch.number for epoch in seen] == [1, 2] and seen == history.epochs
    assert float(seen[1].outputs["loss"]) == pytest.approx(history.outputs["loss"][3:].mean())
    assert counted == [(done, 6) for done in range(1, 7)]
    assert session.stats.runs == 6
    for name, array in session.finish().items():
        assert np.abs(array - clear.weights[name]).max() < 1e-3
    other = program.reference_fit(data, START, epochs=2, seed=8)
    assert not np.allclose(other.losses, clear.losses, rtol=1e-3)


def test_fit_refuses_what_it_cannot_train_on(session: Session) -> None:
    session.provide(START)
    data = people(ROWS)
    few = {name: rows[:-1] for name, rows in data.items()}
    for values, options, message in (
        (few, {}, "expected at least as many rows as a batch has, 16, found 15"),
        ({**data, "debts": people(40)["debts"]}, {}, "expected as many rows in each input"),
        (data, {"epochs": 0}, "epochs: expected a whole number from 1, found 0"),
        (data, {"seed": -1}, "seed: expected a whole number of at least 0"),
        ({**data, "left": data["left"] * 2}, {}, "left"),
        (data, {"validation": data}, "validation: the model churn tells no metric of validation rows; declare one"),
        (data, {"on_epoch": 3}, r"on_epoch: expected a function of \(epoch\), found 3"),
        (
            data,
            {"progress": print, "on_epoch": lambda: None},
            r"on_epoch: expected a function of \(epoch\), found <func",
        ),
        (data, {"progress": True}, r"progress: expected a function of \(done, total\), found True"),
        (data, {"patience": 1}, "patience: the model churn tells no metric of an epoch; declare one"),
    ):
        with pytest.raises(mpc.InputError, match=message):
            session.fit(values, **options)
    assert session.fit(data).steps == 1


def test_a_rate_that_follows_the_clock_is_given_in_clear() -> None:
    """Adam's corrections too are public numbers, which the first role that gives a step something says."""
    source = LOGISTIC.replace("sgd(lr=0.5, momentum=0.75)", "adam(lr=0.05 * 0.5 ** epoch)")
    program = mpc.compile(text=source)
    assert any(line.startswith("in every step of training, `learning rate") for line in program.leakage)
    data = people(2 * ROWS)
    clear = program.reference_fit(data, START, epochs=3, seed=7)
    with mpc.launch(program) as opened:
        opened.provide(START)
        history = opened.fit(data, epochs=3, seed=7)
        assert np.allclose(history.outputs["loss"], clear.losses, rtol=1e-3)
        for name, array in opened.finish().items():
            assert np.abs(array - clear.weights[name]).max() < 1e-3


def test_what_training_releases_of_a_dataset_is_refused_where_it_has_a_limit(session: Session) -> None:
    """Predictions and weights tell of every row with nothing to hide it, so a step of a limited dataset is not made."""
    session.provide(START)
    batch = batches()[0]
    session.limit("patients", 1.0, role="shop")
    for call in (
        lambda: session.train(batch, dataset={"shop": "patients"}),
        lambda: session.fit(batch, dataset="patients"),
    ):
        with pytest.raises(mpc.BudgetError, match="the dataset 'patients' of shop"):
            call()
    assert session.spent("patients", role="shop").epsilon == 0
    assert session.train(batch, dataset={"shop": "guests"})["loss"] == pytest.approx(
        twin().train(batch, RATE), rel=1e-3
    )
    assert session.spent("guests", role="shop").epsilon == np.inf
    with pytest.raises(mpc.InputError, match="dataset: 'clerk' gives nothing"):
        session.train(batch, dataset={"clerk": "x"})


def test_a_model_that_nobody_asks_for_predictions_is_trained() -> None:
    """Its `run` has no roles, and is not executed for nobody."""
    program = mpc.compile(text=LOGISTIC.replace("output risk = sigmoid(score) to shop\n", ""))
    with mpc.launch(program) as session:
        session.provide(program.initial_weights(seed=1))
        assert session.fit(people(32), seed=1).steps == 2
        assert set(session.finish()) == {"fc.weight", "fc.bias"}
