"""uvicorn's HTTP protocol that answers a small request at once, where the unit can.

    bytes ─▶ parser ─▶ head, whole body ─▶ Http.at_once? ─▶ Http.answer_at_once ─▶ one write
                                               └─ no ─▶ uvicorn: a task, ASGI, `Http.__call__`

A request that is whole when its first bytes have been parsed, and whose unit waits for nothing, needs no task, no scope
and no events: they cost more than all of our own code (docs/decisions/0007-one-write.md). Everything else is uvicorn's.
"""

from __future__ import annotations

import functools
import logging
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infergraph.serving.http.answers import Headers
from infergraph.serving.http.application import BODILESS, Http, Whole
from infergraph.serving.http.limits import Guarded

_log = logging.getLogger(__name__)

_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header may hold: it could end the head of the answer early."""
_KEPT_BYTES = 128


def _line(name: bytes, value: bytes) -> bytes:
    """A header as it is sent.

    Raises: ValueError for one that would break the head.
    """
    if _UNSAFE.search(value) is not None:
        raise ValueError(f"the header {name!r} holds {value!r}")
    return b"%b: %b\r\n" % (name, value)


_kept_line = functools.lru_cache(maxsize=512)(_line)
"""The same for short ones, most of which every answer has."""


class Direct(Guarded):
    """One connection. A request is held back while its first bytes are parsed, then answered or handed to uvicorn."""

    _held: bool = False
    _body: bytes = b""

    def connection_made(self, transport: Any) -> None:
        """A client has come."""
        super().connection_made(transport)
        self._http: Http = self.config.app  # type: ignore[assignment] # as it was given, with nothing around it

    def on_message_begin(self) -> None:
        """A request begins. What uvicorn would do now it does when it gets the request, if ever."""
        self._begin()
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        if self._may_be_held():
            self._in_head = False
            self._held = True
            self._body = b""
        else:
            self._give_head()

    def _may_be_held(self) -> bool:
        """Whether nothing about the request or its connection calls for uvicorn."""
        cycle, parser = self.cycle, self.parser
        return (
            (cycle is None or cycle.response_complete)
            and not self.expect_100_continue
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.flow.write_paused
            and not self.server_state.default_headers  # every answer carries them while the server drains
        )

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        if self._held:
            self._body = self._body + body if self._body else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """It is whole."""
        if self._held:
            if self._answered_at_once():
                self._held = self._owes = False
                return
            self._hand_over()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Some bytes have come."""
        super().data_received(data)
        if self._held:  # the rest of its body is yet to come
            self._hand_over()

    def _hand_over(self) -> None:
        """Let uvicorn have the request that was held back, as if it had come this moment."""
        self._held = False
        self._give_head()
        if self._body:
            super().on_body(self._body)

    def _give_head(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the list that the scope has
        super().on_headers_complete()

    def _answered_at_once(self) -> bool:
        path = self.url.decode("latin-1")
        endpoint = self._http.at_once(path, len(self._body))
        if endpoint is None:
            return False
        exchange = Whole(self.headers, path, self.client, self._body, self._write)
        try:
            self._http.answer_at_once(endpoint, exchange)
        except Exception:  # noqa: BLE001 - whatever it is, the connection ends rather than hang
            _log.exception("a request to %s failed", path)
            self.transport.close()
        self.server_state.total_requests += 1
        return True

    def _write(self, status: int, headers: Headers, body: bytes) -> None:
        parts = [STATUS_LINE[status]]
        closes = False
        for name, value in headers:
            parts.append(_kept_line(name, value) if len(value) <= _KEPT_BYTES else _line(name, value))
            if name == b"connection":
                closes = closes or value.lower() == b"close"
        if status in BODILESS:
            parts.append(b"\r\n")
            body = b""
        else:
            parts.append(b"content-length: %d\r\n\r\n" % len(body))
        self.joined.write_whole(b"".join(parts), body)
        if closes:
            self.transport.close()
