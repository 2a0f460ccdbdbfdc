"""A component's stream: how far it works ahead, whom it lets go first, and where and when its generator is closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from infergraph.component.component import Component, ComponentOptions
from infergraph.errors import ComponentError, NotReady
from infergraph.message import Context, Encoding, Message, Method
from infergraph.settings import Execution

X = Message.of("x", Encoding.STR)
EXECUTIONS = pytest.mark.parametrize("execution", [Execution.THREAD, Execution.INLINE])


class Recorder:
    """Takes what a component reports."""

    def __init__(self) -> None:
        self.recorded: list[Any] = []

    def validate(self, metrics: Any) -> Any:
        return metrics

    def record(self, metrics: Any, method: str) -> None:
        self.recorded += metrics

    def record_feedback(self, reward: float) -> None:
        raise AssertionError


class Endless:
    """Counts what it has made, and says in which thread it was closed."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.closed_in: list[threading.Thread] = []
        self.size = 1

    def predict(self, X: Any, names: Any) -> Any:
        self.made.append("predict")
        return "whole"

    def predict_stream(self, X: Any, names: Any) -> Iterator[Any]:
        try:
            while True:
                self.made.append(len(self.made))
                yield np.zeros((1, self.size))
        finally:
            self.closed_in.append(threading.current_thread())


def run(make: Callable[[], object], body: Callable[[Component, Any], Any], execution: Execution) -> None:
    async def served() -> None:
        component = Component(make, ComponentOptions(execution=execution), Recorder())
        await component.start()
        try:
            await body(component, component.facts.user_object)
        finally:
            await component.stop()

    asyncio.run(served())


async def settled(component: Component) -> None:
    """Return once the thread has done what was submitted before."""
    await component.answer(Method.PREDICT, X, Context())


@EXECUTIONS
def test_items_are_made_a_few_ahead_of_the_reader(execution: Execution) -> None:
    """The first item is made alone; who reads on finds at most sixteen made ahead, inline none."""

    async def body(component: Component, user: Any) -> None:
        async with aclosing(component.stream(Method.PREDICT, X, Context())) as answers:
            await anext(answers)
            await settled(component)
            assert user.made == [0, "predict"]
            for read in range(2, 40):
                await anext(answers)
                await settled(component)
                ahead = sum(made != "predict" for made in user.made) - read
                assert 0 <= ahead <= (16 if execution is Execution.THREAD else 0)

    run(Endless, body, execution)


def test_after_a_large_item_the_reader_is_waited_for() -> None:
    """Of items of a megabyte one is made at a time."""

    async def body(component: Component, user: Any) -> None:
        user.size = 1 << 17
        async with aclosing(component.stream(Method.PREDICT, X, Context())) as answers:
            for read in range(1, 10):
                await anext(answers)
                await settled(component)
                assert sum(made != "predict" for made in user.made) <= read + 1

    run(Endless, body, Execution.THREAD)


def test_another_request_waits_for_one_item_at_most() -> None:
    """What is asked while an item is made is answered before the next one."""
    held = threading.Event()

    class Held(Endless):
        def predict_stream(self, X: Any, names: Any) -> Iterator[Any]:
            for number in range(5):
                if number == 1:
                    began = perf_counter()
                    held.wait(30)
                    while perf_counter() - began < 0.005:  # no short item: those share a turn of a millisecond
                        pass
                self.made.append(number)
                yield [number]

    async def body(component: Component, user: Any) -> None:
        async with aclosing(component.stream(Method.PREDICT, X, Context())) as answers:
            await anext(answers)
            following = asyncio.create_task(anext(answers))  # type: ignore[arg-type]
            asked = asyncio.create_task(settled(component))
            for _ in range(10):  # turns of the loop, in which the request reaches the component's queue
                await asyncio.sleep(0)
            held.set()
            await asked
            await following
            assert user.made[:3] == [0, 1, "predict"]

    run(Held, body, Execution.THREAD)


@EXECUTIONS
def test_the_generator_is_closed_where_it_ran(execution: Execution) -> None:
    """Leaving it runs its `finally` once, in the thread of the component; stop waits for that."""

    async def body(component: Component, user: Any) -> None:
        async with aclosing(component.stream(Method.PREDICT, X, Context())) as answers:
            await anext(answers)
        await settled(component)
        (closed_in,) = user.closed_in
        assert (closed_in is threading.main_thread()) == (execution is Execution.INLINE)

    run(Endless, body, execution)


def test_stop_ends_a_stream_that_is_still_read() -> None:
    """The next item is refused, and the generator is closed."""

    async def body(component: Component, user: Any) -> None:
        answers = component.stream(Method.PREDICT, X, Context())
        await anext(answers)
        stopping = asyncio.create_task(component.stop())
        await asyncio.sleep(0)
        with pytest.raises(NotReady):
            await anext(answers)
        await stopping
        assert len(user.closed_in) == 1

    run(Endless, body, Execution.THREAD)


@EXECUTIONS
def test_an_item_that_cannot_be_sent_closes_the_generator(execution: Execution) -> None:
    """The generator is not asked for another one."""

    class Odd(Endless):
        def predict_stream(self, X: Any, names: Any) -> Iterator[Any]:
            try:
                yield object()
            finally:
                self.closed_in.append(threading.current_thread())

    async def body(component: Component, user: Any) -> None:
        with pytest.raises(ComponentError, match="object"):
            await anext(component.stream(Method.PREDICT, X, Context()))
        await settled(component)
        assert len(user.closed_in) == 1

    run(Odd, body, execution)


def test_tags_and_metrics_are_asked_after_each_item() -> None:
    """Each item is an answer of its own."""

    class Tells:
        def __init__(self) -> None:
            self.asked = 0

        def predict_stream(self, X: Any) -> Iterator[Any]:
            yield from ("a", "b")

        def tags(self) -> Any:
            self.asked += 1
            return {"nth": self.asked}

    async def body(component: Component, user: Any) -> None:
        answers = [answer async for answer in component.stream(Method.PREDICT, X, Context())]
        assert [answer.payload for answer in answers] == ["a", "b"]
        assert [(answer.meta or {})["tags"] for answer in answers] == [{"nth": 1}, {"nth": 2}]

    run(Tells, body, Execution.THREAD)


def test_async_sides_of_an_inline_component_are_awaited() -> None:
    """A plain generator beside async tags runs on the event loop, others between its items."""

    class Tells:
        execution = "inline"

        def predict_stream(self, X: Any) -> Iterator[Any]:
            yield from ("a", "b")

        async def tags(self) -> Any:
            await asyncio.sleep(0)
            return {"by": "loop"}

    async def body(component: Component, user: Any) -> None:
        answers = [answer async for answer in component.stream(Method.PREDICT, X, Context())]
        assert [(answer.meta or {})["tags"] for answer in answers] == [{"by": "loop"}] * 2

    run(Tells, body, Execution.AUTO)


def test_the_event_loop_is_left_to_others_between_items_that_wait_for_nothing() -> None:
    """An async generator that never waits does not keep the event loop to itself."""

    class Greedy:
        async def predict_stream(self, X: Any) -> AsyncIterator[Any]:
            while True:
                yield [0]

    async def body(component: Component, user: Any) -> None:
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        loop = asyncio.get_running_loop()
        loop.call_soon(turn)
        async with aclosing(component.stream(Method.PREDICT, X, Context())) as answers:
            while turns < 3:
                await anext(answers)

    run(Greedy, body, Execution.THREAD)
