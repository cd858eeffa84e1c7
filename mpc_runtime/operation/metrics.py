"""Events and state as Prometheus metrics.

What happens is counted when it is told, once an execution and never an element; what is (connections, memory) is looked
up when somebody asks. Series are labelled by plan. A session is no label of a counter, since a service has ever new
ones; `mpc_session_info` names the last one of each plan.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..version import VERSION
from .events import Aborted, Dealt, Event, Executed, Place, Refused
from .watch import Asked, State

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
        self._asked: dict[str, Asked] = {}
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
        registry.register(_Looked(lambda: self.states))

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

    def asked(self, plan: str, state: Asked) -> None:
        """Takes the way to ask for the state of a plan; that of a service itself has an empty name."""
        self._asked[plan] = state

    @property
    def states(self) -> Mapping[str, State]:
        """By plan, of those that are served."""
        found = {plan: asked() for plan, asked in list(self._asked.items())}
        return {plan: state for plan, state in found.items() if state is not None}

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

    def __init__(self, states: Callable[[], Mapping[str, State]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily("mpc_ready", "Whether it has met the others, and takes queries", labels=["plan"])
        peers = GaugeMetricFamily("mpc_peer_up", "Whether another server is there", labels=["plan", "peer"])
        material = GaugeMetricFamily("mpc_material_records", "Stored records that are left", labels=["plan"])
        memory = GaugeMetricFamily("mpc_plan_memory_bytes", "Resident, of a plan's process", labels=["plan"])
        place = ["plan", "door"]
        connections = GaugeMetricFamily("mpc_connections", "Connections taken", labels=place)
        strangers = GaugeMetricFamily("mpc_strangers", "Of them, those without a key", labels=place)
        waiting = GaugeMetricFamily("mpc_waiting_bytes", "Of messages not looked at", labels=place)
        refused = CounterMetricFamily("mpc_refused_connections", "Not taken, or ended", labels=[*place, "reason"])
        for plan, state in self._states().items():
            ready.add_metric([plan], state.ready and not state.trouble)
            memory.add_metric([plan], state.memory)
            for peer, up in state.peers.items():
                peers.add_metric([plan, peer], up)
            if state.material is not None:
                material.add_metric([plan], state.material)
            for name, door in state.doors.items():
                connections.add_metric([plan, name], door.connections)
                strangers.add_metric([plan, name], door.strangers)
                waiting.add_metric([plan, name], door.waiting_bytes)
                for reason, count in door.refused.items():
                    refused.add_metric([plan, name, reason], count)
        yield from (ready, peers, material, memory, connections, strangers, waiting, refused)
