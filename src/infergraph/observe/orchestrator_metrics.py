"""The metrics that Seldon's orchestrator has, under its names and labels, for graphs.

    request ─▶ graph ─▶ ServerMetrics     seldon_api_executor_server_requests_seconds
                 └▶ MeasuredNode ─▶ unit  seldon_api_executor_client_requests_seconds

Its summaries beside the histograms are left out: quantiles of several workers cannot be joined.
Source: the orchestrator specification, section 25.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from time import perf_counter
from typing import Any, TypeVar

import msgspec

from infergraph import errors
from infergraph.errors import ComponentError, DeadlinePassed, Fault, RemoteError
from infergraph.message import Context, Message, Method, PredictiveUnit, Request, Transport
from infergraph.observe.measured import Measured
from infergraph.observe.shared_metrics import Bounds, Histogram, SharedMetrics
from infergraph.protocol.status import grpc_of_http, http_of_grpc

T = TypeVar("T")

CODES: dict[type[Fault], tuple[str, str]] = {
    Fault: ("500", "INTERNAL"),
    errors.PayloadError: ("400", "INVALID_ARGUMENT"),
    errors.UnsupportedBody: ("415", "INVALID_ARGUMENT"),
    errors.MethodMissing: ("400", "UNIMPLEMENTED"),
    errors.RemoteError: ("500", "UNAVAILABLE"),
    errors.DeadlinePassed: ("504", "DEADLINE_EXCEEDED"),
    errors.Overloaded: ("503", "RESOURCE_EXHAUSTED"),
    errors.NotReady: ("503", "UNAVAILABLE"),
    errors.TaskFault: ("500", "INTERNAL"),
    errors.UnknownTask: ("404", "NOT_FOUND"),
    errors.TaskState: ("409", "FAILED_PRECONDITION"),
    errors.TaskConflict: ("409", "FAILED_PRECONDITION"),
    errors.UploadTooLarge: ("413", "RESOURCE_EXHAUSTED"),
    errors.StorageFull: ("507", "RESOURCE_EXHAUSTED"),
}
"""What the edges, which stand above this layer, answer to a fault: HTTP status and gRPC code. A test compares."""

GRPC_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""Names of the gRPC status numbers from 0."""

_SERVER_SERVICES = {Method.PREDICT: "predictions", Method.SEND_FEEDBACK: "feedback"}
_SERVER_CALLS = {
    Method.PREDICT: "/seldon.protos.Seldon/Predict",
    Method.SEND_FEEDBACK: "/seldon.protos.Seldon/SendFeedback",
}
_NODE_METADATA = "/seldon.protos.Model/Metadata"
_NODE_CALLS = {
    Method.PREDICT: "/seldon.protos.Model/Predict",
    Method.TRANSFORM_INPUT: "/seldon.protos.Transformer/TransformInput",
    Method.TRANSFORM_OUTPUT: "/seldon.protos.OutputTransformer/TransformOutput",
    Method.ROUTE: "/seldon.protos.Router/Route",
    Method.AGGREGATE: "/seldon.protos.Combiner/Aggregate",
    Method.SEND_FEEDBACK: "/seldon.protos.Model/SendFeedback",
}


class Spot(msgspec.Struct, frozen=True):
    """Where in a deployment something was measured.

    Args:
        model, image, version: a node's name, its container image and that image's version; empty for a whole graph.
    """

    deployment: str
    predictor: str
    predictor_version: str = ""
    model: str = ""
    image: str = ""
    version: str = ""


def split_image(image: str) -> tuple[str, str]:
    """Name and version of a container image; a registry's port is part of the name."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    name, colon, version = image.rpartition(":")
    return (name, version) if colon and "/" not in version else (image, "")


def code_of(error: Exception, *, grpc: bool) -> str:
    """What the edge answers to an error of a graph: HTTP status, or name of the gRPC status."""
    if isinstance(error, RemoteError | ComponentError):
        own = _own_code(error, grpc)
        if own:
            return own
    if not isinstance(error, Fault):
        return "INTERNAL" if grpc else "500"
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)[grpc]


def _own_code(fault: RemoteError | ComponentError, grpc: bool) -> str:
    if isinstance(fault, RemoteError):
        if not grpc:
            mapped = None if fault.grpc_code is None else http_of_grpc(fault.grpc_code)
            return str(fault.status or mapped or "")
        code = fault.grpc_code
        if code is None and fault.status is not None:
            code = grpc_of_http(fault.status)
        if code is None:
            return ""
        return GRPC_CODES[code] if 0 <= code < len(GRPC_CODES) else str(code)
    if grpc:
        return ""
    return str(fault.answer[0] if fault.answer is not None else fault.status or "")


def _was_answered(error: Exception) -> bool:
    """Whether a node's fault is an answer of its own; calls that nobody answered are not counted as such."""
    if isinstance(error, RemoteError) and error.status is None and error.grpc_code is None:
        return False
    return not isinstance(error, Fault) or error.reason != DeadlinePassed.reason


class ServerMetrics:
    """What one predictor's graph is asked from outside, in `seldon_api_executor_server_requests_seconds`."""

    def __init__(self, shared_metrics: SharedMetrics, spot: Spot) -> None:
        self._shared_metrics = shared_metrics
        self._spot = spot
        self._rest: dict[Method, Histogram] = {}
        self._grpc: dict[Method, Histogram] = {}
        self._bound: dict[tuple[str, str, str], Histogram] = {}

    def answered(self, method: Method, transport: Transport, seconds: float) -> None:
        """The graph has answered."""
        grpc = transport is Transport.GRPC
        histogram = (self._grpc if grpc else self._rest).get(method)
        if histogram is None:
            histogram = self._asked(method, grpc, "OK" if grpc else "200")
            (self._grpc if grpc else self._rest)[method] = histogram
        histogram.observe(seconds)

    def failed(self, method: Method, transport: Transport, error: Exception, seconds: float) -> None:
        """The graph could not answer."""
        grpc = transport is Transport.GRPC
        self._asked(method, grpc, code_of(error, grpc=grpc)).observe(seconds)

    async def got(self, service: str, asked: Awaitable[T]) -> T:
        """What was asked with a GET, counted: `status` or `metadata`."""
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
            return self._histogram(_SERVER_CALLS.get(method, method.value), "unary", code)
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


class MeasuredNode(Measured):
    """A node's unit, timed once for our own metrics and for `seldon_api_executor_client_requests_seconds`.

    Calls that got no answer (unreachable, out of time, cancelled) are not in the latter, as in the reference.

    Args:
        paths: by method, the path that asks such a node over REST: the label `service`.
        speaks: how the node is called; None for as the request came in. Nodes in this process are counted likewise.
        gets: the paths that ask it over REST for its health and for its metadata.
    """

    def __init__(
        self,
        unit: PredictiveUnit,
        shared_metrics: SharedMetrics,
        spot: Spot,
        paths: Mapping[Method, str],
        speaks: Transport | None = None,
        gets: tuple[str, str] = ("/health/status", "/metadata"),
    ) -> None:
        super().__init__(unit, shared_metrics)
        self._gets = gets
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
        return answer

    async def health(self, context: Context) -> Message:
        """The unit's account of its health, counted."""
        return await self._got((self._gets[0], "get"), False, self.unit.health(context))

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The unit's metadata, counted."""
        grpc = self._speaks is Transport.GRPC
        service = (_NODE_METADATA, "unary") if grpc else (self._gets[1], "get")
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
        if not isinstance(error, Exception):
            return
        self._count_fault(method)
        if _was_answered(error):
            self._histogram(*self._service(method, grpc), code_of(error, grpc=grpc)).observe(seconds)

    def _service(self, method: Method, grpc: bool) -> tuple[str, str]:
        return (_NODE_CALLS[method], "unary") if grpc else (self._paths[method], "post")

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
