"""Units around a unit: how long they wait, and that they pass everything else on."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from graph_units import Failing, Saying, Waiting, node
from infergraph.errors import DeadlinePassed, RemoteError
from infergraph.graph.resilience import Around, Retried, Timed, resilient
from infergraph.message import Context, Encoding, Message, Method

X = Message.of("x", Encoding.STR)


def retried(unit: Saying, retries: int, backoff_s: float) -> tuple[Retried, list[float]]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return Retried(unit, retries, backoff_s, rng=random.Random(3), sleep=sleep), slept


def test_waits_double_and_are_drawn() -> None:
    """Before each repeat there is a wait of half to all of a time that doubles, up to 30 s."""
    unit, slept = retried(Failing("a", [RemoteError(str(n)) for n in range(10)]), 10, 0.1)
    asyncio.run(unit.answer(Method.PREDICT, X, Context()))
    assert len(slept) == 10
    for attempt, seconds in enumerate(slept):
        longest = min(0.1 * 2**attempt, 30.0)
        assert longest / 2 <= seconds <= longest


def test_no_wait_beyond_the_deadline() -> None:
    """When the wait would outlast the request's deadline, the fault is raised at once."""
    unit, slept = retried(Failing("a", [RemoteError("down")]), 3, 60.0)

    async def run() -> None:
        deadline = asyncio.get_running_loop().time() + 1.0
        with pytest.raises(RemoteError, match="down"):
            await unit.answer(Method.PREDICT, X, Context(deadline=deadline))

    asyncio.run(run())
    assert slept == []


def test_each_attempt_has_its_time() -> None:
    """The time limit is for one attempt, so a repeat may still answer."""

    class SlowOnce(Waiting):
        async def answer(self, method: Method, request: Any, context: Context) -> Message:
            if self.begun.is_set():
                self.let_go.set()
            return await super().answer(method, request, context)

    async def run() -> None:
        unit = resilient(SlowOnce("a"), node("a", timeout_ms=20, retries=1, retry_backoff_ms=0), random.Random(1))
        assert (await unit.answer(Method.PREDICT, X, Context())).payload[0] == "a"

    asyncio.run(run())


def test_the_requests_own_deadline_may_be_earlier() -> None:
    """A request whose deadline comes first keeps it, and ends by the one who set it."""

    async def run() -> None:
        inner = Waiting("a")
        unit = Timed(inner, 60.0)
        asking = asyncio.ensure_future(
            unit.answer(Method.PREDICT, X, Context(deadline=asyncio.get_running_loop().time() + 30))
        )
        await inner.begun.wait()
        inner.let_go.set()
        await asking

    asyncio.run(run())


def test_timeouts_of_the_unit_itself_are_its_own() -> None:
    """A TimeoutError that the unit raises is not taken for the limit."""

    async def run() -> None:
        with pytest.raises(TimeoutError) as caught:
            await Timed(Saying("a", fault=TimeoutError("own")), 60.0).answer(Method.PREDICT, X, Context())
        assert not isinstance(caught.value, DeadlinePassed)

    asyncio.run(run())


def test_nothing_asked_nothing_around() -> None:
    """A node that asks for no guard gets its unit itself."""
    unit = Saying("a")
    assert resilient(unit, node("a"), random.Random(1)) is unit


def test_all_else_is_passed_on() -> None:
    """Start, stop, readiness, health, status and metadata are those of the unit within."""
    done: list[str] = []

    class Full(Saying):
        async def start(self) -> None:
            done.append("start")

        async def stop(self) -> None:
            done.append("stop")

        async def health(self, context: Context) -> Message:
            return Message.of("fine", Encoding.STR)

    async def run() -> None:
        unit = Around(Full("a"))
        await unit.start()
        assert unit.name == "a"
        assert await unit.ready()
        assert (await unit.health(Context())).payload == "fine"
        assert (await unit.status("a", Context())).payload == "fine"
        assert (await unit.metadata())["name"] == "a"
        assert (await unit.answer(Method.PREDICT, X, Context())).payload == ["a", "predict", "x"]
        await unit.stop()

    asyncio.run(run())
    assert done == ["start", "stop"]
