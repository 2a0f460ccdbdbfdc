"""The addresses of a node that may be called now, each with its client: found, counted, and drained when they are gone.

look-up, with time and when a connection fails ─▶ new members ┊ gone ones are closed after their last answer
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from infergraph.net.address import Address, NoConnection
from infergraph.net.backoff import FailureStreak
from infergraph.net.discovery import Counts, Discovery

C = TypeVar("C")

_log = logging.getLogger(__name__)


class Clients(NamedTuple, Generic[C]):
    """How a client of one address is made, how it is closed, and how its server is asked whether it can answer."""

    open: Callable[[Address], C]
    close: Callable[[C], Awaitable[None]]
    probe: Callable[[C], Awaitable[bool]]


class Member(Generic[C]):
    """One of several addresses: its client, its calls in flight, when it was last called, its failures in a row."""

    __slots__ = ("address", "calls", "client", "host", "is_ejected", "is_gone", "is_suspect", "streak", "turn")

    def __init__(self, address: Address, host: Address, client: C, streak: FailureStreak) -> None:
        self.address = address
        self.host = host
        self.client = client
        self.streak = streak
        self.calls = 0
        self.turn = 0
        self.is_ejected = False
        self.is_gone = False
        self.is_suspect = False


class Members(Generic[C]):
    """The members of a node. Bound to one event loop.

    `known` has all that were found last, `up` those to choose from; a look-up is due from `due_at` on.

    Args:
        node: its name, for the log.
        first: its first host; more come from `discovery`.
    """

    def __init__(self, node: str, first: Address, clients: Clients[C], discovery: Discovery) -> None:
        self.clients = clients
        self._first = first
        self._node = node
        self._discovery = discovery
        self._reset()

    def _reset(self) -> None:
        self.known: dict[Address, Member[C]] = {}
        self.up: list[Member[C]] = []
        self.due_at = self._looked_at = float("-inf")
        self._draining: dict[Address, Member[C]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._fault = NoConnection(f"node {self._node} has no addresses")
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close all clients; end look-ups, and what was spawned."""
        members, tasks = [*self.known.values(), *self._draining.values()], list(self._tasks)
        self._reset()
        await cancelled(tasks)
        await asyncio.gather(*(self.clients.close(member.client) for member in members))

    async def look_up_if_due(self, timeout_s: float | None) -> None:
        """Begin a look-up if one is due; wait for it where no address is known.

        Raises: NoConnection if there is still none; TimeoutError.
        """
        if asyncio.get_running_loop().time() < self.due_at and self.known:
            return
        looking = self.look_up_soon()
        if self.known:
            return
        if looking is not None:
            async with asyncio.timeout(timeout_s):
                await asyncio.wait({looking})
        if not self.known:
            raise NoConnection(self._fault.text) from self._fault.__cause__

    def look_up_soon(self) -> asyncio.Task[None] | None:
        """The look-up that is running, begun now if there is none; None if the last one has only just begun."""
        now = asyncio.get_running_loop().time()
        if self._looking is None and (not self.known or now >= self._looked_at + self._discovery.again_s):
            self._looked_at = now
            self._looking = self.spawn(self._look_up())
        return self._looking

    def leave(self, member: Member[C]) -> None:
        """Take one call in flight away."""
        member.calls -= 1
        if member.is_gone and not member.calls:
            self._drained(member)

    def count(self) -> None:
        """Find out which addresses are chosen from, and tell the counts."""
        members = self.known.values()
        self.up = [member for member in members if not (member.is_ejected or member.is_suspect)]
        ejected = sum(member.is_ejected for member in members)
        self._discovery.on_change(Counts(len(members) - ejected, ejected, len(self._draining)))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin some work that ends with `close` at the latest."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _look_up(self) -> None:
        """Replace the addresses by those that are found now; a host that cannot be looked up keeps what it had."""
        try:
            hosts = await self._discovery.hosts_of(self._first)
            behind = await asyncio.gather(*map(self._behind, hosts))
            self._replace({address: host for host, found in zip(hosts, behind, strict=True) for address in found})
            self.due_at = asyncio.get_running_loop().time() + self._discovery.lasts_s
        except (OSError, ValueError) as error:
            text = f"the addresses of node {self._node} cannot be read: {self._discovery.file}: {error}"
            if text != self._fault.text:
                _log.warning("%s", text)
            self._fault = NoConnection(text)
        finally:
            self._looking = None

    async def _behind(self, host: Address) -> Iterable[Address]:
        try:
            return await self._discovery.addresses_of(host)
        except NoConnection as fault:
            self._fault = fault
            return [member.address for member in self.known.values() if member.host == host]

    def _replace(self, found: Mapping[Address, Address]) -> None:
        """Take the addresses, each with its host, in place of those before."""
        for address in self.known.keys() - found.keys():
            self._drain(self.known.pop(address))
        for address in found.keys() - self.known.keys():
            member = self._draining.pop(address) if address in self._draining else self._made(address, found[address])
            member.is_gone = False
            self.known[address] = member
        self.count()

    def _made(self, address: Address, host: Address) -> Member[C]:
        return Member(address, host, self.clients.open(address), FailureStreak(self._discovery.pauses))

    def _drain(self, member: Member[C]) -> None:
        member.is_gone, member.is_ejected = True, False
        if member.calls:
            self._draining[member.address] = member
        else:
            self.spawn(self._closed(member))

    def _drained(self, member: Member[C]) -> None:
        if self._draining.pop(member.address, None) is not None:
            self.spawn(self._closed(member))
            self.count()

    async def _closed(self, member: Member[C]) -> None:
        await self.clients.close(member.client)


async def cancelled(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks, and wait for their end."""
    for task in (tasks := list(tasks)):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
