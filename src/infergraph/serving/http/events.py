"""Server-sent events: an answer that goes on, one event for each of its parts.

Source: the HTML standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import asyncio
from typing import Any

from infergraph.serving.http.error_responses import Headers

KIND = b"text/event-stream"
_JOINED_BYTES = 64 * 1024
_LAST_CHUNK = b"0\r\n\r\n"


def headers() -> Headers:
    """The headers of a stream of events; proxies are asked not to hold them back."""
    return [
        (b"content-type", KIND + b"; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
    ]


def event(data: bytes) -> bytes:
    """An event; lines of its data are lines of the event."""
    if b"\n" not in data and b"\r" not in data:
        return b"data: %b\n\n" % data
    return b"".join(b"data: %b\n" % line for line in data.splitlines()) + b"\n"


class EventStream:
    """The body of one answer: parts that are there at once go out in one write.

    Args:
        wire: the connection's transport.
        can_write: set while the client reads fast enough.
        head: status line and headers, which go out with the first part.
        is_chunked: whether parts are sent as chunks; else the end of the connection is the end of the body.
    """

    def __init__(self, wire: Any, can_write: asyncio.Event, head: list[bytes], *, is_chunked: bool) -> None:
        self._wire = wire
        self._can_write = can_write
        self._head = head
        self._is_chunked = is_chunked
        self._parts: list[bytes] = []
        self._waiting_bytes = 0
        self.sent_bytes = 0

    async def send(self, data: bytes) -> None:
        """Send one event, once the client has read enough of those before it.

        Raises: asyncio.CancelledError if the connection is closed.
        """
        if not self._can_write.is_set():
            await self._can_write.wait()
        if self._wire.is_closing():
            raise asyncio.CancelledError
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._add(data)
        if self._waiting_bytes >= _JOINED_BYTES:
            self._flush()

    def finish(self, last: bytes | None = None) -> int:
        """Send a last event, if there is one, and the end of the body; the size of the body."""
        if last is not None:
            self._add(last)
        self._flush(is_last=True)
        return self.sent_bytes

    def _add(self, data: bytes) -> None:
        part = event(data)
        self._parts.append(part)
        self._waiting_bytes += len(part)

    def _flush(self, *, is_last: bool = False) -> None:
        parts, size_bytes = self._parts, self._waiting_bytes
        self._parts, self._waiting_bytes = [], 0
        lines, self._head = self._head, []
        if parts:
            lines += [b"%x\r\n" % size_bytes, *parts, b"\r\n"] if self._is_chunked else parts
        if is_last and self._is_chunked:
            lines.append(_LAST_CHUNK)
        self.sent_bytes += size_bytes
        if lines and not self._wire.is_closing():
            self._wire.writelines(lines)
