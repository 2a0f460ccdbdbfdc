"""The worker pool: starts, promotes, restarts and stops the serving workers of one supervisor.

    slot 0..N-1 ── current ◀─ready─ successor          current ──StopRequest──▶ leaving ──▶ reaped, metrics slot free
                      └─ died ▶ a new one after a back-off

A rolling restart starts one successor at a time and waits until its predecessor has exited, so it needs the memory of
one extra worker. The pool decides from reports, exits and the clock alone; `spawn` creates the processes.
"""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple, Protocol

from infergraph.net.backoff import FailureStreak
from infergraph.process.channel import Report, StopRequest, SupervisorMessage, WorkerState
from infergraph.process.child import RESTARTS

EXIT_LOAD = 3
EARLY_DEATHS_LIMIT = 3
STEADY_S = 30.0
MARGIN_S = 1.0
ABORT_S = 2.0
LOAD_RETRY_S = 1.0
log = logging.getLogger(__name__)


class Process(Protocol):
    """What the pool does with a process (`child.Child`)."""

    pid: int

    def signal(self, number: int) -> None: ...

    def kill(self) -> None: ...

    def how_it_ended(self) -> str: ...


class Phase(IntEnum):
    """Where a worker is in its life."""

    STARTING = 0
    LISTENING = 1
    READY = 2
    STOPPING = 3


class Placement(NamedTuple):
    """The slot of a new worker.

    Args:
        slot: which of the workers it is.
        metrics_slot: the number of its shared metrics file (see `metrics_slot_name`).
        opens_early: whether it answers (as not ready) while its unit loads.
    """

    slot: int
    metrics_slot: int
    opens_early: bool


class WorkerHandle:
    """One worker process as the supervisor sees it."""

    def __init__(self, place: Placement, process: Process, send: Callable[[SupervisorMessage], None]) -> None:
        self.slot = place.slot
        self.metrics_slot = place.metrics_slot
        self.opens_early = place.opens_early
        self.process = process
        self.send = send
        self.phase = Phase.STARTING
        self.heartbeat_at: float | None = None
        self.ready_at: float | None = None
        self.kill_at: float | None = None
        self.failed = False

    @property
    def answers_early(self) -> bool:
        """Whether it answers requests although it is not ready."""
        return self.opens_early and not self.failed and self.phase < Phase.READY


class Slot:
    """One position in the pool: the worker that fills it, and its successor during a restart."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.current: WorkerHandle | None = None
        self.successor: WorkerHandle | None = None
        self.backoff = FailureStreak(RESTARTS, free=1)
        self.due_at: float | None = None
        self.early_deaths = 0


class Policy(Protocol):
    """The settings that the pool reads."""

    @property
    def workers(self) -> int: ...
    @property
    def grace_s(self) -> float: ...
    @property
    def drain_delay_s(self) -> float: ...
    @property
    def watchdog_s(self) -> float: ...


class WorkerPool:
    """All slots of the pool.

    Args:
        policy: the settings.
        spawn: starts the process of a worker.
        give_up: whether a unit that cannot be loaded at the first start ends the program.
        replaced: called with the reason whenever a worker is replaced or restarted, for the metrics.
    """

    def __init__(
        self,
        policy: Policy,
        spawn: Callable[[Placement], WorkerHandle],
        *,
        give_up: bool,
        replaced: Callable[[str], None],
    ) -> None:
        self._policy = policy
        self._spawn = spawn
        self._give_up = give_up
        self._replaced = replaced
        self.slots = [Slot(number) for number in range(policy.workers)]
        self.alive: dict[int, WorkerHandle] = {}
        self.stopping = False
        self.exit_code = 0
        self.was_ready = False
        self.restarts_finished = 0
        self._queue: deque[tuple[Slot, str]] = deque()
        self._replacing: tuple[Slot, str] | None = None
        self._restarting = False
        self._logged_failures: set[str] = set()
        self._ticked_at: float | None = None

    # events

    def start(self, now: float) -> None:
        """Fill all slots."""
        for slot in self.slots:
            self._fill(slot, now)

    def reported(self, worker: WorkerHandle, report: Report, now: float) -> None:
        """Handle a report of a worker."""
        worker.heartbeat_at = now
        if worker.phase is Phase.STOPPING:
            return
        slot = self.slots[worker.slot]
        if report.state is WorkerState.LISTENING:
            worker.phase = max(worker.phase, Phase.LISTENING)
        elif report.state is WorkerState.READY:
            worker.phase, worker.ready_at = Phase.READY, now
            self.was_ready = True
            slot.early_deaths = 0
            self._logged_failures.clear()
        elif report.state is WorkerState.LOAD_FAILED:
            self._load_failed(worker, report, now)
        elif report.state is WorkerState.RECYCLE and worker is slot.current:
            log.info("a worker will be replaced", extra={"slot": slot.number, "why": report.text})
            self._ask(slot, "recycle")
        self._promote(slot, now)

    def died(self, worker: WorkerHandle, now: float) -> None:
        """Handle the exit of a worker's process."""
        del self.alive[worker.process.pid]
        if worker.phase is Phase.STOPPING or self.stopping:
            return
        slot = self.slots[worker.slot]
        how = worker.process.how_it_ended()
        log.error("a worker died", extra={"slot": slot.number, "died_pid": worker.process.pid, "how": how})
        if worker is slot.successor:
            self._successor_failed(slot, now)
            return
        slot.current, slot.successor = slot.successor, None
        self._replaced("died")
        if not self.was_ready and self._give_up:
            slot.early_deaths += 1
            if slot.early_deaths >= EARLY_DEATHS_LIMIT:
                log.error("giving up: a worker dies before the unit is loaded", extra={"how": how})
                self.give_up(EXIT_LOAD, now)
                return
        if worker.ready_at is not None and now - worker.ready_at > STEADY_S:
            slot.backoff.succeeded()
        if slot.current is None:
            slot.due_at = now + slot.backoff.failed()
            self._queue = deque(asked for asked in self._queue if asked[0] is not slot)

    def restart_all(self, now: float) -> None:
        """Begin a rolling restart: replace the workers one by one, each when its successor is ready."""
        if self.stopping:
            return
        self._queue.clear()
        self._restarting = True
        for slot in self.slots:
            slot.backoff.succeeded()
            if slot.successor is not None:  # it may have loaded code that has changed since
                self._retire(slot.successor, now, StopRequest(0.0, 0.0))
                slot.successor = None
            if slot.current is None:
                slot.due_at = now
            else:
                self._ask(slot, "reload")

    def stop(self, now: float) -> None:
        """Drain all workers; a second call ends them at once."""
        if self.stopping:
            for worker in self.alive.values():
                worker.kill_at = now
            return
        self.stopping = True
        self._queue.clear()
        full = StopRequest(self._policy.drain_delay_s, self._policy.grace_s)
        for worker in self.alive.values():
            if worker.phase is not Phase.STOPPING:
                self._retire(worker, now, full)

    def give_up(self, exit_code: int, now: float) -> None:
        """Stop at once with this exit code."""
        self.exit_code = exit_code
        self.stopping = True
        self._queue.clear()
        for worker in self.alive.values():
            worker.phase, worker.kill_at = Phase.STOPPING, now

    # timers

    def tick(self, now: float) -> None:
        """Do whatever is due at `now`."""
        for worker in list(self.alive.values()):
            if worker.kill_at is not None and worker.kill_at <= now:
                worker.process.kill()
        if self.stopping:
            return
        self._check_heartbeats(now)
        for slot in self.slots:
            if slot.due_at is not None and slot.due_at <= now:
                slot.due_at = None
                if slot.current is None:
                    self._fill(slot, now)
                else:
                    self._ask(slot, "load")
        self._replace_next(now)

    def due_at(self) -> float | None:
        """The latest time at which `tick` must be called."""
        times = [worker.kill_at for worker in self.alive.values()] + [slot.due_at for slot in self.slots]
        if self._policy.watchdog_s and self._ticked_at is not None:
            times.append(self._ticked_at + self._policy.watchdog_s / 4)
        return min((time for time in times if time is not None), default=None)

    @property
    def ready_count(self) -> int:
        """How many slots have a worker whose unit is loaded."""
        return sum(slot.current is not None and slot.current.phase is Phase.READY for slot in self.slots)

    # steps

    def _fill(self, slot: Slot, now: float) -> None:
        slot.current = self._start(slot)
        if slot.current is None:
            slot.due_at = now + max(slot.backoff.failed(), LOAD_RETRY_S)

    def _start(self, slot: Slot) -> WorkerHandle | None:
        taken = {worker.metrics_slot for worker in self.alive.values()}
        metrics_slot = next(number for number in range(len(taken) + 1) if number not in taken)
        alone = not any(worker.phase is Phase.READY or worker.answers_early for worker in self.alive.values())
        try:
            worker = self._spawn(Placement(slot.number, metrics_slot, alone))
        except OSError as error:  # out of memory, descriptors or processes: try again later
            log.error("a worker could not be started: %s", error)
            return None
        self.alive[worker.process.pid] = worker
        return worker

    def _ask(self, slot: Slot, why: str) -> None:
        if self.stopping or slot.successor is not None or any(queued is slot for queued, _ in self._queue):
            return
        self._queue.append((slot, why))

    def _replace_next(self, now: float) -> None:
        if self._replacing is not None:
            slot, _ = self._replacing
            leaving = any(w.slot == slot.number and w is not slot.current for w in self.alive.values())
            if slot.successor is not None or leaving:
                return
            self._replacing = None
        if self._queue:
            self._replacing = slot, _ = self._queue.popleft()
            slot.successor = self._start(slot)
            if slot.successor is None:
                self._successor_failed(slot, now)
        elif self._restarting and all(slot.current is not None for slot in self.slots):
            self._restarting = False
            self.restarts_finished += 1
            log.info("all workers have been replaced")

    def _promote(self, slot: Slot, now: float) -> None:
        """Let the successor take over once it is ready, or once it listens if its predecessor never became ready."""
        successor, current = slot.successor, slot.current
        if successor is None or current is None or successor.failed:
            return
        unready = current.phase is not Phase.READY and successor.phase is Phase.LISTENING
        if successor.phase is not Phase.READY and not unready:
            return
        slot.current, slot.successor = successor, None
        if self._replacing is not None:
            self._replaced(self._replacing[1])
        self._retire(current, now, StopRequest(0.0, self._policy.grace_s))

    def _retire(self, worker: WorkerHandle, now: float, request: StopRequest) -> None:
        if worker.phase is not Phase.READY:  # it has no requests in work
            request = StopRequest(0.0, 0.0)
        worker.phase = Phase.STOPPING
        worker.kill_at = now + request.delay_s + request.grace_s + MARGIN_S
        worker.send(request)

    def _load_failed(self, worker: WorkerHandle, report: Report, now: float) -> None:
        worker.failed = True
        slot = self.slots[worker.slot]
        if report.text not in self._logged_failures:  # once, not once per worker
            self._logged_failures.add(report.text)
            trace = {"exception": report.traceback} if report.traceback else {}
            log.error("the unit could not be loaded: %s", report.text, extra=trace)
        if worker is slot.successor:
            self._retire(worker, now, StopRequest(0.0, 0.0))
            self._successor_failed(slot, now)
        elif not self.was_ready and self._give_up:
            self.give_up(report.exit_code or EXIT_LOAD, now)
        else:
            slot.due_at = now + max(slot.backoff.failed(), LOAD_RETRY_S)

    def _successor_failed(self, slot: Slot, now: float) -> None:
        slot.successor = None
        why = self._replacing[1] if self._replacing is not None else ""
        if why == "reload":
            self._replacing = None
            self._restarting = False
            self._queue.clear()
            log.error("reload failed: the previous workers keep serving")
            return
        slot.due_at = now + max(slot.backoff.failed(), LOAD_RETRY_S)

    def _check_heartbeats(self, now: float) -> None:
        limit_s = self._policy.watchdog_s
        if not limit_s:
            return
        stalled = self._ticked_at is not None and now - self._ticked_at > limit_s / 2
        self._ticked_at = now
        for worker in self.alive.values():
            if worker.phase is not Phase.READY or worker.heartbeat_at is None or worker.kill_at is not None:
                continue
            if stalled:  # this process was suspended, and the workers may have been too
                worker.heartbeat_at = now
            elif now - worker.heartbeat_at > limit_s:
                log.error("a worker hangs: its event loop is blocked", extra={"slot": worker.slot, "s": limit_s})
                worker.kill_at = now + ABORT_S
                worker.process.signal(signal.SIGABRT)  # faulthandler writes its stack


def metrics_slot_name(metrics_slot: int) -> str:
    """The name of a worker's shared metrics file."""
    return f"worker-{metrics_slot}"
