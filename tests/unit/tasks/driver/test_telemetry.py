"""Spans and figures of tasks."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from infergraph.observe.tracing import TracingOptions
from infergraph.tasks.driver.chunks import Chunk
from infergraph.tasks.driver.telemetry import Telemetry
from infergraph.tasks.engines.messages import Answer, Key
from infergraph.tasks.task import State, Task, Watermark

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CHUNK = Chunk(0, 100, 1, 20)


class House:
    """Telemetry into memory."""

    def __init__(self) -> None:
        self._spans, self._figures = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.telemetry = Telemetry(tracers, MeterProvider([self._figures], shutdown_on_exit=False), lambda: 1000.0)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def figure(self, name: str) -> dict[str, float]:
        """The values of a counter, by its only attribute."""
        data = self._figures.get_metrics_data()
        assert data is not None
        metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        points: Any = [point for metric in metrics if metric.name == name for point in metric.data.data_points]
        return {"".join(map(str, point.attributes.values())): point.value for point in points}


def task(**more: Any) -> Task:
    """A task with twenty lines."""
    values = dict.fromkeys(Task.__struct_fields__, 0) | {"id": "t", "rows": "object", "state": State.RUNNING}
    return Task(**{**values, "total": 20, "attempts": 1, "traceparent": "", **more})  # type: ignore[arg-type]


def answer(failed: int) -> Answer:
    """The answer to the chunk, half a second of work."""
    errors = b"".join(b"line %d\n" % line for line in range(failed))
    return Answer(Key(7, 1), b"", errors, failed, 0.5)


def test_chunks_stand_below_their_task_in_the_callers_trace() -> None:
    """Each with its time; the first failed rows are events, the count is exact."""
    house = House()
    house.telemetry.began(7, task(traceparent=CALLER))
    house.telemetry.chunk(7, CHUNK, answer(12), lambda line: line.decode().upper())
    house.telemetry.ended(7, State.FINISHED, Watermark(in_off=1, out_off=1, err_off=1, done=20, failed=12), "")
    house.telemetry.released(7)
    chunk, whole = house.spans
    assert (chunk.name, whole.name) == ("chunk", "task")
    assert f"{whole.context.trace_id:032x}" == CALLER.split("-")[1]
    assert whole.parent is not None
    assert f"{whole.parent.span_id:016x}" == CALLER.split("-")[2]
    assert chunk.parent == whole.context
    assert (chunk.end_time, chunk.end_time - chunk.start_time) == (1000 * 10**9, 5 * 10**8)  # type: ignore[operator]
    assert dict(chunk.attributes or {}) == {
        "infergraph.chunk.line": 1,
        "infergraph.chunk.lines": 20,
        "infergraph.chunk.failed": 12,
    }
    reasons = [(event.attributes or {})["infergraph.reason"] for event in chunk.events]
    assert reasons == [f"LINE {number}" for number in range(8)]
    assert (whole.attributes or {})["infergraph.task.failed"] == 12
    assert house.figure("infergraph.task.rows") == {"answered": 8, "failed": 12}
    assert house.figure("infergraph.task.ends") == {"finished": 1}


def test_failures_are_errors() -> None:
    """A task that fails, and a chunk whose worker dies, have the status of an error, with the reason."""
    house = House()
    house.telemetry.began(7, task())
    house.telemetry.died(7, CHUNK, "was killed")
    house.telemetry.ended(7, State.FAILED, Watermark(in_off=0, out_off=0, err_off=0, done=0, failed=0), "no unit")
    house.telemetry.released(7)
    chunk, whole = house.spans
    assert (chunk.status.status_code, chunk.status.description) == (StatusCode.ERROR, "the worker was killed")
    assert (whole.status.status_code, whole.status.description, whole.parent) == (StatusCode.ERROR, "no unit", None)
    assert house.figure("infergraph.task.worker.deaths") == {"": 1}


def test_an_attempt_that_is_let_go_has_a_span() -> None:
    """The next driver begins another one; what comes late stands alone."""
    house = House()
    house.telemetry.began(7, task())
    house.telemetry.released(7)
    house.telemetry.released(7)
    house.telemetry.chunk(7, CHUNK, answer(0), bytes.decode)
    assert [(span.name, span.parent) for span in house.spans] == [("task", None), ("chunk", None)]


@pytest.mark.parametrize(
    ("endpoint", "environment", "address"),
    [
        ("http://c:4318/v1/traces", {}, "http://c:4318/v1/metrics"),
        ("http://c/traces", {}, ""),
        ("", {}, ""),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, None),
        ("http://c/traces", {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c/m"}, None),
    ],
)
def test_where_figures_go(endpoint: str, environment: dict[str, str], address: str | None) -> None:
    """To the collector of the traces if its path is OTLP's, else where OpenTelemetry's variables say, else nowhere."""
    assert TracingOptions(service="s", endpoint=endpoint).metrics_address(environment) == address
