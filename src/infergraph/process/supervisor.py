"""The supervisor: opens the ports, keeps the workers and the task driver running, and stops them.

    signals · worker reports · exits · source changes · timers ──▶ Supervisor ──▶ WorkerPool, TaskDriver

It imports no numpy, gRPC, web framework or model, so that it is small, starts quickly, and cannot be taken down by what
it watches. `python -P -m infergraph.process.supervisor --plan-fd N` runs one in a process of its own.
"""

from __future__ import annotations

import logging
import os
import selectors
import shlex
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from infergraph import process_lifetime
from infergraph.errors import SettingsError, StartupFault
from infergraph.observe import logs
from infergraph.observe.shared_metrics import Folder, SharedMetrics, shared_memory, vacate
from infergraph.process import startup_gate
from infergraph.process.channel import Channel, Report, WorkerConfig, WorkerState
from infergraph.process.child import Child
from infergraph.process.model_requests import ModelRequests
from infergraph.process.reload import SourceWatch
from infergraph.process.sockets import Ports, open_ports, port_of
from infergraph.process.task_driver import TaskDriver
from infergraph.process.worker_pool import Phase, Placement, WorkerHandle, WorkerPool, metrics_slot_name
from infergraph.settings import LoadFailure, LogFormat, Settings, TaskEngine
from infergraph.tasks.ownership import Owner, claim, has_tasks
from infergraph.worker_environment import SERVING_INDEX, worker_environment

EXIT_STARTUP = 2
EXIT_AS_ORIGINAL = 1
"""Exit code of Seldon's wrapper for a component that cannot be found, imported or constructed."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
log = logging.getLogger("infergraph.process.supervisor")


class ServePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to serve. Plain JSON, so that it crosses processes.

    Args:
        settings: Settings as builtins.
        source: the unit's source as builtins; passed to the workers and the task driver unread.
        command: the command that made it, for the logs.
        warnings: lines for the log at the start.
        pidfile: file that holds the process id while serving; empty for none.
        reload_paths: files and folders whose change triggers a rolling restart; empty for no watching.
        banner: shown on a terminal once all workers are ready; `{host}`, `{http_port}`, `{grpc_port}` and
            `{metrics_port}` are filled in, and `{path}` and `{body}` of an example request;
            lines whose values are unknown are left out.
        addresses: what is served where, for the log line where there is no terminal; filled in as the banner is.
        group: name of the group that it is, and which of its replicas; empty for a server on its own.
        parent_pid: this process dies with it, which holds its standard input; 0 for none.
        ready_fd: inherited; told the ports when all workers are ready for the first time, and closed; -1 for none.
        serve: what a worker runs: "module:name" of a coroutine function that takes a WorkerContext.
        driver: the module of the task driver.
        task_factory: "module:function" that makes the unit of a task worker from the source, as JSON, and settings.
        owner: whose the data folder has to be; None where it does not matter.
    """

    settings: dict[str, Any]
    source: dict[str, Any]
    command: str = "serve"
    warnings: tuple[str, ...] = ()
    pidfile: str = ""
    reload_paths: tuple[str, ...] = ()
    banner: str = ""
    addresses: dict[str, str] = {}
    group: str = ""
    parent_pid: int = 0
    ready_fd: int = -1
    serve: str = "infergraph.serving.server:serve"
    driver: str = "infergraph.tasks.driver.driver"
    task_factory: str = "infergraph.assembly:build_for_tasks"
    owner: Owner | None = None


def run(plan: ServePlan) -> int:
    """Serve until stopped; returns the exit code.

    0 after SIGTERM or Ctrl-C; 2 when a port, setting or target is not usable (one line says which; 1 for a target of
    `infergraph microservice`); 3 when the unit could not be loaded.
    """
    settings = msgspec.convert(plan.settings, Settings)
    try:
        logs.configure(settings, group=plan.group)
        watch = SourceWatch(plan.reload_paths) if plan.reload_paths else None
        claimed = None if plan.owner is None else claim(Path(settings.data_dir), plan.owner)
        ports = open_ports(settings)
        _write_pid(plan.pidfile)
    except StartupFault as fault:
        print(f"infergraph: {fault}", file=sys.stderr)
        return EXIT_STARTUP
    folder = Folder(shared_memory())
    try:
        return Supervisor(plan, settings, ports, folder, watch).run()
    finally:
        if plan.pidfile:
            Path(plan.pidfile).unlink(missing_ok=True)
        folder.remove()
        ports.close()
        if claimed is not None:
            claimed.release()
        if watch is not None:
            watch.close()


def _write_pid(pidfile: str) -> None:
    if not pidfile:
        return
    try:
        Path(pidfile).write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise SettingsError(f"the pidfile {pidfile} cannot be written: {error.strerror}") from error


def replace_process(plan: msgspec.Struct, module: str = __name__) -> NoReturn:
    """Replace this process with a supervisor, which drops the memory of whatever was imported to make the plan.

    Args:
        module: whose `main` runs such a plan.
    """
    with tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode(plan))
        file.flush()
        file.seek(0)
        os.set_inheritable(file.fileno(), True)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, "-P", "-m", module, "--plan-fd", str(file.fileno())])


class Supervisor:
    """The event loop of one run; decisions are in the worker pool and the task driver."""

    def __init__(
        self, plan: ServePlan, settings: Settings, ports: Ports, folder: Folder, watch: SourceWatch | None
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._ports = ports
        self._folder = folder
        self._watch = watch
        self._selector = selectors.DefaultSelector()
        self._channels: dict[int, Channel[Report]] = {}
        self._shared_metrics = SharedMetrics(folder.path, "supervisor")
        give_up = settings.load_failure is LoadFailure.EXIT and watch is None
        self._pool = WorkerPool(settings, self._spawn, give_up=give_up, replaced=self._count_restart)
        self._model = ModelRequests(self._controlled)
        self._driver = TaskDriver(self._spawn_driver, settings.grace_s) if settings.tasks else None
        self._terminal = Terminal()
        self._started_at = time.monotonic()
        self._request = ""
        self._ports_close_at: float | None = None
        self._restarts = 0
        self._announced = False

    def run(self) -> int:
        """Run until the last child process has exited."""
        with process_lifetime.signal_socket(SIGNALS) as signalled:
            self._selector.register(signalled, selectors.EVENT_READ, self._signalled)
            self._run()
        code = self._pool.exit_code
        if code == EXIT_STARTUP and self._plan.command == "microservice":
            code = EXIT_AS_ORIGINAL
        log.info("stopped", extra={"exit_code": code})
        return code

    def _run(self) -> None:
        if self._watch is not None:
            self._selector.register(self._watch, selectors.EVENT_READ, self._source_changed)
        addresses = {"host": self._settings.host, **self._ports.numbers()}
        log.info("listening", extra={"command": self._plan.command, **addresses})
        for line in self._plan.warnings:
            log.warning("%s", line)
        if self._driver is not None:
            meaning = self._settings.task_immediate_means.value
            log.debug(
                "tasks are accepted", extra={"data_dir": self._settings.data_dir, "immediate_true_means": meaning}
            )
        self._look_for_tasks(time.monotonic())
        self._pool.start(time.monotonic())
        while not self._finished():
            self._tick()
            for key, _ in self._selector.select(self._wait_s()):
                key.data(key.fileobj)
            self._reap()
        self._shared_metrics.close()

    def _finished(self) -> bool:
        driver_gone = self._driver is None or self._driver.child is None
        return self._pool.stopping and not self._pool.alive and driver_gone

    def _tick(self) -> None:
        now = time.monotonic()
        self._pool.tick(now)
        if self._driver is not None:
            if self._pool.exit_code:
                self._driver.stop(now)
            self._driver.tick(now)
            replaced = self._pool.restarts_finished + self._model.loads_finished
            if replaced > self._restarts:
                self._restarts = replaced
                self._driver.restart(now)
        if self._ports_close_at is not None and self._ports_close_at <= now:
            self._ports.close()  # the workers close their copies too: from now on connections are refused
            self._ports_close_at = None
        if not self._announced and not self._pool.stopping and self._pool.ready_count == len(self._pool.slots):
            self._announced = True
            self._announce(now)

    def _wait_s(self) -> float | None:
        times = [self._pool.due_at(), self._ports_close_at]
        if self._driver is not None:
            times.append(self._driver.wake_at())
        due_at = min((due for due in times if due is not None), default=None)
        return None if due_at is None else max(due_at - time.monotonic(), 0.0)

    # events

    def _signalled(self, wakeup: Any) -> None:
        numbers = wakeup.recv(4096)
        now = time.monotonic()
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop(now, signal.Signals(number).name)
            elif number == signal.SIGHUP and self._terminal.is_gone():
                self._stop(now, "the terminal was closed")
            elif number == signal.SIGHUP:
                log.info("replacing all workers", extra={"why": "SIGHUP"})
                logs.audit("reload", caller="", address="", result="begun", why="SIGHUP")
                self._pool.restart_all(now)

    def _source_changed(self, watch: Any) -> None:
        log.info("replacing all workers", extra={"why": "source changed", "files": watch.changed()})
        logs.audit("reload", caller="", address="", result="begun", why="source changed")
        self._pool.restart_all(time.monotonic())

    def _stop(self, now: float, why: str) -> None:
        log.info("stopping at once" if self._pool.stopping else "stopping", extra={"why": why})
        if not self._pool.stopping:
            drain = self._pool.ready_count > 0
            self._ports_close_at = now + (self._settings.drain_delay_s if drain else 0.0)
        self._pool.stop(now)
        if self._driver is not None:
            self._driver.stop(now)

    def _reported(self, worker: WorkerHandle, channel: Channel[Report]) -> None:
        reports = channel.receive()
        if reports is None:
            self._selector.unregister(channel)
            return
        for report in reports:
            if report.state is WorkerState.READY:
                self._request = report.text
            elif report.state is WorkerState.TASKS:
                self._want_driver(time.monotonic())
            elif report.state is WorkerState.CONTROL:
                self._model.asked(worker, report)
            elif report.state is WorkerState.CONTROLLED:
                self._model.done(worker, report)
            self._pool.reported(worker, report, time.monotonic())

    def _controlled(self) -> list[WorkerHandle]:
        """The workers that load and unload the model, in the order of their slots."""
        there = (worker for worker in self._pool.alive.values() if worker.phase is not Phase.STOPPING)
        return sorted(there, key=lambda worker: worker.slot)

    def _want_driver(self, now: float) -> None:
        if self._driver is not None:
            self._driver.want(now)

    def _look_for_tasks(self, now: float) -> None:
        """Start the driver if an earlier run, or a worker that died before it could report, left work."""
        settings = self._settings
        is_ray = settings.task_engine is TaskEngine.RAY  # takes long to start, and may not start at all
        # Where machines share the tasks, one of them works on what others accept.
        is_elsewhere = bool(settings.task_store) or "://" in settings.task_files
        if is_ray or is_elsewhere or has_tasks(Path(settings.task_files or settings.data_dir)):
            self._want_driver(now)

    def _reap(self) -> None:
        adopted = reap_all() if os.getpid() == 1 else {}
        now = time.monotonic()
        for worker in list(self._pool.alive.values()):
            child = worker.process
            assert isinstance(child, Child)
            if child.pid in adopted:
                child.reaped(adopted[child.pid])
            if child.poll():
                self._clean_up_after(worker, now)
        if self._driver is not None and (child_or_none := self._driver.child) is not None:
            if child_or_none.pid in adopted:
                child_or_none.reaped(adopted[child_or_none.pid])
            if child_or_none.poll():
                self._driver.died(now)

    def _clean_up_after(self, worker: WorkerHandle, now: float) -> None:
        channel = self._channels.pop(worker.process.pid)
        if channel in self._selector.get_map():
            self._reported(worker, channel)  # what it sent before it died
        if channel in self._selector.get_map():
            self._selector.unregister(channel)
        channel.close()
        vacate(self._folder.path, metrics_slot_name(worker.metrics_slot))
        self._model.gone(worker)
        self._pool.died(worker, now)
        self._look_for_tasks(now)

    # processes

    def _spawn(self, place: Placement) -> WorkerHandle:
        ours, theirs = socket.socketpair()
        ports = self._ports
        config = WorkerConfig(
            serve=self._plan.serve,
            slot=place.slot,
            metrics_slot=metrics_slot_name(place.metrics_slot),
            opens_early=place.opens_early,
            settings=self._plan.settings,
            source=self._plan.source,
            supervisor_pid=os.getpid(),
            channel_fd=theirs.fileno(),
            http_fd=ports.http.fileno(),
            metrics_fd=None if ports.metrics is None else ports.metrics.fileno(),
            grpc_port=None if ports.grpc is None else port_of(ports.grpc),
            metrics_dir=str(self._folder.path),
            is_unloaded=self._model.is_unloaded,
            group=self._plan.group,
        )
        inherited = [theirs.fileno(), ports.http.fileno()]
        if config.metrics_fd is not None:
            inherited.append(config.metrics_fd)
        with theirs:
            try:
                child = Child(
                    "infergraph.process.worker",
                    msgspec.json.encode(config),
                    pass_fds=inherited,
                    environment=self._environment(place.slot),
                )
            except OSError:
                ours.close()
                raise
        if place.opens_early:  # before the next one is spawned, which may load faster
            startup_gate.LoadingMark(self._folder.path, child.pid).set()
        ours.setblocking(False)
        channel: Channel[Report] = Channel(ours, Report)
        worker = WorkerHandle(place, child, channel.send)
        self._channels[child.pid] = channel
        self._selector.register(channel, selectors.EVENT_READ, lambda ready: self._reported(worker, ready))
        log.debug("worker started", extra={"started_pid": child.pid, **place._asdict()})
        return worker

    def _environment(self, slot: int) -> dict[str, str]:
        settings = self._settings
        return worker_environment(SERVING_INDEX, slot, settings.gpus, workers=settings.workers, inherited=os.environ)

    def _spawn_driver(self) -> Child:
        config = {
            "data_dir": self._settings.data_dir,
            "settings": self._plan.settings,
            "factory": self._plan.task_factory,
            "source": msgspec.json.encode(self._plan.source).decode(),
            "parent": os.getpid(),
            "owner": "" if self._plan.owner is None else self._plan.owner.tag,
        }
        return Child(self._plan.driver, msgspec.json.encode(config) + b"\n", hold_stdin=True)

    # output

    def _count_restart(self, why: str) -> None:
        self._shared_metrics.counter("infergraph_worker_restarts", "Workers replaced or started again.", {"why": why})[
            0
        ] += 1.0

    def _announce(self, now: float) -> None:
        if self._plan.ready_fd >= 0:
            os.write(self._plan.ready_fd, msgspec.json.encode(self._ports.numbers()))
            os.close(self._plan.ready_fd)
        numbers = {name: number for name, number in self._ports.numbers().items() if number is not None}
        if self._plan.banner and self._terminal.shows_banners(self._settings):
            text = fill(self._plan.banner, {"host": self._settings.host, **numbers}, self._request)
            with suppress(OSError):  # the terminal may have been closed just now
                print(text, file=sys.stderr, flush=True)
            return
        values = {"host": self._settings.host, **numbers}
        addresses = {name: fill(address, values, "") for name, address in self._plan.addresses.items()}
        seconds = round(now - self._started_at, 3)
        log.info("ready", extra={**addresses, "workers": len(self._pool.slots), "s": seconds})


def fill(banner: str, values: Mapping[str, object], request: str) -> str:
    """The banner with its values filled in; lines with a request are left out where none is known.

    Args:
        request: JSON [path, body], or empty.
    """
    if request:
        path, body = msgspec.json.decode(request)
        values = {**values, "path": path, "body": shlex.quote(msgspec.json.encode(body).decode())}
    else:
        banner = "\n".join(line for line in banner.split("\n") if "{body}" not in line)
    for name, value in values.items():
        banner = banner.replace("{" + name + "}", str(value))
    return banner


class Terminal:
    """The terminal that the program was started from, if any."""

    def __init__(self) -> None:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup
        self._fd = next((fd for fd in (0, 1, 2) if not ignored and _is_terminal(fd)), None)

    def is_gone(self) -> bool:
        """Whether it has been closed: then SIGHUP means that rather than a reload."""
        if self._fd is None:
            return False
        try:
            os.tcgetpgrp(self._fd)
        except OSError:
            return True
        return False

    def shows_banners(self, settings: Settings) -> bool:
        """Whether a person reads standard error."""
        return _is_terminal(2) and settings.log_format is not LogFormat.JSON


def _is_terminal(fd: int) -> bool:
    with suppress(OSError):
        return os.isatty(fd)
    return False


def reap_all() -> dict[int, int]:
    """Reap every exited child, including orphans that PID 1 inherits; returns status by pid."""
    ended = {}
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = status
    return ended


def read_plan() -> bytes:
    """The plan, from the file descriptor given by `--plan-fd`, else one line of standard input, which stays open."""
    if "--plan-fd" in sys.argv:
        with open(int(sys.argv[sys.argv.index("--plan-fd") + 1]), "rb") as file:
            return file.read()
    return sys.stdin.buffer.readline()


def main() -> int:
    """Read the plan, and run it."""
    plan = msgspec.json.decode(read_plan(), type=ServePlan)
    if plan.parent_pid:
        process_lifetime.die_with_parent(plan.parent_pid, sys.stdin.fileno())
    return run(plan)


if __name__ == "__main__":
    sys.exit(main())
