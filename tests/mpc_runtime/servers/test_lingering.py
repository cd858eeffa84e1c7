"""How long a run that has rows left waits: for p1's word that it has looked, then no longer than it may."""

from __future__ import annotations

from mpc_runtime.servers.lingering import Linger


def test_a_run_waits_no_longer_than_it_may() -> None:
    linger = Linger(2.0, 60.0)
    assert linger.holds(10.0, 11.0) and linger.due == 12.0
    assert not linger.holds(10.0, 12.0) and linger.due is None


def test_nothing_waits_at_a_party_that_does_not_linger() -> None:
    linger = Linger(0.0, 60.0)
    linger.ran()
    assert not linger.holds(10.0, 10.0)


def test_what_came_during_an_execution_waits_until_p1_has_looked() -> None:
    linger = Linger(2.0, 60.0)
    linger.ran()
    assert linger.holds(10.0, 50.0) and linger.due == 70.0
    linger.looked(0, 50.0)  # said before the execution
    assert linger.holds(10.0, 50.0) and linger.due == 70.0
    linger.looked(1, 51.0)
    assert linger.holds(10.0, 52.0) and linger.due == 53.0
    linger.looked(1, 52.5)  # more has come, which prolongs nothing
    assert not linger.holds(10.0, 53.0)
    assert linger.holds(52.0, 53.0) and linger.due == 54.0


def test_a_look_that_never_comes_is_not_awaited_for_ever() -> None:
    linger = Linger(2.0, 60.0)
    linger.ran()
    assert linger.holds(10.0, 69.9)
    assert not linger.holds(10.0, 70.0) and linger.due is None
