"""A lean HTTP/1.1 client for calls to nodes: kept connections, one request at a time on each, whole bodies.

    exchange ─▶ take an idle connection or dial ─▶ write head and body ─▶ llhttp reads the reply ─▶ give it back

Measured against aiohttp in the decision record on the REST hop; parsing is llhttp's, by way of httptools.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from typing import NamedTuple, cast

import httptools
import msgspec

from infergraph.errors import Fault, RemoteError

_HEAD_LIMIT_BYTES = 64 * 1024
_SMALL_BYTES = 16 * 1024
_REDIRECTS_LIMIT = 10
_SEE_OTHER = frozenset({301, 302, 303})
_SAME_AGAIN = frozenset({307, 308})
# Never sent to another host than the one they were meant for.
_PRIVATE = frozenset({b"authorization", b"cookie", b"www-authenticate"})


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a node is called.

    Args:
        connect_timeout_s: longest time to reach it.
        reply_limit_bytes: largest reply, also when unpacked.
        idle_connections: connections kept at most; more may be open while busy.
        idle_s: how long an unused connection is kept.
        fresh_s: a request that must not be sent twice rides only on a connection used so recently.
        tls: speak HTTPS, by these rules; None for plain HTTP.
    """

    connect_timeout_s: float = 30.0
    reply_limit_bytes: int = 64 * 1024 * 1024
    idle_connections: int = 32
    idle_s: float = 60.0
    fresh_s: float = 1.0
    tls: ssl.SSLContext | None = None


class Reply(NamedTuple):
    """What a node answered: its status, the headers that matter here, the unpacked body, the other headers."""

    status: int
    content_type: str
    location: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def header(self, name: bytes) -> str:
        """One of the other headers by its lower-case name; empty where there is none."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), "")


class Call(NamedTuple):
    """One request.

    Args:
        method: POST or GET.
        path: with its leading slash.
        headers: lines ready to send, each with its line end, without host and content-length.
        body: None for a request without one.
        replayable: whether it may be sent again on a new connection when a kept one turns out dead.
    """

    method: str
    path: str
    headers: bytes
    body: bytes | None
    replayable: bool = True


class Dropped(RemoteError):
    """The connection ended before the first byte of a reply."""


class HttpClient:
    """Calls to one address and wherever it redirects to. Lives on one event loop."""

    def __init__(self, host: str, port: int, options: HttpOptions) -> None:
        self.host = host
        self.port = port
        self.options = options
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{shown}:{port}"
        self._host_line = f" HTTP/1.1\r\nhost: {self.address}\r\n".encode("ascii", "replace")
        self._idle: list[_Connection] = []
        self._elsewhere: dict[tuple[str, int], HttpClient] = {}

    async def exchange(self, call: Call, timeout_s: float | None = None) -> Reply:
        """The reply to one request, redirects followed.

        Raises:
            TimeoutError: none within `timeout_s`.
            RemoteError: the node cannot be reached, broke the protocol, or answered too much.
        """
        if timeout_s is None:
            return await self._exchange(call)
        async with asyncio.timeout(timeout_s):
            return await self._exchange(call)

    def close(self) -> None:
        """Close all idle connections."""
        for client in (self, *self._elsewhere.values()):
            for connection in client._idle:
                connection.close()
            client._idle.clear()

    async def _exchange(self, call: Call) -> Reply:
        reply = await self._once(call)
        if reply.status < 300 or not reply.location:
            return reply
        return await self._follow(call, reply)

    async def _follow(self, call: Call, reply: Reply) -> Reply:
        client = self
        for _ in range(_REDIRECTS_LIMIT):
            if reply.status in _SEE_OTHER:
                call = call._replace(method="GET", body=None, headers=_without(call.headers, _ABOUT_BODY))
            elif reply.status not in _SAME_AGAIN:
                return reply
            target = client._target(reply.location, call.path)
            if target is None:
                raise RemoteError(
                    f'{call.method} "http://{client.address}{call.path}": cannot go to {reply.location!r}'
                )
            host, port, path = target
            if (host, port) != (client.host, client.port):
                call = call._replace(headers=_without(call.headers, _PRIVATE))
                client = self._client(host, port)
            call = call._replace(path=path)
            reply = await client._once(call)
            if not reply.location:
                return reply
        raise RemoteError(
            f'{call.method} "http://{self.address}{call.path}": stopped after {_REDIRECTS_LIMIT} redirects'
        )

    def _client(self, host: str, port: int) -> HttpClient:
        if (host, port) == (self.host, self.port):
            return self
        return self._elsewhere.setdefault((host, port), HttpClient(host, port, self.options))

    def _target(self, location: str, path: str) -> tuple[str, int, str] | None:
        try:
            url = httptools.parse_url(location.encode("ascii"))
        except (httptools.HttpParserInvalidURLError, UnicodeEncodeError):
            return None
        query = f"?{url.query.decode()}" if url.query else ""
        if url.host is None:
            return self.host, self.port, (url.path or path.encode()).decode() + query
        if url.schema != (b"https" if self.options.tls else b"http"):
            return None
        port = url.port or (443 if self.options.tls else 80)
        return url.host.decode(), port, (url.path or b"/").decode() + query

    async def _once(self, call: Call) -> Reply:
        connection = self._take(call.replayable)
        if connection is not None:
            try:
                return await self._on(connection, call)
            except Dropped:
                if not call.replayable:
                    raise
        return await self._on(await self._dial(call), call)

    async def _on(self, connection: _Connection, call: Call) -> Reply:
        try:
            reply = await connection.send(self._head(call), call.body)
        except BaseException as error:
            connection.close()
            if isinstance(error, RemoteError):
                text = f'{_verb(call)} "http://{self.address}{call.path}": {error.text}'
                raise type(error)(text) from None
            raise
        if connection.reusable and len(self._idle) < self.options.idle_connections:
            connection.used_at = connection.loop.time()
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    def _head(self, call: Call) -> bytes:
        length = b"" if call.body is None else b"content-length: %d\r\n" % len(call.body)
        return b"".join(
            (
                call.method.encode(),
                b" ",
                call.path.encode("ascii", "replace"),
                self._host_line,
                call.headers,
                length,
                b"\r\n",
            )
        )

    def _take(self, replayable: bool) -> _Connection | None:
        """The idle connection used last, if it is fit for the request."""
        while self._idle:
            connection = self._idle.pop()
            idle_s = connection.loop.time() - connection.used_at
            if not connection.reusable or idle_s > self.options.idle_s:
                connection.close()
            elif replayable or idle_s <= self.options.fresh_s:
                return connection
            else:
                self._idle.append(connection)
                return None
        return None

    async def _dial(self, call: Call) -> _Connection:
        loop = asyncio.get_running_loop()
        limit = self.options.reply_limit_bytes
        try:
            async with asyncio.timeout(self.options.connect_timeout_s) as time:
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, limit), self.host, self.port, ssl=self.options.tls
                )
        except OSError as error:  # a TimeoutError is one
            if isinstance(error, TimeoutError) and not time.expired():
                raise
            reason = "i/o timeout" if isinstance(error, TimeoutError) else _said(error)
            text = f'{_verb(call)} "http://{self.address}{call.path}": dial tcp {self.address}: connect: {reason}'
            raise RemoteError(text) from error
        return connection


class _Connection(asyncio.Protocol):
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
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: the end of a reply without a length, else a fault for who waits."""
        self.reusable = False
        self._transport = None
        if self._waiter is None:
            return
        if self._head_done and not self._framed:
            self.on_message_complete()
        elif self._started:
            self._fail(RemoteError(f"the reply ended early{f': {exc}' if exc else ''}"))
        else:
            self._fail(Dropped(f"{exc or 'EOF'}"))

    def data_received(self, data: bytes) -> None:
        """Bytes of a reply."""
        if self._waiter is None:  # nothing was asked
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
        """A piece of the body, from the parser."""
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


_ABOUT_BODY = frozenset({b"content-type", b"content-encoding"})


def _without(headers: bytes, names: frozenset[bytes]) -> bytes:
    lines = headers.split(b"\r\n")[:-1]
    return b"".join(line + b"\r\n" for line in lines if line.partition(b":")[0] not in names)


def _unpacked(body: bytes, encoding: bytes, limit_bytes: int) -> bytes:
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        raise RemoteError(f"the reply has the content encoding {encoding.decode('latin-1')!r}, which nobody asked for")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        plain = unpacker.decompress(body, limit_bytes)
    except zlib.error as error:
        raise RemoteError(f"the reply is not valid {encoding.decode()}: {error}") from error
    if unpacker.unconsumed_tail:
        raise RemoteError(f"the reply unpacks to more than {limit_bytes} bytes (message_limit_bytes)")
    if not unpacker.eof:
        raise RemoteError(f"the reply is not valid {encoding.decode()}: it ends early")
    return plain


def _verb(call: Call) -> str:
    return call.method.capitalize()


def _said(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return error.strerror or str(error) or type(error).__name__


async def connects(host: str, port: int, timeout_s: float) -> bool:
    """Whether somebody listens there."""
    try:
        async with asyncio.timeout(timeout_s):
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)
    except OSError:
        return False
    transport.close()
    return True
