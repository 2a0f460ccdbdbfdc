"""Observation of one predictor: metrics, payload log and trace spans of its graph.

unit ─▶ TracedNode( MeasuredNode( unit ))        the span only if tracing is on
Graph ─▶ MeasuredGraph( Graph )
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from infergraph.errors import MethodMissing, RemoteError
from infergraph.graph import spec
from infergraph.graph.remote import remote
from infergraph.graph.taps import Tap, sink_url
from infergraph.message import Context, Message, Method, PredictiveUnit, Request, Transport
from infergraph.net.address import Location
from infergraph.net.discovery import Counts
from infergraph.net.http_client import Call, HttpClient, HttpOptions
from infergraph.observe.node_addresses import NodeAddressMetrics
from infergraph.observe.orchestrator_metrics import MeasuredNode, ServerMetrics, Spot
from infergraph.observe.payload_events import Event, Origin
from infergraph.observe.payload_log import PayloadLog, PayloadLogOptions
from infergraph.observe.shared_metrics import SharedMetrics
from infergraph.observe.tracing import Tracing
from infergraph.protocol import services
from infergraph.protocol.images import split_image
from infergraph.protocol.paths import Protocol, health_path, metadata_path, method_path
from infergraph.settings import Settings
from infergraph.wire.json_codec import JsonOptions

_LOGGED = frozenset({"all", "request", "response"})
_POST_TIMEOUT_S = 10.0
_POST_OPTIONS = HttpOptions(reply_limit_bytes=1024 * 1024, connect_timeout_s=_POST_TIMEOUT_S)


class Companion(PredictiveUnit):
    """Something that is started and stopped with a graph, like its units, but never called."""

    def __init__(self, name: str, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._start = start
        self._stop = stop

    async def start(self) -> None:
        """Start it."""
        await self._start()

    async def stop(self) -> None:
        """Stop it."""
        await self._stop()

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """Nothing: MethodMissing."""
        raise MethodMissing(f"{self.name} answers nothing")

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """Its name."""
        return {"name": self.name}


class Observation:
    """The observers of one predictor.

    `taps` are those of all nodes with a logger; `companions` must be started and stopped with the graph.

    Args:
        tracing: None to turn it off.
    Raises: GraphError for a logger with an invalid address.
    """

    def __init__(
        self,
        deployment: spec.Deployment,
        predictor: spec.Predictor,
        settings: Settings,
        shared_metrics: SharedMetrics,
        tracing: Tracing | None = None,
    ) -> None:
        self._protocol = Protocol.named(deployment.protocol)
        self._deployment = deployment
        self._predictor = predictor
        self._settings = settings
        self._shared_metrics = shared_metrics
        self._tracing = tracing
        self._version = predictor.annotations.get("version") or predictor.labels.get("version", "")
        self.companions: dict[str, PredictiveUnit] = {}
        self.taps = self._open_log()

    def node(self, node: spec.Node, unit: PredictiveUnit, image: str) -> PredictiveUnit:
        """The unit of a node that is a component or remote, with metrics.

        Args:
            image: of its container; empty for none.
        """
        spot = Spot(self._deployment.name, self._predictor.name, self._version, node.name, *split_image(image))
        paths = {method: method_path(self._protocol, method, node.name) for method in Method}
        gets = health_path(self._protocol, node.name), metadata_path(self._protocol, node.name)
        is_v2 = self._protocol is Protocol.V2
        calls = (dict.fromkeys(Method, services.V2_INFER), services.V2_METADATA) if is_v2 else ()
        measured = MeasuredNode(unit, self._shared_metrics, spot, paths, _speaks(unit), gets, *calls)
        return self.followed(measured, is_remote=_is_remote(unit))

    def followed(self, unit: PredictiveUnit, *, is_remote: bool = False) -> PredictiveUnit:
        """The unit with spans, if tracing is on; else itself."""
        return unit if self._tracing is None else self._tracing.node(unit, remote=is_remote)

    def addresses(self, node: str) -> Callable[[Counts], None]:
        """What records the counts of a remote node's addresses."""
        metrics = NodeAddressMetrics(self._shared_metrics, node)
        return lambda counts: metrics.record(counts._asdict())

    def server_metrics(self) -> ServerMetrics:
        """The metrics of the graph's external requests."""
        return ServerMetrics(self._shared_metrics, Spot(self._deployment.name, self._predictor.name, self._version))

    def _open_log(self) -> dict[str, Tap]:
        nodes = [node for node in self._predictor.graph.walk_all() if node.logger and node.logger.mode in _LOGGED]
        if not nodes:
            return {}
        post = PayloadPost()
        log = self._log(post)

        async def stop() -> None:
            await log.stop()
            post.close()

        self.accompany("payload log", log.start, stop)
        return {node.name: log.node(node.name, sink_url(node, self._settings.payload_log_url)) for node in nodes}

    def accompany(self, name: str, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        """Add something to be started and stopped with the graph."""
        self.companions[f"\0{name}"] = Companion(name, start, stop)  # cannot be the name of a node

    def _log(self, post: PayloadPost) -> PayloadLog:
        settings = self._settings
        origin = Origin(
            source=f"http://{settings.host}:{settings.http_port}/",
            deployment=self._deployment.name,
            namespace=self._deployment.namespace or "default",
            predictor=self._predictor.name,
            protocol=self._protocol.value,
            json=JsonOptions(nan=settings.nan, sort_keys=settings.json_sort_keys, ascii=settings.json_ascii),
        )
        options = PayloadLogOptions(
            share=settings.payload_log_share,
            queue_limit=settings.payload_log_queue_limit,
            queue_limit_bytes=settings.payload_log_queue_limit_bytes,
            senders=settings.payload_log_senders,
        )
        return PayloadLog(post, origin, self._shared_metrics, options)


def _is_remote(unit: PredictiveUnit) -> bool:
    return isinstance(unit, remote.RestUnit | remote.GrpcUnit | remote.EitherUnit)


def _speaks(unit: PredictiveUnit) -> Transport | None:
    """The transport of a node; None if it is the request's."""
    if isinstance(unit, remote.RestUnit):
        return Transport.REST
    return Transport.GRPC if isinstance(unit, remote.GrpcUnit) else None


class PayloadPost:
    """Posts events; keeps connections to the collectors. Bound to one event loop."""

    def __init__(self) -> None:
        self._targets: dict[str, tuple[HttpClient, str]] = {}

    async def __call__(self, url: str, event: Event) -> None:
        """Post one event.

        Raises: RemoteError if it did not arrive, or the collector returned an error status; TimeoutError.
        """
        client, path = self._targets.get(url) or self._target(url)
        lines = "".join(f"{name}: {value}\r\n" for name, value in event.headers).encode("latin-1", "replace")
        reply = await client.exchange(Call("POST", path, lines, event.body), _POST_TIMEOUT_S)
        if not 200 <= reply.status < 300:
            raise RemoteError(f"the collector answered status {reply.status}", status=reply.status)

    def _target(self, url: str) -> tuple[HttpClient, str]:
        address, path = Location.of(url)
        self._targets[url] = target = HttpClient(address, _POST_OPTIONS), path
        return target

    def close(self) -> None:
        """Close the connections."""
        for client, _ in self._targets.values():
            client.close()
