"""A worker's inbox of assignments, read without blocking the unit's own background work.

descriptor ─▶ commands ─▶ queued assignments ─▶ next()
                     └─▶ Drop: queued assignments are dropped, and reported as such
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from infergraph.tasks.engines.messages import Assignment, Command, Dropped, FrameReader


class Inbox:
    """The driver's assignments for one worker, in sequence. Used on the event loop it is created on.

    Args:
        fd: a non-blocking descriptor of commands.
        reply: sends a message to the driver.
        gone: called when the driver has exited, perhaps more than once.
    """

    def __init__(self, fd: int, reply: Callable[[Dropped], None], gone: Callable[[], None]) -> None:
        self._fd = fd
        self._reply = reply
        self._gone = gone
        self._reader: FrameReader[Command] = FrameReader(fd, msgspec.msgpack.Decoder(Command))
        self._waiting: deque[Assignment] = deque()
        self._come = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)

    def close(self) -> None:
        """Stop reading."""
        self._loop.remove_reader(self._fd)

    def _read(self) -> None:
        try:
            commands = self._reader.read()
        except BlockingIOError:
            return
        except (EOFError, OSError, msgspec.DecodeError):
            self._loop.remove_reader(self._fd)
            self._gone()
            return
        for command in commands:
            if isinstance(command, Assignment):
                self._waiting.append(command)
            else:
                self._drop(command.attempt)
        self._come.set()

    def _drop(self, attempt: int) -> None:
        dropped = [assignment.key for assignment in self._waiting if assignment.key.attempt == attempt]
        self._waiting = deque(assignment for assignment in self._waiting if assignment.key.attempt != attempt)
        self._reply(Dropped(dropped))

    async def next(self) -> Assignment:
        """The next assignment. A `Drop` sent before this call has taken effect, however busy the loop was."""
        self._read()
        while not self._waiting:
            self._come.clear()
            await self._come.wait()
        return self._waiting.popleft()
