"""One HTTP request and its response, as an endpoint sees them."""

from __future__ import annotations

import asyncio
import functools
import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from infergraph.auth.quotas import Allowance
from infergraph.errors import AccessFault, DeadlinePassed, Fault, UploadTooLarge
from infergraph.protocol.headers import PUID
from infergraph.serving.authentication import Authenticator
from infergraph.serving.call import AccessLine, Call
from infergraph.serving.http import error_responses, events
from infergraph.serving.http.app import Dialect, Endpoint, HttpApp
from infergraph.serving.http.error_responses import Answer, Headers
from infergraph.serving.http.events import EventStream
from infergraph.serving.http.secrets import secret_in, without_secrets

BODILESS = frozenset({204, 304})
"""Statuses whose responses have no body: one would be parsed as the next response."""

NODE_TIMES = b"infergraph-node-times"
"""Request header that asks for the time of each node, in the `Server-Timing` header of the response."""

_LOOP_GZIP_BYTES = 64 * 1024
_KEPT_BYTES = 128
_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Control characters, which no header may contain: they would allow response splitting."""
_CLOSE = b"connection: close\r\n"


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}


def header_line(name: bytes, value: bytes) -> bytes:
    """A header line; the value of `connection` in lower case.

    Raises: ValueError for control characters in the value.
    """
    if name == b"connection":
        value = value.lower()
    if _UNSAFE.search(value) is not None:
        raise ValueError(f"the header {name!r} holds {value!r}")
    return b"%b: %b\r\n" % (name, value)


_kept_line = functools.lru_cache(maxsize=512)(header_line)
"""The same, cached, for short headers, most of which repeat in every response."""


class Exchange(Call, kw_only=True, eq=False):
    """One buffered request: its body is complete.

    Args:
        app: the application that it was sent to.
        raw_headers: lower-case names and values, in order; `headers` has the last value of each.
        query: the query string, undecoded.
        parameters: path parameters.
        padding: bytes at the start of `body` that are none of it.
        wire: the connection's transport; `can_write` is set while its client reads fast enough.
        keeps_alive: whether the connection stays open after the answer.
        allowance: what is left of the caller's quota; None without one.
        subject: the name in the client's certificate; empty for none.
        takes_chunks: whether the client reads chunked bodies, as those of HTTP/1.1 do.
        events: the body, once an answer of several parts has begun.
        on_end: called when the answer has been written later than the call was started.
    """

    app: HttpApp
    endpoint: Endpoint
    method: str
    path: str
    raw_headers: Headers
    headers: dict[bytes, bytes]
    wire: Any
    can_write: asyncio.Event
    query: bytes = b""
    parameters: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""
    padding: int = 0
    client: str = ""
    subject: str = ""
    allowance: Allowance | None = None
    keeps_alive: bool = True
    takes_chunks: bool = True
    events: EventStream | None = None
    held_bytes: int = 0
    on_end: Callable[[Exchange], None] | None = None
    gone_code = "499"

    def prepare(self) -> None:
        """Apply the request head: id, runner, time limit, compression, and refusals."""
        endpoint, app, headers = self.endpoint, self.app, self.headers
        dialect = endpoint.dialect or app.dialect
        self.puid = dialect.identify(self)
        self.runner = endpoint.runner()
        self.times_nodes = NODE_TIMES in headers
        asks_events = b"accept" in headers and events.KIND in headers[b"accept"].lower()
        if asks_events:  # of this hop, and not of a graph's remote nodes
            self.raw_headers = [header for header in self.raw_headers if header[0] != b"accept"]
        if asks_events and endpoint.stream is not None:
            self.handler, self.runner = endpoint.stream, None
        elif accepts_gzip(headers.get(b"accept-encoding", b"")):
            self.handler = _compressed
        if endpoint.gated:
            self.limit_s = app.options.request_timeout_s
        method, methods = self.method, endpoint.methods
        if method != "OPTIONS" and app.authenticator is not None and not self._is_admitted(app.authenticator):
            return
        if method == "OPTIONS" or (methods is not None and method not in methods):
            self.result = dialect.refuse_method(endpoint, self)
        elif app.refuse is not None and endpoint.gated and "POST" in (methods or ()):
            self.result = app.refuse(self.raw_headers)

    def _is_admitted(self, authenticator: Authenticator) -> bool:
        """Find out who sent the request, and take the secret off it; if they may not, the fault is its answer."""
        try:
            self.allowance = self.admit(authenticator, secret_in(self.headers, self.raw_headers), self.subject)
        except AccessFault as fault:
            self.error = fault
        self.raw_headers = without_secrets(self.headers, self.raw_headers)
        return self.error is None

    def joined(self, parts: Sequence[bytes]) -> bytes:
        """The parts of a body in one piece; behind the padding that the endpoint asks for, in memory of its own."""
        padding = None if self.endpoint.padding is None else self.endpoint.padding(self.headers)
        if padding is None:
            return b"".join(parts)
        self.padding = padding
        return bytearray().join((bytes(padding), *parts))  # type: ignore[return-value] # only who asks for it sees it

    def reply(self) -> tuple[str, int]:
        """Send the response; of one that has begun, the end, with the error as its last event."""
        endpoint = self.endpoint
        dialect = endpoint.dialect or self.app.dialect
        answer = self.result if self.error is None else self._of_error(self.error, dialect)
        if self.events is not None:
            sent_bytes = self.events.finish(None if self.error is None else answer.body)
        else:
            dialect.decorate(answer.headers, endpoint, self)
            if self.allowance is not None:
                answer.headers.extend(error_responses.rate_limit(self.allowance))
            sent_bytes = self._write(answer)
        if self.on_end is not None:
            self.on_end(self)
        return str(answer.status), sent_bytes

    @property
    def has_begun(self) -> bool:
        """Whether a part of the response has been sent."""
        return self.events is not None

    async def send_event(self, data: bytes) -> None:
        """Send one event of a response that goes on; the first one begins it. Waits for a client that reads slowly.

        Raises: AccessFault if the caller's key has been revoked meanwhile.
        """
        self.check_caller()
        if self.events is None:
            self.events = self._begin_events()
        await self.events.send(data)

    def end_events(self) -> Answer:
        """The result of a handler that has sent its events, perhaps none."""
        if self.events is None:
            self.events = self._begin_events()
        return Answer(200, b"", [])

    def _begin_events(self) -> EventStream:
        dialect = self.endpoint.dialect or self.app.dialect
        headers = events.headers()
        dialect.decorate(headers, self.endpoint, self)
        if not self.takes_chunks:
            self.keeps_alive = False
        head = self._head(200, headers)
        head.append(b"transfer-encoding: chunked\r\n\r\n" if self.takes_chunks else b"\r\n")
        return EventStream(self.wire, self.can_write, head, is_chunked=self.takes_chunks)

    def _of_error(self, error: BaseException, dialect: Dialect) -> Answer:
        return dialect.of_fault(error) if isinstance(error, Fault) else dialect.of_bug(self.puid or "-")

    def _write(self, answer: Answer) -> int:
        status, body, headers, blobs = answer
        parts: list[bytes | bytearray | memoryview] = [*self._head(status, headers)]
        size_bytes = len(body) if not blobs else len(body) + sum(map(len, blobs))
        if status in BODILESS:
            parts.append(b"\r\n")
        else:
            parts.append(b"content-length: %d\r\n\r\n" % size_bytes)
            if size_bytes and self.method != "HEAD":
                parts.append(body)
                parts += blobs
        if not self.wire.is_closing():
            self.wire.writelines(parts)
        return size_bytes

    def _head(self, status: int, headers: Headers) -> list[bytes]:
        """Status line and headers, but those about the body."""
        parts = [STATUS_LINES[status]]
        parts += [
            # The value of an id does not come again.
            header_line(name, value) if name is PUID or len(value) > _KEPT_BYTES else _kept_line(name, value)
            for name, value in headers
        ]
        closes = _CLOSE in parts
        if closes or self.app.is_draining:
            self.keeps_alive = False
        if not self.keeps_alive and not closes:
            parts.append(_CLOSE)
        return parts

    def give_up(self) -> None:
        """Close the connection."""
        self.keeps_alive = False
        self.wire.close()

    def late(self) -> DeadlinePassed:
        """The fault for a request over request_timeout_s."""
        return DeadlinePassed(f"no answer within {self.limit_s:g} s (setting request_timeout_s)")

    def access_line(self) -> AccessLine:
        """Method, path and client."""
        return AccessLine(self.method, quote(self.path), self.client)


_NO_GZIP = re.compile(rb"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)")


def accepts_gzip(accepted: bytes) -> bool:
    """Whether a client takes gzip, by its header Accept-Encoding."""
    return b"gzip" in accepted and _NO_GZIP.search(accepted) is None


async def _compressed(exchange: Exchange) -> Answer:
    """The endpoint's answer, gzip-compressed if its size is within the limits."""
    answer = await exchange.endpoint.handler(exchange)
    if exchange.has_begun:
        return answer
    status, body, headers = answer.status, answer.whole_body, answer.headers
    options = exchange.app.options
    if not options.compress_min_bytes <= len(body) <= options.compress_max_bytes or status in BODILESS:
        return answer
    if any(name == b"content-encoding" for name, _ in headers):
        return answer
    if exchange.runner is None and len(body) > _LOOP_GZIP_BYTES:
        packed = await asyncio.to_thread(gzip.compress, body, 1, mtime=0)
    else:
        packed = gzip.compress(body, 1, mtime=0)
    return Answer(status, packed, [*headers, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")])


def too_large(size_bytes: int, limit_bytes: int) -> UploadTooLarge:
    """The fault for a message over the limit; it names the setting."""
    return UploadTooLarge(
        f"a message of {size_bytes} bytes or more is over the limit of {limit_bytes} (setting message_limit_bytes)"
    )
