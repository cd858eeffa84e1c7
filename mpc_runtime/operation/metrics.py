"""Events and state as Prometheus metrics.

What happens is counted when it is told, once an execution and never an element; what is (connections, memory) is looked
up when somebody asks. Series are labelled by plan. A session is no label of a counter, since a service has ever new
ones; `mpc_session_info` names the last one of each plan.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..version import VERSION
from .events import Aborted, Dealt, Event, Executed, Place, Refused
from .watch import State

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
PHASES = ("queue", "online", "offline", "total")
FRESH_SECONDS = 0.2  # a text is given to all who ask within this time: asking often costs no more


class Metrics:
    """A watcher with a registry of its own. `text` is what Prometheus reads."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._text, self._made = b"", 0.0
        self._state: Callable[[], State] = State
        registry = self._registry
        self._queries = Counter("mpc_queries", "Queries answered", ["plan"], registry=registry)
        self._executions = Counter("mpc_executions", "Executions", ["plan", "procedure"], registry=registry)
        self._seconds = Histogram(
            "mpc_latency_seconds",
            "Of a run: waiting for its turn, computing, its material, from arrival to answer",
            ["plan", "phase"],
            buckets=LATENCIES,
            registry=registry,
        )
        self._rows = Histogram("mpc_batch_rows", "Rows of a run", ["plan"], buckets=ROWS, registry=registry)
        self._bytes = Counter("mpc_bytes", "Sent to or dealt by servers", ["plan", "phase"], registry=registry)
        self._records = Counter("mpc_dealt_records", "Records dealt", ["plan", "procedure"], registry=registry)
        self._ahead = Gauge("mpc_dealt_ahead", "Records that parties have not used", ["plan"], registry=registry)
        self._aborts = Counter("mpc_aborts", "Aborted, by whose fault", ["plan", "peer"], registry=registry)
        self._refused = Counter("mpc_refused_submissions", "Refused or unused", ["plan", "role"], registry=registry)
        self._session = Gauge("mpc_session_info", "The last session of a plan", ["plan", "session"], registry=registry)
        self._sessions: dict[str, str] = {}
        build = Gauge("mpc_build_info", "This server", ["machine", "version"], registry=registry)
        build.labels(machine, VERSION).set(1)
        ProcessCollector(registry=registry)
        registry.register(_Looked(lambda: self._state()))

    def __call__(self, place: Place, event: Event) -> None:
        if place.session:
            self._note_session(place)
        if isinstance(event, Executed):
            self._executed(place.plan, event)
        elif isinstance(event, Dealt):
            self._records.labels(place.plan, event.procedure).inc()
            self._bytes.labels(place.plan, "offline").inc(event.bytes)
            self._ahead.labels(place.plan).set(event.ahead)
        elif isinstance(event, Refused):
            self._refused.labels(place.plan, event.role).inc()
        elif isinstance(event, Aborted):
            self._aborts.labels(place.plan, event.peer or place.machine).inc()

    def asked(self, state: Callable[[], State]) -> None:
        """Takes the server's way to say its state."""
        self._state = state

    @property
    def state(self) -> State:
        return self._state()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        with self._lock:
            now = time.monotonic()
            if not self._text or now - self._made > FRESH_SECONDS:
                self._text, self._made = generate_latest(self._registry), now
            return self._text

    def _executed(self, plan: str, event: Executed) -> None:
        self._executions.labels(plan, event.procedure).inc()
        self._bytes.labels(plan, "online").inc(event.online_bytes)
        self._bytes.labels(plan, "offline").inc(event.offline_bytes)
        if event.standing:
            return
        self._queries.labels(plan).inc(event.queries)
        self._rows.labels(plan).observe(event.rows)
        spent = event.queued, event.online, event.offline, event.seconds
        for phase, seconds in zip(PHASES, spent, strict=True):
            self._seconds.labels(plan, phase).observe(seconds)

    def _note_session(self, place: Place) -> None:
        last = self._sessions.get(place.plan)
        if last != place.session:
            if last is not None:
                self._session.remove(place.plan, last)
            self._sessions[place.plan] = place.session
            self._session.labels(place.plan, place.session).set(1)


class _Looked(Collector):
    """What is looked up when it is asked for."""

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        yield GaugeMetricFamily("mpc_ready", "Whether the server has met the others", value=state.ready)
        peers = GaugeMetricFamily("mpc_peer_up", "Whether another server is there", labels=["peer"])
        for peer, up in state.peers.items():
            peers.add_metric([peer], up)
        yield peers
        material = GaugeMetricFamily("mpc_material_records", "Stored records that are left", labels=["plan"])
        for plan, left in state.material.items():
            material.add_metric([plan], left)
        yield material
        connections = GaugeMetricFamily("mpc_connections", "Connections taken", labels=["door"])
        strangers = GaugeMetricFamily("mpc_strangers", "Of them, those without a key", labels=["door"])
        waiting = GaugeMetricFamily("mpc_waiting_bytes", "Of messages not looked at", labels=["door"])
        refused = CounterMetricFamily("mpc_refused_connections", "Not taken, or ended", labels=["door", "reason"])
        for name, door in state.doors.items():
            connections.add_metric([name], door.connections)
            strangers.add_metric([name], door.strangers)
            waiting.add_metric([name], door.waiting_bytes)
            for reason, count in door.refused.items():
                refused.add_metric([name, reason], count)
        yield from (connections, strangers, waiting, refused)
