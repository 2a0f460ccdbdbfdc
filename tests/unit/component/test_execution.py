"""Where plain work runs: in a thread of its own, or where it is called."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from infergraph.component.execution import ComponentThread, is_inline
from infergraph.errors import NotReady
from infergraph.runner import INLINE, Runner, drive
from infergraph.settings import Execution


@asynccontextmanager
async def thread_of(name: str = "u", threads: int = 1) -> AsyncIterator[ComponentThread]:
    thread = ComponentThread(name, threads)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()


@asynccontextmanager
async def runner_of(kind: str) -> AsyncIterator[Runner]:
    if kind == "inline":
        yield INLINE
        return
    async with thread_of(threads=4 if kind == "pool" else 1) as thread:
        yield thread


def run(scenario: Callable[[Runner], Coroutine[Any, Any, Any]], kind: str = "thread") -> Any:
    async def body() -> Any:
        async with runner_of(kind) as runner:
            return await scenario(runner)

    return asyncio.run(body())


async def where() -> int:
    return threading.get_ident()


KINDS = pytest.mark.parametrize("kind", ["inline", "thread", "pool"])


@pytest.mark.parametrize(("kind", "is_here"), [("inline", True), ("thread", False), ("pool", False)])
def test_work_runs_where_its_runner_is(kind: str, is_here: bool) -> None:
    """Inline work runs in the caller's thread, other work never does."""

    async def scenario(runner: Runner) -> bool:
        return await runner.run(where()) == threading.get_ident()

    assert run(scenario, kind) is is_here


def test_one_thread_is_the_same_for_ever() -> None:
    """However many requests come side by side, one thread runs them all, one at a time."""
    running: list[int] = []
    worst: list[int] = []

    async def work() -> int:
        running.append(1)
        worst.append(len(running))
        time.sleep(0.0005)  # noqa: ASYNC251 - user code blocks
        running.pop()
        return threading.get_ident()

    async def scenario(runner: Runner) -> set[int]:
        return set(await asyncio.gather(*(runner.run(work()) for _ in range(100))))

    assert len(run(scenario)) == 1
    assert max(worst) == 1


def test_a_pool_runs_work_side_by_side() -> None:
    """As many pieces of work as there are threads meet each other."""
    barrier = threading.Barrier(4)

    async def work() -> int:
        return barrier.wait(30)

    async def scenario(runner: Runner) -> list[int]:
        return await asyncio.gather(*(runner.run(work()) for _ in range(4)))

    assert sorted(run(scenario, "pool")) == [0, 1, 2, 3]


def test_an_answer_does_not_wait_for_the_work_behind_it() -> None:
    """What is handed over in one turn is answered piece by piece: a fast one is here before a slow one has ended."""
    go = threading.Event()

    async def slow() -> bool:
        return go.wait(30)

    async def scenario(runner: Runner) -> tuple[bool, bool]:
        fast, waiting = asyncio.ensure_future(runner.run(where())), asyncio.ensure_future(runner.run(slow()))
        await fast
        was_done = waiting.done()
        go.set()
        return was_done, await waiting

    assert run(scenario) == (False, True)


@KINDS
def test_work_inside_work_needs_no_hop(kind: str) -> None:
    """A unit that is asked by another of the same runner answers there and then, which a single thread could not wait
    for.
    """

    async def scenario(runner: Runner) -> bool:
        async def outer() -> bool:
            return await runner.run(where()) == threading.get_ident()

        return await runner.run(outer())

    assert run(scenario, kind)


@KINDS
def test_what_work_raises_reaches_who_asked(kind: str) -> None:
    """An exception arrives as itself, and the runner goes on."""

    async def fails() -> None:
        raise KeyError("this one")

    async def scenario(runner: Runner) -> int:
        with pytest.raises(KeyError, match="this one"):
            await runner.run(fails())
        return await runner.run(where())

    assert run(scenario, kind)


def test_cancelled_work_that_has_not_begun_never_runs() -> None:
    """A queued call whose request is cancelled is dropped."""
    ran: list[str] = []
    release = threading.Event()

    async def note(name: str) -> None:
        ran.append(name)

    async def block() -> None:
        release.wait(30)

    async def scenario(runner: Runner) -> None:
        first = asyncio.create_task(runner.run(block()))
        queued = asyncio.create_task(runner.run(note("queued")))
        await asyncio.sleep(0)
        queued.cancel()
        await asyncio.gather(queued, return_exceptions=True)
        release.set()
        await first
        await runner.run(note("after"))

    run(scenario)
    assert ran == ["after"]


@KINDS
def test_work_sees_the_context_of_its_request(kind: str) -> None:
    """A context variable set by the caller, as the current trace span is, is there wherever the work runs."""
    span: ContextVar[str] = ContextVar("span", default="none")

    async def work() -> str:
        return span.get()

    async def scenario(runner: Runner) -> list[str]:
        seen = []
        for name in ("a", "b"):
            span.set(name)
            seen.append(await runner.run(work()))
        return seen

    assert run(scenario, kind) == ["a", "b"]


@KINDS
def test_plain_work_may_run_an_event_loop_of_its_own(kind: str) -> None:
    """`asyncio.run` works in user code wherever that runs, and the loop around it goes on."""

    async def own() -> int:
        return asyncio.run(asyncio.sleep(0, 7))

    async def scenario(runner: Runner) -> list[Any]:
        return [await runner.run(own()), await runner.run(own()), asyncio.get_running_loop().is_running()]

    assert run(scenario, kind) == [7, 7, True]


def test_a_thread_has_an_event_loop_to_find() -> None:
    """`asyncio.get_event_loop()` works as in a program's main thread, even where other user code has put it away."""
    found: list[asyncio.AbstractEventLoop] = []

    async def finds() -> int:
        loop = asyncio.get_event_loop()
        found.append(loop)
        return loop.run_until_complete(asyncio.sleep(0, 7))

    async def puts_away() -> None:
        asyncio.set_event_loop(None)

    async def closes() -> None:
        asyncio.get_event_loop().close()

    async def scenario(runner: Runner) -> list[int]:
        answers = []
        for spoil in (puts_away, closes):
            answers.append(await runner.run(finds()))
            await runner.run(spoil())
        return [*answers, await runner.run(finds())]

    assert run(scenario) == [7, 7, 7]


def test_a_threads_event_loop_goes_with_it() -> None:
    """The loop that a thread was given is closed when the thread ends."""

    async def work() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        return asyncio.get_event_loop(), threading.current_thread()

    async def scenario() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        async with thread_of() as thread:
            return await thread.run(work())

    loop, thread = asyncio.run(scenario())
    thread.join(30)
    assert loop.is_closed()


def test_a_thread_is_shared_until_the_last_has_stopped() -> None:
    """A thread that two components use ends with the second; who asks then is told so."""

    async def scenario() -> None:
        async with thread_of() as thread:
            async with thread_of():
                pass
            thread.start()
            thread.stop()
            assert await thread.run(where()) != threading.get_ident()
        with pytest.raises(NotReady, match="stopped"):
            await thread.run(where())
        thread.start()
        assert await thread.run(where())
        thread.stop()

    asyncio.run(scenario())


@KINDS
def test_a_forked_child_that_comes_back_answers_nothing(kind: str, tmp_path: Any) -> None:
    """User code that forks and returns in both processes is answered once, by the parent; the child is gone."""
    noted = tmp_path / "child"

    async def forks() -> int:
        child = os.fork()
        if not child:
            noted.write_text("here")
        return child

    async def scenario(runner: Runner) -> int:
        return await runner.run(forks())

    child = run(scenario, kind)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert noted.read_text() == "here"


def test_the_setting_goes_before_the_class() -> None:
    """A class may declare itself inline; the setting decides where it says more than `auto`."""

    class Plain:
        pass

    class Declared:
        execution = "inline"

    class Unrelated:
        execution = 5

    assert [is_inline(Execution.AUTO, kind) for kind in (Plain, Declared, Unrelated)] == [False, True, False]
    assert not is_inline(Execution.THREAD, Declared)
    assert is_inline(Execution.INLINE, Plain)


def test_driving_a_coroutine_that_waits_is_an_error() -> None:
    """Plain work that awaits something real is told so, rather than left hanging."""

    class Waiting:
        def __await__(self) -> Any:
            yield

    async def waits() -> None:
        await Waiting()

    with pytest.raises(RuntimeError, match="waits"):
        drive(waits())


def test_a_request_that_fails_is_freed_at_its_end() -> None:
    """Without the garbage collector: neither the error nor the thread keeps what a coroutine was asked about."""

    class Held:
        """What it is asked about."""

    async def fails(held: Held) -> None:
        raise ValueError("boom")

    async def ask(thread: ComponentThread) -> weakref.ref[Held]:
        held = Held()
        with pytest.raises(ValueError, match="boom"):
            await thread.run(fails(held))
        return weakref.ref(held)

    async def asked() -> bool:
        thread = ComponentThread("unit")
        thread.start()
        try:
            freed = await ask(thread)
            await thread.call(lambda: None)
            return freed() is None
        finally:
            thread.stop()

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(asked())
    finally:
        gc.enable()
