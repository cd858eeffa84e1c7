"""Scales of noise beside the definition of (epsilon, delta), summed over the whole numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from mpc_runtime.privacy.noise import gaussian_delta, gaussian_epsilon, gaussian_multiplier, hides, reach, scale
from tests.mpc_runtime.privacy import chi


def spent(weights: np.ndarray, shift: int, epsilon: float) -> float:
    """The delta at epsilon of a law on whole numbers that is moved by `shift`: the hockey-stick divergence."""
    p = weights / weights.sum()
    q = np.roll(p, shift)
    return float(np.maximum(p - math.exp(epsilon) * q, 0)[abs(shift) : -abs(shift) or None].sum())


@pytest.mark.parametrize("epsilon", [0.1, 0.7, 3.0])
@pytest.mark.parametrize("distance", [1, 5, 40])
def test_laplace_noise_hides_its_distance_and_not_much_more(epsilon: float, distance: int) -> None:
    numerator, denominator = scale("laplace", epsilon, 0.0, Fraction(distance)) or (0, 1)
    k = np.arange(-20_000, 20_001, dtype=float)
    weights = chi.laplace(numerator / denominator)(k)
    assert spent(weights, distance, epsilon) < 1e-12
    assert spent(weights, distance, 0.98 * epsilon) > 0
    assert not hides("laplace", epsilon, 0.0, Fraction(distance), numerator - numerator // 1000, denominator)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 1e-5), (1.0, 1e-6), (3.0, 1e-3)])
@pytest.mark.parametrize("distance", [1, 7])
def test_gaussian_noise_hides_its_distance_and_not_much_more(epsilon: float, delta: float, distance: int) -> None:
    numerator, denominator = scale("gaussian", epsilon, delta, Fraction(distance)) or (0, 1)
    k = np.arange(-3000, 3001, dtype=float)
    exact = spent(chi.gaussian(numerator / denominator)(k), distance, epsilon)
    assert exact <= delta
    assert exact > delta / 10  # what the bound in any number of dimensions costs in one
    assert hides("gaussian", epsilon, delta, Fraction(distance), numerator, denominator)
    assert not hides("gaussian", epsilon, delta, Fraction(distance), 999 * numerator // 1000, denominator)


def test_more_noise_costs_less() -> None:
    wide = [gaussian_delta(1.0, multiplier) for multiplier in (0.5, 1.0, 2.0, 4.0, 8.0)]
    assert wide == sorted(wide, reverse=True)
    assert gaussian_multiplier(1.0, 1e-5) < math.sqrt(2 * math.log(1.25 / 1e-5))  # the classical bound


@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_the_epsilon_of_noise_is_that_at_which_it_has_its_delta(delta: float) -> None:
    for multiplier in (0.5, 1.1, 9.0):
        assert gaussian_delta(gaussian_epsilon(delta, multiplier), multiplier) == pytest.approx(delta, rel=1e-3)


def test_no_sampler_reaches_without_end() -> None:
    assert scale("laplace", 2.0**-20, 0.0, Fraction(1 << 40)) is None


def test_noise_lies_within_its_reach() -> None:
    assert math.exp(-(reach("laplace", 100, 1) - 1) / 100) < 2.0**-64
    assert math.erfc((reach("gaussian", 100, 1) - 1) / 100 / math.sqrt(2)) < 2.0**-64
