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

from infergraph.tasks.engine import Engine, Event, Lane, LaneLost, LaneReady, Woken
from infergraph.tasks.frames import Answer, Command, Drop, Dropped, FrameReader, Leaving, Order, Ready, Reply, frame

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


class _Guest(Lane):
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


class GuestEngine(Engine):
    """Lanes that come and go as serving workers do.

    Args:
        folder: the data folder, where the socket is.
        wake_fd: see `LocalEngine`.
    """

    can_kill = False

    def __init__(self, folder: Path, clock: Callable[[], float], *, wake_fd: int = -1) -> None:
        super().__init__(clock)
        self._folder = folder
        self._guests: dict[int, _Guest] = {}
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
        for guest in self._guests.values():
            guest.flush()
            self._watch_room(guest)
        return events

    def _watch_room(self, guest: _Guest) -> None:
        """Have `wait` return when there is room for what could not be sent."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if guest.unsent else 0)
        if self._selector.get_key(guest.connection).events != wanted:
            self._selector.modify(guest.connection, wanted, guest)

    def _welcome(self) -> None:
        with suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            self._number += 1
            guest = _Guest(self._number, connection)
            self._guests[guest.number] = self.lanes[guest.number] = guest
            self._selector.register(connection, selectors.EVENT_READ, guest)

    def _hear(self, guest: _Guest, events: list[Event]) -> bool:
        try:
            replies = guest.reader.read()
        except BlockingIOError:
            return True
        except (EOFError, OSError, msgspec.DecodeError):
            return False
        for reply in replies:
            if isinstance(reply, Ready):
                guest.ready = True
                events.append(LaneReady(guest.number, reply.load_s))
            elif isinstance(reply, Dropped):
                self._dropped(guest.number, reply.keys)
            elif isinstance(reply, Leaving):
                guest.killed = True  # it is given nothing more, and its loss will be nobody's fault
            elif isinstance(reply, Answer) and (answered := self._answered(guest.number, reply)) is not None:
                events.append(answered)
        return True

    def _lose(self, guest: _Guest, events: list[Event]) -> None:
        self._selector.unregister(guest.connection)
        guest.connection.close()
        del self._guests[guest.number], self.lanes[guest.number]
        events.append(LaneLost(guest.number, tuple(guest.held), "went away, a serving worker,", guest.killed))

    def wake(self) -> None:
        """See `Engine.wake`."""
        with suppress(OSError):
            os.write(self._wake_writer, b"w")

    def stop(self) -> None:
        """See `Engine.stop`: the guests are sent away; a chunk in work ends where it is."""
        for guest in self._guests.values():
            guest.connection.close()
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
