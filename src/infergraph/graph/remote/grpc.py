"""A remote node over gRPC.

    Message ─▶ its own bytes, or encoded ─▶ unary call ─▶ OK: the bytes as a message ┊ else: RemoteError with the code

Source: the orchestrator specification, sections 6, 13 and 20.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from infergraph.errors import DeadlinePassed, PayloadError, RemoteError
from infergraph.message import ONCE_ONLY, Context, Encoding, Feedback, Message, Method, PredictiveUnit, Request
from infergraph.net.address import Address, connects
from infergraph.net.balancing import Ask, addresses
from infergraph.net.discovery import Discovery
from infergraph.net.grpc_client import GrpcClient, GrpcTls, Metadata
from infergraph.net.members import Clients
from infergraph.protocol import services
from infergraph.protocol.headers import ANSWER_HOP, HOP_BY_HOP, HOP_KEY, PUID, PUID_KEY, REQUEST_HOP
from infergraph.protocol.status import GrpcStatus
from infergraph.wire import proto_codec

_PATHS = {method: services.path(call) for method, call in services.NODE_CALLS.items()}
_METADATA_PATH = services.path(services.NODE_METADATA)

_T = TypeVar("_T")
_OWN_METADATA = HOP_BY_HOP | {HOP_KEY.encode(), b"user-agent"}  # the last one is written by the library
_KEY = re.compile(rb"[0-9a-z_.-]+")
_VALUE = re.compile(rb"[\x20-\x7e]*")


class GrpcOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a gRPC node.

    Args:
        timeout_s: time-out of one call (annotation `seldon.io/grpc-timeout`); None for no limit, 0 for no time at all.
        message_limit_bytes: maximum message size, both ways (annotation `seldon.io/grpc-max-message-size`).
        full_health_checks: call the standard health service, if the node has it.
        ready_timeout_s: time-out of the health check.
        is_secure: call the node by TLS.
        tls_name: expected in its certificate; empty for its host.
        tls: our certificate, and the authorities of the node's.
    """

    timeout_s: float | None = None
    message_limit_bytes: int = 64 * 1024 * 1024
    full_health_checks: bool = False
    ready_timeout_s: float = 5.0
    is_secure: bool = False
    tls_name: str = ""
    tls: GrpcTls = GrpcTls()


class GrpcUnit(PredictiveUnit):
    """A remote predictive unit, over gRPC.

    Args:
        name: the node's name.
        host, port: where it listens.
        options: how it is called.
        probe_port: where readiness is probed; 0 for `port`.
        path: before the path of each call, for an ingress that tells nodes apart by it; empty for none.
        discovery: how its addresses are found, where it may have several.
    Promises: a message received as protobuf is forwarded byte for byte; cancelling a call cancels it on the server.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        options: GrpcOptions = GrpcOptions(),  # noqa: B008  a frozen value
        *,
        probe_port: int = 0,
        path: str = "",
        discovery: Discovery = Discovery(),  # noqa: B008  a frozen value
    ) -> None:
        self.name = name
        self.options = options
        self._path = path
        self._probe_ports = {port: probe_port} if probe_port else {}
        self._connect_timeout_s = discovery.connect_timeout_s if discovery.is_needed(host) else None
        clients = Clients(self._open, GrpcClient.close, self._serves)
        address = Address(host, port, options.is_secure, options.tls_name)
        self._addresses = addresses(name, address, clients, discovery)
        self.address = self._addresses.address

    def _open(self, address: Address) -> GrpcClient:
        return GrpcClient(
            address,
            message_limit_bytes=self.options.message_limit_bytes,
            tls=self.options.tls,
            connect_timeout_s=self._connect_timeout_s,
        )

    async def stop(self) -> None:
        """Close the channels."""
        await self._addresses.close()

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The node's answer.

        Raises:
            RemoteError: it is unreachable, or returned a status other than OK: code and text pass through.
            DeadlinePassed: no answer within the timeout or by the deadline.
        """
        hop = ANSWER_HOP
        if isinstance(request, Feedback):
            raw, hop = proto_codec.encode_feedback(request), REQUEST_HOP
        elif isinstance(request, Message):
            raw, hop = proto_codec.encode(request), ANSWER_HOP if request.is_answer else REQUEST_HOP
        else:
            raw = proto_codec.encode_messages(request)
        metadata = (*metadata_of(context), hop)
        answer = await self._ask(_PATHS[method], raw, metadata, context, is_replayable=method not in ONCE_ONLY)
        return proto_codec.received(answer, is_answer=True)

    async def ready(self) -> bool:
        """Whether an address accepts a connection and, with full checks, says that it is ready."""
        try:
            return await self._addresses.has_one(self._is_ready)
        except RemoteError:
            return False

    async def _is_ready(self, client: GrpcClient) -> bool:
        address = client.address
        probed = replace(address, port=self._probe_ports.get(address.port, address.port))
        if not await connects(probed, self.options.ready_timeout_s):
            return False
        return not self.options.full_health_checks or await self._serves(client)

    async def _serves(self, client: GrpcClient) -> bool:
        """Whether the server at an address reports SERVING, or has no health service."""
        return await client.serves(timeout_s=self.options.ready_timeout_s)

    async def health(self, context: Context) -> Message:
        """A message saying that the node accepts calls; the protocol has no health call over gRPC.

        Raises: RemoteError if it does not.
        """
        if await self.ready():
            return Message.of("healthy", Encoding.STR)
        raise RemoteError(f"node {self.name} at {self.address.authority} cannot be reached", node=self.name)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The node's metadata.

        Raises: RemoteError if it has none.
        """
        return await self._told(_METADATA_PATH, b"", proto_codec.decode_metadata, context or Context())

    async def _told(
        self, path: str, asked: bytes, decode: Callable[[bytes], Mapping[str, Any]], context: Context
    ) -> Mapping[str, Any]:
        """The node's metadata, as `decode` reads it from the answer to `asked`."""
        raw = await self._ask(path, asked, metadata_of(context), context)
        try:
            return decode(raw)
        except PayloadError as fault:
            raise RemoteError(f"the metadata of node {self.name} cannot be read: {fault}", node=self.name) from fault

    async def _ask(
        self, path: str, raw: bytes, metadata: Metadata, context: Context, *, is_replayable: bool = True
    ) -> bytes:
        path = self._path + path

        def ask(client: GrpcClient, timeout_s: float | None) -> Awaitable[bytes]:
            return client.call(path, raw, metadata=metadata, timeout_s=timeout_s)

        return await self._in_time(path, ask, context, is_replayable=is_replayable)

    async def _in_time(
        self, path: str, ask: Ask[GrpcClient, _T], context: Context, *, is_replayable: bool = True
    ) -> _T:
        """What was asked for; a fault has the node's name, and a passed time limit is one of its own."""
        timeout_s = self._timeout_s(context)
        try:
            return await self._addresses.answer(ask, timeout_s, is_replayable=is_replayable)
        except TimeoutError:
            raise self._late(path, timeout_s, "its host was not looked up in time") from None
        except RemoteError as fault:
            fault.node = self.name
            if fault.grpc_code != GrpcStatus.DEADLINE_EXCEEDED:
                raise
            raise self._late(path, timeout_s, fault.text) from None

    def _late(self, path: str, timeout_s: float | None, why: str) -> DeadlinePassed:
        limit = "" if timeout_s is None else f" within {timeout_s:.3f} s"
        return DeadlinePassed(f"{self.address.authority}{path}: no answer{limit}: {why}", node=self.name)

    def _timeout_s(self, context: Context) -> float | None:
        if context.deadline is None:
            return self.options.timeout_s
        left_s = max(context.deadline - asyncio.get_running_loop().time(), 0.0)
        return left_s if self.options.timeout_s is None else min(self.options.timeout_s, left_s)


def metadata_of(context: Context) -> Metadata:
    """The request's headers as metadata, without hop-by-hop headers and those that gRPC cannot carry."""
    metadata: list[tuple[str, str | bytes]] = []
    known = False
    for name, value in context.headers:
        if name in _OWN_METADATA or name.startswith(b"grpc-") or not _KEY.fullmatch(name):
            continue
        if name == PUID and not value:
            continue
        if name.endswith(b"-bin"):
            metadata.append((name.decode(), value))
        elif _VALUE.fullmatch(value):
            known = known or name == PUID
            metadata.append((name.decode(), value.decode()))
    if context.puid and not known:
        metadata.append((PUID_KEY, context.puid))
    return tuple(metadata)
