"""Balancing calls over the addresses of a node, with servers that are objects."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import RemoteError
from infergraph.net.address import Address, NoConnection
from infergraph.net.backoff import Backoff
from infergraph.net.balancing import BalancedAddresses, OneAddress, addresses
from infergraph.net.discovery import Counts, Discovery
from infergraph.net.http_connection import Interrupted
from infergraph.net.members import Clients
from infergraph.protocol.status import GrpcStatus

NAME = Address("model.test", 9000)
SOON = Backoff(first_s=0.001, limit_s=0.001)
LATE = Backoff(first_s=3600.0, limit_s=3600.0)


class World:
    """The servers behind a name: which exist, what each raises, and what they were asked."""

    def __init__(self, *ips: str, pauses: Backoff = LATE) -> None:
        self.ips: list[str] | OSError = list(ips)
        self.faults: dict[str, RemoteError] = {}
        self.asked: list[str] = []
        self.probed: list[str] = []
        self.closed: list[str] = []
        self.counts: list[Counts] = []
        self.lookups = 0
        self.gate = asyncio.Event()
        self.resolver = asyncio.Event()
        self.resolver.set()
        self.discovery = Discovery(
            look_up=self.look_up,
            lasts_s=0.0,
            again_s=0.0,
            pauses=pauses,
            draw=random.Random(7).random,
            on_change=self.counts.append,
        )
        self.node = BalancedAddresses(
            "node", NAME, Clients(lambda address: address.ip, self.close, self.probe), self.discovery
        )

    async def look_up(self, host: str, port: int) -> list[str]:
        self.lookups += 1
        await self.resolver.wait()
        if isinstance(self.ips, OSError):
            raise self.ips
        return self.ips

    async def close(self, client: str) -> None:
        self.closed.append(client)

    async def probe(self, client: str) -> bool:
        self.probed.append(client)
        return client not in self.faults

    async def serve(self, client: str, timeout_s: float | None) -> str:
        self.asked.append(client)
        if client in self.faults:
            raise self.faults[client]
        return client

    async def wait(self, client: str, timeout_s: float | None) -> str:
        self.asked.append(client)
        await self.gate.wait()
        return client

    async def ask(self, *, is_replayable: bool = True) -> str:
        return await self.node.answer(self.serve, None, is_replayable=is_replayable)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


async def until(condition: Callable[[], bool]) -> None:
    """Let the others run until something holds."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def refused() -> NoConnection:
    return NoConnection("connection refused")


def test_calls_one_after_the_other_are_spread() -> None:
    """Without calls in flight, addresses take turns: the shares of three differ by a few calls in a hundred."""

    async def test() -> None:
        world = World("a", "b", "c")
        shares = Counter([await world.ask() for _ in range(300)])
        assert all(abs(share - 100) <= 10 for share in shares.values()), shares
        await world.node.close()

    run(test)


def test_the_one_with_fewer_calls_in_flight_is_chosen() -> None:
    """Calls that wait at each address are as many at each, and a busy address gets no more before the others."""

    async def test() -> None:
        world = World("a", "b", "c")
        calls = [asyncio.ensure_future(world.node.answer(world.wait, None)) for _ in range(30)]
        await until(lambda: len(world.asked) == 30)
        assert all(8 <= share <= 12 for share in Counter(world.asked).values())
        world.gate.set()
        await asyncio.gather(*calls)
        await world.node.close()

    run(test)


@pytest.mark.parametrize(
    "fault",
    [
        refused(),
        Interrupted("EOF"),
        RemoteError("busy", status=503),
        RemoteError("not ready", grpc_code=GrpcStatus.UNAVAILABLE),
    ],
    ids=["refused", "interrupted", "503", "UNAVAILABLE"],
)
def test_an_address_that_is_down_is_ejected_and_the_call_goes_on(
    fault: RemoteError, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets the answer of another address, the one that is down is not called again, and one line says so."""

    async def test() -> None:
        world = World("a", "b")
        world.faults["a"] = fault
        assert {await world.ask() for _ in range(20)} == {"b"}
        assert world.asked.count("a") == 1
        assert world.counts[-1] == Counts(1, 1, 0)
        await world.node.close()

    with caplog.at_level(logging.INFO):
        run(test)
    (line,) = caplog.messages
    assert line == f"node node: a:9000 is ejected for {float(line.split()[6]):.1f} s: {fault}"


@pytest.mark.parametrize(
    ("fault", "is_asked_again"),
    [
        (RemoteError("slow down", status=429), True),
        (RemoteError("full", grpc_code=GrpcStatus.RESOURCE_EXHAUSTED), True),
        (RemoteError("wrong", status=400), False),
        (RemoteError("broke", status=500), False),
        (RemoteError("the reply is longer than 10 bytes"), False),
    ],
    ids=["429", "RESOURCE_EXHAUSTED", "400", "500", "unreadable"],
)
def test_other_faults_eject_nothing(fault: RemoteError, is_asked_again: bool) -> None:
    """A transient refusal is asked of another address; what another would answer alike is the answer."""

    async def test() -> None:
        world = World("a", "b")
        world.faults |= {"a": fault, "b": fault}
        with pytest.raises(RemoteError, match=fault.text):
            await world.ask()
        assert len(world.asked) == 1 + is_asked_again
        assert world.counts[-1] == Counts(2, 0, 0)
        await world.node.close()

    run(test)


def test_a_call_is_made_twice_at_most() -> None:
    """With every address down, one call asks two of them."""

    async def test() -> None:
        world = World("a", "b", "c")
        world.faults |= dict.fromkeys("abc", refused())
        with pytest.raises(NoConnection):
            await world.ask()
        assert len(set(world.asked)) == len(world.asked) == 2
        await world.node.close()

    run(test)


@pytest.mark.parametrize(
    ("fault", "asked"), [(refused(), 2), (Interrupted("EOF"), 1), (RemoteError("", status=503), 1)]
)
def test_what_must_happen_once_is_repeated_only_unsent(fault: RemoteError, asked: int) -> None:
    """A route or a reward goes to another address only if there was no connection to the first."""

    async def test() -> None:
        world = World("a", "b")
        world.faults |= {"a": fault, "b": fault}
        with pytest.raises(RemoteError):
            await world.ask(is_replayable=False)
        assert len(world.asked) == asked
        await world.node.close()

    run(test)


def test_no_second_call_after_the_time_limit() -> None:
    """What is left of the limit is that of the second call; nothing left, none is made."""

    async def test() -> None:
        world = World("a", "b")
        limits: list[float] = []

        async def late(client: str, timeout_s: float | None) -> str:
            limits.append(timeout_s or 0.0)
            await asyncio.sleep(0.01)
            raise refused()

        await world.ask()
        with pytest.raises(NoConnection):
            await world.node.answer(late, 0.005)
        assert len(limits) == 1
        with pytest.raises(NoConnection):
            await world.node.answer(late, 10.0)
        assert limits[2] < limits[1] == 10.0
        await world.node.close()

    run(test)


@pytest.mark.parametrize("has_hung", [True, False])
def test_an_address_that_did_not_answer_is_probed(has_hung: bool) -> None:
    """One that answers the probe only took long; one that does not is ejected. A retry goes to another either way."""

    async def test() -> None:
        world = World("a", "b")
        call = asyncio.ensure_future(world.node.answer(world.wait, None))
        await until(lambda: len(world.asked) == 1)
        (late,) = world.asked
        if has_hung:
            world.faults[late] = RemoteError("nothing came")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await world.ask() != late
        await until(lambda: world.probed == [late])
        await asyncio.sleep(0)
        assert world.counts[-1] == (Counts(1, 1, 0) if has_hung else Counts(2, 0, 0))
        await world.node.close()

    run(test)


def test_an_address_comes_back_after_a_probe(caplog: pytest.LogCaptureFixture) -> None:
    """An ejected address is probed after pauses, and called again when it passes; both are said once."""

    async def test() -> None:
        world = World("a", "b", pauses=SOON)
        world.faults["a"] = refused()
        await world.ask()
        await world.ask()
        await until(lambda: world.probed.count("a") >= 3)
        assert world.asked.count("a") == 1
        del world.faults["a"]
        await until(lambda: world.counts[-1] == Counts(2, 0, 0))
        assert {await world.ask() for _ in range(10)} == {"a", "b"}
        await world.node.close()

    with caplog.at_level(logging.INFO):
        run(test)
    assert [line.partition(" for ")[0] for line in caplog.messages] == [
        "node node: a:9000 is ejected",
        "node node: a:9000 is in use again",
    ]


def test_while_all_are_ejected_one_is_called_all_the_same() -> None:
    """A call never fails for want of an address: the least bad is tried, and an answer brings it back at once."""

    async def test() -> None:
        world = World("a", "b")
        world.faults |= {"a": refused(), "b": refused()}
        with pytest.raises(NoConnection):
            await world.ask()
        assert world.counts[-1] == Counts(0, 2, 0)
        world.faults.clear()
        answer = await world.ask()
        assert world.counts[-1] == Counts(1, 1, 0)
        assert await world.ask() == answer
        await world.node.close()

    run(test)


def test_an_address_that_is_gone_is_drained() -> None:
    """A call in flight at an address that is no longer found is answered, and its client closed after it."""

    async def test() -> None:
        world, call = await draining()
        assert world.counts[-1] == Counts(1, 0, 1)
        assert world.closed == []
        world.gate.set()
        assert await call == "a"
        await until(lambda: world.closed == ["a"])
        assert world.counts[-1] == Counts(1, 0, 0)
        await world.node.close()

    run(test)


def test_an_address_that_returns_while_it_drains_is_kept() -> None:
    """It is the same client, with its calls in flight."""

    async def test() -> None:
        world, call = await draining()
        world.ips = ["a"]
        await until_asked(world, "a")
        world.gate.set()
        assert await call == "a"
        await world.ask()
        assert world.closed == ["b"]
        await world.node.close()

    run(test)


async def draining() -> tuple[World, asyncio.Future[str]]:
    """A world of b, and a call in flight at a, which is no longer found."""
    world = World("a")
    call = asyncio.ensure_future(world.node.answer(world.wait, None))
    await until(lambda: world.asked == ["a"])
    world.ips = ["b"]
    await until_asked(world, "b")
    return world, call


async def until_asked(world: World, ip: str) -> None:
    """Ask until the answer comes from an address."""
    while await world.ask() != ip:  # noqa: ASYNC110
        await asyncio.sleep(0)


def test_a_name_that_is_not_found_keeps_its_addresses() -> None:
    """A resolver that is away changes nothing for a node that has been looked up."""

    async def test() -> None:
        world = World("a")
        assert await world.ask() == "a"
        world.ips = OSError("the resolver is away")
        before = world.lookups
        assert [await world.ask() for _ in range(5)] == ["a"] * 5
        await until(lambda: world.lookups > before)
        assert await world.ask() == "a"
        await world.node.close()

    run(test)


def test_a_name_that_was_never_found_is_a_fault() -> None:
    """Calls that begin at once look it up once, each gets the reason, and a later one looks again."""

    async def test() -> None:
        world = World()
        world.ips = OSError("Name or service not known")
        results = await asyncio.gather(*(world.ask() for _ in range(5)), return_exceptions=True)
        assert {str(each) for each in results} == {"cannot connect to model.test:9000: Name or service not known"}
        assert world.lookups == 1
        world.ips = ["a"]
        assert await world.ask() == "a"
        await world.node.close()

    run(test)


def test_a_failed_connection_looks_the_name_up_again() -> None:
    """A node with one address that has moved is found at its new one, by the call that failed."""

    async def test() -> None:
        world = World("a")
        world.discovery = discovery = Discovery(look_up=world.look_up, lasts_s=3600.0, again_s=0.0, pauses=LATE)
        world.node = BalancedAddresses(
            "node", NAME, Clients(lambda address: address.ip, world.close, world.probe), discovery
        )
        assert await world.ask() == "a"
        world.ips, world.faults["a"] = ["b"], refused()
        assert await world.ask() == "b"
        assert world.lookups == 2
        await world.node.close()

    run(test)


def test_a_look_up_takes_no_longer_than_the_call() -> None:
    """A call that failed waits for a look-up within its time limit, and then is the fault that it was."""

    async def test() -> None:
        world = World("a")
        assert await world.ask() == "a"
        world.resolver.clear()
        world.faults["a"] = refused()
        with pytest.raises(NoConnection, match="refused"):
            await world.node.answer(world.serve, 0.01)
        await world.node.close()

    run(test)


def test_a_node_is_ready_while_one_address_is() -> None:
    """One that passes the check is enough."""

    async def test() -> None:
        world = World("a", "b", "c")

        def passing(*ips: str) -> Callable[[str], Awaitable[bool]]:
            async def check(client: str) -> bool:
                return client in ips

            return check

        assert await world.node.has_one(passing("c"))
        assert not await world.node.has_one(passing())
        await world.node.close()

    run(test)


def test_held_answers_count_until_the_end() -> None:
    """A stream is a call in flight until it is closed."""

    async def test() -> None:
        world = World("a", "b")
        async with world.node.held(world.serve, None) as first:
            assert {await world.ask() for _ in range(6)} == {"a", "b"} - {first}
        assert {await world.ask() for _ in range(6)} == {"a", "b"}
        await world.node.close()

    run(test)


def test_a_fixed_address_has_no_balancing() -> None:
    """An IP address is called as it stands."""
    clients: Clients[Any] = Clients(
        lambda address: address, lambda client: asyncio.sleep(0), lambda client: asyncio.sleep(0)
    )
    assert isinstance(addresses("node", Address("127.0.0.1", 1), clients, Discovery()), OneAddress)
    assert isinstance(addresses("node", NAME, clients, Discovery()), BalancedAddresses)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["down", "up"]), st.sampled_from("abc")),
        st.tuples(st.just("found"), st.sets(st.sampled_from("abc"), min_size=1)),
        st.tuples(st.sampled_from(["ask", "wait", "held", "release", "cancel"]), st.none()),
    ),
    max_size=40,
)


@given(EVENTS)
def test_no_call_is_forgotten(events: list[tuple[str, Any]]) -> None:
    """Whatever comes and goes: in the end no call is in flight, what is gone is closed, and what is there is in use."""

    async def test() -> None:
        world = World("a", "b", "c", pauses=SOON)
        opened: list[str] = []
        world.node = balanced(world, opened)
        calls: list[asyncio.Task[Any]] = []

        async def held() -> None:
            async with world.node.held(world.serve, None):
                await world.gate.wait()

        for event, what in events:
            match event:
                case "down":
                    world.faults[what] = random.Random(len(calls)).choice([refused(), Interrupted("EOF")])
                case "up":
                    world.faults.pop(what, None)
                case "found":
                    world.ips = sorted(what)
                case "ask":
                    calls.append(asyncio.ensure_future(world.ask()))
                case "wait":
                    calls.append(asyncio.ensure_future(world.node.answer(world.wait, None)))
                case "held":
                    calls.append(asyncio.ensure_future(held()))
                case "release":
                    world.gate.set()
                case "cancel" if calls:
                    calls[-1].cancel()
            await asyncio.sleep(0)
        world.gate.set()
        await asyncio.gather(*calls, return_exceptions=True)
        world.faults.clear()
        count = len(world.ips)
        while not world.counts or world.counts[-1] != Counts(count, 0, 0):
            await asyncio.gather(*(world.ask() for _ in range(3)))
        await until(lambda: len(opened) - len(world.closed) == count)
        await world.node.close()
        assert sorted(opened) == sorted(world.closed)

    run(test)


def balanced(world: World, opened: list[str]) -> BalancedAddresses[str]:
    """The node of a world, with what it opens noted."""

    def open_client(address: Address) -> str:
        opened.append(address.ip)
        return address.ip

    return BalancedAddresses("node", NAME, Clients(open_client, world.close, world.probe), world.discovery)
