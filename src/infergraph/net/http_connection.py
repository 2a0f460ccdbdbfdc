"""One HTTP/1.1 connection: a request is written, its reply is read, then the next.

Received bytes are parsed by llhttp, by way of httptools.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

import httptools

from infergraph.errors import Fault, PayloadError, RemoteError, UploadTooLarge
from infergraph.wire.compression import ENCODINGS, unpacked

_HEAD_LIMIT_BYTES = 64 * 1024
_SMALL_BYTES = 16 * 1024


class Reply(NamedTuple):
    """A reply: status, the headers that matter here, the decompressed body, the other headers."""

    status: int
    content_type: str
    location: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def header(self, name: bytes) -> str:
        """One of the other headers by its lower-case name; empty where there is none."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), "")


class Interrupted(RemoteError):
    """The connection ended before the reply was complete."""


class Dropped(Interrupted):
    """The connection ended before the first byte of a reply."""


class Connection(asyncio.Protocol):
    """One connection; reads one reply at a time."""

    __slots__ = (
        "_chunks", "_content_type", "_encoding", "_framed", "_head_done", "_headers", "_limit", "_location", "_parser",
        "_size", "_started", "_status", "_transport", "_waiter", "loop", "reusable", "used_at",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_bytes: int) -> None:
        self.loop = loop
        self.reusable = True
        self.used_at = 0.0
        self._limit = limit_bytes
        self._waiter: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        self._chunks: list[bytes] = []
        self._content_type = ""
        self._encoding = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._location = ""
        self._size = 0
        self._framed = False
        self._head_done = False
        self._started = False
        self._status = 0

    def send(self, head: bytes, body: bytes | None) -> asyncio.Future[Reply]:
        """Write a request; the future is its reply."""
        waiter: asyncio.Future[Reply] = self.loop.create_future()
        self._waiter = waiter
        transport = self._transport
        if transport is None or not self.reusable:
            self._fail(Dropped("the connection was closed"))
        elif not body:
            transport.write(head)
        elif len(body) < _SMALL_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        return waiter

    def close(self) -> None:
        """End the connection at once."""
        self.reusable = False
        self._waiter = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed: the end of a reply without a length, else an error for the waiting request."""
        self.reusable = False
        self._transport = None
        if self._waiter is None:
            return
        if self._head_done and not self._framed:
            self.on_message_complete()
        elif self._started:
            self._fail(Interrupted(f"the reply ended early{f': {exc}' if exc else ''}"))
        else:
            self._fail(Dropped(f"{exc or 'EOF'}"))

    def data_received(self, data: bytes) -> None:
        """Bytes of a reply."""
        if self._waiter is None:  # no request is pending
            self.close()
            return
        self._started = True
        if not self._head_done:
            self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(RemoteError(f"malformed HTTP response: {error}"))
            return
        if not self._head_done and self._size > _HEAD_LIMIT_BYTES:
            self._fail(RemoteError(f"the reply's headers are longer than {_HEAD_LIMIT_BYTES} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, from the parser."""
        size = len(name)
        if size == 12 and name.lower() == b"content-type":
            self._content_type = value.decode("latin-1")
        elif size == 14 and name.lower() == b"content-length":
            self._framed = True
            if value.isdigit() and int(value) > self._limit:
                self._fail(self._too_long())
        elif size == 17 and name.lower() == b"transfer-encoding":
            self._framed = True
        elif size == 16 and name.lower() == b"content-encoding":
            self._encoding = value.strip().lower()
        elif size == 8 and name.lower() == b"location":
            self._location = value.decode("latin-1")
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The end of the headers, from the parser."""
        self._status = self._parser.get_status_code()
        self._head_done = True
        self._size = 0

    def on_body(self, body: bytes) -> None:
        """Part of the body, from the parser."""
        self._size += len(body)
        if self._size > self._limit:
            self._fail(self._too_long())
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        """The end of the reply, from the parser."""
        if 100 <= self._status < 200:
            self._reset()
            self._started = True
            return
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            self.close()
            return
        if self.reusable:
            self.reusable = self._parser.should_keep_alive()
        try:
            reply = Reply(self._status, self._content_type, self._location, self._body(), tuple(self._headers))
        except RemoteError as fault:
            waiter.set_exception(fault)
        else:
            waiter.set_result(reply)
        self._reset()

    def _body(self) -> bytes:
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if not self._encoding or self._encoding == b"identity" or not body:
            return body
        return _unpacked(body, self._encoding, self._limit)

    def _too_long(self) -> RemoteError:
        return RemoteError(f"the reply is longer than {self._limit} bytes (message_limit_bytes)")

    def _fail(self, fault: Fault) -> None:
        waiter, self._waiter = self._waiter, None
        self.close()
        if waiter is not None and not waiter.done():
            waiter.set_exception(fault)


def _unpacked(body: bytes, encoding: bytes, limit_bytes: int) -> bytes:
    name = encoding.decode("latin-1")
    if name not in ENCODINGS:
        raise RemoteError(f"the reply has the content encoding {name!r}, which nobody asked for")
    try:
        return unpacked(body, limit_bytes)
    except (PayloadError, UploadTooLarge) as fault:
        raise RemoteError(str(fault).replace("the body", "the reply", 1)) from fault
