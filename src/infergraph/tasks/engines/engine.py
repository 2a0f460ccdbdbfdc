"""The engine interface: runs the driver's workers as lanes, each a process with the unit loaded.

    engine.scale(n) · send(lane, assignment) · wait(timeout) ─▶ events · kill(lane) · stop()

The driver is the same over every engine; an engine knows nothing of tasks, files or the store.
"""

from __future__ import annotations

import itertools
import os
import selectors
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec

from infergraph.tasks.engines.messages import Answer, Assignment, Key

DROP_GRACE_S = 0.05
DEPTH = 2
"""Orders in a lane's pipe: one being processed, and one queued, so that the lane never waits for the driver."""
DEPTH_OF_SHORT = 6
"""The same if an assignment takes only milliseconds."""


class LaneReady(msgspec.Struct, frozen=True):
    """A lane has loaded the unit."""

    lane: int
    load_s: float


class LaneLost(msgspec.Struct, frozen=True):
    """A lane's process has exited and been reaped.

    Args:
        held: its assignments, the one being processed first.
        why: its exit code or signal, as text.
        killed: whether we killed it.
    """

    lane: int
    held: tuple[Key, ...]
    why: str
    killed: bool


class LoadTrouble(msgspec.Struct, frozen=True):
    """A lane could not load the unit.

    Args:
        was_killed: it was killed while loading, perhaps by the OOM killer.
    """

    text: str
    was_killed: bool = False


class EngineTrouble(msgspec.Struct, frozen=True):
    """Why there are no lanes, for reasons other than the unit; empty when resolved."""

    text: str


class Answered(msgspec.Struct, frozen=True):
    """An assignment is answered."""

    lane: int
    answer: Answer


class Woken(msgspec.Struct, frozen=True):
    """A wake-up: a task has changed."""


Event = LaneReady | LaneLost | LoadTrouble | EngineTrouble | Answered | Woken


class Lane:
    """The state of one lane.

    Args:
        number: unique in the engine's lifetime.
        index: the worker's index, from 0; a lane's successor has the same.
    """

    def __init__(self, number: int, index: int = 0) -> None:
        self.number = number
        self.index = index
        self.ready = False
        self.killed = False
        self.leaving = False
        self.held: deque[Key] = deque()
        self.began = 0.0
        """Monotonic time at which the current assignment began."""


class Engine(ABC):
    """Owns the lanes. Used by one thread, the driver's, except `wake`.

    Args:
        clock: monotonic seconds.
    """

    shares_disk = True
    """Whether workers can read the data folder; if not, assignments contain the lines themselves."""

    can_kill = True
    """Whether a lane can be ended in the middle of an assignment; if not, a stop waits for the assignment's end."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.lanes: dict[int, Lane] = {}
        self.wanted = 0
        self._abandoned: set[int] = set()

    def start(self) -> None:
        """Acquire system resources. Called once, before anything else but `wake`."""

    # ── for the driver ──────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def scale(self, wanted: int) -> None:
        """Set the number of lanes; a lane that dies is replaced, with back-off if loading fails."""

    @abstractmethod
    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for events; returns early on an event or a `wake`."""

    @abstractmethod
    def wake(self) -> None:
        """Make a `wait` return. Safe from any thread and from signal handlers."""

    @abstractmethod
    def stop(self) -> None:
        """End all lanes immediately. Idempotent."""

    def send(self, lane: int, assignment: Assignment) -> None:
        """Send an assignment to a lane. Never blocks; if the lane has just died, `wait` reports it."""
        entry = self.lanes[lane]
        if not entry.held:
            entry.began = self.clock()
        entry.held.append(assignment.key)
        self._deliver(lane, assignment)

    def kill(self, lane: int) -> None:
        """Kill a lane immediately; its loss is an event."""
        entry = self.lanes.get(lane)
        if entry is not None and not entry.killed:
            entry.killed = True
            self._end(lane)

    def abandon(self, attempt: int) -> None:
        """Abandon an attempt: lanes that work on it are killed, and its queued assignments are never started."""
        self._abandoned.add(attempt)
        for lane in self.holders(attempt):
            in_work = self.lanes[lane].held[0].attempt == attempt
            if (self.can_kill and in_work) or not self._drop(lane, attempt):
                self.kill(lane)

    def is_in_work(self, attempt: int) -> bool:
        """Whether a process may still be working on this attempt."""
        return any(lane.held and lane.held[0].attempt == attempt for lane in self.lanes.values())

    # ── lanes and their assignments ──────────────────────────────────────────────────────────────────────────────────

    def idle(self, depth: int) -> list[int]:
        """Lanes that hold fewer than `depth` assignments, those with the fewest first."""
        free = [lane for lane in self.lanes.values() if lane.ready and not lane.killed and len(lane.held) < depth]
        return [lane.number for lane in sorted(free, key=lambda lane: len(lane.held))]

    def holders(self, attempt: int) -> list[int]:
        """Lanes that hold an assignment of this attempt."""
        return [lane.number for lane in self.lanes.values() if any(key.attempt == attempt for key in lane.held)]

    def in_work(self) -> Iterator[tuple[int, Key, float]]:
        """Lane, current assignment, and its start time, for each busy lane."""
        for lane in self.lanes.values():
            if lane.held and not lane.killed:
                yield lane.number, lane.held[0], lane.began

    @property
    def ready(self) -> int:
        """Lanes that have the unit loaded."""
        return sum(lane.ready and not lane.killed for lane in self.lanes.values())

    def _enforce(self) -> None:
        """Kill a lane that started an assignment of an abandoned attempt because the drop arrived too late."""
        for lane in list(self.lanes.values()) if self.can_kill else ():
            begun = bool(lane.held) and lane.held[0].attempt in self._abandoned
            if begun and not lane.killed and self.clock() - lane.began > DROP_GRACE_S:
                self.kill(lane.number)
        self._abandoned = {attempt for attempt in self._abandoned if self.holders(attempt)}

    def _dropped(self, lane: int, keys: list[Key]) -> None:
        """Record that a lane has dropped these assignments."""
        held = self.lanes[lane].held
        for key in keys:
            if key in held:
                held.remove(key)

    def _answered(self, lane: int, answer: Answer) -> Answered | None:
        """Record an answer; None if the lane did not have the assignment, or its attempt was abandoned."""
        entry = self.lanes[lane]
        if answer.key not in entry.held:
            return None
        entry.held.remove(answer.key)
        entry.began = self.clock()
        return None if answer.key.attempt in self._abandoned else Answered(lane, answer)

    def _free_index(self) -> int:
        """The lowest index that no lane has."""
        taken = {lane.index for lane in self.lanes.values()}
        return next(index for index in itertools.count() if index not in taken)

    def pids(self) -> list[int]:
        """Process ids of the lanes, if the engine has any."""
        return []

    # ── what an engine provides ─────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def _deliver(self, lane: int, assignment: Assignment) -> None:
        """Deliver an assignment to a lane."""

    def _drop(self, lane: int, attempt: int) -> bool:
        """Tell a lane to drop the queued assignments of an attempt; False if this engine cannot."""
        return False

    @abstractmethod
    def _end(self, lane: int) -> None:
        """Kill a lane."""


class SelectingEngine(Engine):
    """An engine that selects on file descriptors: those of its lanes, and two for wake-ups.

    Args:
        wake_fd: a descriptor that becomes readable to make `wait` return, or -1.
    """

    def __init__(self, clock: Callable[[], float], *, wake_fd: int = -1) -> None:
        super().__init__(clock)
        self._wake_fd = wake_fd
        self._wake_reader = self._wake_writer = -1

    def start(self) -> None:
        """See `Engine.start`."""
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        for fd in (self._wake_reader, self._wake_writer):
            os.set_blocking(fd, False)
        for fd in (self._wake_reader, self._wake_fd):
            if fd >= 0:
                self._selector.register(fd, selectors.EVENT_READ, None)

    def wake(self) -> None:
        """See `Engine.wake`."""
        with suppress(OSError):  # it is full, and so will be read; or the engine is not running
            os.write(self._wake_writer, b"w")

    def stop(self) -> None:
        """See `Engine.stop`; the lanes' resources are released before."""
        if self._wake_reader >= 0:
            self._selector.close()
            os.close(self._wake_reader)
            os.close(self._wake_writer)
        self._wake_reader = self._wake_writer = -1


def drain(fd: int) -> None:
    """Drain a non-blocking descriptor."""
    with suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass
