"""How long a run that has rows left waits: for p1's word that it has looked, then no longer than it may."""

from __future__ import annotations

from mpc_runtime.servers.lingering import Linger


def test_a_run_waits_no_longer_than_it_may() -> None:
    linger = Linger(2.0)
    assert linger.holds(10.0, 11.0) and linger.due == 12.0
    assert not linger.holds(10.0, 12.0) and linger.due is None


def test_nothing_waits_at_a_party_that_does_not_linger() -> None:
    linger = Linger(0.0)
    linger.ran()
    assert not linger.holds(10.0, 10.0)


def test_what_came_during_an_execution_waits_until_p1_has_looked() -> None:
    linger = Linger(2.0)
    linger.ran()
    assert linger.holds(10.0, 99.0) and linger.due is None
    linger.looked(0, 99.0)  # said before the execution
    assert linger.holds(10.0, 99.0) and linger.due is None
    linger.looked(1, 100.0)
    assert linger.holds(10.0, 101.0) and linger.due == 102.0
    linger.looked(1, 101.5)  # more has come, which prolongs nothing
    assert not linger.holds(10.0, 102.0)
    assert linger.holds(101.0, 102.0) and linger.due == 103.0
