"""The native gRPC engine: HTTP/2 in Rust (pygrpc-native's low-level front), answers made on the event loop.

    Rust threads ─batch of events─▶ reader thread ─one hop─▶ event loop ─▶ Grpc.answer ─▶ respond / fail
                 └───────────────── while there are any ──────▲

One reader thread hands the first batch to the loop, which fetches the next ones itself: a burst costs one hop.
Reflection and anything not registered go to a small grpcio server behind it on a Unix socket. Known limit: this front
reads a message whole before we can refuse it by size; `grpc_engine=grpcio` refuses by the length prefix
(docs/decisions).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Coroutine
from typing import Any

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from infergraph.at_once import drive
from infergraph.protocol.status import GrpcStatus
from infergraph.serving.grpc.edge import Grpc, GrpcFault

_log = logging.getLogger(__name__)

_BATCH = 64
HEALTH_CHECK = "/grpc.health.v1.Health/Check"


class NativeServer:
    """Serves a `Grpc` edge on one address. Binds in the constructor, answers after `start`."""

    def __init__(self, edge: Grpc, address: str, *, is_serving: Any) -> None:
        self._edge = edge
        self._is_serving = is_serving
        self._paths = list(edge.handlers)
        methods = [(path, False) for path in (*self._paths, HEALTH_CHECK)]
        self._front = NativeGrpcFront(address, methods, io_threads=1, call_details=True, reuse_port=True)
        self.port: int = self._front.bound_port
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._closing = False
        self._nothing_left = threading.Semaphore(0)

    def start(self, fallback: str | None) -> None:
        """Begin to answer; calls of methods that are not registered go to the grpcio server at `fallback`."""
        self._loop = asyncio.get_running_loop()
        if fallback is not None:
            self._front.set_fallback(fallback)
        self._front.start()
        threading.Thread(target=self._read, name="grpc-events", daemon=True).start()

    def _read(self) -> None:
        while (events := self._front.recv_batch_details(_BATCH)) is not None:
            try:
                self._loop.call_soon_threadsafe(self._on_events, events)
            except RuntimeError:  # the loop has gone
                return
            self._nothing_left.acquire()

    def _on_events(self, events: list[Any]) -> None:
        try:
            self._take(events)
        finally:
            self._fetch()

    def _fetch(self) -> None:
        """What has come meanwhile needs no thread to bring it; the reader sleeps until there is nothing."""
        more = self._front.recv_batch_details(_BATCH, 0)
        if more:
            self._loop.call_soon(self._on_events, more)
        else:
            self._nothing_left.release()

    def _take(self, events: list[Any]) -> None:
        for kind, call_id, method_id, payload, _, details in events:
            if kind != EVENT_CALL:
                task = self._tasks.get(call_id)
                if task is not None:
                    task.cancel()
            elif method_id == len(self._paths):
                self._front.respond(call_id, b"\x08\x01" if self._is_serving() else b"\x08\x02")
            elif self._closing:
                self._front.fail(call_id, GrpcStatus.UNAVAILABLE, "the server is shutting down")
            else:
                path = self._paths[method_id]
                at_once = self._edge.answers_at_once(path, len(payload))
                work: Coroutine[Any, Any, None] = self._answer(call_id, path, payload, details, at_once)
                if at_once:
                    self._answer_at_once(path, work)
                else:
                    self._tasks[call_id] = self._loop.create_task(work)

    def _answer_at_once(self, path: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            contextvars.copy_context().run(drive, work)
        except Exception:  # noqa: BLE001 - one call is no reason to lose the others of its batch
            _log.exception("a call of %s failed", path)

    async def _answer(self, call_id: int, path: str, payload: bytes, details: Any, at_once: bool) -> None:
        try:
            metadata, _, remaining_s = details
            answered = await self._edge.answer(path, payload, metadata, remaining_s, at_once=at_once)
            self._front.respond(call_id, answered.payload, answered.initial or None)
        except GrpcFault as fault:
            self._front.fail(call_id, fault.code, fault.text, fault.trailing or None)
        except BaseException:
            self._front.fail(call_id, GrpcStatus.INTERNAL, "internal error")  # no effect where the caller has gone
            raise
        finally:
            self._tasks.pop(call_id, None)

    async def stop(self) -> None:
        """Close the port and what is left."""
        self._closing = True
        self._front.close()
