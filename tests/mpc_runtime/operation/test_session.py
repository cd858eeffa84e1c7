"""Three servers as their operators start them, watched in every way: what they say fits what happened, and nothing that
is secret is in it, in any encoding.
"""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from zmq.utils import z85

from mpc_runtime.deployment.keys import load_key
from tests.mpc_runtime.operation.watching import asked
from tests.terminal import free_port, mpcc, started
from tests.waiting import SECONDS, until

MODEL = """model credit
role bank, bureau
input x : [2, 3] from bank   in [-30000, 30000]
param w : [3, 1] from bureau in [-30000, 30000]
output score = (x / 30000) @ w to bank
"""
FRAC = 16
X = np.array([[27182.81828, 14142.13562, -17320.50808], [23060.85119, 11447.29886, 22360.67978]])
W = np.array([[16180.33989], [-26457.51311], [12599.21050]])
MACHINES = "p0", "p1", "dealer"
LOGGED = "--log-format", "json", "--log-level", "debug"


def encodings(secret: bytes) -> Iterator[str]:
    """How bytes are written where text is expected."""
    yield secret.hex()
    yield repr(secret)[2:-1]
    yield str(list(secret))[1:-1]
    yield str(int.from_bytes(secret, "big"))
    yield str(int.from_bytes(secret, "little"))
    for coded in (base64.b64encode(secret), base64.b32encode(secret)):
        yield coded.decode().rstrip("=")[:-1]  # the last digit depends on what follows


def of_number(value: float) -> Iterator[str]:
    """How a number that was entered, or what it is in the ring, is written."""
    ring = round(value * 2**FRAC)
    yield f"{abs(value):.7g}"[:7]
    yield str(abs(ring))
    yield str(ring % 2**64)
    yield from encodings((ring % 2**64).to_bytes(8, "little"))
    yield from encodings(np.float64(value).tobytes())


def secrets_of(folder: Path, values: list[np.ndarray]) -> dict[str, str]:
    """Every way in which something secret could be written -> what it is."""
    found = {text: f"value {value}" for array in values for value in array.ravel() for text in of_number(float(value))}
    for file in folder.glob("*.key"):
        secret = load_key(file).secret
        found |= {text: str(file) for text in (secret, *encodings(z85.decode(secret)))}
    return found


def leaked(text: str, secrets: Mapping[str, str]) -> list[str]:
    return [f"{what} as {written}" for written, what in secrets.items() if written in text]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "credit.ppml").write_text(MODEL)
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "w.npz", w=W)
    return tmp_path


def test_a_watched_session(folder: Path) -> None:
    port = free_port()
    assert mpcc(folder, "init-cluster", "credit.ppml", "--port", port).returncode == 0
    ports = dict(zip(MACHINES, range(first := free_port(), first + 3), strict=True))
    text = (folder / "cluster.toml").read_text()
    for name, number in ports.items():
        text = text.replace(f"[{name}]\n", f'[{name}]\nmetrics = "127.0.0.1:{number}"\n')
    (folder / "cluster.toml").write_text(text)
    with started(folder, "credit.ppml", options=LOGGED) as servers:
        until(lambda: all('"ready"' in (folder / f"{name}.log").read_text() for name in MACHINES))
        submit = "submit", "credit.ppml", "--input", "x=x.npy"
        said = [mpcc(folder, "provide", "credit.ppml", "--param", "w.npz"), *(mpcc(folder, *submit) for _ in range(3))]
        assert [done.returncode for done in said] == [0] * 4, [done.stderr for done in said]
        refused = mpcc(folder, "submit", "credit.ppml", "--checked", "--input", "x=x.npy")
        assert refused.returncode == 1 and "start both from the same plan" in refused.stderr
        assert mpcc(folder, "keygen", "stranger").returncode == 0
        text = (folder / "cluster.toml").read_text()
        (folder / "other.toml").write_text(text.replace(public(folder / "bank.key"), public(folder / "stranger.key")))
        words = "submit", "credit.ppml", "--cluster", "other.toml", "--key", "stranger.key", "--input", "x=x.npy"
        unknown = mpcc(folder, *words)
        assert "does not accept our key" in unknown.stderr
        pages = {name: asked(ports[name], "/metrics")[1] for name in MACHINES}
        well = {name: asked(ports[name], "/health") for name in MACHINES}
        servers["p1"].send_signal(signal.SIGTERM)
        assert {name: server.wait(SECONDS) for name, server in servers.items()} == {"p0": 1, "p1": 130, "dealer": 1}

    logs = {name: (folder / f"{name}.log").read_text() for name in MACHINES}
    lines = {name: [json.loads(line) for line in log.splitlines()] for name, log in logs.items()}
    check_metrics(pages)
    assert {name: status for name, (status, _) in well.items()} == dict.fromkeys(MACHINES, 200)
    check_lines(lines)

    secrets = secrets_of(folder, [X, W])
    everything = "\n".join([*logs.values(), *pages.values(), *(body for _, body in well.values())])
    everything += "\n".join(done.stderr for done in (*said, refused, unknown))
    everything += "\n".join(str(value) for log in lines.values() for line in log for value in line.values())
    assert leaked(everything, secrets) == []
    for written, what in secrets.items():  # each would have been found
        assert leaked(f"{everything} [{written}]", secrets), what


def public(key: Path) -> str:
    return load_key(key).public


def check_metrics(pages: Mapping[str, str]) -> None:
    def value(machine: str, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(pages[machine])
        found = [s for family in families for s in family.samples if s.name == name]
        return sum(s.value for s in found if labels.items() <= s.labels.items())

    for party in ("p0", "p1"):
        assert value(party, "mpc_queries_total") == 3
        assert value(party, "mpc_executions_total", procedure="setup") == 1
        assert value(party, "mpc_latency_seconds_count", phase="total") == 3
        assert value(party, "mpc_batch_rows_sum") == 3
        assert value(party, "mpc_peer_up") == 2
    strangers = [value(p, "mpc_refused_connections_total", door="clients", reason="key") for p in ("p0", "p1")]
    assert sum(strangers) >= 1  # it gives up when one of them has refused it
    assert value("dealer", "mpc_dealt_records_total", procedure="run") >= 3
    dealt = value("dealer", "mpc_bytes_total", phase="offline") / value("dealer", "mpc_dealt_records_total")
    assert dealt > 0


def check_lines(lines: Mapping[str, list[dict[str, object]]]) -> None:
    for name, log in lines.items():
        assert {line["machine"] for line in log} == {name}
        assert all(line["time"] and line["plan"] for line in log)
        assert [line["event"] for line in log[:2]] == ["listening", "ready"]
        assert log[-1]["event"] == ("stopped" if name == "p1" else "aborted")
        assert log[-1].get("peer", "p1") == "p1"
    sessions = {name: {line["session"] for line in log[1:] if "session" in line} for name, log in lines.items()}
    assert sessions["p0"] == sessions["p1"]
    assert len(sessions["p0"]) == len(sessions["dealer"]) == 1
    for party in ("p0", "p1"):
        runs = [line["run"] for line in lines[party] if line["event"] == "executed" and line["procedure"] == "run"]
        assert runs == sorted(set(runs)) and len(runs) == 3
