"""Services with stored material for several plans and no dealer: watched, told of new keys, killed, and right."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import numpy as np
import pytest

import mpc_runtime as mpc
from mpc_runtime.store.deal import deal
from mpc_runtime.store.report import status
from tests.mpc_runtime.operation.watching import asked
from tests.mpc_runtime.store.stored import OTHER, PARTIES, PROGRAM, expected
from tests.services import Services, deployed
from tests.terminal import free_port
from tests.waiting import until

RETRIES = 60
W = np.random.default_rng(1).uniform(-1, 1, (4, 4))
X = np.random.default_rng(2).uniform(-7, 7, (64, 4))
PLANS = {"first": PROGRAM, "second": OTHER}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("stored")
    for name, program in PLANS.items():
        program.save(folder / f"{name}.plan")
        deal(program.plan, folder / name, runs=200, setups=2)
    for party in PARTIES:
        (folder / f"{party}.material").mkdir(mode=0o700)
    small = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "none", folder / "p0.material"], check=False
    )
    for name in PLANS:
        for party in PARTIES:
            shutil.move(folder / name / party, folder / f"{party}.material" / name)
    options = {
        party: ["--material", f"{party}.material", "--metrics", free_port(), "--log-format", "json"]
        for party in PARTIES
    }
    running = deployed(folder, *(folder / f"{name}.plan" for name in PLANS), options=options)
    try:
        running.start("p0")
        until(lambda: "waits for p1" in running.said("p0"))
        running.processes["p0"].send_signal(signal.SIGHUP)  # before the servers have met
        running.start("p1")
        for name in PLANS:
            with connected(running, "modeller", name) as session:
                session.provide({"w": W})
        assert running.processes["p0"].poll() is None
        yield running
    finally:
        running.close()
        if small.returncode == 0:
            subprocess.run(["umount", "--lazy", folder / "p0.material"], check=True)


def connected(running: Services, role: str, plan: str = "first", retries: int = RETRIES) -> mpc.Session:
    return mpc.connect(running.cluster, PLANS[plan], role=role, retries=retries)


def right(session: mpc.Session, x: np.ndarray) -> bool:
    return bool(np.allclose(session.run(x=x)["y"], expected(x, W), atol=0.01))


def health(running: Services, party: str) -> tuple[int, dict[str, object]]:
    code, text = asked(int(str(running.options[party][3])), "/health")
    return code, json.loads(text)


def value(running: Services, party: str, name: str, plan: str) -> float:
    """A metric of a plan, which is shown."""
    (line,) = shown(running, party, name, plan)
    return float(line.split()[-1])


def shown(running: Services, party: str, name: str, plan: str) -> list[str]:
    """The line of a metric of a plan, if there is one: a process that has just begun has told nothing yet."""
    _, text = asked(int(str(running.options[party][3])), "/metrics")
    start = f'{name}{{plan="{plan}:{PLANS[plan].plan.hash[:12]}"}}'
    return [line for line in text.splitlines() if line.startswith(start)]


def test_each_plan_takes_its_own_store_and_nobody_provides_twice(running: Services) -> None:
    for name, party in zip(PLANS, PARTIES, strict=True):
        with connected(running, "client", name) as session:
            assert right(session, X[0])
            before = status(running.folder / f"{party}.material" / name).next
            running.kill(party)
            running.start(party)
            assert right(session, X[1])
            after = status(running.folder / f"{party}.material" / name)
            assert after.next > before
            assert sum(d.burnt for d in after.dealings) > 0  # what it had reserved


def test_what_a_service_does_is_shown_plan_by_plan(running: Services) -> None:
    for name, runs in (("first", 3), ("second", 5)):
        with connected(running, "client", name) as session:
            assert right(session, X[0])
            until(lambda: shown(running, "p1", "mpc_queries_total", name))  # noqa: B023
            before = value(running, "p1", "mpc_queries_total", name)
            assert all(right(session, x) for x in X[:runs])
            until(lambda: value(running, "p1", "mpc_queries_total", name) >= before + runs)  # noqa: B023
        left = sum(status(running.folder / "p1.material" / name).left.values())
        until(lambda: value(running, "p1", "mpc_material_records", name) == left)  # noqa: B023
        assert value(running, "p1", "mpc_plan_memory_bytes", name) > 1 << 20
    until(lambda: health(running, "p0")[0] == 200)
    assert {plan.partition(":")[0] for plan in health(running, "p0")[1]["plans"]} == set(PLANS)  # type: ignore[attr-defined]
    for line in running.said("p1").splitlines():
        assert {"time", "level", "machine", "message"} <= json.loads(line).keys(), line


def test_a_key_that_is_revoked_loses_its_session_at_once_and_other_plans_go_on(running: Services) -> None:
    toml = running.cluster
    text = toml.read_text()
    with connected(running, "client", retries=0) as session, connected(running, "client", "second", 0) as other:
        assert right(session, X[0]) and right(other, X[0])
        toml.write_text(text.replace('may = ["submit", "receive", "deploy"]', 'may = ["receive"]'))
        running.processes["p0"].send_signal(signal.SIGHUP)
        for each in (session, other):
            with pytest.raises(mpc.PeerError, match="changed or revoked"):
                for _ in range(10_000):
                    right(each, X[0])
    toml.write_text(text)
    for party in PARTIES:
        running.processes[party].send_signal(signal.SIGHUP)
    with connected(running, "client") as session:
        until(lambda: answered(session))


def answered(session: mpc.Session) -> bool:
    try:
        return right(session, X[0])
    except mpc.PeerError:
        time.sleep(0.1)
        return False


def test_a_full_disk_stops_new_queries_and_says_so_until_there_is_room(running: Services) -> None:
    material = running.folder / "p0.material"
    if not material.is_mount():
        pytest.skip("a small disk takes root")
    with connected(running, "client") as session, connected(running, "client", "second") as other:
        assert right(session, X[0]) and right(other, X[0])
    filler = material / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
        while True:
            file.write(bytes(4096))
    with pytest.raises(mpc.MaterialError, match="the disk is full"), connected(running, "client") as session:
        for _ in range(64):  # those that are reserved are used first
            assert right(session, X[1])
    with pytest.raises(mpc.MaterialError, match="the disk is full"), connected(running, "client") as session:
        session.run(x=X[1])
    until(lambda: value(running, "p0", "mpc_ready", "first") == 0)
    assert "takes no queries" in running.said("p0")
    filler.unlink()
    until(lambda: value(running, "p0", "mpc_ready", "first") == 1)
    with connected(running, "client") as session:
        assert right(session, X[2])
