"""The liveness probe while an inline unit loads: its constructor and `load()` block the event loop, often for long.

listening socket ─▶ no connection accepted for a while ─▶ accepted here ─▶ the probe: answered
                                                                      └──▶ anything else: given to the event loop
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import socket
import threading
from collections.abc import Callable, Collection

_PATIENCE_S = 0.1
"""The event loop accepts connections faster than this, unless it is blocked."""
_HEAD_BYTES = 4096
_REQUEST = re.compile(rb"(?:GET|HEAD|POST) ([^ ?]+)[^ ]* HTTP/1\.[01]\r\n")
_ALIVE = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class LoadingLiveness:
    """A thread that answers the liveness probe in the place of a blocked event loop, until it is stopped.

    Args:
        listening: the socket that the event loop accepts connections of.
        paths: of the probe.
        connected: makes the event loop's protocol of a connection.
    Promises: a connection with any other request is served by the event loop, which reads it from its first byte.
    """

    def __init__(
        self, listening: socket.socket, paths: Collection[str], connected: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._listening = listening
        self._paths = {path.encode() for path in paths}
        self._connected = connected
        self._stopped = threading.Event()
        self._taking: set[asyncio.Task[object]] = set()

    def start(self) -> None:
        """Start the thread; on the event loop."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._answer_probes, name="liveness", daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._stopped.set()

    def _answer_probes(self) -> None:
        while not self._stopped.wait(_PATIENCE_S):
            if self._is_waiting() and not self._stopped.wait(_PATIENCE_S) and self._is_waiting():
                with contextlib.suppress(OSError, RuntimeError):  # the client left, or the loop has ended
                    self._answer(self._listening.accept()[0])

    def _is_waiting(self) -> bool:
        """Whether a connection waits to be accepted."""
        try:
            return bool(select.select([self._listening], [], [], 0)[0])
        except (OSError, ValueError):  # the socket is closed, or has too high a number
            return False

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(_PATIENCE_S)
        head = b""
        with contextlib.suppress(TimeoutError):
            head = client.recv(_HEAD_BYTES, socket.MSG_PEEK)
        found = _REQUEST.match(head)
        if found is None or found[1] not in self._paths or not head.endswith(b"\r\n\r\n"):
            self._loop.call_soon_threadsafe(self._take, client)
            return
        with client:
            client.recv(len(head))
            client.sendall(_ALIVE)

    def _take(self, client: socket.socket) -> None:
        client.setblocking(False)
        taking = self._loop.create_task(self._loop.connect_accepted_socket(self._connected, client))
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)
