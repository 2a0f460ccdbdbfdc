"""The runtime's own metrics, and the exposition of all metrics of all processes for Prometheus.

request ─▶ RequestMetrics ─▶ this worker's shared metrics ─┐
                         the other workers' shared metrics ─┴▶ exposition(folder) ─▶ text for Prometheus
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from infergraph.observe.shared_metrics import Bounds, Cells, Histogram, SeriesReading, Shape, SharedMetrics, read

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Bound: TypeAlias = tuple[Cells, Histogram, Histogram, Histogram]


class RequestMetrics:
    """Counts the requests of one worker. One per worker, used on its event loop only.

    Args:
        shared_metrics: where they are recorded.
        requests_limit: `on_limit` is called once, after this many requests; 0 for never.
        on_limit: called at the limit.
    """

    def __init__(
        self, shared_metrics: SharedMetrics, *, requests_limit: int = 0, on_limit: Callable[[], None] = lambda: None
    ) -> None:
        self._shared_metrics = shared_metrics
        self._limit = requests_limit
        self._on_limit = on_limit
        self._bound: dict[tuple[str, str, str, str], _Bound] = {}
        self._gauge = shared_metrics.live("infergraph_requests_in_flight", "Requests in progress.", {})
        self.in_flight = 0
        self.finished_count = 0

    def started(self) -> None:
        """Count a request that has arrived."""
        self.in_flight += 1
        self._gauge[0] = self.in_flight

    def finished(
        self,
        method: str,
        code: str,
        transport: str,
        seconds: float,
        request_bytes: int,
        response_bytes: int,
        protocol: str = "seldon",
    ) -> None:
        """Record the end of a request.

        Args:
            method: a value of `Method`, or the name of another route.
            code: the HTTP status, or the name of the gRPC status.
            transport: "rest" or "grpc".
            protocol: "seldon" or "v2".
            seconds: from the first byte of the request to its answer.
            request_bytes, response_bytes: sizes of the bodies.
        """
        self.in_flight -= 1
        self._gauge[0] = self.in_flight
        bound = self._bound.get((method, code, transport, protocol))
        if bound is None:
            bound = self._bind(method, code, transport, protocol)
        count, duration, asked, answered = bound
        count[0] += 1.0
        duration.observe(seconds)
        asked.observe(request_bytes)
        answered.observe(response_bytes)
        self.finished_count += 1
        if self.finished_count == self._limit:
            self._on_limit()

    def _bind(
        self, method: str, code: str, transport: str, protocol: str
    ) -> tuple[Cells, Histogram, Histogram, Histogram]:
        shared_metrics = self._shared_metrics
        labels = {"method": method, "protocol": protocol, "transport": transport}
        bound = (
            shared_metrics.counter("infergraph_requests", "Requests answered.", {**labels, "code": code}),
            shared_metrics.histogram(
                "infergraph_request_seconds", "Time to the answer of a request.", labels, Bounds.SECONDS
            ),
            shared_metrics.histogram("infergraph_request_bytes", "Size of request bodies.", labels, Bounds.BYTES),
            shared_metrics.histogram("infergraph_response_bytes", "Size of answers.", labels, Bounds.BYTES),
        )
        self._bound[method, code, transport, protocol] = bound
        return bound


CALLERS_LIMIT = 100
"""Callers that are counted by name in a worker; further ones are counted together."""

_OTHERS = "(others)"


class CallerMetrics:
    """Counts the requests of each caller, where callers are asked who they are."""

    def __init__(self, shared_metrics: SharedMetrics) -> None:
        self._shared_metrics = shared_metrics
        self._bound: dict[str, Cells] = {}

    def count(self, name: str) -> None:
        """Count a request of a caller."""
        cells = self._bound.get(name) or self._bind(name)
        cells[0] += 1.0

    def _bind(self, name: str) -> Cells:
        shared_metrics = self._shared_metrics
        label = name if len(self._bound) < CALLERS_LIMIT or name == _OTHERS else _OTHERS
        if label != name:
            return self._bound.get(_OTHERS) or self._bind(_OTHERS)
        help = "Requests of known callers, by the name of the key; those of further callers together."
        self._bound[name] = cells = shared_metrics.counter("infergraph_caller_requests", help, {"caller": label})
        return cells


class Family:
    """All series of one name and shape, merged over all metrics slots."""

    def __init__(self, first: SeriesReading) -> None:
        self.shape = first.series.shape
        self.name = first.series.name
        self.help = first.series.help
        self.bounds = Bounds[first.series.bounds].value
        self.rows: dict[tuple[tuple[str, str], ...], list[float]] = {}

    def join(self, reading: SeriesReading) -> None:
        """Add the values of one metrics slot."""
        values = reading.values
        if self.shape is Shape.LIVE and not reading.taken:
            values = [0.0]
        key = tuple(sorted(reading.series.labels.items()))
        row = self.rows.get(key)
        if row is None:
            self.rows[key] = values
        elif self.shape is Shape.GAUGE:
            self.rows[key] = max(row, values, key=lambda value_and_time: value_and_time[1])
        else:
            self.rows[key] = [ours + theirs for ours, theirs in zip(row, values, strict=True)]

    def sample_names(self) -> set[str]:
        """The names at the beginning of its lines."""
        if self.shape is Shape.COUNTER:
            return {self.name + "_total"}
        if self.shape is Shape.HISTOGRAM:
            return {self.name, self.name + "_bucket", self.name + "_sum", self.name + "_count"}
        return {self.name}

    def lines(self) -> Iterator[str]:
        """The family as text."""
        name = self.name + "_total" if self.shape is Shape.COUNTER else self.name
        kind = "gauge" if self.shape is Shape.LIVE else self.shape.value
        yield f"# HELP {name} {escape(self.help)}"
        yield f"# TYPE {name} {kind}"
        for labels, values in sorted(self.rows.items()):
            inner = ",".join(f'{label}="{escape(value, quote=True)}"' for label, value in labels)
            if self.shape is Shape.HISTOGRAM:
                yield from self._histogram(inner, values)
            else:
                yield f"{name}{{{inner}}} {number(values[0])}" if inner else f"{name} {number(values[0])}"

    def _histogram(self, inner: str, values: list[float]) -> Iterator[str]:
        before = inner + "," if inner else ""
        after = f"{{{inner}}}" if inner else ""
        total = 0.0
        for bound, count in zip((*self.bounds, math.inf), values[:-1], strict=True):
            total += count
            yield f'{self.name}_bucket{{{before}le="{number(bound)}"}} {number(total)}'
        yield f"{self.name}_count{after} {number(total)}"
        yield f"{self.name}_sum{after} {number(values[-1])}"


def exposition(folder: Path) -> tuple[bytes, str]:
    """All metrics of all workers, joined, and the content type.

    Promises: one family per name, its samples contiguous; counters never fall while the supervisor lives. A family
    whose samples would be mixed up with another's (a timer and a gauge of one name) gets its kind added to its name.
    """
    families: dict[tuple[str, str], Family] = {}
    for reading in read(folder):
        key = reading.series.name, reading.series.shape.value
        family = families.get(key)
        if family is None:
            family = families[key] = Family(reading)
        family.join(reading)
    claimed: set[str] = set()
    lines: list[str] = []
    for _, family in sorted(families.items()):
        while claimed & family.sample_names():
            family.name += "_" + family.shape.value
        claimed |= family.sample_names()
        lines += family.lines()
    return ("\n".join(lines) + "\n").encode() if lines else b"", CONTENT_TYPE


def escape(text: str, *, quote: bool = False) -> str:
    """Text, escaped for the exposition format."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def number(value: float) -> str:
    """A number in the exposition format."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
