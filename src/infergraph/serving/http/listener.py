"""The HTTP listener of one port: accepting connections, checking time-outs, graceful shutdown."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from infergraph.auth.tls import ServerTls
from infergraph.serving.http.app import HttpApp
from infergraph.serving.http.connection import Connection

LINGER_S = 1.0
_POLL_S = 0.02
_SWEEP_S = 1.0
_BACKLOG = 2048
_HANDSHAKE_S = 10.0


class Listener:
    """Serves one application on one listening socket.

    Args:
        tls: the certificate to serve by; None for plain connections.
    """

    def __init__(self, app: HttpApp, tls: ServerTls | None = None) -> None:
        self._app = app
        self._tls = tls
        self._connections: set[Connection] = set()

    async def start(self, listening: socket.socket) -> None:
        """Start accepting connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self.connected,
            sock=listening,
            backlog=_BACKLOG,
            ssl=None if self._tls is None else self._tls.context,
            ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE_S,
        )
        self._watching = loop.create_task(self._watch())

    def connected(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self._app, self._connections)

    async def stop(self, grace_s: float, *, linger_s: float = LINGER_S) -> None:
        """Stop accepting connections, finish the requests in flight within `grace_s`, and close.

        A client of a kept-alive connection may send its next request just as we close it, and would lose it. So each
        connection may get one more answer, with `Connection: close`; those idle for `linger_s` are closed.
        """
        self._server.close()
        self._app.is_draining = True
        await self._emptied(linger_s, lambda connection: None)
        await self._emptied(max(1.0, grace_s), Connection.close_if_idle)
        for connection in list(self._connections):
            connection.end()
        self._watching.cancel()

    async def _emptied(self, within_s: float, visit: Callable[[Connection], None]) -> None:
        """Wait until no connection is open, calling `visit` for each open one at intervals."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._connections:
                    for connection in list(self._connections):
                        visit(connection)
                    await asyncio.sleep(_POLL_S)

    async def _watch(self) -> None:
        """Check the time-outs of all connections periodically, and the certificate's files, until cancelled."""
        loop = asyncio.get_running_loop()
        options = self._app.options
        limits_s = (options.receive_timeout_s, options.keepalive_s)
        every_s = min([_SWEEP_S, *(limit_s / 4 for limit_s in limits_s if limit_s)])
        last = loop.time()
        while True:
            await asyncio.sleep(every_s)
            now = loop.time()
            if self._tls is not None:
                self._tls.renew()
            for connection in list(self._connections):
                connection.check(now, now - last)
            last = now
