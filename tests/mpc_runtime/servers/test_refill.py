"""Stores that a dealer refills while they are in use, and parties that go on when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mpc_runtime import MaterialError, Session, connect
from mpc_runtime.deployment.cluster import write_cluster
from mpc_runtime.store.report import status, verify
from tests.mpc_runtime.store.stored import PARTIES, PLAN, PROGRAM, dealt, expected
from tests.terminal import free_port, start, started
from tests.waiting import until

LOW = 6
W = np.random.default_rng(1).uniform(-1, 1, (4, 4))
X = np.random.default_rng(2).uniform(-8, 8, (40, 4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dealt(tmp_path, runs=3)
    write_cluster(tmp_path / "cluster.toml", PLAN.roles, free_port())
    PLAN.save(tmp_path / "stored.plan")
    return tmp_path


@contextmanager
def client(folder: Path) -> Iterator[Session]:
    with connect(folder / "cluster.toml", PROGRAM, role="client", timeout=60) as session:
        yield session


def provide(folder: Path) -> None:
    with connect(folder / "cluster.toml", PROGRAM, role="modeller", timeout=60) as session:
        session.provide({"w": W})


def left(folder: Path) -> list[int]:
    return [status(folder / "material" / name).left["run"] for name in PARTIES]


def assert_runs(session: Session, rows: np.ndarray) -> None:
    for x in rows:
        assert np.allclose(session.run(x=x)["y"], expected(x, W), atol=0.01)


def test_a_store_is_refilled_while_it_is_used_and_again_when_the_dealer_was_gone_and_is_back(
    folder: Path,
) -> None:
    with started(folder, "stored.plan", material="material", low_water=LOW) as servers:
        provide(folder)
        until(lambda: min(left(folder)) >= LOW)  # the dealer has come
        with client(folder) as session:
            assert_runs(session, X[:20])
            assert all(len(status(folder / "material" / name).dealings) >= 4 for name in PARTIES)
            until(lambda: min(left(folder)) >= LOW)
            servers["dealer"].kill()
            servers["dealer"].wait()
            most = max(left(folder)) + 8  # the block that is reserved counts no longer
            with pytest.raises(MaterialError, match="used up"):
                for _ in range(most + 1):
                    assert_runs(session, X[:1])
        servers["dealer"] = start(folder, "dealer", "dealer", "stored.plan")
        until(lambda: min(left(folder)) >= LOW)  # nobody has to start the parties again
        with client(folder) as session:
            assert_runs(session, X[: 2 * LOW])
    for name in PARTIES:
        assert verify(folder / "material" / name) == []
        assert f"{name} goes on without dealer: dealer is gone" in (folder / f"{name}.log").read_text()
    found = [status(folder / "material" / name) for name in PARTIES]
    assert [d.id for d in found[0].dealings] == [d.id for d in found[1].dealings]


def test_a_refilled_store_needs_no_dealer_afterwards(folder: Path) -> None:
    with started(folder, "stored.plan", material="material", low_water=LOW):
        provide(folder)
        until(lambda: min(left(folder)) >= LOW)
    with started(folder, "stored.plan", material="material"), client(folder) as session:
        assert_runs(session, X[:LOW])


def test_a_dealing_that_only_one_party_got_is_dropped(folder: Path) -> None:
    """As when the other one died before it was whole: what comes next stands at the same place in both stores."""
    from mpc_runtime.store.adding import add

    (folder / "more").mkdir()
    add(folder / "material/p1", dealt(folder / "more", runs=9) / "p1")
    with started(folder, "stored.plan", material="material", low_water=LOW):
        provide(folder)
        until(lambda: min(left(folder)) >= LOW)  # the dealer has come
        with client(folder) as session:
            assert_runs(session, X[:12])
    found = [[d.id for d in status(folder / "material" / name).dealings] for name in PARTIES]
    shared = min(map(len, found))
    assert shared >= 3 and found[0][:shared] == found[1][:shared]
