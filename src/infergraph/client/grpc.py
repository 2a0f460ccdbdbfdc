"""gRPC transport of the client: calls the services common to components, graphs and ingresses.

Message ─▶ received or encoded bytes ─▶ unary call ─▶ OK: the bytes as a message ┊ otherwise: the reported fault
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from infergraph.client import faults
from infergraph.client.calls import SECRETS, Headers, Sending
from infergraph.client.connection import Connection, Server
from infergraph.errors import (
    DeadlinePassed,
    Fault,
    MethodMissing,
    NotReady,
    PayloadError,
    RemoteError,
    UploadTooLarge,
)
from infergraph.message import Answers, Encoding, Feedback, Message, Method, Request
from infergraph.net.grpc_client import TOO_LARGE, GrpcClient
from infergraph.protocol import services
from infergraph.protocol.status import GrpcStatus
from infergraph.wire import prediction, proto_codec

_PATHS = {method: services.path(call) for method, call in services.CLIENT_CALLS.items()}
_MODEL_METADATA = services.path(services.MODEL_METADATA)
_GRAPH_METADATA = services.path(services.GRAPH_METADATA)
_NEARLY = 0.9  # of a limit: the server counts from when the call reached it, and in coarser units


class GrpcWire:
    """The gRPC connection to one server. Bound to one event loop.

    Args:
        headers: metadata sent with every call.
    """

    def __init__(self, server: Server, connection: Connection, headers: Headers) -> None:
        self.server = server
        for name, value in headers:
            _check_metadata(name, value)
        self._headers = (*server.headers, *headers)
        self._client = GrpcClient(
            server.address, message_limit_bytes=connection.message_limit_bytes, tls=connection.grpc_tls()
        )

    async def close(self) -> None:
        """Close the channel."""
        await self._client.close()

    async def ask(self, method: Method, request: Request, sending: Sending) -> Message:
        """The server's answer.

        Raises: the fault that it reports; RemoteError if it cannot be reached; DeadlinePassed.
        """
        if isinstance(request, Message):
            raw = proto_codec.encode(request)
        elif isinstance(request, Feedback):
            raw = proto_codec.encode_feedback(request)
        else:
            raw = proto_codec.encode_messages(request)
        return proto_codec.received(await self._call(_PATHS[method], raw, sending))

    def answers(self, request: Message, sending: Sending) -> Answers:
        """Raises: MethodMissing."""
        text = "Seldon's protocol has no streams over gRPC: use an http:// address, or protocol='v2'"
        raise MethodMissing(text)

    async def metadata(self, node: str, sending: Sending) -> Mapping[str, Any]:
        """The metadata of what is served, or of one of its nodes. Raises: like `ask`."""
        try:
            if node:
                named = prediction.SeldonModelMetadataRequest(name=node).SerializeToString()
                return proto_codec.decode_metadata(await self._call(_MODEL_METADATA, named, sending))
            try:
                return proto_codec.decode_graph_metadata(await self._call(_GRAPH_METADATA, b"", sending))
            except (MethodMissing, RemoteError) as fault:  # a component, not a graph
                if isinstance(fault, RemoteError) and fault.grpc_code != GrpcStatus.UNKNOWN:
                    raise
            return proto_codec.decode_metadata(await self._call(_MODEL_METADATA, b"", sending))
        except PayloadError as fault:
            raise RemoteError(f"{self.server}: the metadata cannot be read: {fault}") from fault

    async def health(self, sending: Sending) -> Message:
        """An empty health status if the server is ready; gRPC has no method for more. Raises: NotReady."""
        if await self.ready(sending):
            return Message.of("ready", Encoding.STR)
        raise NotReady(f"{self.server} is not ready")

    async def ready(self, sending: Sending) -> bool:
        """Whether the server is ready; False if it cannot be reached."""
        return await self._client.serves(metadata=self._metadata(sending), timeout_s=sending.timeout_s)

    async def _call(self, path: str, raw: bytes, sending: Sending) -> bytes:
        started = time.monotonic()
        try:
            return await self._client.call(path, raw, metadata=self._metadata(sending), timeout_s=sending.timeout_s)
        except RemoteError as error:
            waited_s = time.monotonic() - started
            fault = self._fault(path, error, sending, waited_s)
        raise fault

    def _metadata(self, sending: Sending) -> Headers:
        for name, value in sending.headers:
            _check_metadata(name, value)
        return self._headers + sending.headers

    def _fault(self, path: str, error: RemoteError, sending: Sending, waited_s: float) -> Fault:
        is_unexplained = error.reason == RemoteError.reason
        if error.grpc_code == GrpcStatus.DEADLINE_EXCEEDED:
            if sending.timeout_s is not None and waited_s >= sending.timeout_s * _NEARLY:
                # Our own limit, whichever side noticed it first: the server only knows what was left of it.
                return DeadlinePassed(f"{self.server}{path}: no answer{sending.limit_text}")
            if is_unexplained:
                return DeadlinePassed(f"{self.server}{path}: {error}")
        if error.grpc_code == GrpcStatus.RESOURCE_EXHAUSTED and is_unexplained and TOO_LARGE in error.text:
            return UploadTooLarge(f"{self.server}{path}: {error}")
        return faults.of_status(error)


def _check_metadata(name: str, value: str) -> None:
    """Raise PayloadError for a header that gRPC cannot send, with a clearer message than gRPC's own."""
    if not (value.isascii() and value.isprintable()):
        shown = "its value has other characters" if name in SECRETS else repr(value)
        raise PayloadError(f"the header {name!r} cannot be sent over gRPC, which accepts only ASCII: {shown}")
