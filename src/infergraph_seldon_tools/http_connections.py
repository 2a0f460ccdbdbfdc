"""HTTP POST over connections that are kept, for calls from plain threads.

From the standard library: Seldon's client is used by many threads at once, none of which has the event loop that the
runtime's own HTTP client lives on.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple
from urllib.parse import urlsplit


class Reply(NamedTuple):
    """What the server answered."""

    status: int
    reason: str
    body: bytes


class Connections:
    """One kept connection for each thread and server.

    Args:
        timeout_s: how long connecting, or waiting for an answer, may take.
        make_context: what https verifies and shows, asked when the first connection is opened; None for the system's
            defaults.
    """

    def __init__(self, timeout_s: float, make_context: Callable[[], ssl.SSLContext] | None = None) -> None:
        self._timeout_s = timeout_s
        self._make_context = make_context
        self._local = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Reply:
        """Send `body`; a kept connection that the server has closed is opened again.

        Raises: OSError or http.client.HTTPException if there is no answer.
        """
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        key = (parts.scheme, parts.netloc)
        kept = self._kept().pop(key, None)
        if kept is not None:
            try:
                return self._exchange(key, kept, target, body, headers)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                kept.close()
        return self._exchange(key, self._open(*key), target, body, headers)

    def close(self) -> None:
        """Close every connection."""
        while self._all:
            self._all.pop().close()
        self._local = threading.local()

    def _exchange(
        self,
        key: tuple[str, str],
        connection: http.client.HTTPConnection,
        target: str,
        body: bytes,
        headers: dict[str, str],
    ) -> Reply:
        try:
            connection.request("POST", target, body, headers)
            response = connection.getresponse()
            reply = Reply(response.status, response.reason, response.read())
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._kept()[key] = connection
        return reply

    def _open(self, scheme: str, server: str) -> http.client.HTTPConnection:
        if scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                server, timeout=self._timeout_s, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(server, timeout=self._timeout_s)
        self._all.append(connection)
        return connection

    @cached_property
    def _context(self) -> ssl.SSLContext | None:
        return None if self._make_context is None else self._make_context()

    def _kept(self) -> dict[tuple[str, str], http.client.HTTPConnection]:
        if not hasattr(self._local, "kept"):
            self._local.kept = {}
        kept: dict[tuple[str, str], http.client.HTTPConnection] = self._local.kept
        return kept
