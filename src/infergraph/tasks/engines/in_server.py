"""Lanes that are guests: serving workers that answer chunks with the unit they have loaded already.

driver ── GuestEngine listens ◀── connect ── Guest(unit) in each serving worker

One copy of the model is enough so. The price: a guest is not ours to kill, so a stop takes effect at the end of the
chunk in work, and a time limit for rows cannot be kept.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from infergraph.tasks.engines.engine import Engine, Event, Lane, LaneLost, LaneReady, Woken
from infergraph.tasks.engines.messages import (
    Answer,
    Command,
    Drop,
    Dropped,
    FrameReader,
    Leaving,
    Order,
    Ready,
    Reply,
    frame,
)

SOCKET = "lanes.sock"


@contextmanager
def lanes_address(folder: Path) -> Iterator[str]:
    """The socket's address, in a form that is short enough however long the folder's path is."""
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
    """A serving worker that has come to help."""

    def __init__(self, number: int, connection: socket.socket) -> None:
        super().__init__(number)
        connection.setblocking(False)
        self.connection = connection
        self.reader: FrameReader[Reply] = FrameReader(connection.fileno(), msgspec.msgpack.Decoder(Reply))
        self.unsent = bytearray()

    def tell(self, command: Command) -> None:
        """Send a command, now or when there is room."""
        self.unsent += frame(command)
        self.flush()

    def flush(self) -> None:
        """Send what goes."""
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self.unsent:
                del self.unsent[: self.connection.send(self.unsent)]


class InServerEngine(Engine):
    """Lanes that come and go as serving workers do.

    Args:
        folder: the data folder, where the socket is.
        wake_fd: see `LocalEngine`.
    """

    can_kill = False

    def __init__(self, folder: Path, clock: Callable[[], float], *, wake_fd: int = -1) -> None:
        super().__init__(clock)
        self._folder = folder
        self._guests: dict[int, _ServingLane] = {}
        self._number = 0
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        for fd in (self._wake_reader, self._wake_writer):
            os.set_blocking(fd, False)
        for fd in (self._wake_reader, wake_fd):
            if fd >= 0:
                self._selector.register(fd, selectors.EVENT_READ, None)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        (folder / SOCKET).unlink(missing_ok=True)
        with lanes_address(folder) as address:
            self._listener.bind(address)
        (folder / SOCKET).chmod(0o600)
        self._listener.listen()
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def staff(self, wanted: int) -> None:
        """Guests come by themselves."""
        self.wanted = len(self._guests)

    def wait(self, timeout_s: float) -> list[Event]:
        """See `Engine.wait`."""
        events: list[Event] = []
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._welcome()
            elif key.data is None:
                with suppress(BlockingIOError):
                    while os.read(key.fd, 4096):
                        pass
                events.append(Woken())
            elif not self._hear(key.data, events):
                self._lose(key.data, events)
        self._enforce()
        for in_server in self._guests.values():
            in_server.flush()
            self._watch_room(in_server)
        return events

    def _watch_room(self, in_server: _ServingLane) -> None:
        """Have `wait` return when there is room for what could not be sent."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if in_server.unsent else 0)
        if self._selector.get_key(in_server.connection).events != wanted:
            self._selector.modify(in_server.connection, wanted, in_server)

    def _welcome(self) -> None:
        with suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            self._number += 1
            in_server = _ServingLane(self._number, connection)
            self._guests[in_server.number] = self.lanes[in_server.number] = in_server
            self._selector.register(connection, selectors.EVENT_READ, in_server)

    def _hear(self, in_server: _ServingLane, events: list[Event]) -> bool:
        try:
            replies = in_server.reader.read()
        except BlockingIOError:
            return True
        except (EOFError, OSError, msgspec.DecodeError):
            return False
        for reply in replies:
            if isinstance(reply, Ready):
                in_server.ready = True
                events.append(LaneReady(in_server.number, reply.load_s))
            elif isinstance(reply, Dropped):
                self._dropped(in_server.number, reply.keys)
            elif isinstance(reply, Leaving):
                in_server.killed = True  # it is given nothing more, and its loss will be nobody's fault
            elif isinstance(reply, Answer) and (answered := self._answered(in_server.number, reply)) is not None:
                events.append(answered)
        return True

    def _lose(self, in_server: _ServingLane, events: list[Event]) -> None:
        self._selector.unregister(in_server.connection)
        in_server.connection.close()
        del self._guests[in_server.number], self.lanes[in_server.number]
        events.append(
            LaneLost(in_server.number, tuple(in_server.held), "went away, a serving worker,", in_server.killed)
        )

    def wake(self) -> None:
        """See `Engine.wake`."""
        with suppress(OSError):
            os.write(self._wake_writer, b"w")

    def stop(self) -> None:
        """See `Engine.stop`: the guests are sent away; a chunk in work ends where it is."""
        for in_server in self._guests.values():
            in_server.connection.close()
        self._guests.clear()
        self.lanes.clear()
        self._listener.close()
        self._selector.close()
        for fd in (self._wake_reader, self._wake_writer):
            if fd >= 0:
                os.close(fd)
        self._wake_reader = self._wake_writer = -1

    def _deliver(self, lane: int, order: Order) -> None:
        self._guests[lane].tell(order)

    def _drop(self, lane: int, run: int) -> bool:
        self._guests[lane].tell(Drop(run))
        return True

    def _end(self, lane: int) -> None:
        raise NotImplementedError("a guest is not ours to kill")
