"""A serving worker: the process that the supervisor spawns to run the server.

    python -P -m infergraph.process.worker < config.json
        die with the parent ▶ logs ▶ sockets ▶ event loop: serve(context) · stop requests · heartbeat · memory watch

The server is named in the configuration and imported by name, so that this module stays below it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import logging
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from infergraph import process_lifetime
from infergraph.errors import StartupFault, traceback_text
from infergraph.observe import logs
from infergraph.observe.shared_metrics import SharedMetrics
from infergraph.process.channel import (
    TEXT_LIMIT,
    Channel,
    Report,
    StopRequest,
    SupervisorMessage,
    WorkerConfig,
    WorkerState,
)
from infergraph.process.model_control import ModelControl
from infergraph.settings import Settings

EXIT_STARTUP = 2
EXIT_LOAD = 3
KEPT_MEMORY_BYTES = 128 << 20  # of freed blocks, so that large messages find them again
MEMORY_CHECK_S = 2.0
log = logging.getLogger("infergraph.process.worker")


class Stopping:
    """The request to stop, once it has arrived."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.request = StopRequest(0.0, 0.0)

    def begin(self, request: StopRequest) -> None:
        """Begin to stop. Only the first request counts."""
        if not self._event.is_set():
            self.request = request
            self._event.set()

    def is_set(self) -> bool:
        """Whether the worker is stopping."""
        return self._event.is_set()

    async def wait(self) -> StopRequest:
        """Wait for the request to stop."""
        await self._event.wait()
        return self.request


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker's server is given.

    Args:
        slot: which of the workers it is, 0 to workers - 1.
        settings: all of them.
        source: the unit's source as builtins.
        opens_early: open the ports before loading, as no other worker answers yet. Otherwise load first and open the
            ports when ready, so that no request reaches a worker that is still loading.
        http_socket: bound and listening, shared with the other workers.
        metrics_socket: likewise; None without a separate metrics port.
        grpc_port: bind it with SO_REUSEPORT; None without gRPC.
        metrics_dir: folder of the shared metrics of this run, for `metrics.exposition`.
        shared_metrics: where this worker counts.
        requests_limit: ask to be recycled after this many requests; 0 for never.
        stopping: set when the worker must drain and return from `serve`.
        tell: sends a report to the supervisor; callable from any thread.
        model_control: loads and unloads the model in all workers; by default there is no other one.
    """

    slot: int
    settings: Settings
    source: dict[str, Any]
    opens_early: bool
    http_socket: socket.socket
    metrics_socket: socket.socket | None
    grpc_port: int | None
    metrics_dir: Path
    shared_metrics: SharedMetrics
    requests_limit: int
    stopping: Stopping
    tell: Callable[[Report], None]
    model_control: ModelControl = field(default_factory=ModelControl)

    def listening(self) -> None:
        """Report that both ports are open."""
        self.tell(Report(WorkerState.LISTENING))

    def ready(self, request: str = "") -> None:
        """Report that the unit is loaded, with an example request (JSON, [path, body])."""
        self.tell(Report(WorkerState.READY, request))

    def recycle(self, why: str) -> None:
        """Ask to be replaced; keep serving until the request to stop arrives."""
        self.tell(Report(WorkerState.RECYCLE, why))

    def tasks_wait(self) -> None:
        """Report that there is, or will soon be, work for the task driver. Callable from any thread."""
        self.tell(Report(WorkerState.TASKS))

    def load_failed(self, error: BaseException) -> None:
        """Report that the unit could not be loaded; keep answering as not ready until the request to stop arrives.

        The supervisor logs the traceback, once for all workers, and decides what follows.
        """
        self.tell(failure(error))


Serve: TypeAlias = Callable[[WorkerContext], Awaitable[None]]


def failure(error: BaseException) -> Report:
    """The report of a failed load: one line, an exit code, and a traceback unless the text says it all."""
    startup = isinstance(error, StartupFault)
    text = "".join(traceback.format_exception_only(error)).strip() if not startup else str(error)
    return Report(
        WorkerState.LOAD_FAILED,
        text[:TEXT_LIMIT],
        EXIT_STARTUP if startup else EXIT_LOAD,
        traceback_text(error)[-TEXT_LIMIT:],
    )


def resident_bytes() -> int:
    """The resident memory of this process; 0 where the system does not report it."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class Worker:
    """Runs the server on the event loop, beside the supervisor's channel, the heartbeat and the memory watch."""

    def __init__(self, config: WorkerConfig, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._channel: Channel[SupervisorMessage] = Channel(socket.socket(fileno=config.channel_fd), SupervisorMessage)
        self._channel.socket.settimeout(1.0)
        self._ready = False
        self._loaded_bytes = 0

    async def run(self) -> None:
        """Serve until the supervisor requests a stop."""
        loop = asyncio.get_running_loop()
        context = self._context(Stopping())
        loop.add_reader(self._channel.fileno(), self._receive, context)
        loop.add_signal_handler(signal.SIGTERM, context.stopping.begin, self._stop_request())
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        watches = [asyncio.create_task(self._beat())]
        if self._settings.rss_limit_bytes:
            watches.append(asyncio.create_task(self._watch_memory(context)))
        try:
            await load_name(self._config.serve)(context)
        except Exception as error:
            if self._ready:
                raise
            context.load_failed(error)
            await context.stopping.wait()
        finally:
            for watch in watches:
                watch.cancel()
            context.shared_metrics.close()

    def _context(self, stopping: Stopping) -> WorkerContext:
        config, settings = self._config, self._settings
        limit = settings.max_requests
        if limit:
            limit += random.randint(0, settings.max_requests_jitter)
        metrics = None if config.metrics_fd is None else socket.socket(fileno=config.metrics_fd)
        return WorkerContext(
            slot=config.slot,
            settings=settings,
            source=config.source,
            opens_early=config.opens_early,
            http_socket=socket.socket(fileno=config.http_fd),
            metrics_socket=metrics,
            grpc_port=config.grpc_port,
            metrics_dir=Path(config.metrics_dir),
            shared_metrics=SharedMetrics(Path(config.metrics_dir), config.metrics_slot),
            requests_limit=limit,
            stopping=stopping,
            tell=self._tell,
            model_control=ModelControl(self._tell, is_unloaded=config.is_unloaded),
        )

    def _tell(self, report: Report) -> None:
        if report.state is WorkerState.READY:
            self._loaded_bytes = resident_bytes()
            self._ready = True
        self._channel.send(report)

    def _stop_request(self) -> StopRequest:
        return StopRequest(self._settings.drain_delay_s, self._settings.grace_s)

    def _receive(self, context: WorkerContext) -> None:
        messages = self._channel.receive()
        if messages is None:
            os._exit(1)  # the supervisor is dead: nobody would stop or replace this worker
        for message in messages:
            if isinstance(message, StopRequest):
                context.stopping.begin(message)
            else:
                context.model_control.take(message)

    async def _beat(self) -> None:
        """Send the heartbeat: the event loop is not blocked."""
        every_s = self._settings.watchdog_s / 4
        while every_s:
            self._channel.send(Report(WorkerState.ALIVE))
            await asyncio.sleep(every_s)

    async def _watch_memory(self, context: WorkerContext) -> None:
        """Ask to be recycled when resident memory passes its limit, unless the loaded unit alone exceeds it."""
        limit = self._settings.rss_limit_bytes
        resident = 0
        while not self._ready or resident <= limit:
            await asyncio.sleep(MEMORY_CHECK_S)
            resident = resident_bytes()
            if self._ready and self._loaded_bytes > limit:
                log.warning("rss_limit_bytes %d is below what the loaded unit takes: ignored", limit)
                return
        context.recycle(f"{resident} bytes of memory, above rss_limit_bytes {limit}")


def load_name(name: str) -> Serve:
    """The coroutine function called "module:name"."""
    module, _, attribute = name.partition(":")
    serve: Serve = getattr(importlib.import_module(module), attribute)
    return serve


def run_loop(worker: Worker) -> None:
    """Run the worker on uvloop where it is installed, else on asyncio's own loop."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        from uvloop import new_event_loop as factory
    except ImportError:  # uvloop does not exist on Windows
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(worker.run())


def main() -> int:
    """Read the configuration, serve, and return the exit code."""
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=WorkerConfig)
    process_lifetime.die_with_parent(config.supervisor_pid)  # on other systems than Linux the channel closes
    settings = msgspec.convert(config.settings, Settings)
    faulthandler.enable()
    process_lifetime.keep_freed_memory(KEPT_MEMORY_BYTES)
    logs.configure(settings, worker=config.slot, group=config.group)
    try:
        run_loop(Worker(config, settings))
    except Exception:
        log.exception("the worker failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
