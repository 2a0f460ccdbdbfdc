"""A server asked over gRPC: the services that components, graphs and ingresses have in common.

Message ─▶ its own bytes, or encoded ─▶ unary call ─▶ OK: the bytes as a message ┊ else: the fault it tells of
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import grpc
from grpc import aio

from infergraph.client import faults
from infergraph.client.calls import Headers, Sending
from infergraph.client.connection import Address, Connection
from infergraph.errors import (
    DeadlinePassed,
    Fault,
    MethodMissing,
    NotReady,
    PayloadError,
    RemoteError,
    UploadTooLarge,
)
from infergraph.message import Encoding, Feedback, Message, Method, Request
from infergraph.protocol import services
from infergraph.protocol.headers import NODE_KEY, REASON_KEY
from infergraph.protocol.services import HEALTH_PATH, SERVING
from infergraph.wire import prediction, proto_codec
from infergraph.wire.proto_codec import ProtoMessage

_PATHS = {method: services.path(call) for method, call in services.CLIENT_CALLS.items()}
_MODEL_METADATA = services.path(services.MODEL_METADATA)
_GRAPH_METADATA = services.path(services.GRAPH_METADATA)
_NEARLY = 0.9  # of a limit: the server counts from when the call reached it, and in coarser units


class GrpcWire:
    """Calls to one address over gRPC. Lives on one event loop.

    Args:
        headers: metadata sent with every call.
    """

    def __init__(self, address: Address, connection: Connection, headers: Headers) -> None:
        self.address = address
        self._connection = connection
        for name, value in headers:
            _check_metadata(name, value)
        self._headers = (*address.headers, *headers)
        self._channel: aio.Channel | None = None
        self._calls: dict[str, Any] = {}

    async def close(self) -> None:
        """Close the channel."""
        channel, self._channel, self._calls = self._channel, None, {}
        if channel is not None:
            await channel.close()

    async def ask(self, method: Method, request: Request, sending: Sending) -> Message:
        """What the server answers.

        Raises: the fault that it tells of; RemoteError if it cannot be reached; DeadlinePassed.
        """
        if isinstance(request, Message):
            raw = proto_codec.encode(request)
        elif isinstance(request, Feedback):
            raw = proto_codec.encode_feedback(request)
        else:
            raw = proto_codec.encode_messages(request)
        return ProtoMessage(await self._call(_PATHS[method], raw, sending))

    async def metadata(self, node: str, sending: Sending) -> Mapping[str, Any]:
        """The metadata of what is served, or of one of its nodes. Raises: as `ask` does."""
        try:
            if node:
                named = prediction.SeldonModelMetadataRequest(name=node).SerializeToString()
                return proto_codec.decode_metadata(await self._call(_MODEL_METADATA, named, sending))
            try:
                return proto_codec.decode_graph_metadata(await self._call(_GRAPH_METADATA, b"", sending))
            except (MethodMissing, RemoteError) as fault:  # a component is no graph
                if isinstance(fault, RemoteError) and fault.grpc_code != grpc.StatusCode.UNKNOWN.value[0]:
                    raise
            return proto_codec.decode_metadata(await self._call(_MODEL_METADATA, b"", sending))
        except PayloadError as fault:
            raise RemoteError(f"{self.address}: the metadata cannot be read: {fault}") from fault

    async def health(self, sending: Sending) -> Message:
        """That the server serves; the protocol has no call for more over gRPC. Raises: NotReady."""
        if await self.ready(sending):
            return Message.of("ready", Encoding.STR)
        raise NotReady(f"{self.address} is not ready")

    async def ready(self, sending: Sending) -> bool:
        """Whether calls would be answered now. Raises: nothing; who cannot be reached is not ready."""
        try:
            return await self._call(HEALTH_PATH, b"", sending) == SERVING
        except MethodMissing:  # Seldon's wrapper has no health service
            return True
        except Fault:
            return False

    async def _call(self, path: str, raw: bytes, sending: Sending) -> bytes:
        for name, value in sending.headers:
            _check_metadata(name, value)
        call = self._calls.get(path) or self._open(path)
        started = time.monotonic()
        try:
            answer: bytes = await call(raw, metadata=self._headers + sending.headers, timeout=sending.timeout_s)
            return answer
        except aio.AioRpcError as error:
            is_over = sending.timeout_s is not None and time.monotonic() - started >= sending.timeout_s * _NEARLY
            fault = self._deadline(path, sending) if is_over and _is_deadline(error) else self._fault(path, error)
        raise fault

    def _open(self, path: str) -> Any:
        if self._channel is None:
            limit = self._connection.message_limit_bytes
            options = (
                ("grpc.max_send_message_length", limit),
                ("grpc.max_receive_message_length", limit),
                ("grpc.enable_http_proxy", 0),
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 2000),
            )
            self._channel = self._dial(options)
        self._calls[path] = call = self._channel.unary_unary(path)
        return call

    def _dial(self, options: tuple[tuple[str, int], ...]) -> aio.Channel:
        if not self.address.is_secure:
            return aio.insecure_channel(self.address.authority, options=options)
        given = self._connection
        credentials = grpc.ssl_channel_credentials(given.tls_roots, given.tls_key, given.tls_chain)
        return aio.secure_channel(self.address.authority, credentials, options=options)

    def _deadline(self, path: str, sending: Sending) -> Fault:
        """Our own limit has passed, whichever side saw it first.

        The server's text is not shown: it tells what was left when the call reached it, and where both sides end the
        call at once grpcio may leave it percent-encoded.
        """
        return DeadlinePassed(f"{self.address}{path}: no answer{sending.told_limit}")

    def _fault(self, path: str, error: aio.AioRpcError) -> Fault:
        code, text = error.code(), error.details() or error.code().name
        trailing = dict(tuple(error.trailing_metadata() or ()))  # older grpcio's mapping takes pairs for keys
        reason = str(trailing.get(REASON_KEY, ""))
        node = trailing.get(NODE_KEY, b"")
        if not reason and _is_deadline(error):
            return DeadlinePassed(f"{self.address}{path}: {text}")
        if not reason and code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
            return UploadTooLarge(f"{self.address}{path}: {text} (message_limit_bytes here or there)")
        if code is grpc.StatusCode.UNAVAILABLE and not reason:
            text = f"{self.address}{path}: {text}"
        shown = node.decode("utf-8", "replace") if isinstance(node, bytes) else unquote(str(node))
        return faults.of_code(code.value[0], text, reason, shown)


def _check_metadata(name: str, value: str) -> None:
    """Raise PayloadError for what gRPC cannot carry: it would say so in words of its own."""
    if not (value.isascii() and value.isprintable()):
        raise PayloadError(f"the header {name!r} cannot be sent over gRPC, which takes ASCII alone: {value!r}")


def _is_deadline(error: aio.AioRpcError) -> bool:
    return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
