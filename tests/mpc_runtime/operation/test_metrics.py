"""What Prometheus reads is what was told, by its own parser, and what the server says of itself when asked."""

from __future__ import annotations

import json
import os
import resource
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mpc_runtime.operation import metrics as metrics_module
from mpc_runtime.operation.events import Place, Ready
from mpc_runtime.operation.metrics import PHASES, Metrics
from mpc_runtime.operation.watch import NOBODY, Door, State, Watch
from mpc_runtime.version import VERSION
from tests.mpc_runtime.operation.watching import EVENTS, PLACE, RUN, asked, shown

PLAN = {"plan": PLACE.plan}
STATE = State(
    ready=True,
    peers={"p1": True, "dealer": False},
    doors={"clients": Door(5, 2, 640, {"key": 3, "quota": 1})},
    material=950,
    memory=70 << 20,
)


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics("p0")
    metrics.asked(PLACE.plan, lambda: STATE)
    for event in EVENTS:
        metrics(PLACE, event)
    metrics(PLACE, RUN)
    return metrics


def test_what_was_told_is_counted(metrics: Metrics) -> None:
    found = samples(metrics)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert value("mpc_queries_total", **PLAN) == 6
    assert value("mpc_executions_total", **PLAN, procedure="run") == 2
    assert value("mpc_executions_total", **PLAN, procedure="setup") == 1
    assert value("mpc_bytes_total", **PLAN, phase="online") == 2010
    assert value("mpc_bytes_total", **PLAN, phase="offline") == 9020
    assert value("mpc_batch_rows_sum", **PLAN) == 48
    sums = {phase: value("mpc_latency_seconds_sum", **PLAN, phase=phase) for phase in PHASES}
    assert sums == {"queue": 0.5, "online": 1.0, "offline": 4.0, "total": 1.5}
    assert value("mpc_latency_seconds_bucket", **PLAN, phase="queue", le="0.25") == 2
    assert value("mpc_latency_seconds_bucket", **PLAN, phase="queue", le="0.1") == 0
    assert value("mpc_aborts_total", **PLAN, peer="p1") == 1
    assert value("mpc_refused_submissions_total", **PLAN, role="client") == 1
    assert value("mpc_dealt_records_total", **PLAN, procedure="run") == 1
    assert value("mpc_dealt_ahead", **PLAN) == 4
    assert value("mpc_build_info", machine="p0", version=VERSION) == 1


def test_what_is_there_is_looked_up_when_asked(metrics: Metrics) -> None:
    found = samples(metrics)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset({**labels, **PLAN}.items())]

    assert value("mpc_ready") == 1
    assert (value("mpc_peer_up", peer="p1"), value("mpc_peer_up", peer="dealer")) == (1, 0)
    assert value("mpc_material_records") == 950
    assert value("mpc_plan_memory_bytes") == 70 << 20
    assert value("mpc_refused_connections_total", door="clients", reason="key") == 3
    assert value("mpc_strangers", door="clients") == 2
    resident = found["process_resident_memory_bytes", frozenset()]
    assert 1 << 20 < resident <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    assert 0 < found["process_open_fds", frozenset()] <= os.sysconf("SC_OPEN_MAX")


def test_sessions_do_not_grow_the_number_of_series(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "FRESH_SECONDS", -1.0)
    before = samples(metrics).keys()
    for number in range(100):
        metrics(Place(PLACE.machine, PLACE.plan, f"{number}"), Ready())
    after = samples(metrics).keys()
    assert {key for key in after ^ before if key[0] != "mpc_session_info"} == set()
    assert [labels for name, labels in after if name == "mpc_session_info"] == [
        frozenset({("plan", PLACE.plan), ("session", "99")})
    ]


def test_health_is_well_when_all_are_there(metrics: Metrics) -> None:
    there = State(True, {"p1": True})
    with shown(metrics) as endpoint:
        for state, status in ((STATE, 503), (there, 200), (replace(there, trouble="no disk"), 503), (State(), 503)):
            metrics.asked(PLACE.plan, lambda state=state: state)  # type: ignore[misc]
            assert asked(endpoint.port, "/health")[0] == status
        metrics.asked(PLACE.plan, lambda: there)
        plan = {"well": True, "ready": True, "peers": {"p1": True}}
        assert json.loads(asked(endpoint.port, "/health")[1]) == {"machine": "p0", **plan, "plans": {PLACE.plan: plan}}


def test_a_service_is_well_while_it_can_serve_one_of_its_plans_or_has_none() -> None:
    metrics = Metrics("p0")
    with shown(metrics) as endpoint:
        assert asked(endpoint.port, "/health")[0] == 503  # it does not listen yet
        metrics.asked("", lambda: State(True))
        assert asked(endpoint.port, "/health")[0] == 200
        states: dict[str, State | None] = {
            "one:0123": State(False, {"p1": False}),
            "two:4567": State(True, {"p1": True}),
        }
        for plan in states:
            metrics.asked(plan, lambda plan=plan: states[plan])  # type: ignore[misc]
        assert asked(endpoint.port, "/health")[0] == 200
        states["two:4567"] = None  # not served any more
        status, text = asked(endpoint.port, "/health")
        assert (status, list(json.loads(text)["plans"])) == (503, ["one:0123"])


def test_a_watch_tells_all_who_listen_from_where_it_is() -> None:
    heard: list[tuple[Place, object]] = []
    watch = Watch(Place("p1")).also(lambda place, event: heard.append((place, event)))
    watch.at("digits", "ab" * 32, "5e55").tell(Ready())
    NOBODY.tell(Ready())
    assert heard == [(Place("p1", "digits:abababababab", "5e55"), Ready())]
