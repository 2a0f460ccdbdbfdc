"""The bare ASGI callable: hot paths by one dictionary look-up, everything else to one Starlette application.

    scope ─▶ Http ──table[path]──▶ endpoint(exchange) ─▶ Answer ─▶ bytes
                └──────────────▶ Starlette (tasks, console, documents)

HTTP is done with here: bodies, limits, gzip, CORS, the client that hangs up, the accounting of a request.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote

import msgspec

from infergraph.errors import DeadlinePassed, Fault, Overloaded, UploadTooLarge
from infergraph.serving import answers
from infergraph.serving.answers import Answer

_log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_WATCH_EVERY_S = 0.2
_INLINE_GZIP_BYTES = 64 * 1024
_ALL_METHODS = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


class ClientGone(Exception):
    """The client hung up before its request was whole."""


class Accounting(Protocol):
    """Where requests are counted."""

    def started(self) -> None:
        """A request has come in."""

    def finished(
        self, method: str, code: str, transport: str, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        """A request that had started is over."""


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and habits of the HTTP side; assembly fills them from the settings."""

    message_limit_bytes: int
    concurrency_limit: int
    request_timeout_s: float = 0.0
    cors_origins: str = "*"
    cors_headers: str = ""
    compress_min_bytes: int = 1024
    compress_max_bytes: int = 1024 * 1024
    access_log: bool = False


class Exchange:
    """One request as an endpoint sees it."""

    __slots__ = ("_receive", "headers", "is_read", "options", "raw_headers", "scope")

    def __init__(self, scope: Scope, receive: Receive, options: HttpOptions) -> None:
        self.scope = scope
        self.options = options
        self.raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers = dict(self.raw_headers)
        self._receive = receive
        self.is_read = False

    async def body(self) -> bytes:
        """The whole body, as it came.

        Raises:
            UploadTooLarge: over the message limit, counted while it arrives.
            ClientGone: the client hung up.
        """
        limit = self.options.message_limit_bytes
        declared = self.headers.get(b"content-length")
        if declared is not None and int(declared) > limit:
            raise too_large(int(declared), limit)
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            body = await self._rest_of_body(body, limit)
        elif message["type"] == "http.disconnect":
            raise ClientGone
        self.is_read = True
        return body

    async def _rest_of_body(self, first: bytes, limit: int) -> bytes:
        parts, size = [first], len(first)
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise too_large(size, limit)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def gone(self) -> None:
        """Returns when the client hangs up (after the body has been read)."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def too_large(size: int, limit: int) -> UploadTooLarge:
    """The fault for a message over the limit; it names the setting."""
    return UploadTooLarge(
        f"a message of {size} bytes or more is over the limit of {limit} (setting message_limit_bytes)"
    )


Handler: TypeAlias = Callable[[Exchange], Awaitable[Answer]]


class Endpoint(NamedTuple):
    """What answers at a path: the methods it takes, its handler, the name it is counted under.

    Gated endpoints count against the concurrency limit and the request timeout; probes are not gated.
    """

    methods: frozenset[str]
    handler: Handler
    name: str
    gated: bool = True


class Http:
    """The ASGI application of a serving worker."""

    def __init__(
        self,
        table: Mapping[str, Endpoint],
        other: App,
        options: HttpOptions,
        accounting: Accounting,
    ) -> None:
        self._table = table
        self._other = other
        self._options = options
        self._accounting = accounting
        self._access = logging.getLogger("infergraph.access") if options.access_log else None
        self._watch = _Watch()
        self.in_flight = 0
        self._open_cors = (b"access-control-allow-origin", b"*") if options.cors_origins == "*" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        endpoint = self._table.get(scope["path"])
        if endpoint is None:
            await self._other(scope, receive, send)
            return
        method = scope["method"]
        exchange = Exchange(scope, receive, self._options)
        if method not in endpoint.methods:
            await self._send(exchange.headers, send, method, self._refuse_method(method, endpoint))
            return
        started = time.perf_counter()
        self.in_flight += 1
        self._accounting.started()
        answer = None
        try:
            answer = await self._guarded(endpoint, exchange)
            await self._send(exchange.headers, send, method, answer)
        except ClientGone:
            pass
        finally:
            self.in_flight -= 1
            self._account(endpoint, exchange, answer, time.perf_counter() - started)

    async def _guarded(self, endpoint: Endpoint, exchange: Exchange) -> Answer:
        """The one place of this edge that catches."""
        if not endpoint.gated:
            return await self._safely(endpoint.handler, exchange)
        limit = self._options.concurrency_limit
        if limit and self.in_flight > limit:
            return answers.of_fault(
                Overloaded(f"{limit} requests are in work already (setting concurrency_limit); try again")
            )
        entry = self._watch.enter(exchange)
        try:
            return await self._safely(endpoint.handler, exchange)
        except asyncio.CancelledError:
            if not entry.hung_up:
                raise
            raise ClientGone from None
        finally:
            self._watch.leave(entry)

    async def _safely(self, handler: Handler, exchange: Exchange) -> Answer:
        timeout = self._options.request_timeout_s
        try:
            if not timeout:
                return await handler(exchange)
            try:
                async with asyncio.timeout(timeout):
                    return await handler(exchange)
            except TimeoutError as error:
                raise DeadlinePassed(f"no answer within {timeout:g} s (setting request_timeout_s)") from error
        except Fault as fault:
            return answers.of_fault(fault)
        except (ClientGone, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - the edge's last net: whatever it is, the caller gets an answer
            puid = exchange.headers.get(b"seldon-puid", b"").decode("latin-1")
            _log.exception("a request to %s failed (puid %s)", exchange.scope["path"], puid or "-")
            return answers.of_bug(error, puid)

    async def _send(self, given: Mapping[bytes, bytes], send: Send, method: str, answer: Answer) -> None:
        headers, body = answer.headers, answer.body
        origin, accepts = given.get(b"origin"), given.get(b"accept-encoding")
        if origin is None and self._open_cors is not None:
            headers.append(self._open_cors)
        else:
            headers.extend(self._cors(origin))
        options = self._options
        if accepts is not None and options.compress_min_bytes <= len(body) <= options.compress_max_bytes:
            body = await _compress(body, accepts, headers)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    def _cors(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        if origin is None:
            return []
        allowed = {entry.strip() for entry in self._options.cors_origins.split(",")}
        if "*" in allowed or origin.decode("latin-1") in allowed:
            return [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        return [(b"vary", b"Origin")]

    def _refuse_method(self, method: str, endpoint: Endpoint) -> Answer:
        allowed = ", ".join(sorted(endpoint.methods | {"OPTIONS"})).encode()
        if method != "OPTIONS":
            text = f"405 Method Not Allowed: this path takes {allowed.decode()}, not {method}"
            return answers.refusal(405, text, answers.INTERNAL, (b"allow", allowed))
        headers = (self._options.cors_headers or "*").encode("latin-1")
        return Answer(
            200,
            b"",
            [
                (b"allow", allowed),
                (b"access-control-allow-methods", _ALL_METHODS),
                (b"access-control-allow-headers", headers),
            ],
        )

    def _account(self, endpoint: Endpoint, exchange: Exchange, answer: Answer | None, seconds: float) -> None:
        status = 499 if answer is None else answer.status
        sent = 0 if answer is None else len(answer.body)
        received = int(exchange.headers.get(b"content-length", b"0") or 0)
        self._accounting.finished(endpoint.name, str(status), "rest", seconds, received, sent)
        if self._access is not None:
            path = quote(exchange.scope["path"])
            self._access.info("%s %s %s %.1f ms", exchange.scope["method"], path, status, seconds * 1000)


class _Entry:
    """One request under watch."""

    __slots__ = ("exchange", "hung_up", "seen", "task", "watching")

    def __init__(self, exchange: Exchange, task: asyncio.Task[Any] | None) -> None:
        self.exchange = exchange
        self.task = task
        self.seen = False
        self.hung_up = False
        self.watching: asyncio.Task[None] | None = None


class _Watch:
    """Cancels requests whose clients hang up.

    One timer sweeps over all requests, and only those it meets twice get a task that listens: a short request pays
    for nothing but its entry.
    """

    def __init__(self) -> None:
        self._entries: set[_Entry] = set()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, exchange: Exchange) -> _Entry:
        entry = _Entry(exchange, asyncio.current_task())
        self._entries.add(entry)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WATCH_EVERY_S, self._sweep)
        return entry

    def leave(self, entry: _Entry) -> None:
        self._entries.discard(entry)
        if entry.watching is not None:
            entry.watching.cancel()
            if entry.hung_up and entry.task is not None:
                entry.task.uncancel()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for entry in self._entries:
            # Until the body has been read, its reader hears of the end itself.
            if entry.seen and entry.watching is None and entry.exchange.is_read:
                entry.watching = loop.create_task(self._wait(entry))
            entry.seen = True
        self._timer = loop.call_later(_WATCH_EVERY_S, self._sweep) if self._entries else None

    async def _wait(self, entry: _Entry) -> None:
        await entry.exchange.gone()
        entry.hung_up = True
        if entry.task is not None:
            entry.task.cancel()


async def _compress(body: bytes, accepts: bytes, headers: answers.Headers) -> bytes:
    if b"gzip" not in accepts or any(name == b"content-encoding" for name, _ in headers):
        return body
    headers.append((b"content-encoding", b"gzip"))
    headers.append((b"vary", b"Accept-Encoding"))
    if len(body) <= _INLINE_GZIP_BYTES:
        return gzip.compress(body, 1, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, 1, mtime=0)
