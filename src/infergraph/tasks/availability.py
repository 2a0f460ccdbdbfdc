"""Availability of the task engine: whether new tasks are accepted, from the store, the disk and the last heartbeat."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import msgspec

from infergraph.settings import Settings
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.files import DataFolder
from infergraph.tasks.heartbeat import Heartbeat, joined
from infergraph.tasks.metrics import EngineValues, exposition
from infergraph.tasks.store import Store, full_queue
from infergraph.tasks.task import State

SILENCE_S = 15.0
"""A driver that has work and sends no heartbeat for this long is considered unavailable."""


class Availability(IntEnum):
    """Whether a new task is accepted; the numbers are gBuilder's."""

    AVAILABLE = 1
    FULL = 2
    BROKEN = 3


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of the task engine.

    Args:
        reason: why it is not available; empty if it is.
        counts: tasks by state.
        drivers: how many drivers work on the tasks.
        heartbeat: the last heartbeats of all of them, joined; None if they are too old.
        silent_s: how long ago it was; None while nothing is expected of a driver.
    """

    availability: Availability
    reason: str
    counts: dict[State, int]
    drivers: int
    heartbeat: Heartbeat | None
    silent_s: float | None
    used_bytes: int
    free_bytes: int


class AvailabilityCheck:
    """Checks the engine from another process. Every method blocks for a few milliseconds at most.

    Args:
        unit_failed: whether the serving process's own unit failed to load.
        call_driver: starts the driver if there is none yet.
    Raises: TaskFault from every method, if the store cannot be used.
    """

    def __init__(
        self,
        data: DataFolder,
        store: Store,
        settings: Settings,
        clocks: Clocks,
        *,
        unit_failed: Callable[[], bool],
        call_driver: Callable[[], None],
    ) -> None:
        self._data = data
        self._store = store
        self._settings = settings
        self._clocks = clocks
        self._unit_failed = unit_failed
        self._call_driver = call_driver
        self._opened_at = clocks.steady()
        self.write_trouble = ""
        """The error of the last write; empty if it succeeded."""

    def paused(self) -> str:
        """Why the engine is paused; empty if it is not."""
        full = self._full_disk()
        if full:
            return full  # the driver cannot report it: a heartbeat needs disk space, too
        heartbeat = joined(self._heartbeats()[0])
        return heartbeat.paused if heartbeat is not None else ""

    def _full_disk(self) -> str:
        free, reserve = self._data.free_bytes(), self._settings.task_disk_reserve_bytes
        if free >= max(reserve, 1):
            return ""
        return f"the disk of the data folder has {free} bytes left; {reserve} are reserved"

    def look(self) -> tuple[Availability, str]:
        """Whether a new task is accepted, and if not, why."""
        if self._unit_failed():
            return Availability.BROKEN, "the component failed to load"
        if self.write_trouble:
            return Availability.BROKEN, self.write_trouble
        full = self._full_disk()
        if full:
            return Availability.FULL, full
        heartbeats, silent_s = self._heartbeats()
        heartbeat = joined(heartbeats)
        if heartbeat is not None and heartbeat.load_error:
            return Availability.BROKEN, f"a task worker cannot load the unit: {heartbeat.load_error}"
        alive = self._store.alive()
        if alive and _is_silent(silent_s) and self._clocks.steady() - self._opened_at > SILENCE_S:
            self._call_driver()
            return Availability.BROKEN, "the task driver does not answer"
        if alive >= self._settings.task_queue_limit:
            return Availability.FULL, full_queue(alive)
        return Availability.AVAILABLE, ""

    def _heartbeats(self) -> tuple[list[Heartbeat], float | None]:
        """The last heartbeat of each driver, if it is recent, and the age of the newest of all."""
        stored = self._store.heartbeats(now=self._clocks.wall())
        recent = [each.report for each in stored if not _is_silent(each.silent_s)]
        heartbeats = [msgspec.json.decode(report, type=Heartbeat) for report in recent]
        return [each for each in heartbeats if each.pid], stored[0].silent_s if stored else None

    def wake_driver(self) -> None:
        """Start the driver if it has not been needed so far; its start-up time counts from now."""
        self._call_driver()
        if _is_silent(self._heartbeats()[1]) and not self._store.alive():
            starting = msgspec.json.encode(Heartbeat(pid=0)).decode()
            self._store.write_heartbeat("", now=self._clocks.wall(), report=starting)

    def describe(self) -> EngineStatus:
        """The status of the task engine."""
        availability, reason = self.look()
        heartbeats, silent_s = self._heartbeats()
        heartbeat = joined(heartbeats)
        counts = self._store.counts()
        is_expected = heartbeat is not None or counts[State.WAITING] or counts[State.RUNNING]
        return EngineStatus(
            availability=availability,
            reason=reason,
            counts=counts,
            drivers=len(heartbeats),
            heartbeat=heartbeat,
            silent_s=silent_s if is_expected else None,
            used_bytes=self._store.used_bytes(),
            free_bytes=self._data.free_bytes(),
        )

    def metrics(self) -> bytes:
        """The engine's metrics in the Prometheus text format."""
        engine = self.describe()
        lines, failed_lines = self._store.lines_done()
        lines_left, rate = self._store.lines_left()
        return exposition(
            EngineValues(
                availability=int(engine.availability),
                states=engine.counts,
                counters=self._store.counters(),
                outbox=self._store.outbox(),
                lines=lines,
                failed_lines=failed_lines,
                lines_left=lines_left,
                rate=rate,
                used_bytes=engine.used_bytes,
                free_bytes=engine.free_bytes,
                heartbeat=engine.heartbeat,
                silent_s=engine.silent_s,
            )
        )


def _is_silent(silent_s: float | None) -> bool:
    return silent_s is None or silent_s > SILENCE_S
