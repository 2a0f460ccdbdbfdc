"""Load balancing: a call goes to one of a node's addresses, and once more to another if that one is down.

    call ─▶ the better of two at random, by calls in flight ─▶ answer
                ├─ no connection, 503, UNAVAILABLE: ejected ─▶ the call goes to another address
                └─ no answer in time ─▶ probe ─▶ ejected if that has no answer either
    ejected ─▶ a pause, longer each time ─▶ probe ─▶ in use again

A node with one fixed address has `OneAddress`, which does nothing of this.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Generic, Protocol, TypeAlias, TypeVar

from infergraph.errors import DeadlinePassed, RemoteError
from infergraph.net.address import Address, NoConnection
from infergraph.net.discovery import Discovery
from infergraph.net.http_connection import Interrupted
from infergraph.net.members import Clients, Member, Members, cancelled
from infergraph.net.retry import is_transient
from infergraph.protocol.status import GrpcStatus

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
T = TypeVar("T")

Ask: TypeAlias = Callable[[C, float | None], Awaitable[T]]
"""One call with the client of one address, within a time limit in seconds."""

_log = logging.getLogger(__name__)


class Addresses(Protocol[C_co]):
    """The addresses of a node. `address` is the first as it was given, for messages."""

    address: Address

    def answer(self, ask: Ask[C_co, T], timeout_s: float | None, *, is_replayable: bool = True) -> Awaitable[T]:
        """The answer to one call.

        Args:
            ask: raises RemoteError where an address cannot answer.
            timeout_s: of the call; None for no limit. A second one gets what is left of it.
            is_replayable: whether it may be sent twice; if not, a second one is made only where nothing was sent.
        Raises: as `ask` does.
        """

    def held(self, ask: Ask[C_co, T], timeout_s: float | None) -> AbstractAsyncContextManager[T]:
        """The answer to one call, which is in flight until the end of the block. Raises: as `ask` does."""

    async def has_one(self, check: Callable[[C_co], Awaitable[bool]]) -> bool:
        """Whether an address passes a check."""

    async def close(self) -> None:
        """Close all clients; a later call opens new ones."""


def addresses(node: str, address: Address, clients: Clients[C], discovery: Discovery) -> Addresses[C]:
    """The addresses of a node.

    Args:
        node: its name, for the log.
        address: its first host; more come from `discovery`.
    """
    if discovery.is_needed(address.host):
        return BalancedAddresses(node, address, clients, discovery)
    return OneAddress(address, clients)


class OneAddress(Generic[C]):
    """The one fixed address of a node."""

    def __init__(self, address: Address, clients: Clients[C]) -> None:
        self.address = address
        self._client = clients.open(address)
        self._clients = clients

    def answer(self, ask: Ask[C, T], timeout_s: float | None, *, is_replayable: bool = True) -> Awaitable[T]:
        """The answer to one call, which is made once."""
        return ask(self._client, timeout_s)

    @asynccontextmanager
    async def held(self, ask: Ask[C, T], timeout_s: float | None) -> AsyncIterator[T]:
        """The answer to one call, which is made once."""
        yield await ask(self._client, timeout_s)

    async def has_one(self, check: Callable[[C], Awaitable[bool]]) -> bool:
        """Whether the address passes a check."""
        return await check(self._client)

    async def close(self) -> None:
        """Close the client."""
        await self._clients.close(self._client)


class BalancedAddresses(Generic[C]):
    """Several addresses of a node, or one that may change. Bound to one event loop.

    Promises: a call is made a second time only if it may be sent twice, or was not sent; an address that is no longer
    listed is closed after its last answer; while all are ejected, the one that failed least is called.
    """

    def __init__(self, node: str, address: Address, clients: Clients[C], discovery: Discovery) -> None:
        self.address = discovery.shown(address)
        self._node = node
        self._draw = discovery.draw
        self._members = Members(node, address, clients, discovery)
        self._turn = 0

    async def answer(self, ask: Ask[C, T], timeout_s: float | None, *, is_replayable: bool = True) -> T:
        """The answer to one call, of the first address or the second.

        Raises: as `ask` does; NoConnection where no address is known; TimeoutError.
        """
        member, answer = await self._asked(ask, timeout_s, is_replayable)
        self._members.leave(member)
        return answer

    @asynccontextmanager
    async def held(self, ask: Ask[C, T], timeout_s: float | None) -> AsyncIterator[T]:
        """The answer to one call that may be sent twice. Raises: as `answer` does."""
        member, answer = await self._asked(ask, timeout_s, True)
        try:
            yield answer
        finally:
            self._members.leave(member)

    async def has_one(self, check: Callable[[C], Awaitable[bool]]) -> bool:
        """Whether an address passes a check; all are checked at once. Raises: NoConnection where none is known."""
        await self._members.look_up_if_due(None)
        checks = [asyncio.ensure_future(check(member.client)) for member in self._members.known.values()]
        try:
            for checked in asyncio.as_completed(checks):
                if await checked:
                    return True
            return False
        finally:
            await cancelled(checks)

    async def close(self) -> None:
        """Close all clients; end probes and look-ups."""
        await self._members.close()

    # ── a call ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _asked(self, ask: Ask[C, T], timeout_s: float | None, is_replayable: bool) -> tuple[Member[C], T]:
        """The answer and its address, where the call is still in flight."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        if begin >= self._members.due_at or not self._members.known:
            await self._members.look_up_if_due(timeout_s)
        member = self._chosen()
        try:
            return member, await self._once(member, ask, timeout_s)
        except RemoteError as fault:
            end = None if timeout_s is None else begin + timeout_s
            other = await self._other(member, fault, is_replayable, _left_s(end))
            left_s = _left_s(end)
            if other is None or left_s == 0.0:
                raise
        try:
            return other, await self._once(other, ask, left_s)
        except RemoteError as fault:
            self._judge(other, fault)
            raise

    async def _once(self, member: Member[C], ask: Ask[C, T], timeout_s: float | None) -> T:
        member.calls += 1
        self._turn += 1
        member.turn = self._turn
        try:
            answer = await ask(member.client, timeout_s)
        except BaseException as error:
            self._members.leave(member)
            if _is_unanswered(error):
                self._suspect(member)
            raise
        if member.streak.failures:
            member.streak.succeeded()
            self._readmit(member)
        return answer

    def _chosen(self) -> Member[C]:
        """Of two addresses the one with fewer calls in flight; of equal ones that whose last call is longer ago."""
        up, draw = self._members.up, self._draw
        count = len(up)
        if count < 2:
            return up[0] if up else _least_bad(self._members.known.values())
        first, second = int(draw() * count), int(draw() * (count - 1))
        one, other = up[first], up[second + (second >= first)]
        if one.calls != other.calls:
            return one if one.calls < other.calls else other
        return one if one.turn < other.turn else other

    async def _other(
        self, failed: Member[C], fault: RemoteError, is_replayable: bool, wait_s: float | None
    ) -> Member[C] | None:
        """Where the call is made a second time; None if it is not.

        Args:
            wait_s: the longest wait for a look-up, if no other address is in use.
        """
        self._judge(failed, fault)
        if not (isinstance(fault, NoConnection) or (is_replayable and _is_worth_another(fault))):
            return None
        if all(member is failed for member in self._members.up) and (looking := self._members.look_up_soon()):
            await asyncio.wait({looking}, timeout=wait_s)
        others = [member for member in self._members.up if member is not failed]
        others = others or [member for member in self._members.known.values() if member is not failed]
        return _least_bad(others) if others else None

    # ── ejection ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _judge(self, member: Member[C], fault: RemoteError) -> None:
        """Eject an address if the fault says that it is down."""
        if not _is_down(fault):
            return
        if isinstance(fault, NoConnection | Interrupted):
            self._members.look_up_soon()
        self._eject(member, str(fault))

    def _suspect(self, member: Member[C]) -> None:
        """Find out whether an address that did not answer a call can answer; until then, calls go to others."""
        if self._members.known.get(member.address) is member and not (member.is_ejected or member.is_suspect):
            member.is_suspect = True
            self._members.count()
            self._members.spawn(self._examine(member))

    async def _examine(self, member: Member[C]) -> None:
        """Eject an address that does not answer a probe; a call of it may only have taken long."""
        can_answer = await self._can_answer(member)
        member.is_suspect = False
        if can_answer:
            self._members.count()
        else:
            self._eject(member, "it does not answer")

    def _eject(self, member: Member[C], why: str) -> None:
        if member.is_ejected or member.is_gone:
            return
        member.is_ejected = True
        pause_s = member.streak.failed()
        _log.warning("node %s: %s is ejected for %.1f s: %s", self._node, member.address.peer, pause_s, why)
        self._members.count()
        self._members.spawn(self._probe(member, pause_s))

    async def _probe(self, member: Member[C], pause_s: float) -> None:
        """Probe an ejected address after each pause, until it can answer or is gone."""
        while True:
            await asyncio.sleep(pause_s)
            if member.is_gone or not member.is_ejected:
                return
            if await self._can_answer(member):
                self._readmit(member)
                return
            pause_s = member.streak.failed()

    async def _can_answer(self, member: Member[C]) -> bool:
        try:
            return await self._members.clients.probe(member.client)
        except (RemoteError, TimeoutError):
            return False

    def _readmit(self, member: Member[C]) -> None:
        if not member.is_ejected or member.is_gone:
            return
        member.is_ejected = False
        _log.info("node %s: %s is in use again", self._node, member.address.peer)
        self._members.count()


def _left_s(end: float | None) -> float | None:
    """What is left of a time limit, on the event loop's clock."""
    return None if end is None else max(end - asyncio.get_running_loop().time(), 0.0)


def _least_bad(members: Iterable[Member[C]]) -> Member[C]:
    return min(members, key=lambda member: (member.streak.failures, member.calls, member.turn))


def _is_down(fault: RemoteError) -> bool:
    """Whether a fault says that the address cannot answer any call now."""
    if isinstance(fault, NoConnection | Interrupted):
        return True
    return fault.status == HTTPStatus.SERVICE_UNAVAILABLE or fault.grpc_code == GrpcStatus.UNAVAILABLE


def _is_unanswered(error: BaseException) -> bool:
    """Whether a call ended without an answer: by its time limit, or because its caller has gone."""
    if isinstance(error, TimeoutError | DeadlinePassed | asyncio.CancelledError):
        return True
    return isinstance(error, RemoteError) and error.grpc_code == GrpcStatus.DEADLINE_EXCEEDED


def _is_worth_another(fault: RemoteError) -> bool:
    """Whether another address may give an answer, by the one rule of retries; not to a reply that cannot be read."""
    is_answered = fault.status is not None or fault.grpc_code is not None
    return isinstance(fault, Interrupted) or (is_answered and is_transient(fault))
