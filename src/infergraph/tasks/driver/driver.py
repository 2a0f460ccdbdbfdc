"""The driver: one process for each data folder that turns waiting tasks into finished ones.

    python -m infergraph.tasks.driver.driver < config.json      (exits at the end of its standard input)

    periodically: stops, disk space, waiting tasks, lanes, retention, heartbeat
    in a loop:    assign ─▶ wait ─▶ events ─▶ update

However this process ends, the next one resumes each task at its watermark.

Exit codes: 0 after a requested stop, with everything committed; 2 if it cannot start (one line says why; do not
restart it); anything else, including signals: restart it, with back-off.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from infergraph import process_lifetime
from infergraph.errors import StartupFault
from infergraph.observe import logs
from infergraph.observe.tracing import TracingOptions
from infergraph.settings import Settings, TaskEngine
from infergraph.tasks import openai, webhooks
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.driver.batch_keeper import BatchKeeper
from infergraph.tasks.driver.scaling import Scaling
from infergraph.tasks.driver.scheduler import STOPPED, Scheduler
from infergraph.tasks.driver.telemetry import Telemetry
from infergraph.tasks.engines.engine import (
    Answered,
    Engine,
    EngineTrouble,
    Event,
    LaneLost,
    LaneReady,
    LoadTrouble,
    Woken,
)
from infergraph.tasks.engines.in_server import InServerEngine
from infergraph.tasks.engines.local import LocalEngine
from infergraph.tasks.engines.messages import Plan
from infergraph.tasks.failpoints import crash_point
from infergraph.tasks.files import DataFolder
from infergraph.tasks.heartbeat import Heartbeat
from infergraph.tasks.ownership import owner_of
from infergraph.tasks.storage import folder_identity, open_files, open_store
from infergraph.tasks.store import Claim, Store
from infergraph.tasks.task import Task
from infergraph.tasks.webhooks import WebhookSender
from infergraph.unit_source import UnitSource, service_of

_log = logging.getLogger("infergraph.tasks.driver.driver")  # __name__ is __main__ here

LOOK_S = 0.5
BEAT_S = 1.0
HOUSEKEEPING_S = 30.0
LOAD_TROUBLE_LIMIT = 4.0
"""After this many consecutive failed loads, the active tasks fail."""
KILLED_WEIGHT = 0.25
"""A load that was killed counts less: the cause may be temporary, such as a lack of memory."""
EXPRESS_BYTES = 8 << 20
"""One task this small is started in addition to the active ones, so that huge tasks cannot starve it."""
ERASED_AT_ONCE = 8


class Driver:
    """Processes the tasks of one data folder.

    Args:
        engine: runs the workers; the driver is its only user.
        pid: of this process, for the heartbeat.
        owner: see `DriverConfig`.
        telemetry: see `Scheduler`.
        place: names the data folder: who has its lock knows that the drivers before it there are dead.

    Promises: used by one thread; `stop` alone may be called from others and from signal handlers.
    """

    def __init__(
        self,
        data: DataFolder,
        store: Store,
        engine: Engine,
        settings: Settings,
        clocks: Clocks,
        *,
        pid: int,
        owner: str = "",
        place: str = "",
        telemetry: Telemetry | None = None,
    ) -> None:
        self._data = data
        self._store = store
        self._engine = engine
        self._settings = settings
        self._clocks = clocks
        self._pid = pid
        self._name = f"{place}:{uuid.uuid4().hex[:8]}"
        self._owner = owner
        self._scheduler = Scheduler(data, store, engine, settings, clocks, telemetry)
        self._scaling = Scaling(settings.task_worker_bounds, settings.task_finish_s)
        self._is_stopping = self._is_recovered = False
        self._look_at = self._keep_house_at = self._beat_at = 0.0
        self._busy_at = clocks.steady()
        self._load_error = ""
        self._engine_trouble = ""
        self._load_trouble_sum = 0.0
        self._paused = ""
        self._janitor = ThreadPoolExecutor(1, thread_name_prefix="janitor")
        self._batches = BatchKeeper(
            data, store, settings, clocks, end_task=self._scheduler.end, wake=engine.wake, owner=owner
        )

    def stop(self) -> None:
        """Ask `run` to return soon, with everything committed."""
        self._is_stopping = True
        self._engine.wake()

    def run(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Run until `stop` is called, or `until`, called after each round, returns true."""
        self._engine.start()
        try:
            while not self._is_stopping:
                self.run_once()
                if until():
                    break
        finally:
            self._engine.stop()
            self._batches.stop()
            self._scheduler.release_all()
            self._janitor.shutdown()

    def recover(self) -> None:
        """Recover the state that a crashed driver left behind."""
        self._adopt()
        if self._store.is_shared:
            self._send_heartbeat()  # who works on a task has a lease
        self._take_over()
        for task in self._store.stopping(self._name):
            self._erase(task, "stopped")
        self._data.sweep(self._store.has_folder)
        self._is_recovered = True

    def _take_over(self) -> None:
        """Let the tasks that no driver works on wait again."""
        found = self._store.recover(self._name, self._scheduler.holding)
        if found:
            _log.info("%d tasks go on where they were", found)

    def _adopt(self) -> None:
        """Take over all tasks of a folder whose owner has changed, or that had no owner."""
        folder_owner = owner_of(self._data.root)
        if self._owner and folder_owner is not None and folder_owner.tag == self._owner:
            self._store.adopt(self._owner)
        others = self._store.strangers(self._owner)
        if others:
            _log.warning("%d tasks of another target wait in %s; they are left alone", others, self._data.root)

    def run_once(self) -> None:
        """One iteration of the loop: at most `LOOK_S` long, unless a sync takes longer."""
        if self._clocks.steady() >= self._look_at:
            self._maintain()
        try:
            if not self._paused:
                self._scheduler.assign()
        except STOPPED as fault:
            self._pause(str(fault))
        for event in self._engine.wait(self._scheduler.wait_s(self._look_at)):
            self._on(event)
        self._scheduler.update()

    def _on(self, event: Event) -> None:
        if isinstance(event, Answered):
            self._scheduler.answered(event)
        elif isinstance(event, LaneLost):
            self._scheduler.lane_lost(event)
            self._look_at = 0.0
        elif isinstance(event, LaneReady):
            _log.info("a task worker has loaded the unit in %.2f s", event.load_s)
            self._load_error, self._load_trouble_sum = "", 0.0
            self._beat_at = 0.0
        elif isinstance(event, LoadTrouble):
            self._load_trouble(event)
        elif isinstance(event, EngineTrouble):
            self._engine_trouble_is(event.text)
        elif isinstance(event, Woken):
            self._look_at = 0.0

    def _engine_trouble_is(self, text: str) -> None:
        if text and text != self._engine_trouble:
            _log.error("tasks wait: %s", text)
        self._engine_trouble = text
        self._beat_at = self._look_at = 0.0

    def _load_trouble(self, trouble: LoadTrouble) -> None:
        _log.error("a task worker cannot load the unit: %s", trouble.text)
        self._load_error = trouble.text
        self._load_trouble_sum += KILLED_WEIGHT if trouble.was_killed else 1.0
        self._beat_at = 0.0
        if self._load_trouble_sum >= LOAD_TROUBLE_LIMIT and not self._engine.ready:
            self._scheduler.fail_all(f"the unit cannot be loaded: {trouble.text}")

    # ── looking around ──────────────────────────────────────────────────────────────────────────────────────────

    def _maintain(self) -> None:
        now = self._clocks.steady()
        self._look_at = now + LOOK_S
        try:
            if not self._is_recovered:
                self.recover()
            if self._store.is_shared:
                self._keep_lease(now)
            self._stop_tasks()
            self._check_disk()
            self._batches.look()
            if not self._paused:
                self._scheduler.resume()
                self._start_waiting()
            self._scale(now)
            if now >= self._keep_house_at:
                self._keep_house_at = now + HOUSEKEEPING_S
                self._clean_up()
            if now >= self._beat_at:
                self._beat_at = now + BEAT_S
                self._send_heartbeat()
        except STOPPED as fault:
            self._pause(str(fault))

    def _keep_lease(self, now: float) -> None:
        """Send a heartbeat before anything is claimed, and take over from drivers whose lease is over."""
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            self._send_heartbeat()
            self._take_over()

    def _stop_tasks(self) -> None:
        erased = 0
        for task in self._store.stopping(self._name):
            self._scheduler.drop(task.seq)
            if self._scheduler.is_stopping(task.seq):
                continue  # its lanes are dying; their loss triggers the next check
            if erased == ERASED_AT_ONCE:
                self._look_at = 0.0
                break
            crash_point("stop-killed")
            self._erase(task, "stopped")
            erased += 1

    def _erase(self, task: Task, why: str) -> None:
        self._data.discard(task.folder)
        crash_point("trashed")
        now = self._clocks.wall()
        body = webhooks.stopped_body(task, now) if why == "stopped" else None
        self._store.erase(task.seq, why=why, now=now, webhook=body, receiver=webhooks.receiver_of(task.webhook))
        crash_point("erased")
        self._janitor.submit(self._data.empty_trash)

    def _check_disk(self) -> None:
        free, reserve = self._data.free_bytes(), self._settings.task_disk_reserve_bytes
        if free < max(reserve, 1):
            self._pause(f"the disk of the data folder has {free} bytes left; {reserve} are reserved")
        elif self._paused:
            _log.info("tasks go on: there is room on the disk again")
            self._paused = ""

    def _pause(self, why: str) -> None:
        if not self._paused:
            _log.warning("tasks pause: %s", why)
        self._paused = why

    def _start_waiting(self) -> None:
        room = self._settings.task_active_limit - self._scheduler.active
        if room < 0:
            return
        wanted = Claim(
            driver=self._name,
            now=self._clocks.wall(),
            limit=max(1, room),
            owner=self._owner,
            largest_bytes=None if room else EXPRESS_BYTES,
        )
        for task in self._store.claim(wanted):
            crash_point("claimed")
            self._scheduler.start(task)

    def _scale(self, now: float) -> None:
        if self._scheduler.active:
            self._busy_at = now
            self._engine.scale(self._scaling.wanted(self._work_s(), now))
        elif self._settings.task_idle_s and not self._load_error and now - self._busy_at > self._settings.task_idle_s:
            self._engine.scale(0)
            self._scaling.rest()

    def _work_s(self) -> float:
        """How long one worker would take for all known work; 0 where that does not matter."""
        if self._scaling.is_fixed:
            return 0.0
        return self._scheduler.work_s(self._store.lines_waiting())

    def _clean_up(self) -> None:
        self._data.create_ballast()
        settings = self._settings
        expired = self._store.expired(
            older_than=self._clocks.wall() - settings.task_keep_s if settings.task_keep_s else None,
            keep_count=settings.task_keep_count,
            keep_bytes=settings.task_keep_bytes,
            limit=ERASED_AT_ONCE,
        )
        for task in expired:
            if self._store.stop(task.id, (task.state,)):
                self._erase(task, "pruned")
        records = self._store.expired_records(self._clocks.wall(), limit=ERASED_AT_ONCE)
        for record in records:
            if record.kind in openai.FILE_KINDS:
                self._data.discard_file(openai.folder_of(record.id))
                self._janitor.submit(self._data.empty_trash)
            self._store.remove_record(record.id)
        if ERASED_AT_ONCE in (len(expired), len(records)):
            self._keep_house_at = 0.0

    def _send_heartbeat(self) -> None:
        tally = self._scheduler.counts
        heartbeat = Heartbeat(
            pid=self._pid,
            ready=self._engine.ready,
            wanted=self._engine.wanted,
            load_error=self._load_error,
            paused=self._paused or self._engine_trouble or self._scheduler.trouble,
            chunks=tally.chunks,
            chunk_s=tally.chunk_s,
            retries=tally.retries,
            kills=tally.kills,
            active=self._scheduler.active,
            lanes=tuple(self._engine.pids()),
            can_kill=self._engine.can_kill,
        )
        self._store.write_heartbeat(self._name, now=self._clocks.wall(), report=msgspec.json.encode(heartbeat).decode())


class DriverConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a driver process, read from standard input as one line of JSON.

    Args:
        data_dir: the data folder.
        settings: `Settings` as builtins.
        factory: "module:function" that makes the unit of a worker from `source` and the settings.
        source: the unit's description, for the factory.
        path: `sys.path` of the workers; empty for the driver's own.
        parent: id of the process that starts the driver, from its main thread.
        owner: tag of the target (`Owner.tag`): tasks of others are ignored; empty for all tasks.
    """

    data_dir: str
    settings: dict[str, Any]
    factory: str
    source: str
    parent: int
    path: list[str] = []
    owner: str = ""


def make_engine(config: DriverConfig, settings: Settings, data: DataFolder, clocks: Clocks) -> Engine:
    """The engine chosen by the settings. Raises: StartupFault if it is not available."""
    if not settings.task_worker_bounds.most:
        _log.info("the serving workers answer tasks themselves; a stop takes effect at the end of a chunk")
        return InServerEngine(data.root, clocks.steady, wake_fd=data.open_wake())
    told = {**config.settings, "task_store": ""}  # a worker runs the user's code, which has no need of the password
    plan = Plan(config.factory, config.source, config.path or sys.path, told, os.fspath(data.root))
    if settings.task_engine is TaskEngine.RAY:
        from infergraph.tasks.engines.ray import RayEngine  # its imports belong to the extra `ray`

        return RayEngine(plan, clocks.steady, address=settings.task_ray_address, wake_fd=data.open_wake())
    return LocalEngine(plan, clocks.steady, wake_fd=data.open_wake())


def drive(config: DriverConfig) -> None:
    """Run the driver of a data folder until asked to stop, or until another process takes over.

    Raises: StartupFault if it cannot start.
    """
    settings = msgspec.convert(config.settings, Settings)
    logs.configure(settings)
    clocks = Clocks()
    data = open_files(msgspec.structs.replace(settings, data_dir=config.data_dir))
    store = open_store(settings, data)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        process_lifetime.handle_signal(number, stop.set)
    lock = data.try_lock()
    if lock is None:
        _log.warning("another process drives the tasks of %s; this one waits to take its place", data.root)
    while lock is None:
        if stop.wait(0.05):
            return
        lock = data.try_lock()
    process_lifetime.end_orphans(os.fspath(data.root))
    engine = make_engine(config, settings, data, clocks)
    owner = "" if store.is_shared else config.owner  # a store that is shared has the tasks of one target
    place = f"{socket.gethostname()}:{folder_identity(data.root)}"
    telemetry = _telemetry(settings, config.source, clocks)
    driver = Driver(
        data, store, engine, settings, clocks, pid=os.getpid(), owner=owner, place=place, telemetry=telemetry
    )
    store.watch(data.wake_driver)
    for number in (signal.SIGTERM, signal.SIGINT):
        process_lifetime.handle_signal(number, driver.stop)
    sender = WebhookSender(store, settings.task_webhook_hosts, clocks, settings.task_webhook_secrets)
    sender.start()
    try:
        if not stop.is_set():
            driver.run()
    finally:
        sender.stop()
        store.close()
        lock.release()
        if telemetry is not None:
            telemetry.stop()


def _telemetry(settings: Settings, source: str, clocks: Clocks) -> Telemetry | None:
    """What tells of tasks, where tracing is on. Raises: MissingExtra."""
    if not settings.tracing:
        return None
    service = service_of(msgspec.json.decode(source, type=UnitSource))
    return Telemetry.start(TracingOptions.of(settings, service), clocks.wall)


def main() -> int:
    """Read the configuration from standard input and run the driver; returns the exit code."""
    try:
        config = msgspec.json.decode(sys.stdin.buffer.readline(), type=DriverConfig)
        process_lifetime.die_with_parent(config.parent, sys.stdin.fileno())
        process_lifetime.keep_freed_memory()
        drive(config)
    except (StartupFault, msgspec.DecodeError) as fault:
        print(f"infergraph task driver: {fault}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
