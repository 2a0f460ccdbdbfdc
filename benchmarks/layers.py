"""What our own code costs for one small request, without sockets: python -m benchmarks.layers [--profile WHAT]

A connection and the gRPC edge of a serving worker are called in this process, thousands of times; the least of
many short runs is shown, which even a busy machine lets through. Beside it the code of the floors, called likewise.
It reaches into the serving worker on purpose: this is the tool for looking there.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks import payloads
from benchmarks.floor import asgi, native_grpc
from benchmarks.graphs import LENGTH, deployment
from benchmarks.plan import GRPC_METHODS
from benchmarks.rows import ROWS
from benchmarks.servers import SELDON_PATH, SMALL_REQUEST, UNITS
from infergraph import assembly
from infergraph.auth import keys
from infergraph.observe.shared_metrics import SharedMetrics
from infergraph.process.worker import Stopping, WorkerContext
from infergraph.protocol.callers import Scope
from infergraph.serving.http.connection import Connection
from infergraph.serving.server import Server
from infergraph.settings import Execution, Settings

CALLS = 300
REPEATS = 100
TARGET = f"{UNITS / 'doubler.py'}:Doubler"
Call = Callable[[], Awaitable[Any]]


def _server(target: str, folder: Path, keys_file: str = "") -> Server:
    settings = Settings(execution=Execution.INLINE, keys=keys_file)
    source = assembly.UnitSource(target=target)
    context = WorkerContext(
        slot=0,
        settings=settings,
        source=msgspec.to_builtins(source),
        opens_early=True,
        http_socket=socket.socket(),
        metrics_socket=None,
        grpc_port=None,
        metrics_dir=folder,
        shared_metrics=SharedMetrics(folder, "layers"),
        requests_limit=0,
        stopping=Stopping(),
        tell=lambda report: None,
    )
    return Server(context)


def _rest(app: Any) -> Call:
    body = SMALL_REQUEST["seldon"]
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]

    unread = [True]

    async def receive() -> dict[str, Any]:
        if not unread.pop():
            await asyncio.Event().wait()  # a client that stays: who listens for its leaving waits
        unread.append(False)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        if event.get("status", 200) != 200:
            raise ValueError(f"status {event['status']}")

    async def call() -> None:
        scope = {"type": "http", "method": "POST", "path": SELDON_PATH, "query_string": b"", "headers": headers}
        unread[:] = [True]
        await app(scope, receive, send)

    return call


class _Sink(asyncio.Transport):
    """A connection whose answers go nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        self.written += 1

    def writelines(self, parts: Any) -> None:
        self.written += 1

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...
    def get_protocol(self) -> Any: ...
    def is_closing(self) -> bool:
        return False


def _connection(server: Server, key: str = "") -> Call:
    """A request as bytes to a connection of the HTTP server, which answers it at once."""
    body = SMALL_REQUEST["seldon"]
    head = f"POST {SELDON_PATH} HTTP/1.1\r\nHost: 127.0.0.1:9000\r\nContent-Type: application/json\r\n"
    head += f"X-API-Key: {key}\r\n" if key else ""
    request = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    sink = _Sink()
    protocol = Connection(server._http, set())
    protocol.connection_made(sink)

    async def call() -> None:
        before = sink.written
        protocol.data_received(request)
        if sink.written == before:
            raise ValueError("it was not answered at once")

    return call


def _grpc_body() -> bytes:
    return payloads.request(next(row for row in ROWS if row.name == "grpc-small"), "seldon")


def _grpc(server: Server, key: str = "") -> Call:
    body, path = _grpc_body(), GRPC_METHODS["seldon"]
    metadata = (("user-agent", "bench"), *((("x-api-key", key),) if key else ()))
    sink = _Replies()

    async def call() -> None:
        app = server._grpc
        app.calls.start(app.call(path, body, metadata, None, sink))
        if not sink.answers.pop():
            raise ValueError("it was not answered")

    return call


class _Replies:
    """Where the answers of gRPC calls go."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    def respond(self, payload: bytes, initial: Any) -> None:
        self.answers.append(payload)

    def fail(self, code: int, text: str, trailing: Any) -> None:
        raise ValueError(text)


async def _grpc_floor() -> None:
    native_grpc.answer(_BODY)


_BODY = _grpc_body()


async def _least_us(call: Call) -> float:
    """CPU microseconds of one call, in the best of the runs."""
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.process_time()
        for _ in range(CALLS):
            await call()
        best = min(best, time.process_time() - begun)
    return 1e6 * best / CALLS


async def _profile(call: Call) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(10 * CALLS):
        await call()
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(40)


async def run(profiled: str | None) -> None:
    """Measure all, or profile one."""
    with tempfile.TemporaryDirectory(prefix="bench-layers-") as name:
        calls: dict[str, Call] = {"floor, REST": _rest(asgi.app), "floor, gRPC": _grpc_floor}
        servers: list[Server] = []
        for title, target in _targets(Path(name)).items():
            folder = Path(name) / str(len(servers))
            folder.mkdir()
            server = _server(target, folder)
            await server._unit.start()
            servers.append(server)
            calls |= {
                f"{title}, REST": _connection(server),
                f"{title}, gRPC": _grpc(server),
            }
        file = Path(name) / "keys.toml"
        key = keys.create(file, "bench", [Scope.PREDICT])
        server = _server(TARGET, Path(name), str(file))
        await server._unit.start()
        servers.append(server)
        calls |= {"with a key, REST": _connection(server, key), "with a key, gRPC": _grpc(server, key)}
        if profiled:
            kind, _, served = profiled.partition("-")
            title = "with a key" if served else "one component"
            await _profile(calls[f"{title}, {'REST' if kind == 'rest' else 'gRPC'}"])
        else:
            print("| | CPU µs |\n| --- | --- |")
            for title, call in calls.items():
                print(f"| {title} | {await _least_us(call):.1f} |", flush=True)
        for server in servers:
            await server._unit.stop()


def _targets(folder: Path) -> dict[str, str]:
    targets = {"one component": TARGET}
    for title, length in (("graph of one", 1), ("chain of three", LENGTH)):
        file = folder / f"{length}.json"
        file.write_text(json.dumps(deployment([{"component": TARGET}] * length)))
        targets[title] = str(file)
    return targets


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--profile",
        choices=("rest", "grpc", "rest-key", "grpc-key"),
        help="print where one component's time goes instead",
    )
    uvloop.run(run(parser.parse_args(arguments).profile))


if __name__ == "__main__":
    main()
