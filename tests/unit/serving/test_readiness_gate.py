"""Tests of the door before a unit that is still loading."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from infergraph.errors import NotReady
from infergraph.message import Context, Encoding, Message, Method, PredictiveUnit, Request
from infergraph.serving.readiness_gate import ReadinessGate

ASKED = Message.of("x", Encoding.STR)


class Loading(PredictiveUnit):
    """Is loaded when its gate opens, or fails to be."""

    name = "loading"

    def __init__(self, *, fails: bool = False) -> None:
        self.gate = asyncio.Event()
        self._fails = fails

    async def start(self) -> None:
        await self.gate.wait()
        if self._fails:
            raise ValueError("no weights")

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        assert isinstance(request, Message)
        return request

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        return {"name": self.name}


def test_without_a_wait_a_request_is_refused_at_once() -> None:
    """Who comes before the unit is loaded is told so, unless told to wait; a probe is told so in any case."""

    async def body() -> None:
        for wait_s, ask in ((0.0, "answer"), (60.0, "health")):
            door = ReadinessGate(Loading(), wait_s)
            asked = door.health(Context()) if ask == "health" else door.answer(Method.PREDICT, ASKED, Context())
            with pytest.raises(NotReady, match="loading is not loaded yet"):
                await asked

    asyncio.run(body())


def test_waiting_requests_are_let_in_together() -> None:
    """Requests that wait are answered once the unit is loaded, as are those that come later."""

    async def body() -> None:
        unit = Loading()
        door = ReadinessGate(unit, 60.0)
        waiting = [asyncio.create_task(door.answer(Method.PREDICT, ASKED, Context())) for _ in range(3)]
        metadata = asyncio.create_task(door.metadata())
        loading = asyncio.create_task(door.start())
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        unit.gate.set()
        assert await asyncio.gather(*waiting) == [ASKED] * 3
        assert await metadata == {"name": "loading"}
        await loading
        assert await door.answer(Method.PREDICT, ASKED, Context()) is ASKED

    asyncio.run(body())


@pytest.mark.parametrize("end", ["fails", "stopped", "late"])
def test_a_wait_ends_when_there_is_nothing_to_wait_for(end: str) -> None:
    """A load that fails or is given up, or that outlasts the wait, is told to whoever waits."""

    async def body() -> None:
        unit = Loading(fails=True)
        door = ReadinessGate(unit, 0.001 if end == "late" else 60.0)
        waiting = asyncio.create_task(door.answer(Method.PREDICT, ASKED, Context()))
        loading = asyncio.create_task(door.start())
        await asyncio.sleep(0)
        if end == "fails":
            unit.gate.set()
        elif end == "stopped":
            loading.cancel()
        with pytest.raises(NotReady):
            await waiting
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)

    asyncio.run(body())
