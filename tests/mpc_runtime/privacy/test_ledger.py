"""What is entered stays entered, and no limit is ever widened."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mpc_runtime.errors import InputError
from mpc_runtime.privacy import accountant
from mpc_runtime.privacy.accountant import BASIC, Event, basic, capacity, composed, counted_rows, training, within
from mpc_runtime.privacy.ledger import FILE, Charge, Dataset, Ledger, Limit

DATA, OTHER = Dataset("a key", "cohort"), Dataset("a key", "another")
HALF = {Event("pure", epsilon=0.5): 1}
GAUSSIAN = {Event("gaussian", 0.5, 1e-6, 9.0): 1}
BARE = {Event("bare"): 1}


def charged(ledger: Ledger, count: int, events: dict[Event, int] = HALF) -> int:
    """How many of so many releases were entered."""
    return sum(isinstance(ledger.charge(DATA, events), Charge) for _ in range(count))


def test_what_exceeds_a_limit_is_not_entered_and_the_rest_fits() -> None:
    ledger = Ledger()
    ledger.limit(DATA, Limit(1.2, 0.0))
    assert charged(ledger, 5) == 2
    found = ledger.charge(DATA, HALF)
    assert found == "has spent epsilon 1 of its budget of epsilon 1.2; this would make it 1.5, by basic composition"
    assert isinstance(ledger.charge(DATA, {Event("pure", epsilon=0.2): 1}), Charge)
    assert ledger.spent(DATA).epsilon == pytest.approx(1.2)
    assert isinstance(ledger.charge(OTHER, HALF), Charge), "another dataset"
    assert isinstance(ledger.charge(Dataset("another key", "cohort"), HALF), Charge), "another owner"


def test_the_smallest_limit_ever_stated_holds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.limit(DATA, Limit(3.0, 0.0))
    assert isinstance(ledger.charge(DATA, HALF, (Limit(1.0, 0.0),)), Charge), "of a plan"
    ledger.limit(DATA, Limit(9.0, 0.0))
    assert charged(ledger, 5) == 1
    assert ledger.spent(DATA).limits == (Limit(1.0, 0.0), Limit(3.0, 0.0), Limit(9.0, 0.0))
    ledger.close()
    assert charged(Ledger(tmp_path), 5) == 0, "after a restart too"


def test_a_plan_that_is_refused_has_stated_its_limit() -> None:
    ledger = Ledger()
    assert isinstance(ledger.charge(DATA, HALF, (Limit(0.1, 0.0),)), str)
    assert charged(ledger, 1) == 0


def test_what_has_not_begun_is_given_back() -> None:
    ledger = Ledger()
    ledger.limit(DATA, Limit(0.5, 0.0))
    charge = ledger.charge(DATA, HALF)
    assert isinstance(charge, Charge) and charged(ledger, 1) == 0
    ledger.give_back(charge)
    assert ledger.spent(DATA).epsilon == 0 and charged(ledger, 2) == 1


def test_deltas_add_up_too() -> None:
    ledger = Ledger()
    ledger.limit(DATA, Limit(50.0, 2.5e-6))
    assert charged(ledger, 5, GAUSSIAN) == (2 if not accountant.installed() else 5)


def test_without_noise_there_is_no_limit_that_holds() -> None:
    ledger = Ledger()
    assert isinstance(ledger.charge(DATA, BARE), Charge), "nobody has limited it"
    assert math.isinf(ledger.spent(DATA).epsilon)
    ledger.limit(DATA, Limit(60.0, 1e-3))
    found = ledger.charge(DATA, HALF)
    assert isinstance(found, str) and "a result that was released without noise before exceeds" in found
    ledger.limit(OTHER, Limit(60.0, 1e-3))
    assert "which a result without noise exceeds" in str(ledger.charge(OTHER, BARE))


def test_a_release_is_on_the_disk_before_anything_runs(tmp_path: Path) -> None:
    """A process that is killed right after it has entered one."""
    code = (
        "import os, pathlib, sys\n"
        "from mpc_runtime.privacy.ledger import *; from mpc_runtime.privacy.accountant import Event\n"
        "ledger = Ledger(pathlib.Path(sys.argv[1]))\n"
        "ledger.charge(Dataset('a key', 'cohort'), {Event('pure', epsilon=0.5): 1}, (Limit(0.7, 0.0),))\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    after = Ledger(tmp_path)
    assert after.spent(DATA).epsilon == 0.5 and charged(after, 1) == 0


def test_two_processes_do_not_spend_the_same(tmp_path: Path) -> None:
    """Two connections, each asking whether there is room and then taking it."""
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    one.limit(DATA, Limit(2.0, 0.0))
    assert sum(charged(each, 1) for _ in range(5) for each in (one, other)) == 4


def test_while_the_accountant_is_asked_others_use_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The accountant may take a minute, and a ledger waits ten seconds for another process."""
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    one.limit(DATA, Limit(2.0, 0.0))
    asked: list[object] = []

    def slow(events: Mapping[Event, int], epsilon: float, delta: float) -> bool:
        asked.append(other.charge(OTHER, HALF))
        return within(events, epsilon, delta)

    monkeypatch.setattr("mpc_runtime.privacy.ledger.within", slow)
    assert charged(one, 1) == 1 and len(asked) == 1 and isinstance(asked[0], Charge)
    assert one.spent(OTHER).epsilon == 0.5


def test_what_was_charged_while_the_accountant_was_asked_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    one.limit(DATA, Limit(1.2, 0.0))
    asked: list[float] = []

    def overtaken(events: Mapping[Event, int], epsilon: float, delta: float) -> bool:
        asked.append(basic(events, delta))
        if len(asked) == 1:
            monkeypatch.setattr("mpc_runtime.privacy.ledger.within", within)
            assert charged(other, 2) == 2
            monkeypatch.setattr("mpc_runtime.privacy.ledger.within", overtaken)
        return within(events, epsilon, delta)

    monkeypatch.setattr("mpc_runtime.privacy.ledger.within", overtaken)
    found = one.charge(DATA, HALF)
    assert asked == [0.5, 1.5] and isinstance(found, str) and "has spent epsilon 1 of its budget" in found
    assert other.spent(DATA).epsilon == 1, "only what was there before"


def test_who_is_overtaken_again_and_again_enters_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)

    def overtaken(events: Mapping[Event, int], epsilon: float, delta: float) -> bool:
        other.limit(DATA, Limit(60 - len(other.spent(DATA).limits) / 4, 0.0))
        return True

    one.limit(DATA, Limit(60.0, 0.0))
    monkeypatch.setattr("mpc_runtime.privacy.ledger.TRIES", 3)
    monkeypatch.setattr("mpc_runtime.privacy.ledger.within", overtaken)
    with pytest.raises(InputError, match="other processes charge the dataset 'cohort' all the time"):
        one.charge(DATA, HALF)
    assert one.spent(DATA).epsilon == 0


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="the privacy ledger cannot be used"):
        Ledger(tmp_path)
    (tmp_path / FILE).unlink()
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("CREATE TABLE other (x)")
    db.commit()
    db.close()
    with pytest.raises(InputError, match="expected a privacy ledger of format 1"):
        Ledger(tmp_path)


def test_composition_by_adding_up() -> None:
    assert basic({Event("pure", 0.5): 3, Event("gaussian", 1.0, 1e-6, 5.0): 2}, 1e-5) == 3.5
    assert basic(GAUSSIAN, 0.0) == math.inf
    assert composed({}, 0.0) == (0, BASIC)
    assert composed(BARE, 1e-5)[0] == math.inf


@pytest.mark.skipif(accountant.installed(), reason="dp-accounting is installed")
def test_without_the_accountant_training_has_no_figure() -> None:
    with pytest.raises(InputError, match=r"pip install 'mpc-runtime\[dp\]'"):
        training(60_000, 256, 1.1, 3510, 1e-5, 15)


def test_the_accountant_of_training() -> None:
    """n = 60,000, batch 256, noise 1.1, 15 epochs, delta 1e-5."""
    pytest.importorskip("dp_accounting")
    assert capacity(256) == 352
    figures = training(60_000, 256, 1.1, 15 * (60_000 // 256), 1e-5, draws=15)
    assert figures.outputs == pytest.approx(1.13, abs=0.005)
    assert figures.party == pytest.approx(20.56, abs=0.01)


def test_steps_of_training_are_asked_for_coarsely_first_and_answered_exactly() -> None:
    pytest.importorskip("dp_accounting")
    step = Event("sampled", delta=1e-5, multiplier=4.0, rows=1000, batch=50, most=capacity(50))
    for count in (1, 11, 70):
        epsilon, by = composed({step: count}, 1e-5)
        assert by == accountant.ACCOUNTANT
        assert within({step: count}, epsilon, 1e-5) and not within({step: count}, epsilon * 0.999, 1e-5)
    assert not within({step: 1}, 64.0, 0.0)
    assert not within({step: 1, **BARE}, 64.0, 1e-5)


def test_without_an_accountant_no_step_of_training_fits_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Event("sampled", delta=1e-5, multiplier=4.0, rows=1000, batch=50, most=capacity(50))
    monkeypatch.setattr("mpc_runtime.privacy.accountant.installed", lambda: False)
    monkeypatch.setattr("mpc_runtime.privacy.ledger.installed", lambda: False)
    assert not within({step: 1}, 64.0, 1e-5)
    ledger = Ledger()
    assert isinstance(ledger.charge(DATA, {step: 3}), Charge), "nobody has limited it"
    assert ledger.spent(DATA).epsilon == math.inf and ledger.spent(DATA).delta == 1e-5
    ledger.limit(DATA, Limit(64.0, 1e-5))
    assert "needs dp-accounting" in str(ledger.charge(DATA, {step: 1}))


@pytest.mark.parametrize(
    ("rows", "batch", "counted"),
    [(999, 16, 999), (1009, 16, 1000), (60_000, 256, 60_000), (123_456, 256, 123_000), (100_499, 100_400, 100_499)],
)
def test_rows_are_counted_in_three_digits(rows: int, batch: int, counted: int) -> None:
    assert counted_rows(rows, batch) == counted


@pytest.mark.parametrize(("noise", "batch"), [(1.1, 16), (0.7, 50), (2.0, 8)])
def test_fewer_rows_cost_no_less(noise: float, batch: int) -> None:
    pytest.importorskip("dp_accounting")
    for rows in (1009, 5128):
        for count in (1, 200):
            coarse, fine = (
                composed({Event("sampled", 1e-5, 1e-5, noise, each, batch, capacity(batch)): count}, 1e-5)[0]
                for each in (counted_rows(rows, batch), rows)
            )
            assert fine < coarse < 1.03 * fine


def test_noise_that_hides_nothing_costs_infinitely_much_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asking dp-accounting, which would take hours."""
    monkeypatch.setattr("mpc_runtime.privacy.accountant.installed", lambda: True)
    step = Event("sampled", delta=1e-5, multiplier=0.001, rows=1000, batch=50, most=capacity(50))
    assert not within({step: 1}, 64.0, 1e-5) and composed({step: 1}, 1e-5)[0] == math.inf
    assert training(1000, 50, 0.001, 20, 1e-5, 3).outputs == math.inf


def test_the_accountant_of_little_noise_takes_seconds() -> None:
    pytest.importorskip("dp_accounting")
    step = Event("sampled", delta=1e-5, multiplier=0.2, rows=1000, batch=16, most=capacity(16))
    assert composed({step: 64}, 1e-5)[0] == pytest.approx(78.3017, abs=0.001), "as with losses told apart by 1e-4"


def test_the_accountant_of_many_releases() -> None:
    pytest.importorskip("dp_accounting")
    many = {Event("pure", 0.1): 100}
    assert basic(many, 1e-5) == pytest.approx(10)
    epsilon, by = composed(many, 1e-5)
    assert by == accountant.ACCOUNTANT and 4 < epsilon < 4.5
    assert composed(many, 0.0) == (pytest.approx(10), BASIC)
