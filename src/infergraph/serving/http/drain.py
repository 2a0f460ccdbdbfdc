"""Stopping an HTTP server without cutting off a client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress

import uvicorn

LINGER_S = 1.0
POLL_S = 0.02


async def drain_http(servers: Sequence[uvicorn.Server], *, linger_s: float = LINGER_S) -> None:
    """Stop accepting, tell every client to close, and wait until the open connections are gone.

    A client of a kept-alive connection may send its next request at the very moment we close it, and would lose it. So
    each connection gets one more answer, with `Connection: close`; those that ask nothing for `linger_s` are closed
    by the server's own shutdown, which comes next: set `should_exit` after this, with `timeout_graceful_shutdown` as
    the limit for requests in work.
    """
    for server in servers:
        for listener in server.servers:
            listener.close()
        farewell = (b"connection", b"close")
        server.config.encoded_headers.append(farewell)
        server.server_state.default_headers.append(farewell)  # a list that requests in work share
    with suppress(TimeoutError):
        async with asyncio.timeout(linger_s):
            for server in servers:
                await _no_connections(server)


async def _no_connections(server: uvicorn.Server) -> None:
    while server.server_state.connections:  # noqa: ASYNC110, uvicorn keeps a set and tells nobody when it changes
        await asyncio.sleep(POLL_S)


def close_listeners(sockets: Sequence[socket.socket | None]) -> None:
    """Close our copies of inherited sockets."""
    for listening in sockets:
        if listening is not None:
            listening.close()
