"""Where plain work runs."""

import asyncio
import gc
import sqlite3
import threading
import time
from contextvars import ContextVar
from typing import Any

import pytest

from infergraph.at_once import drive
from infergraph.component.execution import Executor, is_thread_bound
from infergraph.settings import Execution


async def where() -> str:
    return threading.current_thread().name


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


@pytest.mark.parametrize(("execution", "inline"), [(Execution.INLINE, True), (Execution.THREAD, False)])
def test_the_setting_pins_the_place(execution: Execution, inline: bool) -> None:
    """`inline` runs on the event loop's thread and `thread` never does."""

    async def scenario() -> bool:
        return await Executor(execution, 1, "u").run(where()) == threading.current_thread().name

    assert run(scenario()) is inline


def test_fast_work_earns_its_place_on_the_loop_and_stalls_lose_it_for_good() -> None:
    """After many fast calls work runs inline; one stall is forgiven, three in a row send it to threads for ever."""

    async def stall() -> str:
        time.sleep(0.02)  # noqa: ASYNC251 - it stalls on purpose
        return threading.current_thread().name

    async def often(pace: Executor, times: int = 900) -> list[str]:
        return [await pace.run(where()) for _ in range(times)]

    async def scenario() -> tuple[str, str, list[str], list[str]]:
        pace = Executor(Execution.AUTO, 1, "u")
        first = await pace.run(where())
        await often(pace)
        forgiven = [await pace.run(stall()), *await often(pace, 3)]
        stalls = [await pace.run(stall()) for _ in range(2)]
        return first, stalls[-1], forgiven, await often(pace)

    here = threading.current_thread().name
    first, last_stall, forgiven, later = run(scenario())
    assert first.startswith("u-unit")
    assert set(forgiven) == {here}
    assert last_stall == here
    assert all(name.startswith("u-unit") for name in later)


def test_trusted_work_comes_back_to_the_loop_under_steady_load() -> None:
    """Fast work that finds the pool busy waits for it to empty and runs inline, so that load does not keep it there."""
    go = threading.Event()

    async def large() -> str:
        assert go.wait(30)  # it blocks its thread on purpose
        return await where()

    async def scenario() -> tuple[str, list[str], bool]:
        pace = Executor(Execution.AUTO, 1, "u")
        for _ in range(40):
            await pace.run(where())
        first = asyncio.ensure_future(pace.run(large(), large=True))
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(pace.run(where())) for _ in range(16)]
        await asyncio.sleep(0)
        others[3].cancel()
        await asyncio.sleep(0)
        began_early = any(task.done() and not task.cancelled() for task in others)
        go.set()
        names = await asyncio.gather(*others, return_exceptions=True)
        return await first, [name for name in names if isinstance(name, str)], began_early

    here = threading.current_thread().name
    first, names, began_early = run(scenario())
    assert first.startswith("u-unit")
    assert not began_early
    assert names == [here] * 15


def test_one_thread_never_overlaps_calls_of_user_code() -> None:
    """With one thread, inline and pool together run at most one call at a time."""
    running: list[int] = []
    worst: list[int] = []

    def work(seconds: float) -> Any:
        async def body() -> None:
            running.append(1)
            worst.append(len(running))
            time.sleep(seconds)  # noqa: ASYNC251 - user code blocks
            running.pop()

        return body()

    async def scenario() -> None:
        pace = Executor(Execution.AUTO, 1, "u")
        for _ in range(100):
            await pace.run(work(0))
        await asyncio.gather(*(pace.run(work(0.002), large=place % 3 == 0) for place in range(30)))

    run(scenario())
    assert max(worst) == 1


def test_cancelled_work_that_has_not_begun_never_runs() -> None:
    """A queued call whose request is cancelled is dropped."""
    ran: list[str] = []

    async def note(name: str) -> None:
        ran.append(name)

    async def block(release: threading.Event) -> None:
        release.wait(5)

    async def scenario() -> None:
        pace = Executor(Execution.THREAD, 1, "u")
        release = threading.Event()
        first = asyncio.create_task(pace.run(block(release)))
        queued = asyncio.create_task(pace.run(note("queued")))
        await asyncio.sleep(0)
        queued.cancel()
        await asyncio.gather(queued, return_exceptions=True)
        release.set()
        await first
        await pace.run(note("after"))

    run(scenario())
    assert ran == ["after"]


@pytest.mark.parametrize("execution", [Execution.THREAD, Execution.INLINE])
def test_work_sees_the_context_of_its_request(execution: Execution) -> None:
    """A context variable set by the caller, as the current trace span is, is there wherever the work runs."""
    span: ContextVar[str] = ContextVar("span", default="none")

    async def work() -> str:
        return span.get()

    async def ask() -> list[str]:
        pace = Executor(execution, 1, "u")
        seen = []
        for name in ("a", "b"):
            span.set(name)
            seen.append(await pace.run(work()))
        pace.close()
        return seen

    assert run(ask()) == ["a", "b"]


def test_what_must_stay_in_its_thread_is_seen() -> None:
    """A component that holds a database connection is thread-bound; a plain one is not."""

    class Plain:
        pass

    class Bound:
        def __init__(self) -> None:
            self.database = sqlite3.connect(":memory:")

    bound = Bound()
    assert is_thread_bound(bound)
    bound.database.close()
    assert not is_thread_bound(Plain())
    assert not is_thread_bound(5)


def test_driving_a_coroutine_that_waits_is_an_error() -> None:
    """Plain work that awaits something real is told so, rather than left hanging."""

    class Waiting:
        def __await__(self) -> Any:
            yield

    async def waits() -> None:
        await Waiting()

    with pytest.raises(RuntimeError, match="waited"):
        drive(waits())


@pytest.mark.parametrize("execution", [Execution.INLINE, Execution.THREAD])
def test_plain_work_may_run_an_event_loop_of_its_own(execution: Execution) -> None:
    """`asyncio.run` works in user code wherever that runs, and the loop around it goes on."""

    async def own() -> int:
        return asyncio.run(asyncio.sleep(0, 7))

    async def scenario() -> tuple[int, bool]:
        answer = await Executor(execution, 1, "u").run(own())
        return answer, asyncio.get_running_loop().is_running()

    assert run(scenario()) == (7, True)


def test_a_thread_has_an_event_loop_to_find() -> None:
    """`asyncio.get_event_loop()` works as in a program's main thread, and who uses it stays in the threads."""

    async def found() -> int:
        return asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, 7))

    async def scenario() -> bool:
        pace = Executor(Execution.AUTO, 1, "u")
        assert [await pace.run(found()) for _ in range(100)] == [7] * 100
        return pace.is_inline(large=False)

    assert not run(scenario())


def test_a_threads_event_loop_goes_with_it() -> None:
    """The loop that a thread was given is closed once the thread is gone, also by way of the garbage collector."""
    found: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        found.append(asyncio.get_event_loop())

    async def run() -> None:
        pace = Executor(Execution.THREAD, 1, "unit")
        pace.itself = pace  # type: ignore[attr-defined]
        await pace.run(work())
        assert not found[0].is_closed()
        pace._pool.shutdown(wait=True)

    asyncio.run(run())
    gc.collect()
    assert found[0].is_closed()
