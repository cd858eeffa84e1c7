"""`mpcc top` shows what servers say of themselves, and goes on when one does not answer."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from compiler.cli.top import rows_of, table, top
from mpc_runtime.errors import InputError
from mpc_runtime.operation.metrics import Metrics
from mpc_runtime.operation.reading import Reading, read
from mpc_runtime.operation.watch import State
from tests.mpc_runtime.operation.watching import EVENTS, PLACE, RUN, shown
from tests.terminal import free_port


@pytest.fixture
def endpoints() -> Iterator[list[str]]:
    """Of p0, which has done something, and of the dealer, which waits for it."""
    p0, dealer = Metrics("p0"), Metrics("dealer")
    p0.asked(PLACE.plan, lambda: State(True, {"p1": True}, material=950))
    dealer.asked("", lambda: State(False, {"p0": True, "p1": False}))
    for event in EVENTS:
        p0(PLACE, event)
    with ExitStack() as stack:
        yield [f"127.0.0.1:{stack.enter_context(shown(metrics)).port}" for metrics in (p0, dealer)]


def run(*words: str) -> Result:
    done = CliRunner().invoke(top, words, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done


def printed(readings: list[Reading], before: dict[str, Reading]) -> str:
    out = io.StringIO()
    Console(file=out, width=300).print(table(list(rows_of(readings, before, 2.0))))
    return out.getvalue()


def test_a_reading_has_what_was_told(endpoints: list[str]) -> None:
    done = run("--json", *endpoints)
    p0, dealer = json.loads(done.stdout)
    assert done.return_value == 1  # the dealer waits
    assert (p0["server"], p0["well"], p0["plan"], p0["session"]) == ("p0", True, PLACE.plan, "5e55")
    assert (p0["queries"], p0["rows"], p0["material"], p0["aborts"]) == (3, 24, 950, 1)
    assert (p0["queue"], p0["online"], p0["total"], p0["rate"]) == (0.25, 0.5, 0.75, None)
    assert (dealer["server"], dealer["well"], dealer["peers"]) == ("dealer", False, {"p0": True, "p1": False})
    assert p0["memory"] > 1 << 20
    assert run("--json", endpoints[0]).return_value == 0


def test_the_table_names_who_is_gone(endpoints: list[str]) -> None:
    text = printed([read(endpoint) for endpoint in endpoints], {})
    lines = text.splitlines()
    assert lines[1].startswith("p0 ok") and "digits:0123456789ab" in lines[1] and "250.0 ms" in lines[1]
    assert lines[2].startswith("dealer p1 gone")


def test_rates_and_latencies_are_those_since_the_last_reading() -> None:
    metrics = Metrics("p0")
    with shown(metrics) as endpoint:
        address = f"127.0.0.1:{endpoint.port}"
        metrics(PLACE, RUN)
        before = read(address)
        for _ in range(4):
            metrics(PLACE, replace(RUN, online=1.5, queued=0.0))
        while (after := read(address)).value("mpc_queries_total") == before.value("mpc_queries_total"):
            continue  # a text stays fresh for a moment
        (row,) = rows_of([after], {address: before}, 2.0)
        assert (row.rate, row.queue, row.online) == (6.0, 0.0, 1.5)
        (idle,) = rows_of([after], {address: after}, 2.0)
        assert (idle.rate, idle.online) == (0.0, (0.5 + 4 * 1.5) / 5)


def test_one_that_does_not_answer_is_a_line_of_its_own(endpoints: list[str]) -> None:
    gone = f"127.0.0.1:{free_port()}"
    readings = [read(endpoints[0]), read(gone)]
    assert f"{gone} connection refused" in printed(readings, {})
    assert "p0 ok" in printed(readings, {})


def test_endpoints_come_from_the_cluster(endpoints: list[str], tmp_path: Path) -> None:
    from mpc_runtime.deployment.cluster import write_cluster

    file = tmp_path / "cluster.toml"
    write_cluster(file, ("client",), free_port())
    with pytest.raises(InputError, match="lists no metrics"):
        run("--json", "--cluster", str(file))
    file.write_text(file.read_text().replace("[p0]\n", f'[p0]\nmetrics = "{endpoints[0]}"\n'))
    assert [row["server"] for row in json.loads(run("--json", "--cluster", str(file)).stdout)] == ["p0"]
    once = run("--once", "--cluster", str(file))
    assert once.return_value == 0 and "p0" in once.stdout
    assert "…" not in once.stdout and "material" in once.stdout, "it goes to no terminal, so nothing is cut off"
