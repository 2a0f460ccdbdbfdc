"""A small server for the process tests: what a worker runs in place of the real one, with buttons to make it misbehave.

The unit's source says what loading does: {"load": "ok" | "raise" | "fault" | "die" | "flag", "flag": path}.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from infergraph.errors import TargetError
from infergraph.observe.metrics import RequestMetrics, exposition
from infergraph.process.worker import WorkerContext
from infergraph.serving.http.app import HttpApp, HttpOptions, Paths
from infergraph.serving.http.dialects import Cors, InternalDialect
from infergraph.serving.http.listener import Listener


class Target:
    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self.ready = False
        self.metrics = RequestMetrics(
            context.shared_metrics,
            requests_limit=context.requests_limit,
            on_limit=lambda: context.recycle("enough requests"),
        )

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.metrics.started()
        status, body = await self.answer(scope["path"], parse_qs(scope["query_string"].decode()))
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-length", str(len(body)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": body})
        self.metrics.finished(scope["path"].strip("/"), str(status), "rest", 0.001, 0, len(body))

    async def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, bytes]:
        if path == "/ready":
            return (200, b"ready") if self.ready and not self.context.stopping.is_set() else (503, b"not ready")
        if path == "/metrics":
            return 200, exposition(self.context.metrics_dir)[0]
        if path == "/slow":
            mark, until = Path(query["mark"][0]), Path(query["until"][0])
            mark.touch()  # noqa: ASYNC240
            while not until.exists():  # noqa: ASYNC110, ASYNC240
                await asyncio.sleep(0.01)
        if path == "/hang":
            time.sleep(1000)  # noqa: ASYNC251
        if path == "/eat":
            self.eaten = bytearray(200 * 1024 * 1024)
            self.eaten[::4096] = b"x" * len(self.eaten[::4096])
        if path == "/spawn":
            process = await asyncio.create_subprocess_exec("sleep", "1000")
            return 200, str(process.pid).encode()
        return (200, str(os.getpid()).encode()) if self.ready else (503, b"not ready")

    def load(self) -> None:
        time.sleep(0.2)  # a model that takes its time, so that requests can meet it half loaded
        source = self.context.source
        kind = source.get("load", "ok")
        if kind == "flag":
            kind = Path(source["flag"]).read_text().strip()
        if kind == "raise":
            raise ValueError("no weights here")
        if kind == "fault":
            raise TargetError("there is no class Nothing in nowhere.py")
        if kind == "die":
            os._exit(9)


def load(target: Target) -> bool:
    """Load, or tell why not."""
    try:
        target.load()
    except Exception as error:
        target.context.load_failed(error)
        return False
    target.ready = True
    return True


async def serve(context: WorkerContext) -> None:
    target = Target(context)
    options = HttpOptions(message_limit_bytes=1 << 20, concurrency_limit=0)
    listener = Listener(HttpApp(Paths({}), InternalDialect(Cors()), target, options, target.metrics))
    if not context.opens_early and not load(target):
        await context.stopping.wait()
        return
    await listener.start(context.http_socket)
    if context.metrics_socket is not None:
        context.metrics_socket.close()
    if context.grpc_port is not None:
        taken = socket.socket()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((context.settings.host, context.grpc_port))
        taken.listen()
    context.listening()
    if target.ready or load(target):
        context.ready()
    order = await context.stopping.wait()
    await asyncio.sleep(order.delay_s)
    await listener.stop(60.0)
