"""Spans: one an execution with its phases, in the same trace at both parties; and nothing where nobody asks."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mpc_runtime.errors import InputError
from mpc_runtime.operation.traces import Traces, exporting
from tests.mpc_runtime.operation.watching import EVENTS, PLACE, RUN

pytest.importorskip("opentelemetry.sdk", reason="needs the extra `trace`")

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

ROOT = Path(__file__).parents[3]


def spans_of(machine: str, *events: object) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    traces = Traces(machine, exporter)
    for event in events:
        traces(replace(PLACE, machine=machine), event)  # type: ignore[arg-type]
    traces.close()
    return list(exporter.get_finished_spans())


def test_a_run_is_a_span_with_its_phases() -> None:
    by_name = {span.name: span for span in spans_of("p0", RUN)}
    assert by_name.keys() == {"run 7", "queue", "online"}
    run = by_name["run 7"]
    assert run.start_time == (10**9 * 10**9) - 750_000_000
    assert run.end_time == 10**9 * 10**9
    assert run.parent is None
    assert run.attributes is not None
    assert run.attributes["mpc.plan"] == PLACE.plan
    assert run.attributes["mpc.online_bytes"] == 1000
    for name, length in (("queue", 250_000_000), ("online", 500_000_000)):
        span = by_name[name]
        assert span.parent is not None and span.start_time is not None and span.end_time is not None
        assert span.parent.span_id == run.context.span_id
        assert span.end_time - span.start_time == length


def test_both_parties_give_a_run_one_trace_and_runs_have_different_ones() -> None:
    ids = {m: {span.context.trace_id for span in spans_of(m, RUN)} for m in ("p0", "p1")}
    assert ids["p0"] == ids["p1"]
    assert len(ids["p0"]) == 1
    assert {span.context.trace_id for span in spans_of("p0", replace(RUN, run=8))}.isdisjoint(ids["p0"])


def test_what_is_no_execution_leaves_no_span() -> None:
    names = {span.name for span in spans_of("p0", *EVENTS)}
    assert names == {"setup 0", "run 7", "run 8", "queue", "online", "deal"}


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Where traces are sent to: its URL, and what has arrived."""
    arrived: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", arrived
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_spans_reach_the_collector_that_was_asked_for() -> None:
    with collector() as (url, arrived):
        with exporting("p0", url) as traces:
            traces(PLACE, RUN)
        assert {path for path, _ in arrived} == {"/v1/traces"}
        sent = b"".join(data for _, data in arrived)
        assert b"run 7" in sent and PLACE.plan.encode() in sent


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InputError, match=r'pip install "mpc-runtime\[trace\]"'), exporting("p0", "http://localhost"):
        pass


def test_nothing_is_imported_unless_it_is_asked_for() -> None:
    code = "import sys, mpc_runtime.servers.process, compiler.cli.watching; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"opentelemetry", "prometheus_client"}
