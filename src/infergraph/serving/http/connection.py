"""One HTTP/1.1 connection: parsing, pipelining, time-outs, size limits and client disconnects.

    bytes ─▶ parser ─▶ head ─▶ Exchange, when its body is complete ─▶ Calls.start ─▶ its answer in one write
                         └───▶ AsgiCall, body streamed ─▶ the ASGI application (asgi.py)

A connection answers its requests one at a time, in order. Malformed, slow or oversized requests are refused; when the
client disconnects, its requests are cancelled.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import socket
import struct
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import unquote

import httptools

from infergraph.auth.tls import subject_of
from infergraph.errors import Fault, NotReady
from infergraph.serving.http import error_responses
from infergraph.serving.http.app import HttpApp
from infergraph.serving.http.asgi import AsgiCall
from infergraph.serving.http.exchange import Exchange, too_large

_log = logging.getLogger(__name__)

HEAD_LIMIT_BYTES = 64 * 1024
"""Maximum size of a request head; one that arrives in a single read may be somewhat larger."""

SLOWEST_BYTES_S = 1024
"""A client that sends slower than this for receive_timeout_s is disconnected."""

_FRAMING_FACTOR = 8
"""In chunks of one byte a body takes six bytes on the wire for each, not counting extensions and trailers."""

_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_Request: TypeAlias = "Exchange | AsgiCall"


class Connection(asyncio.Protocol):
    """The server's end of one connection.

    Args:
        app: the application.
        connections: the open ones; contains this one from `connection_made` to `connection_lost`.
    """

    def __init__(self, app: HttpApp, connections: set[Connection]) -> None:
        self._app = app
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        # receiving
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._incoming: _Request | None = None
        self._is_upgrading = False
        self._in_head = True
        self._received_bytes = 0
        self._body_bytes = 0
        # answering
        self._active: _Request | None = None
        self._waiting: deque[_Request] = deque()
        self._is_advancing = False
        self._is_paused = self._is_backlogged = False
        self._is_broken = False
        self._pending_refusal: tuple[int, str] | None = None
        self.can_write = asyncio.Event()
        self.can_write.set()
        # time-outs
        self._awaits_request = True
        self._has_received = False
        self._owing_since: float | None = None
        self._received_then = 0
        self._requests = self._requests_then = 0
        self._idle_since: float | None = None
        self._unsent_bytes = 0
        self._unsent_since = 0.0

    # ── the transport's side ────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        """Register the connection and start the receive time-out."""
        self.transport = transport
        self._connections.add(self)
        peer = transport.get_extra_info("peername")
        self.client: tuple[str, int] | None = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        self._address = self.client[0] if self.client else ""
        self._is_secure = transport.get_extra_info("ssl_object") is not None
        self._subject = subject_of(transport.get_extra_info("peercert")) if self._is_secure else ""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed: cancel the requests in flight."""
        self._connections.discard(self)
        self._is_broken = True
        self.can_write.set()
        for request in (self._active, self._incoming):
            if isinstance(request, Exchange):
                self._release(request)
                if request is self._active:
                    self._app.calls.abandon(request)
            elif request is not None:
                request.disconnect()
        self._waiting.clear()
        self._active = self._incoming = None

    def pause_writing(self) -> None:
        """The write buffer is full: the client reads too slowly."""
        self.can_write.clear()

    def resume_writing(self) -> None:
        """The write buffer has drained."""
        self.can_write.set()
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        if self._is_broken:
            return
        self._awaits_request = self._has_received = True
        self._received_bytes += len(data)
        self._feed(data)
        incoming = self._incoming
        if self._in_head:
            if self._received_bytes > HEAD_LIMIT_BYTES:
                self._fail(431, f"the head of the request is larger than {HEAD_LIMIT_BYTES} bytes")
        elif incoming is not None:
            framing_bytes = self._received_bytes - self._body_bytes
            if framing_bytes > HEAD_LIMIT_BYTES + _FRAMING_FACTOR * self._body_bytes:
                self._fail(431, f"head, chunk extensions and trailers are larger than {HEAD_LIMIT_BYTES} bytes")
            elif isinstance(incoming, Exchange):
                self._hold(incoming)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
                continue
            except httptools.HttpParserError:
                self._fail(400, "Invalid HTTP request received.")
            return

    def _without_upgrade(self) -> bytes:
        """A new parser, and the received head without its `Upgrade` header.

        Java's client and `curl --http2` ask for an upgrade to HTTP/2 with every first request; the parser would take
        what follows, the body included, for bytes of that protocol.
        """
        method = self._parser.get_method()
        headers = (b"%b: %b\r\n" % header for header in self._headers if header[0] != b"upgrade")
        self._parser = httptools.HttpRequestParser(self)
        self._is_upgrading = False
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, self._url, b"".join(headers))

    # ── the parser's side ───────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Start of a request."""
        self._url = b""
        self._headers = []
        self._parts = []
        self._in_head = self._awaits_request = True
        self._requests += 1
        self._received_bytes = self._body_bytes = 0
        self._owing_since = None

    def on_url(self, url: bytes) -> None:
        """Part of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers are ignored, since they must not change how the body is read."""
        if self._in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        parser = self._parser
        method = parser.get_method().decode("latin-1")
        if parser.should_upgrade() and method != "CONNECT":
            self._is_upgrading = True
            return
        self._in_head = False
        if self._is_broken:
            return
        paths = self._app.paths
        if self._app.base_path:
            self._url = _below(self._url, self._app.base_path)
        path, query, parameters = self._url.decode("latin-1"), b"", _NO_PARAMETERS
        endpoint = paths.exact.get(path)
        if endpoint is None:  # no path as it stands: there is a query, an escape, a pattern, or another application
            path, query = _target(self._url)
            endpoint = paths.exact.get(path)
            if endpoint is None:
                endpoint, parameters = paths.find(path)
        headers = dict(self._headers)
        takes_chunks = parser.get_http_version() == "1.1"
        keeps_alive = takes_chunks and parser.should_keep_alive()
        expects = headers.get(b"expect", b"").lower() == b"100-continue"
        if endpoint is None:
            call = AsgiCall(self, self._app, self._scope(method, path, query), expects=expects, keeps_alive=keeps_alive)
            self._incoming = call
            self._waiting.append(call)
            self._advance()
            return
        exchange = Exchange(
            name=endpoint.name,
            transport="rest",
            protocol=endpoint.protocol,
            handler=endpoint.handler,
            is_gated=endpoint.gated,
            app=self._app,
            endpoint=endpoint,
            method=method,
            path=path,
            raw_headers=self._headers,
            headers=headers,
            wire=self.transport,
            can_write=self.can_write,
            query=query,
            parameters=parameters,
            client=self._address,
            keeps_alive=keeps_alive,
            subject=self._subject,
            takes_chunks=takes_chunks,
        )
        self._incoming = exchange
        self._take_head(exchange, expects)

    def _take_head(self, exchange: Exchange, expects: bool) -> None:
        """Route a request, before its body has arrived."""
        exchange.prepare()
        declared = int(exchange.headers.get(b"content-length") or 0)
        exchange.request_bytes = declared
        limit = self._app.options.message_limit_bytes
        if exchange.result is None and declared > limit:
            exchange.error = too_large(declared, limit)
        if exchange.result is not None or exchange.error is not None:
            if expects:
                exchange.keeps_alive = False  # the client may or may not send the body all the same
            if declared > limit or expects:
                self._answer_early(exchange)
        elif expects and self._active is None:
            self.transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        incoming = self._incoming
        self._body_bytes += len(body)
        if incoming is None:
            return
        if not isinstance(incoming, Exchange):
            incoming.feed(body)
        elif incoming.error is None and incoming.result is None:
            self._parts.append(body)
            limit = self._app.options.message_limit_bytes
            if self._body_bytes > limit:
                self._refuse(incoming, too_large(self._body_bytes, limit))

    def on_message_complete(self) -> None:
        """The request is complete: queue it for an answer."""
        if self._is_upgrading:
            return
        self._awaits_request = self._in_head = False
        incoming, self._incoming = self._incoming, None
        if incoming is None or self._is_broken:
            return
        if not isinstance(incoming, Exchange):
            incoming.complete()
        elif not incoming.is_over and incoming is not self._active:
            parts, self._parts = self._parts, []  # do not keep a large body twice
            is_whole = len(parts) == 1 and incoming.endpoint.padding is None
            incoming.body = parts[0] if is_whole else incoming.joined(parts)
            self._waiting.append(incoming)
            self._advance()

    def _scope(self, method: str, path: str, query: bytes) -> Mapping[str, Any]:
        here = self.transport.get_extra_info("sockname")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self._parser.get_http_version(),
            "server": (str(here[0]), int(here[1])) if isinstance(here, tuple) else None,
            "client": self.client,
            "scheme": "https" if self._is_secure else "http",
            "subject": self._subject,
            "method": method,
            "root_path": "",
            "path": path,
            "raw_path": self._url.partition(b"?")[0],
            "query_string": query,
            "headers": self._headers,
        }

    # ── bodies ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _hold(self, exchange: Exchange) -> None:
        """Count received bytes of an incomplete body against the limits."""
        more_bytes = self._body_bytes - exchange.held_bytes
        if more_bytes and exchange.error is None and exchange.result is None:
            exchange.held_bytes += more_bytes
            try:
                self._app.memory.hold(more_bytes)
            except Fault as fault:
                self._refuse(exchange, fault)

    def _release(self, exchange: Exchange) -> None:
        self._app.memory.release(exchange.held_bytes)
        exchange.held_bytes = 0

    def _refuse(self, exchange: Exchange, fault: Fault) -> None:
        """Answer a request with a fault before its body has arrived; the rest of the body is discarded."""
        self._parts.clear()
        self._release(exchange)
        exchange.error = fault
        self._answer_early(exchange)

    def _answer_early(self, exchange: Exchange) -> None:
        if self._active is None and not self._waiting:
            self._waiting.append(exchange)
            self._advance()

    # ── answers, one after the other ────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> None:
        """Start answering the next request, unless one is being answered."""
        if self._is_advancing:
            return
        self._is_advancing = True
        while self._waiting and self._active is None and self.can_write.is_set() and not self.transport.is_closing():
            request = self._active = self._waiting.popleft()
            if not isinstance(request, Exchange):
                request.start()
                continue
            self._app.calls.start(request)
            if request.is_over:
                self._ended(request)
            else:
                request.on_end = self.answered
        self._is_advancing = False
        if self._pending_refusal is not None and self._active is None and not self._waiting:
            self._send_refusal(*self._pending_refusal)
        self._update_reading()

    def answered(self, request: _Request) -> None:
        """A request has been answered: continue with the next."""
        if request is self._active:
            self._ended(request)
            self._advance()

    def _ended(self, request: _Request) -> None:
        self._active = None
        if isinstance(request, Exchange):
            request.body = b""  # a closed connection and its last request may still reference each other
            if request.held_bytes:
                self._release(request)
        if not request.keeps_alive:
            self._is_broken = True
            self.transport.close()

    def hold_reading(self, is_backlogged: bool) -> None:
        """Pause or resume reading, as more of the body has arrived than its reader has consumed, or not."""
        if is_backlogged != self._is_backlogged:
            self._is_backlogged = is_backlogged
            self._update_reading()

    def _update_reading(self) -> None:
        """Apply backpressure: stop reading while requests are queued or a body has unread bytes."""
        pauses = self._is_backlogged or bool(self._waiting)
        if pauses != self._is_paused and not self.transport.is_closing():
            self._is_paused = pauses
            if self._is_paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # ── time-outs ─────────────────────────────────────────────────────────────────────────────────────────────────

    def close_if_idle(self) -> None:
        """Close the connection if no request is in flight."""
        if self._active is None and not self._waiting:
            self.transport.close()

    def end(self) -> None:
        """Close the connection at once; a stream of events is told why it ends."""
        active = self._active
        if isinstance(active, Exchange) and active.has_begun:
            active.keeps_alive = False
            self._app.calls.cut(active, NotReady("the server is stopping"))
        if not self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()

    def check(self, now: float, passed_s: float) -> None:
        """Enforce the time-outs: disconnect a slow client, close an idle connection.

        Args:
            now: the time on the event loop's clock.
            passed_s: seconds since the last check.
        """
        options = self._app.options
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            return
        if options.receive_timeout_s and self._reads_nothing(now, options.receive_timeout_s):
            self._drop()
        elif self._active is not None and self._active is not self._incoming:
            self._idle_since = None
        elif self._awaits_request:
            if options.receive_timeout_s:
                self._check_sending(now, passed_s, options.receive_timeout_s)
        elif self._idle_since is None or self._requests != self._requests_then:
            self._idle_since, self._requests_then = now, self._requests
        elif now - self._idle_since > options.keepalive_s:
            self.transport.close()

    def _check_sending(self, now: float, passed_s: float, timeout_s: float) -> None:
        if self._owing_since is None:
            self._owing_since, self._received_then = now, self._received_bytes
        elif self._is_paused:
            self._owing_since += passed_s  # reading is paused, so the client cannot send
        elif now - self._owing_since <= timeout_s:
            return
        elif self._received_bytes - self._received_then >= timeout_s * SLOWEST_BYTES_S:
            self._owing_since, self._received_then = now, self._received_bytes
        else:
            self._send_refusal(408, f"no whole request came within {timeout_s:g} s (setting receive_timeout_s)")

    def _reads_nothing(self, now: float, timeout_s: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent_bytes:
            self._unsent_bytes, self._unsent_since = unsent, now
            return False
        return now - self._unsent_since > timeout_s

    def _drop(self) -> None:
        """Abort the connection with a reset, discarding unsent data."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _fail(self, status: int, text: str) -> None:
        """Stop reading after a parse error; report it after the answers to earlier requests."""
        self._is_broken = True
        if isinstance(self._active, Exchange | None) and self._active is not self._incoming:
            self._pending_refusal = status, text
            self._advance()
        else:
            self._send_refusal(status, text)

    def _send_refusal(self, status: int, text: str) -> None:
        """Answer with a fault, unless an answer has begun, and close."""
        self._is_broken = True
        if self.transport.is_closing():
            return
        if self._has_received and not (self._active is not None and self._active.has_begun):
            phrase = HTTPStatus(status).phrase
            body = error_responses.envelope(f"{status} {phrase}: {text}", error_responses.BAD_DATA)
            head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n"
            length = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write((head + length).encode() + body)
        self.transport.close()


_PLAIN_TARGET = re.compile(rb"(/[^?#%]*)(?:\?([^#]*))?")


def _below(url: bytes, base_path: bytes) -> bytes:
    """The request target without the base path; empty, which nothing is served at, if it is not below it."""
    if not url.startswith(b"/"):
        parsed = httptools.parse_url(url)
        url = b"?".join(part for part in (parsed.path, parsed.query) if part is not None)
    rest = url[len(base_path) :]
    is_below = hmac.compare_digest(url[: len(base_path)], base_path) and rest[:1] in (b"", b"/", b"?")
    return b"/" + rest.removeprefix(b"/") if is_below else b""


def _target(url: bytes) -> tuple[str, bytes]:
    """The decoded path and the query of a request target, which may be an absolute URL; empty for none."""
    if not url:
        return "", b""
    plain = _PLAIN_TARGET.fullmatch(url)
    if plain is not None:
        return plain[1].decode("latin-1"), plain[2] or b""
    parsed = httptools.parse_url(url)
    return unquote((parsed.path or b"").decode("latin-1")), parsed.query or b""
