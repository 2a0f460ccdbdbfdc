"""gRPC calls of raw bytes to one address.

bytes ─▶ channel ─▶ OK: bytes ┊ else: RemoteError with the status, and the details in our trailers
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
import msgspec
from grpc import aio

from infergraph.errors import RemoteError
from infergraph.net.address import Address, NoConnection
from infergraph.protocol.headers import NODE_KEY, REASON_KEY, STATUS_KEY
from infergraph.protocol.services import HEALTH_PATH, SERVING
from infergraph.protocol.status import GrpcStatus

TOO_LARGE = "larger than max"
"""What gRPC itself says of a message over its limit, the caller's or the server's."""

_UNCONNECTED = "failed to connect to all addresses"
"""What gRPC itself says of a call that it could not send; without it, a call may have been sent."""

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]


class GrpcTls(msgspec.Struct, frozen=True, kw_only=True):
    """PEM certificates for calls over TLS; None for grpcio's defaults."""

    roots: bytes | None = None
    key: bytes | None = None
    chain: bytes | None = None


class GrpcClient:
    """A client of one address. Bound to one event loop.

    Args:
        message_limit_bytes: maximum message size, both ways.
        tls: the TLS settings of a secure address.
        connect_timeout_s: time-out of connecting; None for grpcio's own.
    Promises: cancelling a call cancels it on the server; a broken channel reconnects within two seconds.
    """

    def __init__(
        self,
        address: Address,
        *,
        message_limit_bytes: int,
        tls: GrpcTls = GrpcTls(),  # noqa: B008  a frozen value
        connect_timeout_s: float | None = None,
    ) -> None:
        self.address = address
        self._tls = tls
        self._options: tuple[tuple[str, int | str], ...] = (
            ("grpc.max_send_message_length", message_limit_bytes),
            ("grpc.max_receive_message_length", message_limit_bytes),
            ("grpc.enable_http_proxy", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        )
        if connect_timeout_s is not None:
            self._options += (("grpc.min_reconnect_backoff_ms", int(connect_timeout_s * 1000)),)  # its name there
        self._channel: aio.Channel | None = None
        self._calls: dict[str, Any] = {}

    async def call(self, path: str, raw: bytes, *, metadata: Metadata = (), timeout_s: float | None = None) -> bytes:
        """The answer to one call.

        Raises: RemoteError with the status: the server's, UNAVAILABLE or DEADLINE_EXCEEDED.
        """
        call = self._calls.get(path) or self._open(path)
        try:
            answer: bytes = await call(raw, metadata=metadata, timeout=timeout_s)
        except aio.AioRpcError as error:
            raise _fault(f"{self.address.authority}{path}", error) from None
        return answer

    async def exchange(
        self, path: str, raw: bytes, *, metadata: Metadata = (), timeout_s: float | None = None
    ) -> tuple[bytes, Mapping[str, str | bytes]]:
        """The answer to one call, and its initial metadata.

        Raises: RemoteError as `call` does.
        """
        call = (self._calls.get(path) or self._open(path))(raw, metadata=metadata, timeout=timeout_s)
        try:
            answer: bytes = await call
            initial = await call.initial_metadata()
        except aio.AioRpcError as error:
            raise _fault(f"{self.address.authority}{path}", error) from None
        return answer, dict(tuple(initial or ()))

    async def stream(
        self, path: str, raw: bytes, *, metadata: Metadata = (), silence_s: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The answers to one request of a call of streams.

        Args:
            silence_s: longest time without an answer; None for no limit.
        Raises: RemoteError with the status; TimeoutError.
        """
        if self._channel is None:
            self._channel = self._dial()
        # One message and no more: as a call of one request it is sent whole at once, so that a server that ends the
        # call before it has read the request cannot hide its status behind a failed write.
        call = self._channel.unary_stream(path)(raw, metadata=metadata)
        try:
            while True:
                async with asyncio.timeout(silence_s):
                    answer = await call.read()
                if answer is aio.EOF:
                    return
                yield answer
        except aio.AioRpcError as error:
            raise _fault(f"{self.address.authority}{path}", error) from None
        finally:
            call.cancel()

    async def serves(self, *, metadata: Metadata = (), timeout_s: float | None = None) -> bool:
        """Whether the standard health service reports SERVING, or there is none, as in Seldon's wrapper."""
        try:
            return await self.call(HEALTH_PATH, b"", metadata=metadata, timeout_s=timeout_s) == SERVING
        except RemoteError as fault:
            return fault.grpc_code == GrpcStatus.UNIMPLEMENTED

    async def close(self) -> None:
        """Close the channel; a later call opens a new one."""
        channel, self._channel, self._calls = self._channel, None, {}
        if channel is not None:
            await channel.close()

    def _open(self, path: str) -> Any:
        if self._channel is None:
            self._channel = self._dial()
        self._calls[path] = call = self._channel.unary_unary(path)
        return call

    def _dial(self) -> aio.Channel:
        address, options = self.address, self._options
        if address.ip or (address.name and address.is_secure):
            options = (*options, ("grpc.default_authority", address.name or address.authority))
        if not address.is_secure:
            return aio.insecure_channel(address.peer, options=options)
        credentials = grpc.ssl_channel_credentials(self._tls.roots or _own_roots(), self._tls.key, self._tls.chain)
        if name := address.name or (address.host if address.ip else ""):
            options = (*options, ("grpc.ssl_target_name_override", name))
        return aio.secure_channel(address.peer, credentials, options=options)


def _own_roots() -> bytes | None:
    """The authorities in the file that OpenSSL's variable names, which grpcio does not read; None for its own."""
    file = os.environ.get("SSL_CERT_FILE")
    return Path(file).read_bytes() if file and Path(file).is_file() else None


def _fault(asked: str, error: aio.AioRpcError) -> RemoteError:
    code, text = error.code().value[0], error.details() or error.code().name
    trailing = dict(tuple(error.trailing_metadata() or ()))  # older grpcio's mapping takes pairs as keys
    reason, node = str(trailing.get(REASON_KEY, "")), trailing.get(NODE_KEY, b"")
    if code == GrpcStatus.UNAVAILABLE and not reason:
        text = f"{asked}: {text}"
    if code == GrpcStatus.RESOURCE_EXHAUSTED and not reason and TOO_LARGE in text:
        text = f"{text} (message_limit_bytes here or there)"
    if code == GrpcStatus.DEADLINE_EXCEEDED:
        text = unquote(text)  # if both sides end the call simultaneously, grpcio may leave it percent-encoded
    shown = node.decode("utf-8", "replace") if isinstance(node, bytes) else unquote(str(node))
    status = str(trailing.get(STATUS_KEY, ""))
    http_status = int(status) if status.isdecimal() and 200 <= int(status) <= 599 else None
    is_unsent = (error.details() or "").startswith(_UNCONNECTED) and not reason
    kind = NoConnection if is_unsent else RemoteError
    return kind(text, reason=reason or None, node=shown, status=http_status, grpc_code=code)
