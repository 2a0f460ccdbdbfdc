"""The server of one worker: REST and gRPC edges over one unit, from opening the ports to the graceful shutdown.

open ports ─▶ listening ─▶ unit.start() ─▶ ready … request to stop ─▶ not ready ─▶ no new requests ─▶ drain ─▶ exit
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from starlette.routing import BaseRoute

from infergraph import assembly
from infergraph.auth.tls import server_tls
from infergraph.errors import Fault, MissingExtra
from infergraph.observe.measured import Measured
from infergraph.observe.metrics import CallerMetrics, RequestMetrics, exposition
from infergraph.process import startup_gate
from infergraph.process.worker import WorkerContext
from infergraph.protocol.callers import Openness, needed_at
from infergraph.protocol.paths import Protocol
from infergraph.serving import example_request, inference, pod_limits
from infergraph.serving.authentication import authenticator
from infergraph.serving.call import Uncounted
from infergraph.serving.console import console
from infergraph.serving.console.live_figures import Watch
from infergraph.serving.grpc.app import GrpcApp
from infergraph.serving.http import error_responses, pages
from infergraph.serving.http.app import App, Dialect, Endpoint, HttpApp, HttpOptions, Paths
from infergraph.serving.http.cross_origin import foreign_calls
from infergraph.serving.http.error_responses import Answer
from infergraph.serving.http.exchange import Exchange
from infergraph.serving.http.listener import Listener
from infergraph.serving.http.liveness import LoadingLiveness
from infergraph.serving.loading import Loading
from infergraph.serving.openai import api as openai
from infergraph.serving.openai import errors as openai_errors
from infergraph.serving.openapi import description, endpoints
from infergraph.serving.readiness_gate import ReadinessGate
from infergraph.serving.row_counts import RowsCounted
from infergraph.serving.row_requests import RowRequests, is_served
from infergraph.serving.seldon.grpc import SeldonGrpc
from infergraph.serving.tasks import gbuilder
from infergraph.serving.v2.dialect import V2Dialect
from infergraph.serving.v2.grpc import V2Grpc
from infergraph.serving.v2.rest import V2Parts
from infergraph.settings import ConsoleMode, GrpcEngine, ModelControlMode, Settings
from infergraph.tasks.engines.in_server_worker import InServerWorker
from infergraph.tasks.ownership import Owner
from infergraph.tasks.service import TaskService
from infergraph.topology import component_topology
from infergraph.unit_source import UnitSource, is_graph
from infergraph.wire.bodies_memory import BodiesMemory

_log = logging.getLogger(__name__)

Stop: TypeAlias = Callable[[float], Awaitable[None]]
"""Closes one port: accepts no new requests, and finishes those in flight within the given seconds."""


class Server:
    """The server of one worker."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._settings = context.settings
        self._source = msgspec.convert(context.source, UnitSource)
        self._accounting = RequestMetrics(
            context.shared_metrics,
            requests_limit=context.requests_limit,
            on_limit=lambda: context.recycle("it has answered max_requests"),
        )
        replaceable: assembly.Replaceable | None = None
        if self._settings.model_control is ModelControlMode.ON:
            self._built, replaceable = assembly.replaceable(self._source, self._settings, context.shared_metrics)
        else:
            self._built = assembly.build(self._source, self._settings, context.shared_metrics)
        warnings = assembly.inspect(self._source, self._settings.host, self._own_ports())
        if context.slot == 0 and context.opens_early:  # once, for all workers
            for line in warnings:
                _log.info("%s", line)
        self._is_graph = is_graph(self._source.target)
        measured = Measured(self._built, context.shared_metrics, is_node=not self._is_graph)
        counted = RowsCounted(measured) if self._settings.keys else measured
        self._unit = ReadinessGate(counted, self._settings.load_wait_s)
        self._authenticator = authenticator(
            self._settings, context.metrics_dir, context.slot, CallerMetrics(context.shared_metrics).count
        )
        self._tls = server_tls(self._settings)
        self._dialect = inference.dialect_of(self._source, self._settings, self._built.facts)
        self._v2_dialect = V2Dialect(self._dialect)
        self._tasks: TaskService | None = None
        if self._settings.tasks:
            renew = functools.partial(context.recycle, "its data folder was taken away")
            self._tasks = TaskService.open(
                self._settings,
                call_driver=context.tasks_wait,
                renew=renew,
                owner=Owner.of(self._source, self._settings.parameters).tag,
            )
        in_server: InServerWorker | None = None
        if self._tasks is not None and self._settings.task_worker_bounds.most == 0:
            in_server = InServerWorker(
                Path(self._settings.data_dir), self._built, lambda: RowRequests(self._http), self._settings.task_nan
            )
        self._is_open = False
        self._limits = pod_limits.Limits(self._settings.request_timeout_s, self._settings.message_limit_bytes)
        if not self._is_graph:
            self._limits = pod_limits.limits(self._settings)
        self._watch = Watch(context.metrics_dir, time.monotonic)
        bodies_bytes = self._settings.bodies_limit_bytes
        self._memory = BodiesMemory(bodies_bytes and max(bodies_bytes, self._settings.message_limit_bytes))
        self._v2 = self._v2_parts()
        self._loading = Loading(
            context, self._unit, replaceable, in_server, ports=self._own_ports, changed=self._v2.model.forget
        )
        self._http = self._make_http()
        self._listener = Listener(self._http, self._tls)
        self._grpc = self._make_grpc()

    def _v2_parts(self) -> V2Parts:
        settings = self._settings
        return inference.v2_parts(
            self._unit,
            self._source,
            settings,
            metrics_dir=self._context.metrics_dir,
            is_ready=self._is_ready,
            is_server_ready=self._is_server_ready,
            memory=self._memory,
            ask=self._context.model_control.ask if settings.model_control is ModelControlMode.ON else None,
        )

    async def run(self) -> None:
        """Serve until requested to stop, then drain both protocols concurrently."""
        stopping = asyncio.create_task(self._context.stopping.wait())
        sampling = asyncio.create_task(self._watch.sample()) if self._settings.console is not ConsoleMode.OFF else None
        mark = startup_gate.LoadingMark(self._context.metrics_dir, os.getpid())
        loading = asyncio.create_task(self._loading.load())
        loading.add_done_callback(lambda _: mark.remove())
        if self._context.opens_early:
            self._answer_probes_until(loading)
        else:
            await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            passed = asyncio.create_task(_others_loaded(self._context.metrics_dir))
            await asyncio.wait({passed, stopping}, return_when=asyncio.FIRST_COMPLETED)
            passed.cancel()
        hopeless = loading.done() and not loading.result()
        stops = [] if stopping.done() or hopeless else await self._open()
        self._is_open = True
        self._context.listening()
        announcing = asyncio.create_task(self._announce(loading))
        request = await stopping
        self._loading.end_service()
        loading.cancel()
        announcing.cancel()
        await asyncio.sleep(request.delay_s)
        await asyncio.gather(*(stop(request.grace_s) for stop in stops), self._loading.end(request.grace_s))
        if sampling is not None:
            sampling.cancel()
        await self._unit.stop()
        if self._tasks is not None:
            self._tasks.close()

    def _answer_probes_until(self, loading: asyncio.Task[bool]) -> None:
        if self._tls is not None or not self._settings.open_probes or self._settings.base_path:
            return  # what answers meanwhile speaks no TLS, asks nobody, and knows plain paths
        paths = [path for path, endpoint in self._http.paths.exact.items() if endpoint.name == "live"]
        liveness = LoadingLiveness(self._context.http_socket, paths, self._listener.connected)
        liveness.start()
        loading.add_done_callback(lambda _: liveness.stop())

    async def _open(self) -> list[Stop]:
        """Open all ports; the HTTP port, which has the readiness probe, last if another worker already answers."""
        if self._context.opens_early:
            return [await self._open_http(self._listener, self._context.http_socket), *await self._open_others()]
        stops = await self._open_others()
        self._is_open = True
        return [await self._open_http(self._listener, self._context.http_socket), *stops]

    async def _open_others(self) -> list[Stop]:
        stops: list[Stop] = []
        if self._context.metrics_socket is not None:
            nothing: App = pages.nothing(self._dialect_of, [self._settings.metrics_path])
            if self._settings.base_path:
                nothing = pages.without_outside(nothing)
            metrics = HttpApp(
                Paths(self._metrics_paths()),
                self._dialect,
                nothing,
                self._http_options(),
                Uncounted(),
                authenticator=self._authenticator,
                base_path=self._settings.base_path,
            )
            stops.append(await self._open_http(Listener(metrics, self._tls), self._context.metrics_socket))
        if self._context.grpc_port is not None:
            stops.append(await self._open_grpc(self._context.grpc_port))
        return stops

    async def _announce(self, loading: asyncio.Task[bool]) -> None:
        if await loading:
            self._context.ready(await example_request.announced(self._unit, is_graph=self._is_graph))
            self._loading.begin()
        elif self._tasks is not None:
            self._tasks.unit_failed = lambda: True

    def _make_grpc(self) -> GrpcApp:
        unit, is_graph = self._unit, self._is_graph
        seldon = SeldonGrpc(unit, is_graph=is_graph, runners=unit.runners, memory=self._memory)
        v2 = V2Grpc(self._v2)
        return GrpcApp(
            {**seldon.methods(), **v2.methods()},
            self._accounting,
            gives_ids=is_graph,
            message_limit_bytes=self._limits.grpc_message_bytes,
            concurrency_limit=self._settings.concurrency_limit,
            request_timeout_s=self._settings.request_timeout_s,
            streams=v2.streams(),
            authenticator=self._authenticator,
        )

    # ── HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _make_http(self) -> HttpApp:
        settings = self._settings
        paths = inference.inference_paths(
            self._unit,
            self._source,
            settings,
            self._v2,
            self._v2_dialect,
            lambda: endpoints.document(self._unit, served),
        )
        paths = paths._replace(exact={**paths.exact, **self._metrics_paths()})
        served = description.Served(
            name=self._unit.name,
            paths=paths,
            base_path=settings.base_path,
            needs_key=bool(settings.keys or settings.oidc_issuer),
            is_graph=self._is_graph,
            protocol=self._built.facts.protocol,
            model=self._v2.model.name,
            has_tasks=self._tasks is not None,
        )
        other: App = pages.application(
            self._more_routes(served),
            settings,
            self._dialect_of,
            _predictions_first(paths),
            self._authenticator,
            self._fault_at,
        )
        if settings.base_path:
            other = pages.without_outside(other)
        if settings.access_log:
            other = pages.with_access_lines(other)
        refuse = foreign_calls(settings.cors_origins)
        return HttpApp(
            paths,
            self._dialect,
            other,
            self._http_options(),
            self._accounting,
            refuse,
            self._authenticator,
            settings.base_path,
        )

    def _dialect_of(self, path: str) -> Dialect:
        is_kserve = path.startswith("/v1/models") and self._built.facts.protocol != Protocol.TENSORFLOW.value
        return self._v2_dialect if is_kserve or path == "/v2" or path.startswith("/v2/") else self._dialect

    def _fault_at(self, path: str) -> Callable[[Fault], Answer]:
        """What a fault is answered on a path of the pages and the task API."""
        if self._tasks is not None and openai.is_ours(path):
            return openai_errors.of_fault
        is_known = needed_at(path) is not Openness.CALLERS
        return error_responses.of_fault if is_known else self._dialect_of(path).of_fault

    def _more_routes(self, served: description.Served) -> list[BaseRoute]:
        routes = endpoints.routes(self._unit, served)
        if self._tasks is not None:
            routes.extend(gbuilder.routes(self._tasks, self._settings))
            routes.extend(openai.routes(self._tasks, functools.partial(is_served, served.paths)))
        if self._settings.console is not ConsoleMode.OFF:
            routes.extend(console.routes(self._console_parts()))
        return routes

    def _own_ports(self) -> list[int]:
        context = self._context
        sockets = [each for each in (context.http_socket, context.metrics_socket) if each is not None]
        ports: list[int] = [each.getsockname()[1] for each in sockets]
        return ports if context.grpc_port is None else [*ports, context.grpc_port]

    def _console_parts(self) -> console.ConsoleParts:
        if self._is_graph:
            topology = importlib.import_module("infergraph.assembly.source_topology").graph_topology(self._source)
        else:
            topology = component_topology(self._built.name, self._source.target)
        return console.ConsoleParts(
            unit=self._unit,
            settings=self._settings,
            topology=topology,
            watch=self._watch,
            methods=lambda: self._built.facts.methods,
            model=self._v2.model.name,
            data_dir=self._source.path / self._settings.data_dir,
            is_ready=self._is_ready,
            tasks=self._tasks,
            authenticator=self._authenticator,
            grpc_port=self._context.grpc_port,
        )

    def _http_options(self) -> HttpOptions:
        settings = self._settings
        return HttpOptions(
            message_limit_bytes=settings.message_limit_bytes,
            concurrency_limit=settings.concurrency_limit,
            memory=self._memory,
            request_timeout_s=self._limits.rest_timeout_s,
            receive_timeout_s=settings.receive_timeout_s,
            keepalive_s=settings.keepalive_s,
        )

    def _metrics_paths(self) -> dict[str, Endpoint]:
        async def metrics(exchange: Exchange) -> Answer:
            body, kind = await asyncio.to_thread(exposition, self._context.metrics_dir)
            if self._tasks is not None:
                body += await self._tasks.metrics()
            return Answer(200, body, [(b"content-type", kind.encode())])

        return {self._settings.metrics_path: Endpoint(frozenset({"GET", "HEAD"}), metrics, "metrics", gated=False)}

    async def _open_http(self, listener: Listener, listening: socket.socket) -> Stop:
        await listener.start(listening)
        return listener.stop

    async def _is_ready(self) -> bool:
        # Both ports: a client that sees "ready" over HTTP may call over gRPC next.
        return self._is_open and not self._context.stopping.is_set() and await self._unit.ready()

    async def _is_server_ready(self) -> bool:
        return await self._is_ready() or (
            self._is_open and self._unit.is_unloaded and not self._context.stopping.is_set()
        )

    # ── gRPC ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _open_grpc(self, port: int) -> Stop:
        address = f"{_bracketed(self._settings.host)}:{port}"
        if _uses_native(self._settings):
            return await self._open_native(address)
        server = await self._aio(address)
        await server.start()
        stop: Stop = server.stop
        return stop

    async def _open_native(self, address: str) -> Stop:
        from infergraph.serving.grpc.native import NativeServer

        front = NativeServer(self._grpc, address, is_serving=self._is_serving)
        behind_at = self._context.metrics_dir / f"grpc-{os.getpid()}.sock"
        behind = await self._aio(f"unix:{behind_at}", streams_alone=True)
        await behind.start()
        front.start(str(behind_at))

        async def stop(grace_s: float) -> None:
            await front.stop(grace_s)
            await behind.stop(0.0)

        return stop

    async def _aio(self, address: str, *, streams_alone: bool = False) -> Any:
        # grpcio is slow to import: after the HTTP port is open, concurrently with the loading of the unit.
        engine = await asyncio.to_thread(importlib.import_module, "infergraph.serving.grpc.aio")
        return engine.AioServer(
            self._grpc,
            address,
            is_serving=self._is_serving,
            message_limit_bytes=self._limits.grpc_message_bytes,
            streams_alone=streams_alone,
            tls=None if streams_alone else self._tls,
        )

    def _is_serving(self) -> bool:
        return self._unit.is_open and not self._context.stopping.is_set()


async def _others_loaded(folder: Path) -> None:
    """Wait until no worker that has not loaded yet answers on the ports."""
    while startup_gate.is_any_loading(folder):  # noqa: ASYNC110 - another process removes the file
        await asyncio.sleep(0.05)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _uses_native(settings: Settings) -> bool:
    if settings.grpc_engine is GrpcEngine.GRPCIO or settings.tls_cert:  # the native one has no TLS
        return False
    try:
        import pygrpc_native  # noqa: F401 - availability check
    except ImportError as error:
        if settings.grpc_engine is GrpcEngine.NATIVE:
            raise MissingExtra(
                "grpc_engine=native needs the package 'pygrpc-native': pip install pygrpc-native"
            ) from error
        return False
    return True


def _predictions_first(paths: Paths) -> list[str]:
    return sorted(paths.exact, key=lambda path: paths.exact[path].name != "predict")


async def serve(context: WorkerContext) -> None:
    """Serve one worker (see `infergraph.process.worker`)."""
    await Server(context).run()
