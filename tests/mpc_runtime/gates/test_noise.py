"""The noise that the gates add: its law, whose it is, and what a party knows of it."""

from __future__ import annotations

import numpy as np
import pytest

from mpc_runtime import gates
from mpc_runtime.analysis.cost import cost
from mpc_runtime.gates import DealerNoise, PartyNoise
from mpc_runtime.plan import Noise, Plan, Result
from mpc_runtime.privacy.noise import Law
from mpc_runtime.registers import Domain, Form
from tests.mpc_runtime.gates.values import signed
from tests.mpc_runtime.privacy import chi
from tests.plans_by_hand import Builder
from tests.traced import KEYS, Trace, trace

U = np.uint64
N, RING = 20_000, 40
FAR = 5.0
SCALE = 12
X = np.arange(N, dtype=U) << U(8)
LAWS = {"laplace": chi.laplace, "gaussian": chi.gaussian}


def plan_of(
    cls: type[DealerNoise | PartyNoise], law: Law, form: Form = Form.SHARED, truncated: bool = False
) -> tuple[Plan, int, int]:
    """A plan that adds noise to a value and reveals it, perhaps after a truncation; the registers of x and of what is
    revealed."""
    b = Builder()
    x = b.form(form, X, RING)
    declared = Noise(law, 1.0, 1e-3 if law == "gaussian" else 0.0, SCALE / 10, 0.0, proved=True, made_by=cls.made_by)
    b.results["y"] = Result("y", ("reader",), "int", X.shape, ("",), Domain.WORDS, RING, 0, (), declared)
    y = b.emit(cls, X.shape, RING, result_name="y", law=law, numerator=SCALE, denominator=1, x=x)
    if truncated:
        y = b.emit(gates.Truncate, X.shape, RING, shift=4, width=32, x=b.open(y))
    if b.registers[y].form is Form.OFFSET:
        y = b.emit(gates.Materialize, X.shape, RING, x=y)
    b.act(gates.Reveal, result_name="y", roles=("reader",), bits=RING, x=y)
    return b.plan(), x, y


def noise(t: Trace, x: int, y: int) -> np.ndarray:
    return signed(t.value(y) - t.value(x), RING)


def traced(plan: Plan, keys: int = 0) -> Trace:
    changed = {stage: tuple(bytes([each[0] ^ keys]) * 16 for each in own) for stage, own in KEYS.items()}
    feeds = {feed.name: X for feed in plan.feeds}
    ones = {feed.name: np.ones(N, U) for feed in plan.feeds[1:]}  # the other factor of a product
    return trace(plan, {"run": {**feeds, **ones}}, changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("law", ["laplace", "gaussian"])
def test_the_dealers_noise_has_its_law_and_means_what_the_parties_get(law: Law) -> None:
    plan, x, y = plan_of(DealerNoise, law)
    t = traced(plan)
    t.assert_exact()
    drawn = noise(t, x, y)
    assert abs(chi.excess(drawn, LAWS[law](SCALE), 1000)) < FAR
    assert not np.array_equal(drawn, noise(traced(plan, keys=1), x, y))


@pytest.mark.parametrize("law", ["laplace", "gaussian"])
def test_both_parties_noise_has_twice_the_variance(law: Law) -> None:
    plan, x, y = plan_of(PartyNoise, law)
    drawn = noise(traced(plan), x, y)
    alone = LAWS[law](SCALE)(np.arange(-1000.0, 1001.0))
    both = np.convolve(alone / alone.sum(), alone / alone.sum(), mode="same")
    assert abs(chi.excess(drawn, lambda k: both[(k + 1000).astype(int)], 1000)) < FAR
    assert not np.array_equal(drawn, noise(traced(plan), x, y)), "drawn anew, whatever the keys"


def test_noise_behind_a_product_and_before_its_truncation_costs_no_byte() -> None:
    """Of a value that stands at its scale already it costs a word an element, and no round."""
    plan, _, y = plan_of(DealerNoise, "gaussian", Form.OFFSET, truncated=True)
    b = Builder()
    opened = b.open(b.form(Form.OFFSET, X, RING))
    low = b.emit(gates.Truncate, X.shape, RING, shift=4, width=32, x=opened)
    b.reveal(b.emit(gates.Materialize, X.shape, RING, x=low), ("reader",), RING)
    without, shared = cost(b.plan()), cost(plan_of(DealerNoise, "gaussian")[0])
    assert (cost(plan).online_bytes, cost(plan).offline_bytes) == (without.online_bytes, without.offline_bytes)
    assert (shared.online_bytes, shared.offline_bytes) == (0, N * RING // 8)
    t = traced(plan)
    t.assert_exact()
    error = signed(t.value(y), RING) - X.astype(np.int64) / 16
    assert abs(error.std() - np.sqrt(SCALE**2 / 256 + 1 / 6)) < 0.05  # and the dither of the truncation


def test_the_noise_of_the_parties_is_drawn_apart() -> None:
    """What each adds, beside its own share without noise."""
    plan, x, y = plan_of(PartyNoise, "gaussian")
    t = traced(plan)
    own = [signed(t.values[i][y] - t.values[i][x], RING) for i in (0, 1)]
    for drawn in own:
        assert abs(chi.excess(drawn, chi.gaussian(SCALE), 1000)) < FAR
    assert abs(np.corrcoef(own[0], own[1])[0, 1]) < FAR / np.sqrt(N)
