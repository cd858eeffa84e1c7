"""Learning rates as a step has them: what parties are told of a schedule is right in the mean, and a schedule that
training cannot follow is refused or told of."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.training.optimizers import Adam
from compiler.training.pace import Pace, corrected, pace_of, rate_at
from mpc_runtime.program import Program
from tests.trained import LOGISTIC, Simulated, people

FRAC = 16
GOOD = "sgd(lr=0.5, momentum=0.75)"


def compiled(optimizer: str) -> Program:
    return mpc.compile(text=LOGISTIC.replace(GOOD, optimizer))


def rates(program: Program, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each step, in epochs of ten: as the parties are told it, and as the author wrote it."""
    training = program.stages.lowered.training
    assert training is not None and training.clock is not None
    optimizer, clock = training.optimizer, training.clock
    pace = pace_of(optimizer, training.rate, clock, 1, FRAC)
    assert isinstance(pace, Pace) and pace.value is not None
    meant = corrected(training.rate, optimizer, clock) if isinstance(optimizer, Adam) else training.rate
    told = [rate_at(pace.value, clock, step // 10, step) * 2.0**-pace.shift for step in range(steps)]
    return np.array(told), np.array([rate_at(meant, clock, step // 10, step) for step in range(steps)])


@pytest.mark.parametrize(
    "optimizer",
    [
        "sgd(lr=0.3 * 0.97 ** step)",
        "sgd(lr=0.05 * 1.01 ** epoch)",
        "sgd(lr=0.001 * (step + 1))",
        "sgd(lr=1.0 * where(step < 1, 1.0, 0.0000321))",
        "sgd(lr=0.1 * minimum(1, step / 10000), momentum=0.9)",
        "sgd(lr=0.1 * maximum(0, 1 - step / 1000))",
        "adam(lr=0.0001 * (step + 1))",
        "adam(lr=0.001)",
    ],
)
@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_rates_are_right_in_the_mean_however_small_they_are(optimizer: str) -> None:
    told, meant = rates(compiled(optimizer), 1500)
    grain = np.diff(np.unique(told)).min()
    assert np.abs(told - meant).max() < grain * (1 + 1e-9), "one of the two neighbours"
    for start in range(0, 1500, 500):
        assert abs(np.sum((told - meant)[start : start + 500])) < 15 * grain, "of 500 steps, nearly that of a few"


def test_a_rate_that_ends_at_nothing_ends_there() -> None:
    told, meant = rates(compiled("sgd(lr=0.1 * maximum(0, 1 - step / 30))"), 40)
    assert not told[30:].any() and not meant[30:].any() and told[:30].all()


@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_a_rate_below_a_grain_trains() -> None:
    """The rate is a hundredth of a grain, and 400 steps are some of them; before, parameters stayed where they were."""
    data, rate, steps = people(16), 0.0003, 400
    program = compiled(f"sgd(lr={rate} * where(step < 100000, 1, 400000))")
    private = Simulated(program.plan, {"fc.weight": np.zeros((1, 5)), "fc.bias": np.zeros(1)})
    for _ in range(steps):
        private.train(**data)
    gradient = (0.5 - data["left"]).T @ np.concatenate([data["visits"], data["debts"]], axis=1) / 16
    wrong = np.abs(private.finish()["fc.weight"] + rate * steps * gradient).max()
    assert wrong < 0.04 * np.abs(gradient).max() < rate * steps * np.abs(gradient).max(), "a grain is 0.031"


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("0.05 * 1.1 ** epoch", "stay within 1000, found at most 9.49526e.06 at epoch 200, step 0"),
        ("0.02 * (step + 1)", "found at most 2000.02 at epoch 0, step 100000"),
        ("0.05 * 1.1 ** step", "found at most what is no number at epoch 0, step 10000"),
        ("0.0000001 * 0.9 ** epoch", "numbers that reach 1e-06 .* found at most 1e-07 at epoch 0, step 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_what_no_step_can_follow_is_refused_at_its_place(rate: str, message: str) -> None:
    with pytest.raises(mpc.CompileError, match=message) as caught:
        compiled(f"sgd(lr={rate})")
    assert [(each.line, each.column) for each in caught.value.diagnostics] == [(13, 24)]


def test_who_begins_below_a_grain_is_told_of_the_highest_rate() -> None:
    with pytest.warns(mpc.CompileWarning, match="begins with 0.001 .* 0.03125, .* 100.001 at epoch 0, step 100000"):
        compiled("sgd(lr=0.001 * (step + 1))")
    assert not compiled("sgd(lr=minimum(0.001 * (step + 1), 0.1))").warnings
    assert not compiled("sgd(lr=0.1 * minimum(1, step / 1000))").warnings, "nothing at first, and then a grain"
