"""The bare ASGI callable: hot paths by one dictionary look-up, everything else to one Starlette application.

    scope ─▶ Http ──paths──▶ Streamed ─▶ endpoint(exchange) ─▶ Answer ─▶ front.decorate ─▶ bytes
               │    small and whole: Whole ─▲
               └───────▶ Starlette (tasks, console, documents)

HTTP is done with here: bodies, limits, gzip, the client that hangs up, the accounting of a request.
"""

from __future__ import annotations

import asyncio
import contextvars
import gzip
import logging
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec

from infergraph.at_once import drive
from infergraph.errors import DeadlinePassed, Fault, UploadTooLarge
from infergraph.observe import logs
from infergraph.observe.node_times import node_times
from infergraph.serving.admission import Load
from infergraph.serving.http import answers
from infergraph.serving.http.answers import Answer
from infergraph.serving.http.disconnect import HangupWatch

_log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Write: TypeAlias = Callable[[int, answers.Headers, bytes], None]

_INLINE_GZIP_BYTES = 64 * 1024
BODILESS = frozenset({204, 304})
"""Statuses whose answers end with their headers: a body would be taken for the next answer."""
_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


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


class Exchange(ABC):
    """One request as an endpoint sees it, and the way back to its client.

    `puid` is its id as its front gave or found it; `parameters` are the parts of its path that a pattern named.
    """

    __slots__ = ("client", "headers", "held_bytes", "method", "parameters", "path", "puid", "query", "raw_headers")

    raw_headers: list[tuple[bytes, bytes]]
    headers: dict[bytes, bytes]
    method: str
    path: str
    query: bytes
    client: tuple[str, int] | None
    puid: bytes
    parameters: Mapping[str, str]
    held_bytes: int
    may_wait = True
    """Whether its answer may wait for something."""

    @property
    @abstractmethod
    def declared_bytes(self) -> int:
        """How large its body is, as its head says; 0 where that is left open."""

    @abstractmethod
    async def body(self) -> bytes:
        """The whole body, as it came.

        Raises:
            UploadTooLarge: over the message limit, counted while it arrives.
            Overloaded: enough other requests are in work by now, or too many bodies in memory.
            ClientGone: the client hung up.
        """

    @abstractmethod
    async def reply(self, status: int, headers: answers.Headers, body: bytes) -> None:
        """Send the answer with its length; one of a status without a body ends with its headers."""


class Streamed(Exchange):
    """A request whose body may still be coming, as ASGI hands it over."""

    __slots__ = ("_limit_bytes", "_load", "_receive", "_send", "is_read")

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, limit_bytes: int, load: Load) -> None:
        self.raw_headers = scope["headers"]
        self.headers = dict(self.raw_headers)
        self.method = scope["method"]
        self.path = scope["path"]
        self.query = scope["query_string"]
        self.client = scope.get("client")
        self.puid = b""
        self.parameters = _NO_PARAMETERS
        self.held_bytes = 0
        self.is_read = False
        self._limit_bytes = limit_bytes
        self._load = load
        self._receive = receive
        self._send = send

    @property
    def declared_bytes(self) -> int:
        """See `Exchange`."""
        return int(self.headers.get(b"content-length") or 0)

    async def body(self) -> bytes:
        """See `Exchange`."""
        limit = self._limit_bytes
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

    async def reply(self, status: int, headers: answers.Headers, body: bytes) -> None:
        """See `Exchange`."""
        if status not in BODILESS:
            headers.append((b"content-length", b"%d" % len(body)))
        has_body = status not in BODILESS and self.method != "HEAD"
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body if has_body else b""})


class Whole(Exchange):
    """A request that is here already, and is answered before the event loop turns.

    Args:
        raw_headers, path, client: of the request; it is a POST without a query.
        body: of a size that was agreed with the endpoint, see `Endpoint.answers_at_once`.
        write: sends a status, headers and body.
    """

    __slots__ = ("_body", "_write")

    method = "POST"
    query = b""
    held_bytes = 0
    may_wait = False

    def __init__(
        self,
        raw_headers: list[tuple[bytes, bytes]],
        path: str,
        client: tuple[str, int] | None,
        body: bytes,
        write: Write,
    ) -> None:
        self.raw_headers = raw_headers
        self.headers = dict(raw_headers)
        self.path = path
        self.client = client
        self.puid = b""
        self.parameters = _NO_PARAMETERS
        self._body = body
        self._write = write

    @property
    def declared_bytes(self) -> int:
        """See `Exchange`."""
        return len(self._body) if b"content-length" in self.headers else 0

    async def body(self) -> bytes:
        """See `Exchange`."""
        return self._body

    async def reply(self, status: int, headers: answers.Headers, body: bytes) -> None:
        """See `Exchange`."""
        self._write(status, headers, body)


def too_large(size: int, limit: int) -> UploadTooLarge:
    """The fault for a message over the limit; it names the setting."""
    return UploadTooLarge(
        f"a message of {size} bytes or more is over the limit of {limit} (setting message_limit_bytes)"
    )


ExchangeT = TypeVar("ExchangeT", bound=Exchange)
Handler: TypeAlias = Callable[[Exchange], Awaitable[Answer]]


def _never(size_bytes: int) -> bool:
    return False


class Endpoint(NamedTuple):
    """What answers at a path: the methods it takes (None for all), its handler, the name it is counted under.

    Gated endpoints count against the concurrency limit and the request timeout; probes are not gated.
    `answers_at_once` tells whether the handler would now answer a POST of so many bytes without waiting for anything.
    """

    methods: frozenset[str] | None
    handler: Handler
    name: str
    gated: bool = True
    answers_at_once: Callable[[int], bool] = _never


Ask: TypeAlias = Callable[[Endpoint, ExchangeT], Awaitable[Answer]]


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
    """The ASGI application of a serving worker.

    Args:
        other: answers at all other paths.
        refuse: the answer to requests whose headers rule them out, asked before a unit is; None to refuse nobody.
    """

    def __init__(
        self,
        paths: Paths,
        front: Front,
        other: App,
        options: HttpOptions,
        accounting: Accounting,
        refuse: Callable[[list[tuple[bytes, bytes]]], Answer | None] | None = None,
    ) -> None:
        self._refuse = refuse
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
        endpoint, parameters = self._exact.get(scope["path"]), _NO_PARAMETERS
        if endpoint is None:
            endpoint, parameters = self._paths.find(scope["path"])
        if endpoint is None:
            await self._other(scope, receive, send)
            return
        exchange = Streamed(scope, receive, send, limit_bytes=self._options.message_limit_bytes, load=self._load)
        exchange.parameters = parameters
        await self._serve(endpoint, exchange, self._watched)

    def at_once(self, path: str, size_bytes: int) -> Endpoint | None:
        """What answers a POST of so many bytes to `path` without waiting; None where nothing does, or not now."""
        endpoint = self._exact.get(path)
        if endpoint is None or size_bytes > self._options.message_limit_bytes:
            return None
        return endpoint if endpoint.answers_at_once(size_bytes) else None

    def answer_at_once(self, endpoint: Endpoint, exchange: Whole) -> None:
        """Answer before the event loop turns; `at_once` has found the endpoint."""
        contextvars.copy_context().run(drive, self._serve(endpoint, exchange, self._gated))

    async def _serve(self, endpoint: Endpoint, exchange: ExchangeT, ask: Ask[ExchangeT]) -> None:
        exchange.puid = self._front.identify(exchange)
        started = time.perf_counter()
        self._load.in_flight += 1
        self._accounting.started()
        answer = None
        try:
            answer = await self._answer(endpoint, exchange, ask)
            await self._reply(endpoint, exchange, answer)
        except ClientGone:
            pass
        finally:
            self._load.in_flight -= 1
            self._load.bodies_bytes -= exchange.held_bytes
            self._account(endpoint, exchange, answer, time.perf_counter() - started)

    async def _answer(self, endpoint: Endpoint, exchange: ExchangeT, ask: Ask[ExchangeT]) -> Answer:
        """The one place of this edge that catches."""
        method = exchange.method
        if method == "OPTIONS" or (endpoint.methods is not None and method not in endpoint.methods):
            return self._front.refuse_method(endpoint, exchange)
        if self._refuse is not None and endpoint.gated and "POST" in (endpoint.methods or ()):
            refused = self._refuse(exchange.raw_headers)
            if refused is not None:
                return refused
        try:
            return await ask(endpoint, exchange)
        except Fault as fault:
            return self._front.of_fault(fault)
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001 - the edge's last net: whatever it is, the caller gets an answer
            puid = exchange.puid.decode("latin-1") or "-"
            _log.exception("a request to %s failed (puid %s)", exchange.path, puid)
            return self._front.of_bug(puid)

    async def _watched(self, endpoint: Endpoint, exchange: Streamed) -> Answer:
        """The endpoint's answer; the request is cancelled when its client hangs up or its time is over."""
        entry = self._watch.enter(exchange)
        try:
            if endpoint.gated and self._options.request_timeout_s:
                return await self._within(self._options.request_timeout_s, endpoint, exchange)
            return await self._gated(endpoint, exchange)
        except asyncio.CancelledError:
            if not entry.hung_up:
                raise
            raise ClientGone from None
        finally:
            self._watch.leave(entry)

    def _gated(self, endpoint: Endpoint, exchange: Exchange) -> Awaitable[Answer]:
        """The endpoint's answer, to be awaited, if it is our turn to work on it."""
        if endpoint.gated:
            self._load.admit()
        return endpoint.handler(exchange)

    async def _within(self, seconds: float, endpoint: Endpoint, exchange: Exchange) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                return await self._gated(endpoint, exchange)
        except TimeoutError as error:
            raise DeadlinePassed(f"no answer within {seconds:g} s (setting request_timeout_s)") from error

    async def _reply(self, endpoint: Endpoint, exchange: Exchange, answer: Answer) -> None:
        status, body, headers = answer
        self._front.decorate(headers, endpoint, exchange)
        options = self._options
        if options.compress_min_bytes <= len(body) <= options.compress_max_bytes and status not in BODILESS:
            body = await _compress(body, headers, exchange)
        await exchange.reply(status, headers, body)

    def _account(self, endpoint: Endpoint, exchange: Exchange, answer: Answer | None, seconds: float) -> None:
        status = 499 if answer is None else answer.status
        sent = 0 if answer is None else len(answer.body)
        self._accounting.finished(endpoint.name, str(status), "rest", seconds, exchange.declared_bytes, sent)
        if self._access:
            self._write_access(exchange, status, seconds)

    def _write_access(self, exchange: Exchange, status: int, seconds: float) -> None:
        client = exchange.client
        logs.access(
            "rest",
            exchange.method,
            quote(exchange.path),
            str(status),
            seconds,
            client=client[0] if client else "",
            puid=exchange.puid.decode("latin-1"),
            nodes=node_times(),
        )


async def _compress(body: bytes, headers: answers.Headers, exchange: Exchange) -> bytes:
    accepts = exchange.headers.get(b"accept-encoding", b"")
    if b"gzip" not in accepts or any(name == b"content-encoding" for name, _ in headers):
        return body
    headers.append((b"content-encoding", b"gzip"))
    headers.append((b"vary", b"Accept-Encoding"))
    if len(body) <= _INLINE_GZIP_BYTES or not exchange.may_wait:
        return gzip.compress(body, 1, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, 1, mtime=0)
