"""The metrics of Seldon's orchestrator, with its names and labels, for graphs.

    request ─▶ graph ─▶ ServerMetrics     seldon_api_executor_server_requests_seconds
                 └▶ MeasuredNode ─▶ unit  seldon_api_executor_client_requests_seconds

Its summaries are omitted: quantiles of several workers cannot be merged.
Source: the orchestrator specification, section 25.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from time import perf_counter
from typing import Any, TypeVar

import msgspec

from infergraph.errors import DeadlinePassed, Fault, RemoteError
from infergraph.local import LocalCalls
from infergraph.message import Around, Context, Message, Method, PredictiveUnit, Request, Transport
from infergraph.observe.measured import Measured
from infergraph.observe.node_times import collect_node_times, record_node_time
from infergraph.observe.shared_metrics import Bounds, Histogram, SharedMetrics
from infergraph.protocol import services
from infergraph.protocol.paths import HEALTH, METADATA
from infergraph.protocol.status import GRPC_NAMES, GrpcStatus, grpc_status, http_status
from infergraph.runner import Runner

T = TypeVar("T")

_SERVER_SERVICES = {Method.PREDICT: "predictions", Method.SEND_FEEDBACK: "feedback"}
_SERVER_CALLS = {method: services.path(call) for method, call in services.CLIENT_CALLS.items()}
_NODE_CALLS = {method: services.path(call) for method, call in services.NODE_CALLS.items()}
_NODE_METADATA = services.path(services.NODE_METADATA)


class Spot(msgspec.Struct, frozen=True):
    """The part of a deployment that a metric belongs to.

    Args:
        model, image, version: a node's name, its container image and that image's version; empty for a whole graph.
    """

    deployment: str
    predictor: str
    predictor_version: str = ""
    model: str = ""
    image: str = ""
    version: str = ""


def code_of(error: Exception, *, grpc: bool) -> str:
    """The edge's status for an error of a graph: HTTP status, or name of the gRPC status."""
    if grpc:
        code = grpc_status(error) if isinstance(error, Fault) else GrpcStatus.INTERNAL
        return GRPC_NAMES.get(code, str(code))
    return str(http_status(error) if isinstance(error, Fault) else 500)


def _was_answered(error: Exception) -> bool:
    """Whether a node's fault is an answer of that node; calls without an answer are not counted."""
    if isinstance(error, RemoteError) and error.status is None and error.grpc_code is None:
        return False
    return not isinstance(error, Fault) or error.reason != DeadlinePassed.reason


class ServerMetrics:
    """The external requests to a predictor's graph, in `seldon_api_executor_server_requests_seconds`."""

    def __init__(self, shared_metrics: SharedMetrics, spot: Spot) -> None:
        self._shared_metrics = shared_metrics
        self._spot = spot
        self._rest: dict[Method, Histogram] = {}
        self._grpc: dict[Method, Histogram] = {}
        self._bound: dict[tuple[str, str, str], Histogram] = {}

    def answered(self, method: Method, transport: Transport, seconds: float) -> None:
        """Record an answer of the graph."""
        grpc = transport is Transport.GRPC
        histogram = (self._grpc if grpc else self._rest).get(method)
        if histogram is None:
            histogram = self._asked(method, grpc, "OK" if grpc else "200")
            (self._grpc if grpc else self._rest)[method] = histogram
        histogram.observe(seconds)

    def failed(self, method: Method, transport: Transport, error: Exception, seconds: float) -> None:
        """Record a fault of the graph."""
        grpc = transport is Transport.GRPC
        self._asked(method, grpc, code_of(error, grpc=grpc)).observe(seconds)

    async def got(self, service: str, asked: Awaitable[T]) -> T:
        """Count a GET of `status` or `metadata`."""
        begin = perf_counter()
        try:
            told = await asked
        except Exception as error:
            self._histogram(service, "get", code_of(error, grpc=False)).observe(perf_counter() - begin)
            raise
        self._histogram(service, "get", "200").observe(perf_counter() - begin)
        return told

    def _asked(self, method: Method, grpc: bool, code: str) -> Histogram:
        if grpc:
            return self._histogram(_SERVER_CALLS[method], "unary", code)
        return self._histogram(_SERVER_SERVICES.get(method, method.value), "post", code)

    def _histogram(self, service: str, verb: str, code: str) -> Histogram:
        key = service, verb, code
        if key not in self._bound:
            labels = {
                "deployment_name": self._spot.deployment,
                "predictor_name": self._spot.predictor,
                "predictor_version": self._spot.predictor_version,
                "service": service,
                "method": verb,
                "code": code,
            }
            self._bound[key] = self._shared_metrics.histogram(
                "seldon_api_executor_server_requests_seconds",
                "A histogram of latencies for executor server",
                labels,
                Bounds.ORCHESTRATOR,
            )
        return self._bound[key]


class MeasuredGraph(LocalCalls, Around):
    """A unit around a graph that counts its requests, under the metric names of Seldon's orchestrator.

    Cancelled requests, which have no answer, are not counted.

    Args:
        collects: whether node times are collected for the access log.
    """

    def __init__(self, graph: PredictiveUnit, metrics: ServerMetrics, *, collects: bool) -> None:
        LocalCalls.__init__(self)
        Around.__init__(self, graph)
        self._metrics = metrics
        self._collects = collects

    async def start(self) -> None:
        """Start the graph."""
        await self.unit.start()
        self._lives(here=True)

    async def stop(self) -> None:
        """Stop the graph."""
        await self.unit.stop()
        self._lives(here=False)

    def runner(self, method: Method) -> Runner | None:
        """The graph's."""
        return self.unit.runner(method)

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The graph's answer, counted."""
        begin = perf_counter()
        if self._collects:
            collect_node_times()
        try:
            answer = await self.unit.answer(method, request, context)
        except Exception as error:
            self._metrics.failed(method, context.transport, error, perf_counter() - begin)
            raise
        self._metrics.answered(method, context.transport, perf_counter() - begin)
        return answer

    async def status(self, node: str, context: Context) -> Message:
        """The health of one node, counted."""
        return await self._metrics.got("status", self.unit.status(node, context))

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The metadata of the graph or of one node; counted as a GET over any transport."""
        return await self._metrics.got("metadata", self.unit.metadata(node, context))


class MeasuredNode(Measured):
    """A unit around a node's unit, timed for our own metrics and for `seldon_api_executor_client_requests_seconds`.

    Calls without an answer (unreachable, timed out, cancelled) are not in the latter, as in the reference.

    Args:
        paths: the REST path of each method of such a node: the label `service`.
        speaks: the transport of the node; None for that of the request, also for nodes in this process.
        gets: the REST paths of its health and its metadata.
        calls: the gRPC path of each method.
        tells: the gRPC path of its metadata.
    """

    def __init__(
        self,
        unit: PredictiveUnit,
        shared_metrics: SharedMetrics,
        spot: Spot,
        paths: Mapping[Method, str],
        speaks: Transport | None = None,
        gets: tuple[str, str] = (HEALTH, METADATA),
        calls: Mapping[Method, str] = _NODE_CALLS,
        tells: str = _NODE_METADATA,
    ) -> None:
        super().__init__(unit, shared_metrics)
        self._gets = gets
        self._calls = calls
        self._tells = tells
        self._spot = spot
        self._paths = paths
        self._speaks = speaks
        self._rest: dict[Method, tuple[Histogram, Histogram]] = {}
        self._grpc: dict[Method, tuple[Histogram, Histogram]] = {}
        self._by_code: dict[tuple[str, str, str], Histogram] = {}

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The unit's answer, timed whether it succeeds or not."""
        begin = perf_counter()
        grpc = (self._speaks or context.transport) is Transport.GRPC
        try:
            answer = await self.unit.answer(method, request, context)
        except BaseException as error:
            self._failed(method, grpc, error, perf_counter() - begin)
            raise
        pair = (self._grpc if grpc else self._rest).get(method)
        if pair is None:
            pair = self._pair(method, grpc)
        seconds = perf_counter() - begin
        pair[0].observe(seconds)
        pair[1].observe(seconds)
        record_node_time(self.name, seconds)
        return answer

    def _account(self, method: Method, context: Context, seconds: float, failure: BaseException | None) -> None:
        """Count a stream that is over."""
        grpc = (self._speaks or context.transport) is Transport.GRPC
        if failure is not None:
            self._failed(method, grpc, failure, seconds)
            return
        for histogram in (self._grpc if grpc else self._rest).get(method) or self._pair(method, grpc):
            histogram.observe(seconds)
        record_node_time(self.name, seconds)

    async def health(self, context: Context) -> Message:
        """The unit's health, counted."""
        return await self._got((self._gets[0], "get"), False, self.unit.health(context))

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The unit's metadata, counted."""
        grpc = self._speaks is Transport.GRPC
        service = (self._tells, "unary") if grpc else (self._gets[1], "get")
        return await self._got(service, grpc, self.unit.metadata(node, context))

    async def _got(self, service: tuple[str, str], grpc: bool, asked: Awaitable[T]) -> T:
        begin = perf_counter()
        try:
            told = await asked
        except Exception as error:
            if _was_answered(error):
                self._histogram(*service, code_of(error, grpc=grpc)).observe(perf_counter() - begin)
            raise
        self._histogram(*service, "OK" if grpc else "200").observe(perf_counter() - begin)
        return told

    def _pair(self, method: Method, grpc: bool) -> tuple[Histogram, Histogram]:
        code = "OK" if grpc else "200"
        pair = self._bind(method), self._histogram(*self._service(method, grpc), code)
        (self._grpc if grpc else self._rest)[method] = pair
        return pair

    def _failed(self, method: Method, grpc: bool, error: BaseException, seconds: float) -> None:
        (self._seconds.get(method) or self._bind(method)).observe(seconds)
        record_node_time(self.name, seconds)
        if not isinstance(error, Exception):
            return
        self._count_fault(method)
        if _was_answered(error):
            self._histogram(*self._service(method, grpc), code_of(error, grpc=grpc)).observe(seconds)

    def _service(self, method: Method, grpc: bool) -> tuple[str, str]:
        return (self._calls[method], "unary") if grpc else (self._paths[method], "post")

    def _histogram(self, service: str, verb: str, code: str) -> Histogram:
        key = service, verb, code
        if key not in self._by_code:
            labels = {
                "deployment_name": self._spot.deployment,
                "predictor_name": self._spot.predictor,
                "predictor_version": self._spot.predictor_version,
                "model_name": self._spot.model,
                "model_image": self._spot.image,
                "model_version": self._spot.version,
                "service": service,
                "method": verb,
                "code": code,
            }
            self._by_code[key] = self._shared_metrics.histogram(
                "seldon_api_executor_client_requests_seconds",
                "A histogram of latencies for client calls from executor",
                labels,
                Bounds.ORCHESTRATOR,
            )
        return self._by_code[key]
