"""The life of one request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from infergraph.component.execution import ComponentThread
from infergraph.errors import DeadlinePassed, Overloaded, PayloadError
from infergraph.runner import INLINE, Runner
from infergraph.serving.admission import Admission
from infergraph.serving.call import AccessLine, Call, Calls

KINDS = pytest.mark.parametrize("kind", ["inline", "thread", "task"])


class Account:
    """An account that keeps what it is told."""

    def __init__(self) -> None:
        self.running = 0
        self.codes: list[str] = []

    def started(self) -> None:
        self.running += 1

    def finished(self, method: str, code: str, *_: object) -> None:
        self.running -= 1
        self.codes.append(code)


class Asked(Call, kw_only=True, eq=False):
    """A call whose reply is kept, and tells who waits for it."""

    replied: list[Any] = msgspec.field(default_factory=list)
    is_given_up: bool = False
    ended: asyncio.Event | None = None

    gone_code = "gone"

    def reply(self) -> tuple[str, int]:
        self.replied.append(self.error or self.result)
        if self.ended is not None:
            self.ended.set()
        return ("bad" if self.error else "good"), 1

    def give_up(self) -> None:
        self.is_given_up = True

    def late(self) -> DeadlinePassed:
        return DeadlinePassed("too late")

    def access_line(self) -> AccessLine:
        return AccessLine("POST", "/here")


Handler = Callable[[Call], Coroutine[Any, Any, Any]]


class Desk:
    """Calls, their account and what drives them."""

    def __init__(self, kind: str, concurrency_limit: int = 0) -> None:
        self.account = Account()
        self.admission = Admission(concurrency_limit=concurrency_limit)
        self.calls = Calls(self.admission, self.account)
        self._thread = ComponentThread("unit")
        self._thread.start()
        self._runner: Runner | None = {"inline": INLINE, "thread": self._thread}.get(kind)

    def start(self, handler: Handler, **more: Any) -> Asked:
        call = Asked(
            name="predict", transport="rest", handler=handler, runner=self._runner, ended=asyncio.Event(), **more
        )
        self.calls.start(call)
        return call

    async def outcome(self, handler: Handler, **more: Any) -> Any:
        call = self.start(handler, **more)
        assert call.ended is not None
        await call.ended.wait()
        return call.replied[0]

    def stop(self) -> None:
        self._thread.stop()


def run(kind: str, scenario: Callable[[Desk], Coroutine[Any, Any, Any]], **limits: int) -> tuple[Any, Account]:
    async def body() -> tuple[Any, Account]:
        desk = Desk(kind, **limits)
        try:
            outcome = await scenario(desk)
            await asyncio.sleep(0)
            assert desk.admission.in_flight == desk.account.running == 0
            return outcome, desk.account
        finally:
            desk.stop()

    return asyncio.run(body())


async def seven(call: Call) -> int:
    return 7


async def refuse(call: Call) -> int:
    raise PayloadError("no such thing")


async def break_down(call: Call) -> int:
    raise KeyError("ours")


@KINDS
def test_an_answer_is_sent_and_counted(kind: str) -> None:
    """Whatever drives the handler, its answer reaches the reply, and the call the account."""
    assert run(kind, lambda desk: desk.outcome(seven))[0] == 7
    assert run(kind, lambda desk: desk.outcome(seven))[1].codes == ["good"]


@KINDS
def test_what_is_raised_is_replied_to_and_only_our_own_errors_are_logged(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault is told and counted; an error of ours is told, counted, and logged with its path."""
    outcome, account = run(kind, lambda desk: desk.outcome(refuse))
    assert isinstance(outcome, PayloadError)
    assert account.codes == ["bad"]
    assert not caplog.records
    outcome, account = run(kind, lambda desk: desk.outcome(break_down))
    assert isinstance(outcome, KeyError)
    assert account.codes == ["bad"]
    assert ["/here" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("kind", ["thread", "task"])
def test_time_runs_out(kind: str) -> None:
    """A call that takes longer than it may is told so, and what comes later is nobody's."""
    release = threading.Event()

    async def block(call: Call) -> int:
        if kind == "thread":
            release.wait(30)
        else:
            await asyncio.Event().wait()
        return 7

    async def scenario(desk: Desk) -> Any:
        try:
            return await desk.outcome(block, limit_s=0.01)
        finally:
            release.set()

    outcome, account = run(kind, scenario)
    assert isinstance(outcome, DeadlinePassed)
    assert account.codes == ["bad"]


@pytest.mark.parametrize("kind", ["thread", "task"])
def test_a_caller_that_leaves_is_counted_once_and_gets_no_reply(kind: str) -> None:
    """An abandoned call is over at once: no reply, one line in the account, work that has not begun never begins."""
    ran: list[int] = []

    async def note(call: Call) -> None:
        ran.append(1)

    async def scenario(desk: Desk) -> list[Any]:
        call = desk.start(note)
        desk.calls.abandon(call)
        desk.calls.abandon(call)
        await desk.outcome(seven)
        return call.replied

    replied, account = run(kind, scenario)
    assert (replied, ran, account.codes) == ([], [], ["gone", "good"])


@pytest.mark.parametrize("ends", ["raises", "answers"])
def test_a_call_that_ends_after_its_caller_left_keeps_nothing(ends: str) -> None:
    """Its error's traceback refers to the call, which would keep the request until the garbage collector comes."""

    async def scenario(desk: Desk) -> None:
        may_end, has_begun = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        async def handle(call: Call) -> str:
            loop.call_soon_threadsafe(has_begun.set)
            may_end.wait(30)
            if ends == "raises":
                raise ValueError("boom")
            return "late"

        async def after(call: Call) -> str:
            return "next"

        call = desk.start(handle)
        await has_begun.wait()
        desk.calls.abandon(call)
        may_end.set()
        assert await desk.outcome(after) == "next"  # in the same thread, and so after the other
        assert call.error is None
        assert call.result is None

    run("thread", scenario)


def test_one_too_many_is_refused_unless_it_is_a_probe() -> None:
    """Above the concurrency limit a call is Overloaded; calls that are not gated, as probes are, pass."""

    async def block(call: Call) -> None:
        await asyncio.Event().wait()

    async def scenario(desk: Desk) -> list[Any]:
        first = desk.start(block)
        outcomes = [await desk.outcome(seven), await desk.outcome(seven, is_gated=False)]
        desk.calls.abandon(first)
        return outcomes

    (refused, passed), _ = run("task", scenario, concurrency_limit=1)
    assert isinstance(refused, Overloaded)
    assert passed == 7


@KINDS
def test_a_reply_that_cannot_be_sent_harms_nobody(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where sending fails, the call is given up and counted as gone, and the next one is answered."""

    class Unsendable(Asked, kw_only=True, eq=False):
        def reply(self) -> tuple[str, int]:
            super().reply()
            raise ValueError("a header with a line end")

    async def scenario(desk: Desk) -> Any:
        ended = asyncio.Event()
        call = Unsendable(name="predict", transport="rest", handler=seven, runner=desk._runner, ended=ended)
        desk.calls.start(call)
        await ended.wait()
        outcome = await desk.outcome(seven)
        assert call.is_given_up
        return outcome

    outcome, account = run(kind, scenario)
    assert (outcome, account.codes) == (7, ["gone", "good"])
    assert len(caplog.records) == 1
