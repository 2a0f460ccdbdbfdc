"""A serving worker inside the test process: real sockets, both protocols, no supervisor."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import msgspec

from infergraph.observe.shared_metrics import SharedMetrics
from infergraph.process.channel import Report, StopRequest, WorkerState
from infergraph.process.worker import Stopping, WorkerContext
from infergraph.protocol.services import INFERENCE
from infergraph.serving.server import serve
from infergraph.settings import Settings
from infergraph.unit_source import UnitSource
from infergraph.wire.prediction import SERVICES, message_class


@dataclass
class Reply:
    """A REST answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """The ports of a worker, and requests to it."""

    http_port: int
    grpc_port: int
    metrics_port: int
    reports: list[Report] = field(default_factory=list)
    stop: Callable[[], None] = lambda: None
    _connection: http.client.HTTPConnection | None = None

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, port: int = 0
    ) -> Reply:
        """Send a REST request; a body that is not bytes is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body, ensure_ascii=False).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", port or self.http_port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        """POST JSON."""
        return self.ask("POST", path, body, headers)

    def get(self, path: str, **headers: str) -> Reply:
        """GET."""
        return self.ask("GET", path, None, headers)

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """A gRPC channel without size limits."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", options=options) as channel:
            yield channel

    def call(self, path: str, request: Any, **metadata: str) -> Any:
        """Call `Service/Method` of Seldon's protocol over gRPC, with messages of the private pool."""
        service, _, method = path.partition("/")
        return self._unary(f"seldon.protos.{service}", method, request, **metadata)

    def rpc(self, method: str, request: Any = None, /, **members: Any) -> Any:
        """Call a method of the open inference protocol over gRPC, with a request or the members of one."""
        asked, _ = SERVICES[INFERENCE][method]
        return self._unary(INFERENCE, method, message_class(asked)(**members) if request is None else request)

    def _unary(self, service: str, method: str, request: Any, **metadata: str) -> Any:
        answer = message_class(SERVICES[service][method][1])
        with self.channel() as channel:
            ask = channel.unary_unary(
                f"/{service}/{method}", lambda message: message.SerializeToString(), answer.FromString
            )
            return ask(request, timeout=30, metadata=tuple(metadata.items()))


def _listener() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # so that asyncio sends at once
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(
    target: str,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    nodes: Mapping[str, str] | None = None,
    wait: bool = True,
    grace_s: float = 5.0,
    **given: Any,
) -> Iterator[Served]:
    """A worker that serves `target` with the settings `given`; ready, unless `wait` is false.

    Args:
        nodes: like `--node`: a target or a URL by node name.
        grace_s: how long it may take to answer what is in work when it stops.
    """
    given.setdefault("tasks", False)
    settings = msgspec.convert(given, Settings, strict=False)
    source = UnitSource(
        target=target,
        environment=dict(environment or {}),
        folder=str(folder or Path.cwd()),
        nodes=dict(nodes or {}),
    )
    http_listener, metrics_listener = _listener(), _listener()
    there = Served(http_listener.getsockname()[1], _free_port(), metrics_listener.getsockname()[1])
    told = threading.Condition()

    def tell(report: Report) -> None:
        with told:
            there.reports.append(report)
            told.notify_all()

    async def run(metrics_dir: Path) -> None:
        stopping = Stopping()
        loop = asyncio.get_running_loop()
        there.stop = lambda: loop.call_soon_threadsafe(stopping.begin, StopRequest(0.0, grace_s))
        shared_metrics = SharedMetrics(metrics_dir, "0")
        context = WorkerContext(
            slot=0,
            settings=settings,
            source=msgspec.to_builtins(source),
            opens_early=True,
            http_socket=http_listener,
            metrics_socket=metrics_listener,
            grpc_port=there.grpc_port if settings.grpc else None,
            metrics_dir=metrics_dir,
            shared_metrics=shared_metrics,
            requests_limit=settings.max_requests,
            stopping=stopping,
            tell=tell,
        )
        try:
            await serve(context)
        finally:
            shared_metrics.close()

    wanted = {WorkerState.READY, WorkerState.LOAD_FAILED} if wait else {WorkerState.LISTENING}
    with tempfile.TemporaryDirectory() as metrics_dir:
        thread = threading.Thread(target=lambda: asyncio.run(run(Path(metrics_dir))), daemon=True)
        thread.start()
        try:
            with told:
                assert told.wait_for(lambda: any(report.state in wanted for report in there.reports), timeout=120)
            failed = [report for report in there.reports if report.state is WorkerState.LOAD_FAILED]
            assert not (wait and failed), failed[0].traceback or failed[0].text
            yield there
        finally:
            with suppress(RuntimeError):  # it has stopped already
                there.stop()
            thread.join(timeout=120)
            http_listener.close()
            metrics_listener.close()
            assert not thread.is_alive()


class Servers:
    """Workers of the components in one file, each started when it is first asked for, all kept to the block's end.

    Args:
        given: what `served` takes, for all that are not asked for with something else.
    """

    def __init__(self, file: str, **given: Any) -> None:
        self._file = file
        self._given = given
        self._stack = ExitStack()
        self._known: dict[str, Served] = {}

    def __call__(self, component: str, **given: Any) -> Served:
        """The worker of a component with these settings."""
        given = self._given | given
        key = json.dumps([component, given], default=str, sort_keys=True)
        if key not in self._known:
            self._known[key] = self._stack.enter_context(served(f"{self._file}:{component}", **given))
        return self._known[key]

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
