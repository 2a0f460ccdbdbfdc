"""The bare ASGI callable: hot paths by one dictionary look-up, everything else to one Starlette application.

    scope ─▶ Http ──paths──▶ endpoint(exchange) ─▶ Answer ─▶ front.decorate ─▶ bytes
                └───────▶ Starlette (tasks, console, documents)

HTTP is done with here: bodies, limits, gzip, the client that hangs up, the accounting of a request.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote

import msgspec

from infergraph.errors import DeadlinePassed, Fault, UploadTooLarge
from infergraph.observe import logs
from infergraph.observe.node_times import node_times
from infergraph.serving import answers
from infergraph.serving.answers import Answer
from infergraph.serving.hangups import HangupWatch
from infergraph.serving.load import Load

_log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_INLINE_GZIP_BYTES = 64 * 1024
_BODILESS = frozenset({204, 304})
"""Statuses whose answers end with their headers: a body would be taken for the next answer."""


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
    bodies_limit_bytes: int = 0
    request_timeout_s: float = 0.0
    compress_min_bytes: int = 1024
    compress_max_bytes: int = 1024 * 1024
    access_log: bool = False


class Exchange:
    """One request as an endpoint sees it.

    `puid` is its id as its front gave or found it; `parameters` are the parts of its path that a pattern named.
    """

    __slots__ = (
        "_load",
        "_receive",
        "headers",
        "held_bytes",
        "is_read",
        "options",
        "parameters",
        "puid",
        "raw_headers",
        "scope",
    )

    def __init__(self, scope: Scope, receive: Receive, options: HttpOptions, load: Load) -> None:
        self.scope = scope
        self.options = options
        self._load = load
        self.held_bytes = 0
        self.raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self.raw_headers)
        self._receive = receive
        self.is_read = False
        self.puid = b""
        self.parameters: Mapping[str, str] = {}

    async def body(self) -> bytes:
        """The whole body, as it came.

        Raises:
            UploadTooLarge: over the message limit, counted while it arrives.
            Overloaded: enough other requests are in work by now, or too many bodies in memory.
            ClientGone: the client hung up.
        """
        limit = self.options.message_limit_bytes
        declared = self.headers.get(b"content-length")
        if declared is not None and int(declared) > limit:
            raise too_large(int(declared), limit)
        self._load.receiving += 1
        try:
            message = await self._receive()
            body: bytes = message.get("body", b"")
            if message.get("more_body", False):
                body = await self._rest_of_body(body, limit)
            elif message["type"] == "http.disconnect":
                raise ClientGone
        finally:
            self._load.receiving -= 1
        self._load.admit()
        self.is_read = True
        return body

    async def _rest_of_body(self, first: bytes, limit: int) -> bytes:
        parts, size = [first], len(first)
        self._hold(size)
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise too_large(size, limit)
            self._hold(len(part))
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _hold(self, size_bytes: int) -> None:
        self.held_bytes += size_bytes
        self._load.hold(size_bytes)

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
    """What answers at a path: the methods it takes (None for all), its handler, the name it is counted under.

    Gated endpoints count against the concurrency limit and the request timeout; probes are not gated.
    """

    methods: frozenset[str] | None
    handler: Handler
    name: str
    gated: bool = True


class Front(Protocol):
    """The habits in which the protocol's two HTTP interfaces differ."""

    def identify(self, exchange: Exchange) -> bytes:
        """The id of a request; empty for none."""

    def decorate(self, headers: answers.Headers, endpoint: Endpoint, exchange: Exchange) -> None:
        """Add the headers that every answer has."""

    def of_fault(self, fault: Fault) -> Answer:
        """How a fault is told."""

    def of_bug(self, puid: str) -> Answer:
        """How an error of ours is told."""

    def refuse_method(self, endpoint: Endpoint, exchange: Exchange) -> Answer:
        """The answer to a method that the path does not take, OPTIONS among them."""


class Paths(NamedTuple):
    """What is served where: exact paths by one look-up, then patterns in their order."""

    exact: Mapping[str, Endpoint]
    patterns: Sequence[tuple[re.Pattern[str], Endpoint]] = ()

    def find(self, path: str) -> tuple[Endpoint | None, Mapping[str, str]]:
        """The endpoint at a path that is no exact one, and the parts of it that the pattern names."""
        for pattern, endpoint in self.patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                return endpoint, found.groupdict()
        return None, {}


class Http:
    """The ASGI application of a serving worker."""

    def __init__(
        self,
        paths: Paths,
        front: Front,
        other: App,
        options: HttpOptions,
        accounting: Accounting,
    ) -> None:
        self._paths = paths
        self._exact = paths.exact
        self._front = front
        self._other = other
        self._options = options
        self._accounting = accounting
        self._access = options.access_log
        self._watch = HangupWatch()
        self._load = Load(
            concurrency_limit=options.concurrency_limit,
            bodies_limit_bytes=options.bodies_limit_bytes
            and max(options.bodies_limit_bytes, options.message_limit_bytes),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, self._options, self._load)
        endpoint = self._exact.get(scope["path"])
        if endpoint is None:
            endpoint, exchange.parameters = self._paths.find(scope["path"])
        if endpoint is None:
            await self._other(scope, receive, send)
            return
        exchange.puid = self._front.identify(exchange)
        started = time.perf_counter()
        self._load.in_flight += 1
        self._accounting.started()
        answer = None
        try:
            answer = await self._answer(endpoint, exchange)
            await self._send(exchange, endpoint, send, answer)
        except ClientGone:
            pass
        finally:
            self._load.in_flight -= 1
            self._load.bodies_bytes -= exchange.held_bytes
            self._account(endpoint, exchange, answer, time.perf_counter() - started)

    async def _answer(self, endpoint: Endpoint, exchange: Exchange) -> Answer:
        """The one place of this edge that catches."""
        method = exchange.scope["method"]
        if method == "OPTIONS" or (endpoint.methods is not None and method not in endpoint.methods):
            return self._front.refuse_method(endpoint, exchange)
        entry = self._watch.enter(exchange)
        try:
            if not endpoint.gated:
                return await endpoint.handler(exchange)
            self._load.admit()
            if self._options.request_timeout_s:
                return await self._within(self._options.request_timeout_s, endpoint.handler, exchange)
            return await endpoint.handler(exchange)
        except Fault as fault:
            return self._front.of_fault(fault)
        except asyncio.CancelledError:
            if not entry.hung_up:
                raise
            raise ClientGone from None
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001 - the edge's last net: whatever it is, the caller gets an answer
            puid = exchange.puid.decode("latin-1") or "-"
            _log.exception("a request to %s failed (puid %s)", exchange.scope["path"], puid)
            return self._front.of_bug(puid)
        finally:
            self._watch.leave(entry)

    async def _within(self, seconds: float, handler: Handler, exchange: Exchange) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                return await handler(exchange)
        except TimeoutError as error:
            raise DeadlinePassed(f"no answer within {seconds:g} s (setting request_timeout_s)") from error

    async def _send(self, exchange: Exchange, endpoint: Endpoint, send: Send, answer: Answer) -> None:
        headers, body = answer.headers, answer.body
        self._front.decorate(headers, endpoint, exchange)
        if answer.status in _BODILESS:
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        accepts = exchange.headers.get(b"accept-encoding")
        options = self._options
        if accepts is not None and options.compress_min_bytes <= len(body) <= options.compress_max_bytes:
            body = await _compress(body, accepts, headers)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if exchange.scope["method"] == "HEAD" else body})

    def _account(self, endpoint: Endpoint, exchange: Exchange, answer: Answer | None, seconds: float) -> None:
        status = 499 if answer is None else answer.status
        sent = 0 if answer is None else len(answer.body)
        received = int(exchange.headers.get(b"content-length", b"0") or 0)
        self._accounting.finished(endpoint.name, str(status), "rest", seconds, received, sent)
        if self._access:
            self._write_access(exchange, status, seconds)

    def _write_access(self, exchange: Exchange, status: int, seconds: float) -> None:
        client = exchange.scope.get("client")
        logs.access(
            "rest",
            exchange.scope["method"],
            quote(exchange.scope["path"]),
            str(status),
            seconds,
            client=client[0] if client else "",
            puid=exchange.puid.decode("latin-1"),
            nodes=node_times(),
        )


async def _compress(body: bytes, accepts: bytes, headers: answers.Headers) -> bytes:
    if b"gzip" not in accepts or any(name == b"content-encoding" for name, _ in headers):
        return body
    headers.append((b"content-encoding", b"gzip"))
    headers.append((b"vary", b"Accept-Encoding"))
    if len(body) <= _INLINE_GZIP_BYTES:
        return gzip.compress(body, 1, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, 1, mtime=0)
