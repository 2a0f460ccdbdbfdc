"""Spans and OTLP figures of tasks: a span for each attempt, below it one for each chunk, with its failed rows.

    traceparent of the submission ─▶ task ─▶ chunk, chunk …  ─▶ the collector
                                     rows, chunk seconds, ends ─▶

The driver has one of these where tracing is on, and nothing of OpenTelemetry where it is off.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from infergraph.observe.tracing import FLUSH_S, TracingOptions, check_packages, meter_provider_for, provider_for
from infergraph.tasks.driver.chunks import Chunk
from infergraph.tasks.engines.messages import Answer
from infergraph.tasks.task import State, Task, Watermark

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

_NAME = "infergraph.tasks"
_ROWS_TOLD = 8
"""Of a chunk, so many failed rows are events of its span: a million of them would be no trace."""
_REASON_CHARACTERS = 300
_NS = 1_000_000_000


class Telemetry:
    """Tells of attempts; used by the driver's thread.

    Args:
        wall: Unix seconds.
    """

    def __init__(self, tracers: TracerProvider, meters: MeterProvider, wall: Callable[[], float]) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        self._tracers, self._meters = tracers, meters
        self._tracer = tracers.get_tracer(_NAME)
        self._wall = wall
        self._spans: dict[int, Span] = {}
        meter = meters.get_meter(_NAME)
        self._rows = meter.create_counter("infergraph.task.rows", "{row}", "Rows answered, by outcome.")
        self._ends = meter.create_counter("infergraph.task.ends", "{task}", "Tasks ended, by state.")
        self._deaths = meter.create_counter("infergraph.task.worker.deaths", "{death}", "Workers that died on a chunk.")
        self._seconds = meter.create_histogram("infergraph.task.chunk.duration", "s", "How long a chunk took.")

    @classmethod
    def start(cls, options: TracingOptions, wall: Callable[[], float]) -> Telemetry:
        """Telemetry to the collector that the options name. Raises: MissingExtra."""
        check_packages()
        return cls(provider_for(options), meter_provider_for(options), wall)

    def stop(self) -> None:
        """Send what is left, for at most FLUSH_S seconds."""

        def shut_down() -> None:
            for provider in (self._tracers, self._meters):
                provider.shutdown()  # type: ignore[union-attr]

        # A daemon thread, since the exporters wait longer for a collector that is down than we do.
        thread = threading.Thread(target=shut_down, daemon=True, name="telemetry-shutdown")
        thread.start()
        thread.join(FLUSH_S)

    def began(self, number: int, task: Task) -> None:
        """An attempt has begun."""
        carrier = {"traceparent": task.traceparent} if task.traceparent else {}
        self._spans[number] = self._tracer.start_span(
            "task",
            self._propagator.extract(carrier),
            kind=self._trace.SpanKind.CONSUMER,
            attributes={
                "infergraph.task.id": task.id,
                "infergraph.task.rows": task.rows,
                "infergraph.task.total": task.total,
                "infergraph.task.resumed_at": task.done,
                "infergraph.task.attempt": task.attempts,
            },
            start_time=self._now(),
        )

    def chunk(self, number: int, chunk: Chunk, answer: Answer, told: Callable[[bytes], str]) -> None:
        """A chunk was answered.

        Args:
            told: an error line for people.
        """
        self._seconds.record(answer.seconds)
        self._rows.add(chunk.lines - answer.failed, {"outcome": "answered"})
        if answer.failed:
            self._rows.add(answer.failed, {"outcome": "failed"})
        now = self._now()
        span = self._of_chunk(number, chunk, now - int(answer.seconds * _NS))
        if answer.failed:
            span.set_attribute("infergraph.chunk.failed", answer.failed)
            for line in answer.errors.split(b"\n", _ROWS_TOLD)[: min(_ROWS_TOLD, answer.failed)]:
                span.add_event("row failed", {"infergraph.reason": told(line)[:_REASON_CHARACTERS]}, now)
        span.end(now)

    def died(self, number: int, chunk: Chunk, why: str) -> None:
        """A worker died on a chunk."""
        self._deaths.add(1)
        now = self._now()
        span = self._of_chunk(number, chunk, now)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, f"the worker {why}"))
        span.end(now)

    def _of_chunk(self, number: int, chunk: Chunk, start: int) -> Span:
        parent = self._spans.get(number)
        context = None if parent is None else self._trace.set_span_in_context(parent)
        attributes = {"infergraph.chunk.line": chunk.line, "infergraph.chunk.lines": chunk.lines}
        return self._tracer.start_span("chunk", context, attributes=attributes, start_time=start)

    def ended(self, number: int, state: State, mark: Watermark, error: str) -> None:
        """A task has ended with this attempt."""
        self._ends.add(1, {"state": state.value})
        span = self._spans.get(number)
        if span is None:
            return
        span.set_attributes(
            {
                "infergraph.task.state": state.value,
                "infergraph.task.done": mark.done,
                "infergraph.task.failed": mark.failed,
            }
        )
        if state is State.FAILED:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, error[:_REASON_CHARACTERS]))

    def released(self, number: int) -> None:
        """An attempt is over, whether or not its task is."""
        span = self._spans.pop(number, None)
        if span is not None:
            span.end(self._now())

    def _now(self) -> int:
        return int(self._wall() * _NS)
