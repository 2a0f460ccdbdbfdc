"""The in-server engine: lanes in the serving workers, which answer chunks with the unit they have loaded already.

driver ── InServerEngine listens ◀── connect ── InServerWorker in each serving worker

It needs only one copy of the model. The drawback: a serving worker cannot be killed because of a task, so a stop takes
effect at the end of the current chunk, and a time limit for rows cannot be enforced.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from infergraph.tasks.engines.engine import Event, Lane, LaneLost, LaneReady, SelectingEngine, Woken, drain
from infergraph.tasks.engines.messages import (
    Answer,
    Assignment,
    Command,
    Drop,
    Dropped,
    FrameReader,
    Leaving,
    Ready,
    Reply,
    frame,
)

SOCKET = "lanes.sock"


@contextmanager
def lanes_address(folder: Path) -> Iterator[str]:
    """The socket's address, in a form that is short enough for any length of the folder's path."""
    plain = os.fspath(folder / SOCKET)
    if len(os.fsencode(plain)) < 100 or not Path("/proc/self/fd").is_dir():
        yield plain
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET}"
    finally:
        os.close(fd)


class _ServingLane(Lane):
    """The lane of one serving worker."""

    def __init__(self, number: int, connection: socket.socket) -> None:
        super().__init__(number)
        connection.setblocking(False)
        self.connection = connection
        self.reader: FrameReader[Reply] = FrameReader(connection.fileno(), msgspec.msgpack.Decoder(Reply))
        self.unsent = bytearray()

    def tell(self, command: Command) -> None:
        """Send a command, now or when the socket has room."""
        self.unsent += frame(command)
        self.flush()

    def flush(self) -> None:
        """Send as much as possible without blocking."""
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self.unsent:
                del self.unsent[: self.connection.send(self.unsent)]


class InServerEngine(SelectingEngine):
    """An engine whose lanes are the connected serving workers.

    Args:
        folder: the data folder, where the socket is.
        wake_fd: see `SelectingEngine`.
    """

    can_kill = False

    def __init__(self, folder: Path, clock: Callable[[], float], *, wake_fd: int = -1) -> None:
        super().__init__(clock, wake_fd=wake_fd)
        self._folder = folder
        self._serving: dict[int, _ServingLane] = {}
        self._number = 0
        self._listener: socket.socket | None = None

    def start(self) -> None:
        """See `Engine.start`."""
        super().start()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        (self._folder / SOCKET).unlink(missing_ok=True)
        with lanes_address(self._folder) as address:
            self._listener.bind(address)
        (self._folder / SOCKET).chmod(0o600)
        self._listener.listen()
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def scale(self, wanted: int) -> None:
        """No effect: serving workers connect by themselves."""
        self.wanted = len(self._serving)

    def wait(self, timeout_s: float) -> list[Event]:
        """See `Engine.wait`."""
        events: list[Event] = []
        for key, _ in self._selector.select(timeout_s):
            if self._listener is not None and key.fileobj is self._listener:
                self._accept(self._listener)
            elif key.data is None:
                drain(key.fd)
                events.append(Woken())
            elif not self._hear(key.data, events):
                self._lose(key.data, events)
        self._enforce()
        for serving in self._serving.values():
            serving.flush()
            self._watch_room(serving)
        return events

    def _watch_room(self, serving: _ServingLane) -> None:
        """Make `wait` return when there is room for unsent data."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if serving.unsent else 0)
        if self._selector.get_key(serving.connection).events != wanted:
            self._selector.modify(serving.connection, wanted, serving)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            connection, _ = listener.accept()
            self._number += 1
            serving = _ServingLane(self._number, connection)
            self._serving[serving.number] = self.lanes[serving.number] = serving
            self._selector.register(connection, selectors.EVENT_READ, serving)

    def _hear(self, serving: _ServingLane, events: list[Event]) -> bool:
        try:
            replies = serving.reader.read()
        except BlockingIOError:
            return True
        except (EOFError, OSError, msgspec.DecodeError):
            return False
        for reply in replies:
            if isinstance(reply, Ready):
                serving.ready = True
                events.append(LaneReady(serving.number, reply.load_s))
            elif isinstance(reply, Dropped):
                self._dropped(serving.number, reply.keys)
            elif isinstance(reply, Leaving):
                serving.killed = True  # it gets no more assignments, and no line is blamed for its loss
            elif isinstance(reply, Answer) and (answered := self._answered(serving.number, reply)) is not None:
                events.append(answered)
        return True

    def _lose(self, serving: _ServingLane, events: list[Event]) -> None:
        self._selector.unregister(serving.connection)
        serving.connection.close()
        del self._serving[serving.number], self.lanes[serving.number]
        events.append(LaneLost(serving.number, tuple(serving.held), "went away, a serving worker,", serving.killed))

    def stop(self) -> None:
        """See `Engine.stop`: the connections are closed; the answer to the current chunk is lost."""
        for serving in self._serving.values():
            serving.connection.close()
        self._serving.clear()
        self.lanes.clear()
        if self._listener is not None:
            self._listener.close()
        super().stop()

    def _deliver(self, lane: int, assignment: Assignment) -> None:
        self._serving[lane].tell(assignment)

    def _drop(self, lane: int, attempt: int) -> bool:
        self._serving[lane].tell(Drop(attempt))
        return True

    def _end(self, lane: int) -> None:
        raise NotImplementedError("a serving worker cannot be killed for a task")
