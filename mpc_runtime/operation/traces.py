"""Runs as OpenTelemetry traces: a span an execution, and one of its phases below it.

Spans are made when an execution has ended, from the times that it reports, so there is nothing to be paid in between.
Both parties give a run the same trace, whose id they derive from session, plan and index. Needs the extra `trace`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import InputError
from ..version import VERSION
from .events import Dealt, Event, Executed, Place

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Traces", "exporting"]

NANOSECONDS = 10**9
EXPORT_SECONDS = 5.0  # for a collector to take what is sent to it


class Traces:
    """A watcher that makes spans for an exporter. It waits for nobody: what the exporter cannot take is dropped."""

    def __init__(self, machine: str, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        class Ids(RandomIdGenerator):
            """The trace of a run is not random."""

            trace = 0

            def generate_trace_id(self) -> int:
                return self.trace

        self._ids = Ids()
        resource = Resource({"service.name": f"mpc {machine}", "service.version": VERSION})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("mpc_runtime", VERSION)

    def __call__(self, place: Place, event: Event) -> None:
        if isinstance(event, Executed):
            began = event.ended - event.online
            phases = [("queue", began - event.queued, began), ("online", began, event.ended)]
            self._spans(place, event, event.procedure, event.run, phases)
        elif isinstance(event, Dealt):
            self._spans(place, event, event.procedure, event.run, [("deal", event.ended - event.seconds, event.ended)])

    def close(self) -> None:
        """Sends what is left, for a moment."""
        self._provider.force_flush(int(1000 * EXPORT_SECONDS))
        self._provider.shutdown()

    def _spans(
        self, place: Place, event: Event, procedure: str, run: int, phases: list[tuple[str, float, float]]
    ) -> None:
        from opentelemetry import context, trace

        self._ids.trace = trace_id(place, procedure, run)
        attributes = {"mpc.plan": place.plan, "mpc.session": place.session, "mpc.machine": place.machine}
        attributes |= {f"mpc.{name}": value for name, value in event.facts().items()}
        whole = self._tracer.start_span(
            f"{procedure} {run}", context.Context(), attributes=attributes, start_time=_nanoseconds(phases[0][1])
        )
        inside = trace.set_span_in_context(whole, context.Context())
        for name, start, end in phases:
            self._tracer.start_span(name, inside, start_time=_nanoseconds(start)).end(_nanoseconds(end))
        whole.end(_nanoseconds(phases[-1][2]))


@contextmanager
def exporting(machine: str, url: str) -> Iterator[Traces]:
    """Traces that go to the collector at this URL (OTLP over HTTP); InputError without the extra."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise InputError('--trace needs OpenTelemetry: pip install "mpc-runtime[trace]"') from None
    traces = Traces(machine, OTLPSpanExporter(f"{url.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS))
    try:
        yield traces
    finally:
        traces.close()


def trace_id(place: Place, procedure: str, run: int) -> int:
    """The same at both parties, whatever each calls the plan: its hash counts."""
    text = "\0".join((place.plan.rpartition(":")[2], place.session, procedure, str(run)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def _nanoseconds(seconds: float) -> int:
    return int(seconds * NANOSECONDS)
