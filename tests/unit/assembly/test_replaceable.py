"""A unit that is replaced and unloaded while it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from infergraph.assembly.replaceable import Replaceable
from infergraph.errors import GraphError, NotReady
from infergraph.message import Answers, Context, Encoding, Message, Method, PredictiveUnit, Request

ASKED = Message.of("x", Encoding.STR)


class Numbered(PredictiveUnit):
    """Answers with its number once it may; remembers what was done to it."""

    def __init__(self, number: int, *, name: str = "unit", fault: Exception | None = None) -> None:
        self.name = name
        self.number = number
        self.fault = fault
        self.may = asyncio.Event()
        self.begun = asyncio.Event()
        self.started = asyncio.Event()
        self.done: list[str] = []

    async def start(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.done.append("started")
        self.started.set()

    async def stop(self) -> None:
        self.done.append("stopped")

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        self.begun.set()
        await self.may.wait()
        self.done.append("answered")
        return Message.of(str(self.number), Encoding.STR)

    async def stream(self, method: Method, request: Request, context: Context) -> Answers:
        for _ in range(2):
            yield await self.answer(method, request, context)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        return {}


def units(*made: Numbered, folder: Path, grace_s: float = 30.0) -> Replaceable:
    """A unit that is built as each of these in turn."""
    waiting = iter(made)
    return Replaceable(lambda: next(waiting), folder, grace_s=grace_s)


async def ask(unit: Replaceable) -> str:
    return str((await unit.answer(Method.PREDICT, ASKED, Context())).payload)


def test_the_old_one_finishes_what_it_has_begun(tmp_path: Path) -> None:
    """Requests from the replacement on go to the new one; the old one is stopped after its last answer."""

    async def run() -> None:
        old, new = Numbered(1), Numbered(2)
        unit = units(old, new, folder=tmp_path)
        await unit.start()
        early = asyncio.create_task(ask(unit))
        await old.begun.wait()
        replacing = asyncio.create_task(unit.replace())
        new.may.set()
        await new.started.wait()
        assert await ask(unit) == "2"
        assert "stopped" not in old.done
        old.may.set()
        assert await early == "1"
        await replacing
        assert old.done == ["started", "answered", "stopped"]

    asyncio.run(run())


def test_a_stream_is_ended_by_the_one_that_began_it(tmp_path: Path) -> None:
    """The answers of one stream come from one unit, which is stopped after the last."""

    async def run() -> None:
        old, new = Numbered(1), Numbered(2)
        unit = units(old, new, folder=tmp_path)
        await unit.start()
        old.may.set()
        async with aclosing(unit.stream(Method.PREDICT, ASKED, Context())) as answers:
            found = [(await anext(answers)).payload]
            replacing = asyncio.create_task(unit.replace())
            await new.started.wait()
            assert "stopped" not in old.done
            found += [answer.payload async for answer in answers]
        await replacing
        assert found == ["1", "1"]
        assert old.done[-1] == "stopped"

    asyncio.run(run())


def test_a_request_without_end_is_waited_for_only_so_long(tmp_path: Path) -> None:
    """After the grace period the old unit is stopped with a request in work."""

    async def run() -> None:
        old, new = Numbered(1), Numbered(2)
        unit = units(old, new, folder=tmp_path, grace_s=0.0)
        await unit.start()
        endless = asyncio.create_task(ask(unit))
        await old.begun.wait()
        await unit.replace()
        assert old.done == ["started", "stopped"]
        endless.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("bad", [{"fault": ValueError("no weights")}, {"name": "other"}])
def test_what_cannot_take_over_leaves_what_is_there(tmp_path: Path, bad: dict[str, Any]) -> None:
    """A unit that cannot start, or has another name, is dropped; the present one goes on."""

    async def run() -> None:
        old = Numbered(1)
        old.may.set()
        unit = units(old, Numbered(2, **bad), folder=tmp_path)
        await unit.start()
        with pytest.raises((ValueError, GraphError)):
            await unit.replace()
        assert await ask(unit) == "1"

    asyncio.run(run())


def test_unloaded_it_answers_nothing_and_is_built_anew(tmp_path: Path) -> None:
    """After a stop there is no unit in memory; the next start builds one, again after one that failed."""

    async def run() -> None:
        old, broken, new = Numbered(1), Numbered(2, fault=ValueError("no weights")), Numbered(3)
        new.may.set()
        unit = units(old, broken, new, folder=tmp_path)
        await unit.start()
        await unit.stop()
        assert old.done == ["started", "stopped"]
        with pytest.raises(NotReady):
            await ask(unit)
        with pytest.raises(ValueError, match="no weights"):
            await unit.start()
        await unit.start()
        assert await ask(unit) == "3"

    asyncio.run(run())
