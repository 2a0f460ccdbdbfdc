"""The native gRPC engine: HTTP/2 in Rust (pygrpc-native's low-level front), answers made on the event loop.

    Rust threads ─batch of events─▶ reader thread ─one hop─▶ event loop ─▶ Grpc.answer ─▶ respond / fail

One reader thread hands whole batches to the loop, so a burst costs one hop. Reflection and anything not registered go
to a small grpcio server behind it on a Unix socket. Known limit: this front reads a message whole before we can
refuse it by size; `grpc_engine=grpcio` refuses by the length prefix (docs/decisions).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from infergraph.serving.grpc import INTERNAL, UNAVAILABLE, Grpc, GrpcFault

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

    def _on_events(self, events: list[Any]) -> None:
        for kind, call_id, method_id, payload, _, details in events:
            if kind != EVENT_CALL:
                task = self._tasks.get(call_id)
                if task is not None:
                    task.cancel()
            elif method_id == len(self._paths):
                self._front.respond(call_id, b"\x08\x01" if self._is_serving() else b"\x08\x02")
            elif self._closing:
                self._front.fail(call_id, UNAVAILABLE, "the server is shutting down")
            else:
                work: Coroutine[Any, Any, None] = self._answer(call_id, self._paths[method_id], payload, details)
                task = self._loop.create_task(work)
                self._tasks[call_id] = task

    async def _answer(self, call_id: int, path: str, payload: bytes, details: Any) -> None:
        try:
            metadata, _, remaining_s = details
            answered = await self._edge.answer(path, payload, metadata, remaining_s)
            self._front.respond(call_id, answered.payload, answered.initial or None)
        except GrpcFault as fault:
            self._front.fail(call_id, fault.code, fault.text, fault.trailing or None)
        except BaseException:
            self._front.fail(call_id, INTERNAL, "internal error")  # no effect where the caller has gone
            raise
        finally:
            del self._tasks[call_id]

    async def stop(self) -> None:
        """Close the port and what is left."""
        self._closing = True
        self._front.close()
