"""Remote nodes: the unit that calls a node over REST, over gRPC, or over the transport of the request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from infergraph.errors import GraphError
from infergraph.graph.remote.grpc import GrpcOptions, GrpcUnit
from infergraph.graph.remote.rest import RestOptions, RestUnit
from infergraph.graph.remote.v2_grpc import V2GrpcUnit
from infergraph.graph.remote.v2_rest import V2RestUnit
from infergraph.graph.spec import Deployment, Endpoint, Node
from infergraph.message import Answers, Context, Message, Method, PredictiveUnit, Request, Transport
from infergraph.net.discovery import Discovery, split_host
from infergraph.net.grpc_client import GrpcTls
from infergraph.net.http_client import HttpOptions
from infergraph.protocol.annotations import GRPC_MESSAGE_SIZE, GRPC_TIMEOUT, REST_TIMEOUT
from infergraph.protocol.paths import Protocol

__all__ = [
    "EitherUnit",
    "GrpcOptions",
    "GrpcUnit",
    "NodeTls",
    "RemoteOptions",
    "RestOptions",
    "RestUnit",
    "build",
    "options_for",
]


class NodeTls(NamedTuple):
    """How nodes are called by TLS.

    Args:
        context: authorities and our certificate, for HTTP; None for the system's.
        grpc: the same for gRPC.
        name: expected in a node's certificate; empty for its host.
    """

    context: ssl.SSLContext | None = None
    grpc: GrpcTls = GrpcTls()
    name: str = ""


class RemoteOptions(msgspec.Struct, frozen=True):
    """Options of a deployment's remote nodes.

    Args:
        transport: rest, grpc, or empty for that of the request.
        discovery: how addresses are found; its hosts come from the endpoint of a node.
        folder: of the files that list hosts.
    """

    rest: RestOptions = RestOptions()
    grpc: GrpcOptions = GrpcOptions()
    transport: str = ""
    discovery: Discovery = Discovery()
    folder: Path = Path()


def options_for(
    deployment: Deployment,
    annotations: Mapping[str, str],
    *,
    message_limit_bytes: int,
    full_health_checks: bool = False,
    tls: NodeTls = NodeTls(),  # noqa: B008  a frozen value
    folder: Path = Path(),
) -> RemoteOptions:
    """The options from a deployment's annotations.

    Args:
        annotations: those of the deployment and its predictor.
        tls: how nodes with TLS are called.
        folder: of the files that list hosts.
    Raises: GraphError if one is not a valid number.
    """
    rest_timeout_ms = _whole(annotations, REST_TIMEOUT, least=1)
    grpc_timeout_ms = _whole(annotations, GRPC_TIMEOUT, least=0)
    return RemoteOptions(
        rest=RestOptions(
            protocol=Protocol.named(deployment.protocol),
            timeout_s=(rest_timeout_ms or 0) / 1000,
            full_health_checks=full_health_checks,
            tls_name=tls.name,
            http=HttpOptions(reply_limit_bytes=message_limit_bytes, tls=tls.context),
        ),
        grpc=GrpcOptions(
            timeout_s=None if grpc_timeout_ms is None else grpc_timeout_ms / 1000,
            message_limit_bytes=_whole(annotations, GRPC_MESSAGE_SIZE, least=1) or message_limit_bytes,
            full_health_checks=full_health_checks,
            tls_name=tls.name,
            tls=tls.grpc,
        ),
        transport=deployment.transport,
        folder=folder,
    )


def build(node: Node, options: RemoteOptions, relays: Collection[Method] | None = None) -> PredictiveUnit:
    """The unit of a node with an endpoint.

    Args:
        relays: see `V2Node`.
    Raises: GraphError if the endpoint lacks what is needed to call it.
    """
    endpoint = node.endpoint
    if endpoint is None or not endpoint.has_host:
        raise GraphError(f"node {node.name!r} has no endpoint.service_host to call", node=node.name)
    if endpoint.tls:
        rest, grpc = replace(options.rest, is_secure=True), replace(options.grpc, is_secure=True)
        options = replace(options, rest=rest, grpc=grpc)
    file = options.folder / endpoint.service_hosts_file if endpoint.service_hosts_file else None
    options = replace(options, discovery=replace(options.discovery, hosts=endpoint.service_hosts, file=file))
    kind = (endpoint.type or options.transport).lower()
    if kind == "grpc":
        return _grpc(node.name, endpoint, options, relays)
    if kind == "rest" or not endpoint.grpc_port or options.rest.protocol is Protocol.TENSORFLOW:
        return _rest(node.name, endpoint, options, relays)
    if any(split_host(host)[1] for host in endpoint.service_hosts):
        text = f"node {node.name!r} has hosts with a port of their own and two transports: give endpoint.type"
        raise GraphError(text, node=node.name)
    counted = _rest(node.name, endpoint, options, relays)
    options = replace(options, discovery=replace(options.discovery, on_change=Discovery().on_change))
    return EitherUnit(counted, _grpc(node.name, endpoint, options, relays))


class EitherUnit(PredictiveUnit):
    """A node that has both transports: called over gRPC for a gRPC request, else over REST."""

    def __init__(self, rest: RestUnit, grpc: GrpcUnit) -> None:
        self.name = rest.name
        self.rest = rest
        self.grpc = grpc

    async def stop(self) -> None:
        """Close both clients."""
        await asyncio.gather(self.rest.stop(), self.grpc.stop())

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The node's answer."""
        unit: PredictiveUnit = self.grpc if context.transport is Transport.GRPC else self.rest
        return await unit.answer(method, request, context)

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The node's answers, over REST, whatever the request came over."""
        return self.rest.stream(method, request, context)

    async def ready(self) -> bool:
        """Whether the node can answer."""
        return await self.rest.ready()

    async def health(self, context: Context) -> Message:
        """The node's health, over REST: gRPC has no call for it."""
        return await self.rest.health(context)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The node's metadata."""
        return await self.rest.metadata(node, context)


def _rest(name: str, endpoint: Endpoint, options: RemoteOptions, relays: Collection[Method] | None) -> RestUnit:
    # A full check is an HTTP request, which the service port may not understand.
    probe_port = 0 if options.rest.full_health_checks else endpoint.service_port
    is_v2 = options.rest.protocol is Protocol.V2
    make: Callable[..., RestUnit] = partial(V2RestUnit, relays=relays) if is_v2 else RestUnit
    return make(
        name,
        endpoint.service_host,
        _port(name, endpoint, endpoint.http_port),
        options.rest,
        probe_port=probe_port,
        path=endpoint.path,
        discovery=options.discovery,
    )


def _grpc(name: str, endpoint: Endpoint, options: RemoteOptions, relays: Collection[Method] | None) -> GrpcUnit:
    is_v2 = options.rest.protocol is Protocol.V2
    make: Callable[..., GrpcUnit] = partial(V2GrpcUnit, relays=relays) if is_v2 else GrpcUnit
    return make(
        name,
        endpoint.service_host,
        _port(name, endpoint, endpoint.grpc_port),
        options.grpc,
        probe_port=endpoint.service_port,
        path=endpoint.path,
        discovery=options.discovery,
    )


def _port(name: str, endpoint: Endpoint, port: int) -> int:
    """The port of hosts that have none of their own; 0 where each has."""
    port = port or endpoint.service_port
    is_needed = endpoint.service_host or not all(split_host(host)[1] for host in endpoint.service_hosts)
    if port not in range(1 if is_needed else 0, 65536):
        raise GraphError(
            f"node {name!r} has no port to call: endpoint has httpPort, grpcPort or service_port", node=name
        )
    return port


def _whole(annotations: Mapping[str, str], name: str, *, least: int) -> int | None:
    text = annotations.get(name)
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise GraphError(f"the annotation {name} is {text!r}, not a whole number from {least}")
    return number
