"""Clients that hang up: their requests are cancelled, and with them what the requests wait for."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

SWEEP_EVERY_S = 0.2


class Listened(Protocol):
    """A request whose client may hang up."""

    is_read: bool

    async def gone(self) -> None:
        """Returns when the client hangs up."""


class Entry:
    """One request under watch."""

    __slots__ = ("exchange", "hung_up", "seen", "task", "watching")

    def __init__(self, exchange: Listened, task: asyncio.Task[Any] | None) -> None:
        self.exchange = exchange
        self.task = task
        self.seen = False
        self.hung_up = False
        self.watching: asyncio.Task[None] | None = None


class HangupWatch:
    """Cancels requests whose clients hang up.

    One timer sweeps over all requests, and only those it meets twice get a task that listens: a short request pays
    for nothing but its entry.
    """

    def __init__(self) -> None:
        self._entries: set[Entry] = set()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, exchange: Listened) -> Entry:
        """Watch the current task, which answers `exchange`."""
        entry = Entry(exchange, asyncio.current_task())
        self._entries.add(entry)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_EVERY_S, self._sweep)
        return entry

    def leave(self, entry: Entry) -> None:
        """Watch it no longer."""
        self._entries.discard(entry)
        if entry.watching is not None:
            entry.watching.cancel()
            if entry.hung_up and entry.task is not None:
                entry.task.uncancel()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for entry in self._entries:
            # Until the body has been read, its reader hears of the end itself.
            if entry.seen and entry.watching is None and entry.exchange.is_read:
                entry.watching = loop.create_task(self._wait(entry))
            entry.seen = True
        self._timer = loop.call_later(SWEEP_EVERY_S, self._sweep) if self._entries else None

    async def _wait(self, entry: Entry) -> None:
        await entry.exchange.gone()
        entry.hung_up = True
        if entry.task is not None:
            entry.task.cancel()
