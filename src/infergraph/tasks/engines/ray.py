"""The Ray engine: lanes as actors of a Ray cluster, with the same driver and worker code.

driver ── assignment with its lines ──▶ actor ── answer ──▶ driver        kill is ray.kill

Connecting to an unreachable cluster is retried, and reported. A dead cluster does not raise errors: it is detected by a
sentinel actor that stops answering. A single queued assignment cannot be cancelled (`ray.cancel` was observed to end
the actor's next one too), so an abandoned attempt costs its lanes.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import msgspec

from infergraph import process_lifetime
from infergraph.net import ray_cluster
from infergraph.settings import Settings
from infergraph.tasks.engines.engine import Engine, EngineTrouble, Event, Lane, LaneLost, LaneReady, LoadTrouble, Woken
from infergraph.tasks.engines.messages import Answer, Assignment, Key, Plan
from infergraph.tasks.engines.worker import ChunkWorker, make_requests, make_unit
from infergraph.worker_environment import TASK_INDEX

_log = logging.getLogger(__name__)

_REACH_EVERY_S = 2.0
_JOIN_LIMIT_S = 60.0
"""Ray starts a local cluster within seconds; long on a busy machine."""

_SLICE_S = 0.05
_SENTINEL_EVERY_S = 1.0
_SENTINEL_LIMIT_S = 5.0
_FIRST_PING_LIMIT_S = 120.0
"""Time-out of the first answer, which includes the start of the sentinel's process; long on a busy machine."""

_DEAD_LIMIT = 3
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class LaneActor:
    """The actor: the unit, loaded once, and its event loop."""

    def __init__(self, plan: bytes, index: int) -> None:
        told = msgspec.msgpack.decode(plan, type=Plan)
        os.environ[TASK_INDEX] = str(index)
        sys.path[:0] = [entry for entry in told.path if entry not in sys.path]
        process_lifetime.keep_freed_memory()
        self._loop = asyncio.new_event_loop()
        unit = make_unit(told)
        self._loop.run_until_complete(unit.start())
        nan = msgspec.convert(told.settings, Settings).task_nan
        self._desk = ChunkWorker(unit, nan, functools.partial(make_requests, told, unit))

    def ready(self) -> int:
        """Process id, once the unit is loaded."""
        return os.getpid()

    def answer(self, assignment: bytes) -> bytes:
        """The answer to an assignment."""
        told = msgspec.msgpack.decode(assignment, type=Assignment)
        return msgspec.msgpack.encode(self._loop.run_until_complete(self._desk.answer(told)))


class Sentinel:
    """An actor that only answers pings."""

    def ping(self) -> int:
        """Its process id."""
        return os.getpid()


class _RayLane(Lane):
    """An actor and its pending results."""

    def __init__(self, number: int, index: int, actor: Any) -> None:
        super().__init__(number, index)
        self.actor = actor
        self.pid = 0


class RayEngine(Engine):
    """An engine whose lanes are actors of a Ray cluster.

    Args:
        plan: the configuration of the workers.
        address: of the cluster; "local" starts one here, on the loopback interface only.
        wake_fd: see `SelectingEngine`.
    Raises: MissingExtra if Ray is not installed.
    """

    shares_disk = False

    def __init__(
        self, plan: Plan, clock: Callable[[], float], *, address: str = ray_cluster.LOCAL, wake_fd: int = -1
    ) -> None:
        super().__init__(clock)
        self._ray: Any = ray_cluster.package("task_engine ray")
        self._address = address
        self._plan = msgspec.msgpack.encode(plan)
        self._gpus = 1 if plan.settings.get("gpus") else 0
        self._wake_fd = wake_fd
        self._woken = False
        self._number = 0
        self._failures = 0
        self._not_before = 0.0
        self._waiting: dict[Any, tuple[int, Key | None]] = {}
        self._rays: dict[int, _RayLane] = {}
        self._lane_class: Any = None
        self._joining: Future[None] | None = None
        self._joined_at = 0.0
        """When joining began."""
        self._sentinel: Any = None
        self._ping: Any = None
        self._pinged_at = self._answered_at = 0.0
        self._silence_limit_s = _FIRST_PING_LIMIT_S
        self._silences = 0
        self._reach_at = 0.0

    def _join(self, events: list[Event]) -> None:
        """Connect to the cluster, or report why that is not possible now.

        Raises: RuntimeError if it takes too long; the driver's successor tries again.
        """
        if self._joining is not None:
            self._await_joined(self._joining, events)
        elif self.clock() >= self._reach_at:
            if trouble := ray_cluster.trouble(self._address):
                self._unreachable(trouble, events)
            else:
                self._joining, self._joined_at = ray_cluster.joining(self._ray, self._address), self.clock()

    def _await_joined(self, joining: Future[None], events: list[Event]) -> None:
        if not joining.done():
            if self.clock() - self._joined_at > _JOIN_LIMIT_S:
                raise RuntimeError(f"the Ray cluster at {self._address} could not be joined in time")
            return
        self._joining = None
        if error := joining.exception():
            self._unreachable(ray_cluster.said(error), events)
        else:
            self._start()
            events.append(EngineTrouble(""))

    def _unreachable(self, trouble: str, events: list[Event]) -> None:
        self._reach_at = self.clock() + _REACH_EVERY_S
        events.append(EngineTrouble(f"the Ray cluster at {self._address} cannot be reached: {trouble}"))

    def _start(self) -> None:
        ray_cluster.take_signals_back()
        _log.info("the Ray cluster is joined", extra={"address": self._address})
        self._lane_class = self._ray.remote(LaneActor)
        self._sentinel = self._ray.remote(Sentinel).options(num_cpus=0).remote()
        self._pinged_at = self._answered_at = self.clock()

    def scale(self, wanted: int) -> None:
        """See `Engine.scale`."""
        self.wanted = wanted
        if self._sentinel is None:
            return
        for lane in list(self._rays.values()):
            if len(self._rays) > wanted and not lane.held:
                self._forget(lane)
        while len(self._rays) < wanted and self.clock() >= self._not_before:
            self._number += 1
            index = self._free_index()
            options = {"num_cpus": 1, "num_gpus": self._gpus, "max_restarts": 0, "max_task_retries": 0}
            actor = self._lane_class.options(**options).remote(self._plan, index)
            lane = _RayLane(self._number, index, actor)
            self._rays[lane.number] = self.lanes[lane.number] = lane
            self._waiting[actor.ready.remote()] = (lane.number, None)

    def wait(self, timeout_s: float) -> list[Event]:
        """See `Engine.wait`."""
        events: list[Event] = []
        deadline = self.clock() + timeout_s
        while not events:
            if self._rung():
                events.append(Woken())
                timeout_s = 0.0
            left_s = max(0.0, min(_SLICE_S, deadline - self.clock()))
            if self._sentinel is None:
                self._join(events)
            if self._sentinel is None:
                time.sleep(left_s)
            else:
                self._collect(left_s, events)
                self._watch_sentinel(events)
            if self.clock() >= deadline:
                break
        self._enforce()
        self.scale(self.wanted)
        return events

    def _rung(self) -> bool:
        rung, self._woken = self._woken, False
        if self._wake_fd >= 0:
            with suppress(BlockingIOError):
                rung = bool(os.read(self._wake_fd, 4096)) or rung
        return rung

    def _collect(self, timeout_s: float, events: list[Event]) -> None:
        """Collect completed results, in order for each lane: Ray reports large results later than small ones."""
        if not self._waiting:
            time.sleep(timeout_s)
            return
        heads: dict[int, Any] = {}
        for ref, (number, _) in self._waiting.items():
            heads.setdefault(number, ref)
        if not self._ray.wait(list(heads.values()), num_returns=1, timeout=timeout_s)[0]:
            return
        refs = list(self._waiting)
        done = set(self._ray.wait(refs, num_returns=len(refs), timeout=0)[0])
        behind = set()
        for ref in refs:
            number, key = self._waiting.get(ref, (0, None))
            lane = self._rays.get(number)
            if ref not in done:
                behind.add(number)
            elif lane is not None and number not in behind:
                del self._waiting[ref]
                self._take(lane, key, ref, events)

    def _take(self, lane: _RayLane, key: Key | None, ref: Any, events: list[Event]) -> None:
        try:
            value = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._lose(lane, error, events)
            return
        if lane.killed and key is None:  # it was killed before that could be answered, or will be soon
            self._await_end(lane)
        elif key is None:
            lane.ready, lane.pid = True, value
            self._failures = 0
            events.append(LaneReady(lane.number, 0.0))
        elif (answered := self._answered(lane.number, msgspec.msgpack.decode(value, type=Answer))) is not None:
            events.append(answered)

    def _lose(self, lane: _RayLane, error: Exception, events: list[Event]) -> None:
        if not lane.ready and not lane.killed:
            self._failures += 1
            self._not_before = self.clock() + _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S)) - 1]
            cause = getattr(error, "cause", None) or error
            events.append(LoadTrouble(str(cause).strip().splitlines()[-1]))
        self._forget(lane)
        events.append(LaneLost(lane.number, tuple(lane.held), "died", lane.killed))

    def _forget(self, lane: _RayLane) -> None:
        del self._rays[lane.number], self.lanes[lane.number]
        self._waiting = {ref: told for ref, told in self._waiting.items() if told[0] != lane.number}
        self._kill_actor(lane)

    def _kill_actor(self, lane: _RayLane) -> None:
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(lane.actor, no_restart=True)

    def _watch_sentinel(self, events: list[Event]) -> None:
        """Detect a cluster whose head node is dead: it neither fails nor answers.

        Raises: RuntimeError if it does not answer in time; the driver's successor reconnects or starts a new cluster.
        """
        now = self.clock()
        if self._ping is None and now - self._pinged_at > _SENTINEL_EVERY_S:
            self._ping, self._pinged_at = self._sentinel.ping.remote(), now
        if self._ping is not None:
            done, _ = self._ray.wait([self._ping], timeout=0)
            if done and not self._is_error(self._ping):
                if self._silences:
                    events.append(EngineTrouble(""))
                self._ping, self._answered_at, self._silences = None, now, 0
                self._silence_limit_s = _SENTINEL_LIMIT_S
        silent_s = now - max(self._answered_at, self._pinged_at - _SENTINEL_EVERY_S)
        if silent_s <= self._silence_limit_s and not (silent_s > _SENTINEL_LIMIT_S and self._is_gone(now)):
            return
        self._silences += 1
        self._answered_at = now
        events.append(EngineTrouble(f"the Ray cluster at {self._address} does not answer"))
        if self._silences >= _DEAD_LIMIT:
            raise RuntimeError(f"the Ray cluster at {self._address} is lost")

    def _is_gone(self, now: float) -> bool:
        """Whether nothing listens at the cluster's address any more; looked at from time to time."""
        if now < self._reach_at:
            return False
        self._reach_at = now + _REACH_EVERY_S
        return bool(ray_cluster.trouble(self._address))

    def _is_error(self, ref: Any) -> bool:
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayError:
            return True
        return False

    def wake(self) -> None:
        """See `Engine.wake`."""
        self._woken = True

    def stop(self) -> None:
        """See `Engine.stop`. A cluster started here ends with it; another keeps running."""
        for lane in list(self._rays.values()):
            self._forget(lane)
        self._ray.shutdown()

    def pids(self) -> list[int]:
        """Process ids of the lanes, on whatever machine."""
        return [lane.pid for lane in self._rays.values() if lane.pid]

    def _deliver(self, lane: int, assignment: Assignment) -> None:
        ref = self._rays[lane].actor.answer.remote(msgspec.msgpack.encode(assignment))
        self._waiting[ref] = (lane, assignment.key)

    def _end(self, lane: int) -> None:
        self._kill_actor(self._rays[lane])
        self._await_end(self._rays[lane])

    def _await_end(self, lane: _RayLane) -> None:
        """Have a result pending that fails when the actor has ended, even if it answers all it holds before that."""
        self._waiting[lane.actor.ready.remote()] = (lane.number, None)
