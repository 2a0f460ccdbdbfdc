"""A unit around a unit that measures how long it takes to answer."""

from __future__ import annotations

from contextlib import aclosing
from time import perf_counter

from infergraph.message import Answers, Around, Context, Message, Method, PredictiveUnit, Request
from infergraph.observe.node_times import record_node_time
from infergraph.observe.shared_metrics import Bounds, Cells, Histogram, SharedMetrics
from infergraph.runner import Runner


class Measured(Around):
    """`unit`, with the seconds of each answer in `infergraph_unit_seconds` and its state in `infergraph_unit_loaded`.

    Requests that raise a fault are counted in `infergraph_unit_faults`.

    Args:
        unit: the wrapped unit; its name is the label `unit`.
        shared_metrics: where the metrics are recorded.
        is_node: whether its time is one of the node times of a request; that of a whole graph is not.
    """

    def __init__(self, unit: PredictiveUnit, shared_metrics: SharedMetrics, *, is_node: bool = True) -> None:
        super().__init__(unit)
        self._is_node = is_node
        self._shared_metrics = shared_metrics
        self._seconds: dict[Method, Histogram] = {}
        self._faults: dict[Method, Cells] = {}
        self._loaded: Cells | None = None

    async def start(self) -> None:
        """Start the unit, and record that it is loaded."""
        loaded = self._shared_metrics.live(
            "infergraph_unit_loaded", "Workers that have the unit loaded.", {"unit": self.name}
        )
        await self.unit.start()
        loaded[0] += 1.0  # another unit of this name may be loaded, which this one is going to replace
        self._loaded = loaded

    async def stop(self) -> None:
        """Record that it is no longer loaded, and stop the unit. Idempotent."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded[0] -= 1.0
        await self.unit.stop()

    def runner(self, method: Method) -> Runner | None:
        """The unit's."""
        return self.unit.runner(method)

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The unit's answer, timed whether it succeeds or not."""
        begin = perf_counter()
        try:
            return await self.unit.answer(method, request, context)
        except Exception:
            self._count_fault(method)
            raise
        finally:
            seconds = self._seconds.get(method)
            if seconds is None:
                seconds = self._bind(method)
            elapsed = perf_counter() - begin
            seconds.observe(elapsed)
            if self._is_node:
                record_node_time(self.name, elapsed)

    async def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The unit's answers, timed as one: the time that it took, without that of who reads them."""
        seconds, failure = 0.0, None
        try:
            async with aclosing(self.unit.stream(method, request, context)) as answers:
                while True:
                    begin = perf_counter()
                    try:
                        answer = await anext(answers, None)
                    finally:
                        seconds += perf_counter() - begin
                    if answer is None:
                        return
                    yield answer
        except GeneratorExit:  # the reader has enough
            raise
        except BaseException as error:
            failure = error
            raise
        finally:
            self._account(method, context, seconds, failure)

    def _account(self, method: Method, context: Context, seconds: float, failure: BaseException | None) -> None:
        """Count a stream that is over."""
        if isinstance(failure, Exception):
            self._count_fault(method)
        (self._seconds.get(method) or self._bind(method)).observe(seconds)
        if self._is_node:
            record_node_time(self.name, seconds)

    def _bind(self, method: Method) -> Histogram:
        labels = {"unit": self.name, "method": method.value}
        seconds = self._shared_metrics.histogram(
            "infergraph_unit_seconds", "Time to the answer of a unit.", labels, Bounds.SECONDS
        )
        self._seconds[method] = seconds
        return seconds

    def _count_fault(self, method: Method) -> None:
        faults = self._faults.get(method)
        if faults is None:
            labels = {"unit": self.name, "method": method.value}
            faults = self._shared_metrics.counter("infergraph_unit_faults", "Requests a unit could not answer.", labels)
            self._faults[method] = faults
        faults[0] += 1.0
