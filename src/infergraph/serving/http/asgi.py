"""One request to the ASGI application, with streamed request and response bodies.

    Connection ─feed, complete, disconnect─▶ receive() ─▶ application ─▶ send() ─▶ transport

Source: the ASGI specification, HTTP & WebSocket message format, 2.3.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from infergraph.serving.http import error_responses
from infergraph.serving.http.app import HttpApp
from infergraph.serving.http.exchange import BODILESS, STATUS_LINES, header_line

if TYPE_CHECKING:
    from infergraph.serving.http.connection import Connection

_log = logging.getLogger(__name__)

_BUFFER_LIMIT_BYTES = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class AsgiCall:
    """One request and its answer.

    Args:
        expects: whether the client waits for 100 Continue before it sends the body.
        keeps_alive: whether the connection stays open after the answer.
    """

    def __init__(
        self, connection: Connection, app: HttpApp, scope: Mapping[str, Any], *, expects: bool, keeps_alive: bool
    ) -> None:
        self._connection = connection
        self._app = app
        self._scope = dict(scope)
        self._expects = expects
        self.keeps_alive = keeps_alive
        self._task: asyncio.Task[None] | None = None
        self._parts: list[bytes] = []
        self._buffered_bytes = 0
        self._more = True
        self._is_read = False
        self._is_gone = False
        self._changed = asyncio.Event()
        self._head: list[bytes] = []
        self.has_begun = False
        self._is_complete = False
        self._is_chunked = False
        self._has_body = True
        self._unsent_bytes = 0

    # ── the connection's side ───────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Call the application."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def feed(self, body: bytes) -> None:
        """Add received bytes of the body."""
        if self._is_complete:
            return
        self._parts.append(body)
        self._buffered_bytes += len(body)
        self._connection.hold_reading(self._buffered_bytes > _BUFFER_LIMIT_BYTES)
        self._changed.set()

    def complete(self) -> None:
        """Mark the body as complete."""
        self._more = False
        self._changed.set()

    def disconnect(self) -> None:
        """Tell the application that the client has disconnected."""
        self._is_gone = True
        self._changed.set()

    # ── the application's side ──────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        try:
            await self._app.other(self._scope, self._receive, self._send)
        except Exception:  # noqa: BLE001 - catch-all: the client always gets a response
            if not self._is_gone:
                _log.exception("a request to %s failed", self._scope["path"])
        if not self._is_complete and not self._is_gone:
            if self.has_begun:
                self.keeps_alive = False
            else:
                await self._send_bug()
        self._is_complete = True
        self._connection.hold_reading(False)
        self._connection.answered(self)

    async def _send_bug(self) -> None:
        bug = error_responses.of_bug("")
        await self._send({"type": "http.response.start", "status": bug.status, "headers": bug.headers})
        await self._send({"type": "http.response.body", "body": bug.body})

    async def _receive(self) -> MutableMapping[str, Any]:
        if self._expects and not self.has_begun:
            self._expects = False
            self._connection.transport.write(_CONTINUE)
        while not self._is_gone and not self._is_complete and (self._is_read or (self._more and not self._parts)):
            self._changed.clear()
            await self._changed.wait()
        if self._is_gone or self._is_complete:
            return {"type": "http.disconnect"}
        body = b"".join(self._parts)
        self._parts.clear()
        self._buffered_bytes = 0
        self._connection.hold_reading(False)
        self._is_read = not self._more
        return {"type": "http.request", "body": body, "more_body": self._more}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        await self._connection.can_write.wait()
        if self._is_gone or self._connection.transport.is_closing():
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], [*message.get("headers", ())])
            return
        more = message.get("more_body", False)
        self._write(message.get("body", b""), more)
        if not more:
            self._is_complete = True
            self._changed.set()
            if self._unsent_bytes and self._has_body and not self._is_chunked:
                self.keeps_alive = False  # shorter than its Content-Length: closing the connection signals it

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Prepare the response head, sent with the first bytes of the body in one write."""
        lines = [STATUS_LINES[status]]
        length: int | None = None
        for name, value in headers:
            name = name.lower()
            if name == b"connection" and value.lower() == b"close":
                self.keeps_alive = False
                continue
            if name == b"content-length":
                length = int(value)
            lines.append(header_line(name, value))
        if self._app.is_draining:
            self.keeps_alive = False
        if not self.keeps_alive:
            lines.append(b"connection: close\r\n")
        self._has_body = self._scope["method"] != "HEAD" and status not in BODILESS
        self._is_chunked = length is None and self._has_body
        if self._is_chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        self._unsent_bytes = length or 0
        lines.append(b"\r\n")
        self._head = lines

    def _write(self, body: bytes, more: bool) -> None:
        parts, self._head = self._head, []
        self.has_begun = True
        if self._has_body and body:
            self._unsent_bytes -= len(body)
            parts += [b"%x\r\n" % len(body), body, b"\r\n"] if self._is_chunked else [body]
        if self._is_chunked and not more:
            parts.append(b"0\r\n\r\n")
        if parts:
            self._connection.transport.writelines(parts)
