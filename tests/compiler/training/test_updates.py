"""Constants of an optimizer, as private training holds them: what is small or near 1 follows float64, or is refused."""

from __future__ import annotations

import numpy as np
import pytest

import mpc_runtime as mpc
from compiler.training.optimizers import Sgd
from mpc_runtime.roles.epochs import batches_of
from tests.trained import LOGISTIC, Simulated, people

GOOD = "sgd(lr=0.5, momentum=0.75)"
START = {"fc.weight": np.full((1, 5), 0.9), "fc.bias": np.full(1, 0.9)}


def moves(source: str, optimizer: str, rows: int, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """How far all parameters have moved, privately and in float64."""
    program = mpc.compile(text=source.replace(GOOD, optimizer))
    data = people(rows)
    clear = program.reference_fit(data, START, epochs=epochs, seed=3).weights
    private = Simulated(program.plan, START)
    for batch in batches_of(program.plan, data, epochs, 3):
        private.train(**batch)
    assert all(private.checks.values())
    found = private.finish()
    both = [np.concatenate([(each[key] - START[key]).ravel() for key in START]) for each in (found, clear)]
    return both[0], both[1]


@pytest.mark.parametrize("momentum", [0.905, 0.985, 0.995, 0.999])
def test_a_momentum_near_1_follows_float64(momentum: float) -> None:
    """Those that are rounded up remember more than they say: the ranges of the states follow from what is held."""
    found, wanted = moves(LOGISTIC, f"sgd(lr=0.005, momentum={momentum})", 160, 3)
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


@pytest.mark.parametrize("momentum", [0.1, 0.9, 0.985, 0.9993, 0.9995])
def test_a_momentum_that_is_taken_is_held_as_it_is(momentum: float) -> None:
    assert abs((1 - Sgd(momentum).held) / (1 - momentum) - 1) < 0.05


@pytest.mark.parametrize(
    "optimizer",
    [
        "sgd(lr=1000, weight_decay=0.0000005)",  # before: 0, as less than half of 2^-16 for the sum of a batch
        "sgd(lr=100, weight_decay=0.000008)",  # before: 2.05 times as much
        "sgd(lr=0.5, momentum=0.995, weight_decay=0.00003)",
    ],
)
def test_a_small_weight_decay_follows_float64(optimizer: str) -> None:
    """A loss without gradient, so that nothing but the decay moves parameters."""
    still = LOGISTIC.replace("loss = binary", "loss = 0.0 * binary")
    found, wanted = moves(still, optimizer, 160, 10)
    assert np.abs(wanted).min() > 5e-3 and np.abs(found - wanted).max() < 0.04 * np.abs(wanted).max()


@pytest.mark.parametrize("betas", ["beta1=0.9999, beta2=0.99999", "beta1=0.999, beta2=0.9999", "beta2=0.82"])
@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_moments_that_follow_slowly_follow_float64(betas: str) -> None:
    found, wanted = moves(LOGISTIC, f"adam(lr=0.01, {betas})", 160, 3)
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("optimizer", "column", "message"),
    [
        (
            "sgd(lr=0.1, momentum=0.9999)",
            38,
            "in steps of 2.-12, and 0.9999 would be .*\n.*\n.*\n.*momentum=0.999755859",
        ),
        ("sgd(lr=0.1, momentum=0.9996)", 38, "the nearest is `momentum=0.999511719`"),
        ("adam(lr=0.1, beta1=0.9999999)", 36, "`beta1` expects at most 0.999999, found 0.9999999"),
        ("adam(lr=0.1, beta2=0.9999999)", 36, "`beta2` expects at most 0.999999, found 0.9999999"),
        ("adam(lr=0.1, beta2=0.8)", 36, "`beta2` expects a number well above the square of `beta1`, 0.81, found 0.8"),
        ("sgd(lr=0.1, weight_decay=1e-15)", 42, "`weight_decay` expects 0 or at least 9.09495e-13, found 1e-15"),
        (
            "adamw(lr=1e-6, weight_decay=1e-8)",
            1,
            "`lr` times `weight_decay` expects at least 9.09495e-13, found at most",
        ),
        ("adamw(lr=1e-5 * 0.9 ** epoch, weight_decay=1e-8)", 26, "found at most 1e-13"),
    ],
)
@pytest.mark.filterwarnings("ignore::mpc_runtime.CompileWarning")
def test_what_cannot_be_held_is_refused_at_its_place(optimizer: str, column: int, message: str) -> None:
    with pytest.raises(mpc.CompileError, match=message) as caught:
        mpc.compile(text=LOGISTIC.replace(GOOD, optimizer))
    (found,) = caught.value.diagnostics
    assert (found.line, found.column) == ((13, column) if column > 1 else (10, 1))
