"""The native gRPC engine: HTTP/2 in Rust (the low-level API of pygrpc-native), handlers on the event loop.

    Rust threads ─batch of events─▶ reader thread ─one hop─▶ event loop ─▶ Calls.start ─▶ respond / fail
                 └──────────── while events arrive ───────────▲

One reader thread hands the first batch to the loop, which fetches the next ones itself: a burst costs one hop.
Streams, reflection and methods that are not registered go to a small grpcio server behind it, on a Unix socket. Known
limitation: this engine reads a complete message before we can refuse it by size; `grpc_engine=grpcio` refuses by the
length prefix (docs/decisions).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from queue import SimpleQueue
from typing import Any

import msgspec
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from infergraph.protocol.status import GrpcStatus
from infergraph.serving.grpc import goaway
from infergraph.serving.grpc.app import GrpcApp, GrpcCall, Metadata

_BATCH = 64
_LINGER_S = 1.0
_POLL_S = 0.02
HEALTH_CHECK = "/grpc.health.v1.Health/Check"


class _Reply(msgspec.Struct, frozen=True):
    """Sends the result of one call."""

    front: Any
    call_id: int
    open_calls: dict[int, GrpcCall]

    def respond(self, payload: bytes, initial: Metadata) -> None:
        """Send an answer; no effect if the client has disconnected."""
        self.open_calls.pop(self.call_id, None)
        self.front.respond(self.call_id, payload, initial or None)

    def fail(self, code: int, text: str, trailing: Metadata) -> None:
        """Send a status."""
        self.open_calls.pop(self.call_id, None)
        self.front.fail(self.call_id, code, text, trailing or None)


class NativeServer:
    """Serves a `GrpcApp` on one address. Binds in the constructor, answers after `start`."""

    def __init__(self, app: GrpcApp, address: str, *, is_serving: Any) -> None:
        self._app = app
        self._is_serving = is_serving
        self._paths = list(app.methods)
        methods = [(path, False) for path in (*self._paths, HEALTH_CHECK)]
        self._front = NativeGrpcFront(address, methods, io_threads=1, call_details=True, reuse_port=True)
        self.port: int = self._front.bound_port
        self._calls: dict[int, GrpcCall] = {}
        self._closing = False
        self._nothing_left: SimpleQueue[None] = SimpleQueue()

    def start(self, fallback: str | None) -> None:
        """Start serving; calls of methods that are not registered go to the grpcio server at `fallback`."""
        self._loop = asyncio.get_running_loop()
        if fallback is not None:
            self._front.set_fallback(fallback)
        self._front.start()
        threading.Thread(target=self._read, name="grpc-events", daemon=True).start()

    def _read(self) -> None:
        while (events := self._front.recv_batch_details(_BATCH)) is not None:
            try:
                self._loop.call_soon_threadsafe(self._on_events, events)
            except RuntimeError:  # the loop is closed
                return
            self._nothing_left.get()

    def _on_events(self, events: list[Any]) -> None:
        try:
            self._take(events)
        finally:
            self._fetch()

    def _fetch(self) -> None:
        """Fetch events that have arrived meanwhile on the loop itself; wake the reader thread if there are none."""
        more = self._front.recv_batch_details(_BATCH, 0)
        if more:
            self._loop.call_soon(self._on_events, more)
        else:
            self._nothing_left.put(None)

    def _take(self, events: list[Any]) -> None:
        for kind, call_id, method_id, payload, _, details in events:
            if kind != EVENT_CALL:
                call = self._calls.pop(call_id, None)
                if call is not None:
                    self._app.calls.abandon(call)
            elif method_id == len(self._paths):
                self._front.respond(call_id, b"\x08\x01" if self._is_serving() else b"\x08\x02")
            elif self._closing:
                self._front.fail(call_id, GrpcStatus.UNAVAILABLE, "the server is shutting down")
            else:
                self._begin(call_id, self._paths[method_id], payload, details)

    def _begin(self, call_id: int, path: str, payload: bytes, details: Any) -> None:
        metadata, _, remaining_s = details
        call = self._app.call(path, payload, metadata, remaining_s, _Reply(self._front, call_id, self._calls))
        self._app.calls.start(call)
        if not call.is_over:
            self._calls[call_id] = call

    async def stop(self, grace_s: float) -> None:
        """Send GOAWAY to the clients, finish the calls in flight within `grace_s`, and close."""
        loop = asyncio.get_running_loop()
        logging.getLogger("pygrpc_native").setLevel(logging.ERROR)  # it would warn that it can no longer accept
        goaway.close_listener(self.port)
        linger_until, deadline = loop.time() + _LINGER_S, loop.time() + grace_s
        announced: set[int] = set()
        await asyncio.sleep(_POLL_S)  # the engine sends SETTINGS on connections it has just accepted
        while goaway.announce(self.port, announced) and loop.time() < linger_until:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_POLL_S)
        while self._app.admission.in_flight and loop.time() < deadline:  # noqa: ASYNC110 - only at shutdown
            await asyncio.sleep(_POLL_S)
        self._closing = True
        self._front.close()
