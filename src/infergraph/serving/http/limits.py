"""The HTTP protocol with limits on what a client may cost before it has sent a request or taken its answer.

    bytes ─▶ Guarded: counts ─▶ uvicorn's parser ─▶ application
    one timer for all connections: `watch` ─▶ 408 to who sends too slowly, an end to who does not read

uvicorn alone waits for ever for the rest of a request, takes a head of any size, and keeps an answer until it is read.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

from infergraph.serving.http import answers
from infergraph.serving.http.one_write import OneWrite

HEAD_LIMIT_BYTES = 64 * 1024
"""Largest head of a request; one that arrives in a single piece may be somewhat larger."""

SLOWEST_BYTES_S = 1024
"""A client that sends slower than this for as long as our patience lasts is cut off."""

_SWEEP_S = 1.0
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)


class Patience(NamedTuple):
    """How long clients may take.

    Args:
        receive_s: for what they owe us: the next part of a request, or taking an answer; 0 for ever.
        keepalive_s: between two requests.
    """

    receive_s: float
    keepalive_s: float


class Guarded(OneWrite):
    """uvicorn's protocol that counts what comes in, and can be asked whether its client has used up its time."""

    def connection_made(self, transport: Any) -> None:
        """A client has come, and owes us a request."""
        super().connection_made(transport)
        self._unsent_bytes = transport.get_write_buffer_size
        self._owes = self._in_head = True
        self._has_spoken = False
        self._received = self._received_then = 0
        self._owing_since: float | None = None
        self._requests = self._requests_then = 0
        self._idle_since: float | None = None
        self._unsent = 0
        self._unsent_since = 0.0

    def data_received(self, data: bytes) -> None:
        """Some bytes have come."""
        if (self._in_head or not self._owes) and b"pgrade" in data:  # bodies are not searched: they may be large
            data = _without_upgrade(data)
        self._owes = self._has_spoken = True
        self._received += len(data)
        super().data_received(data)
        if self._in_head and self._received > HEAD_LIMIT_BYTES:
            self._refuse(431, f"the head of the request is larger than {HEAD_LIMIT_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._begin()

    def _begin(self) -> None:
        self._in_head = True
        self._requests += 1
        self._received = 0
        self._owing_since = None

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is whole: now we owe the client something."""
        self._owes = self._in_head = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Its answer has been written. `check` sees to idle connections: a timer for each answer costs more."""
        super().on_response_complete()
        self._unset_keepalive_if_required()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the protocol's error body."""
        self._refuse(400, msg)

    def _unsupported_upgrade_warning(self) -> None:
        self.logger.debug("a client asked for another protocol; it is answered in HTTP/1.1")

    def check(self, now: float, passed_s: float, patience: Patience) -> None:
        """Cut the client off if it has used up its time, and end the connection if nobody needs it any more.

        Args:
            now: the time of the event loop.
            passed_s: seconds since the last check.
        """
        if self.transport.is_closing() and not self._unsent_bytes():
            return
        if patience.receive_s and self._reads_nothing(now, patience.receive_s):
            self._drop()
        elif self._is_our_turn():
            self._idle_since = None
        elif self._owes:
            if patience.receive_s:
                self._check_sending(now, passed_s, patience.receive_s)
        elif self._idle_since is None or self._requests != self._requests_then:
            self._idle_since, self._requests_then = now, self._requests
        elif now - self._idle_since > patience.keepalive_s:
            self.transport.close()

    def _is_our_turn(self) -> bool:
        """Whether a whole request waits for its answer; what comes meanwhile is not measured."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def _check_sending(self, now: float, passed_s: float, patience_s: float) -> None:
        if self._owing_since is None:
            self._owing_since, self._received_then = now, self._received
        elif self.flow.read_paused:
            self._owing_since += passed_s  # we do not read, so it cannot send
        elif now - self._owing_since <= patience_s:
            return
        elif self._received - self._received_then >= patience_s * SLOWEST_BYTES_S:
            self._owing_since, self._received_then = now, self._received
        else:
            self._refuse(408, f"no whole request came within {patience_s:g} s (setting receive_timeout_s)")

    def _reads_nothing(self, now: float, patience_s: float) -> bool:
        unsent = self._unsent_bytes()
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
            return False
        return now - self._unsent_since > patience_s

    def _drop(self) -> None:
        """End the connection with nothing of it left, in the system's buffers neither."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _refuse(self, status: int, text: str) -> None:
        """Answer with a fault where no answer has begun, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        has_begun = cycle is not None and not cycle.response_complete and cycle.response_started
        if self._has_spoken and not has_begun:
            phrase = HTTPStatus(status).phrase
            body = answers.envelope(f"{status} {phrase}: {text}", answers.BAD_DATA)
            head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n"
            length = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write((head + length).encode())
            self.transport.write(body)
        self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """`data` without the wish for another protocol in the head that it begins with.

    Java's client and `curl --http2` express it with every first request; httptools then takes the request's body for
    bytes of that protocol, and drops it.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-upgrade:", head) + end + rest


async def watch(connections: Iterable[Any], patience: Patience) -> None:
    """Check all connections again and again, until cancelled.

    Args:
        connections: the live set of `Guarded` protocols.
    """
    loop = asyncio.get_running_loop()
    every_s = min([_SWEEP_S, *(limit_s / 4 for limit_s in (patience.receive_s, patience.keepalive_s) if limit_s)])
    last = loop.time()
    while True:
        await asyncio.sleep(every_s)
        now = loop.time()
        for connection in list(connections):
            connection.check(now, now - last, patience)
        last = now
