"""The local engine: lanes as child processes, each with a pair of pipes and its own process group.

A pipe pair for each worker is robust against kills: no queue, lock or channel is shared, so a dying worker cannot block
another.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from infergraph import process_lifetime
from infergraph.settings import Settings
from infergraph.tasks.engines.engine import (
    DROP_GRACE_S,
    Event,
    Lane,
    LaneLost,
    LaneReady,
    LoadTrouble,
    SelectingEngine,
    Woken,
    drain,
)
from infergraph.tasks.engines.messages import (
    Answer,
    Assignment,
    Command,
    Drop,
    Dropped,
    FrameReader,
    LoadFailed,
    Plan,
    Ready,
    Reply,
    frame,
)
from infergraph.worker_environment import TASK_INDEX, worker_environment

_PIPE_BYTES = 1 << 20
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_KILLED_PAUSE_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)


class _Pipes(NamedTuple):
    """Our ends of a worker's pipes."""

    commands: int
    replies: int
    life: int


class _Process(Lane):
    """A lane's process and our ends of its pipes."""

    def __init__(self, number: int, index: int, process: subprocess.Popen[bytes], pipes: _Pipes) -> None:
        super().__init__(number, index)
        self.process = process
        self.commands, self.replies, self.life = pipes
        self.pid_fd = -1
        self.reader: FrameReader[Reply] = FrameReader(self.replies, msgspec.msgpack.Decoder(Reply))
        self.loaded = False
        self.is_watched = False
        self.unsent = bytearray()

    @classmethod
    def start(
        cls, number: int, index: int, plan: Plan, command: Sequence[str], environment: Mapping[str, str]
    ) -> _Process:
        """Start the process of a lane, and send it the plan."""
        process, pipes = _spawn(command, {**os.environ, **environment, process_lifetime.MARK: plan.mark})
        for fd in (pipes.commands, pipes.replies):
            os.set_blocking(fd, False)
        _widen(pipes.replies)
        lane = cls(number, index, process, pipes)
        if hasattr(os, "pidfd_open"):
            lane.pid_fd = os.pidfd_open(process.pid)
        lane.unsent += frame(plan)
        lane.flush()
        return lane

    def flush(self) -> None:
        """Write as much as the pipe takes; the rest follows with the next flush."""
        with suppress(BlockingIOError, BrokenPipeError):
            while self.unsent:
                del self.unsent[: os.write(self.commands, self.unsent)]

    def kill(self) -> None:
        """SIGKILL for the process and everything in its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> int:
        """Reap the process and close our ends; its exit code, negative for a signal."""
        self.kill()
        code = self.process.wait()
        for fd in (self.commands, self.replies, self.life, self.pid_fd):
            if fd >= 0:
                os.close(fd)
        return code


def _spawn(command: Sequence[str], environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], _Pipes]:
    """Start a worker in its own process group, connected by three pipes."""
    their_commands, commands = os.pipe()
    replies, their_replies = os.pipe()
    their_life, life = os.pipe()
    theirs = (their_commands, their_replies, their_life)
    try:
        process = subprocess.Popen(
            [*command, *map(str, theirs), str(os.getpid())],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            env=environment,
            process_group=0,
        )
    finally:
        for fd in theirs:
            os.close(fd)
    return process, _Pipes(commands, replies, life)


def _widen(pipe: int) -> None:
    """Enlarge a pipe, so that a complete answer fits into it if the system allows."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


class LocalEngine(SelectingEngine):
    """An engine whose lanes are child processes.

    Args:
        plan: the configuration of the workers.
        wake_fd: see `SelectingEngine`.
    """

    def __init__(
        self,
        plan: Plan,
        clock: Callable[[], float],
        *,
        wake_fd: int = -1,
        command: Sequence[str] = (sys.executable, "-P", "-m", "infergraph.tasks.engines.worker"),
    ) -> None:
        super().__init__(clock, wake_fd=wake_fd)
        self._plan = plan
        self._most = msgspec.convert(plan.settings, Settings).task_worker_bounds.most
        self._command = command
        self._processes: dict[int, _Process] = {}
        self._number = 0
        self._failures = 0
        self._not_before = 0.0

    def scale(self, wanted: int) -> None:
        """See `Engine.scale`. Idle lanes are removed first; new ones start in the background."""
        self.wanted = wanted
        for process in list(self._processes.values()):
            if len(self._processes) > wanted and not process.held:
                self._remove(process)
        while len(self._processes) < wanted and self.clock() >= self._not_before:
            self._start()

    def _start(self) -> None:
        self._number += 1
        index = self._free_index()
        gpus = self._plan.settings.get("gpus", "")
        workers = max(self.wanted, self._most)
        environment = worker_environment(TASK_INDEX, index, gpus, workers=workers, inherited=os.environ)
        process = _Process.start(self._number, index, self._plan, self._command, environment)
        self._processes[process.number] = self.lanes[process.number] = process
        self._selector.register(process.replies, selectors.EVENT_READ, process)
        if process.pid_fd >= 0:
            self._selector.register(process.pid_fd, selectors.EVENT_READ, process)

    def wait(self, timeout_s: float) -> list[Event]:
        """See `Engine.wait`."""
        events: list[Event] = []
        self.scale(self.wanted)  # here, and not at the end: reporting a loss must not wait for the replacement
        if len(self._processes) < self.wanted:
            timeout_s = max(0.0, min(timeout_s, self._not_before - self.clock()))
        if self._abandoned:
            timeout_s = min(timeout_s, DROP_GRACE_S)
        lost = set()
        for key, _ in self._selector.select(timeout_s):
            process = key.data
            if process is None:
                drain(key.fd)
                events.append(Woken())
            elif key.fd == process.pid_fd or (key.fd == process.replies and not self._hear(process, events)):
                lost.add(process)
        for process in lost:
            self._lose(process, events)
        self._enforce()
        for process in self._processes.values():
            process.flush()
            self._watch_room(process)
        return events

    def _watch_room(self, process: _Process) -> None:
        """Make `wait` return when there is room in a pipe with unsent data."""
        if bool(process.unsent) != process.is_watched:
            process.is_watched = bool(process.unsent)
            if process.is_watched:
                self._selector.register(process.commands, selectors.EVENT_WRITE, process)
            else:
                self._selector.unregister(process.commands)

    def _hear(self, process: _Process, events: list[Event]) -> bool:
        """Read once from a lane; False if it is gone."""
        try:
            self._enter(process, process.reader.read(), events)
        except BlockingIOError:
            pass
        except (EOFError, OSError, msgspec.DecodeError):
            return False
        return True

    def _enter(self, process: _Process, replies: list[Reply], events: list[Event]) -> None:
        for reply in replies:
            if isinstance(reply, Ready):
                process.ready = process.loaded = True
                self._failures = 0
                events.append(LaneReady(process.number, reply.load_s))
            elif isinstance(reply, LoadFailed):
                events.append(LoadTrouble(reply.text))
            elif isinstance(reply, Dropped):
                self._dropped(process.number, reply.keys)
            elif isinstance(reply, Answer) and (answered := self._answered(process.number, reply)) is not None:
                events.append(answered)

    def _lose(self, process: _Process, events: list[Event]) -> None:
        with suppress(OSError, EOFError, msgspec.DecodeError):
            while True:  # answers written before it died are valid
                self._enter(process, process.reader.read(), events)
        code = self._remove(process)
        if not process.loaded and not process.killed:
            self._failures += 1
            if code < 0:
                events.append(LoadTrouble(f"the worker {_ending(code)} while it loaded the unit", was_killed=True))
            pauses = _BACK_OFF_S if code >= 0 else _KILLED_PAUSE_S
            self._not_before = self.clock() + pauses[min(self._failures, len(pauses)) - 1]
        events.append(LaneLost(process.number, tuple(process.held), _ending(code), process.killed))

    def _remove(self, process: _Process) -> int:
        self._selector.unregister(process.replies)
        if process.is_watched:
            self._selector.unregister(process.commands)
        if process.pid_fd >= 0:
            self._selector.unregister(process.pid_fd)
        del self._processes[process.number], self.lanes[process.number]
        return process.close()

    def stop(self) -> None:
        """See `Engine.stop`."""
        self.wanted = 0
        for process in list(self._processes.values()):
            self._remove(process)
        super().stop()

    @property
    def failures(self) -> int:
        """Consecutive failed loads."""
        return self._failures

    def pids(self) -> list[int]:
        """Process ids of the lanes."""
        return [process.process.pid for process in self._processes.values()]

    def _deliver(self, lane: int, assignment: Assignment) -> None:
        self._tell(lane, assignment)

    def _drop(self, lane: int, attempt: int) -> bool:
        self._tell(lane, Drop(attempt))
        return True

    def _tell(self, lane: int, command: Command) -> None:
        process = self._processes[lane]
        process.unsent += frame(command)
        process.flush()
        self._watch_room(process)

    def _end(self, lane: int) -> None:
        self._processes[lane].kill()


def _ending(code: int) -> str:
    """An exit code as text."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"
