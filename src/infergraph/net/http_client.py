"""A lean HTTP/1.1 client: keep-alive connections, one request at a time on each, buffered bodies.

    exchange ─▶ reuse or open a connection ─▶ write head and body ─▶ llhttp parses the reply ─▶ return it to the pool

Measured against aiohttp in the decision record on the REST hop; parsing is llhttp's, by way of httptools.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple

import msgspec

from infergraph.errors import RemoteError
from infergraph.net.address import Address, Location, dial
from infergraph.net.http_connection import Connection, Dropped, Reply

__all__ = ["Call", "Dropped", "HttpClient", "HttpOptions", "Reply"]

_REDIRECTS_LIMIT = 10
_SEE_OTHER = frozenset({301, 302, 303})
_SAME_AGAIN = frozenset({307, 308})
# Never forwarded to another host by a redirect.
_PRIVATE = frozenset({b"authorization", b"cookie", b"www-authenticate"})


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the connection pool.

    Args:
        connect_timeout_s: time-out of connecting.
        reply_limit_bytes: maximum reply size, also after decompression.
        idle_connections: maximum of idle connections; more may be open while busy.
        idle_s: how long an idle connection is kept.
        fresh_s: a request that must not be sent twice reuses only a connection idle for at most this long.
        tls: the TLS settings of a secure address; None for the system's certificate authorities.
    """

    connect_timeout_s: float = 30.0
    reply_limit_bytes: int = 64 * 1024 * 1024
    idle_connections: int = 32
    idle_s: float = 60.0
    fresh_s: float = 1.0
    tls: ssl.SSLContext | None = None


class Call(NamedTuple):
    """One request.

    Args:
        method: POST or GET.
        path: with its leading slash.
        headers: encoded header lines, each with its line end, without host and content-length.
        body: None for a request without one.
        replayable: whether it may be sent again on a new connection if a reused one turns out to be closed.
    """

    method: str
    path: str
    headers: bytes
    body: bytes | None
    replayable: bool = True


class HttpClient:
    """A client of one address and of its redirects. Bound to one event loop."""

    def __init__(self, address: Address, options: HttpOptions) -> None:
        self.address = address
        self.options = options
        self._tls = options.tls
        self._host_line = f" HTTP/1.1\r\nhost: {address.host_header}\r\n".encode("ascii", "replace")
        self._idle: list[Connection] = []
        self._elsewhere: dict[Address, HttpClient] = {}

    async def exchange(self, call: Call, timeout_s: float | None = None) -> Reply:
        """The reply to one request, redirects followed.

        Raises:
            TimeoutError: none within `timeout_s`.
            RemoteError: the server is unreachable, violated the protocol, or sent too large a reply.
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
            target = client._redirected(call.path, reply.location)
            if target is None:
                raise RemoteError(f"{client._asked(call)}: cannot go to {reply.location!r}")
            if not target.address.is_same_server(client.address):
                call = call._replace(headers=_without(call.headers, _PRIVATE))
                client = self._client(target.address)
            call = call._replace(path=target.path)
            reply = await client._once(call)
            if not reply.location:
                return reply
        raise RemoteError(f"{self._asked(call)}: stopped after {_REDIRECTS_LIMIT} redirects")

    def _client(self, address: Address) -> HttpClient:
        if address.is_same_server(self.address):
            return self
        return self._elsewhere.setdefault(address, HttpClient(address, self.options))

    def _redirected(self, path: str, location: str) -> Location | None:
        """The redirect target; None if there is none, or it changes between http and https."""
        try:
            target = Location(self.address, path).at(location)
        except ValueError:
            return None
        return target if target.address.is_secure == self.address.is_secure else None

    async def _once(self, call: Call) -> Reply:
        connection = self._take(call.replayable)
        if connection is not None:
            try:
                return await self._on(connection, call)
            except Dropped:
                if not call.replayable:
                    raise
        return await self._on(await self._dial(call), call)

    async def _on(self, connection: Connection, call: Call) -> Reply:
        try:
            reply = await connection.send(self._head(call), call.body)
        except BaseException as error:
            connection.close()
            if isinstance(error, RemoteError):
                raise type(error)(f"{self._asked(call)}: {error.text}") from None
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

    def _take(self, replayable: bool) -> Connection | None:
        """The most recently used idle connection, if it is fit for the request."""
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

    async def _dial(self, call: Call) -> Connection:
        loop, limit_bytes = asyncio.get_running_loop(), self.options.reply_limit_bytes
        if self.address.is_secure and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            _, connection = await dial(
                self.address,
                lambda: Connection(loop, limit_bytes),
                timeout_s=self.options.connect_timeout_s,
                tls=self._tls,
            )
        except RemoteError as fault:
            raise type(fault)(f"{self._asked(call)}: {fault.text}") from fault.__cause__
        return connection

    def _asked(self, call: Call) -> str:
        return f'{call.method.capitalize()} "{self.address.url(call.path)}"'


_ABOUT_BODY = frozenset({b"content-type", b"content-encoding"})


def _without(headers: bytes, names: frozenset[bytes]) -> bytes:
    lines = headers.split(b"\r\n")[:-1]
    return b"".join(line + b"\r\n" for line in lines if line.partition(b":")[0] not in names)
