"""The samplers' laws, beside what their formulas give; and that nothing but whole words decides."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from mpc_runtime.privacy.samplers import MAX_NUMERATOR, bernoulli_logistic, gaussian, laplace
from tests.mpc_runtime.privacy import chi

N = 60_000
FAR = 5.0  # of a normal number: one in a million and a half, and the seeds are fixed


@pytest.mark.parametrize(("numerator", "denominator"), [(10, 3), (1, 2), (40, 1), (3, 10)])
def test_laplace_has_its_law(numerator: int, denominator: int) -> None:
    drawn = laplace(chi.seeded(1), N, numerator, denominator)
    assert drawn.dtype == np.int64 and drawn.shape == (N,)
    assert abs(chi.excess(drawn, chi.laplace(numerator / denominator), 2000)) < FAR


@pytest.mark.parametrize(("numerator", "denominator"), [(37, 10), (1, 2), (25, 1), (3, 10)])
def test_gaussian_has_its_law(numerator: int, denominator: int) -> None:
    drawn = gaussian(chi.seeded(2), N, numerator, denominator)
    assert abs(chi.excess(drawn, chi.gaussian(numerator / denominator), 2000)) < FAR


@pytest.mark.parametrize("sampler", [laplace, gaussian])
def test_wide_scales_reach_as_far_as_the_continuous_laws(sampler: object) -> None:
    """At the widest scale that there is, nothing has wrapped."""
    drawn = np.asarray((laplace if sampler is laplace else gaussian)(chi.seeded(3), N, MAX_NUMERATOR, 1), float)
    scaled = drawn / MAX_NUMERATOR
    variance, fourth = (2.0, 24.0) if sampler is laplace else (1.0, 3.0)
    assert abs((scaled**2).mean() - variance) < FAR * math.sqrt((fourth - variance**2) / N)
    assert abs(scaled.mean()) < FAR * math.sqrt(variance / N)


@pytest.mark.parametrize("epsilon", [Fraction(0), Fraction(1, 3), Fraction(1.5), Fraction(4)])
def test_answers_are_flipped_as_often_as_said(epsilon: Fraction) -> None:
    flipped = bernoulli_logistic(chi.seeded(4), N, epsilon)
    chance = 1 / (1 + math.exp(epsilon))
    assert flipped.dtype == bool and abs(flipped.mean() - chance) < FAR * math.sqrt(chance / N)


def test_nothing_is_drawn_of_no_elements() -> None:
    assert laplace(chi.seeded(5), 0, 3, 1).size == gaussian(chi.seeded(5), 0, 3, 1).size == 0


@pytest.mark.parametrize(("numerator", "denominator"), [(0, 1), (1, 0), (MAX_NUMERATOR + 1, 1), (1, MAX_NUMERATOR + 1)])
def test_scales_beyond_what_words_hold_are_refused(numerator: int, denominator: int) -> None:
    with pytest.raises(ValueError, match="a scale of noise has parts from 1 to 2\\^48"):
        laplace(chi.seeded(6), 1, numerator, denominator)


def test_the_same_words_give_the_same_noise() -> None:
    assert np.array_equal(gaussian(chi.seeded(7), 100, 1000, 3), gaussian(chi.seeded(7), 100, 1000, 3))
