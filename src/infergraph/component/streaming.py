"""The hook `predict_stream`: its generator runs in the component's thread, or on the event loop if it is async.

    turn wanted ─▶ thread: next, next, … ─each item at once─▶ loop: item, item, … ─▶ turn wanted …

The thread works ahead by a few items. It ends its turn early where other requests wait for it, so that these wait for
one item, or for a millisecond of them, and no longer (docs/decisions/0029-streams.md).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, suppress
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from infergraph.component import results
from infergraph.component.hooks import Hook, MethodHooks
from infergraph.component.results import Returned
from infergraph.errors import ComponentError, NotReady
from infergraph.message import Answers, Content, Context, Message
from infergraph.runner import INLINE, Job, Runner, drive
from infergraph.wire.v2.records import TensorSet

T = TypeVar("T")

_log = logging.getLogger(__name__)

_AHEAD = 16
"""Items that the thread may be ahead of the reader."""

_HEAVY_BYTES = 256 * 1024
"""After an item larger than this the thread waits for the reader."""

_TURN_S = 0.001
_CLOSING_S = 1.0

Items: TypeAlias = "Iterator[Any] | AsyncIterator[Any]"
END = object()
"""Follows the last item."""


class Asked(NamedTuple):
    """The request that a stream answers, and whether its user code runs on the event loop."""

    message: Message
    context: Context
    on_loop: bool


class Owner(Protocol):
    """A component, as its streams see it."""

    def as_users(self, call: Callable[[], Coroutine[Any, Any, T]], asked: Asked) -> Coroutine[Any, Any, T]:
        """The result of a coroutine function that calls user code for a request."""

    async def read(self, message: Message) -> Content:
        """What the hook is handed of a message."""

    async def answer_with(self, response: Returned, given: Content, message: Message) -> Message:
        """The answer for one item."""


class Streams:
    """The streams of one component.

    Args:
        runner: of plain user code; None where it has to run on the event loop.
    """

    def __init__(self, owner: Owner, hook: Hook, runner: Runner | None) -> None:
        self._owner = owner
        self._hook = hook
        self._runner = runner
        self._open: set[_Pulled] = set()
        self._has_stopped = False

    async def answers(self, message: Message, context: Context) -> Answers:
        """The items of the hook as answers to a request."""
        owner, runner = self._owner, None if self._hook.is_async else self._runner
        asked = Asked(message, context, on_loop=runner is None)
        opening = owner.as_users(partial(self._call, message), asked)
        given, items = await (opening if runner is None else runner.run(opening))
        if isinstance(items, AsyncIterator):
            runner, asked = None, asked._replace(on_loop=True)
        work = _Work(
            partial(owner.as_users, partial(self._next, items, given, message), asked),
            partial(owner.as_users, partial(close, items), asked),
        )
        async with aclosing(_on_loop(work) if runner is None else self._pulled(runner, work)) as answers:
            async for answer in answers:
                yield answer
                if self._has_stopped:
                    raise NotReady("the component has stopped")

    async def stop(self) -> None:
        """End the streams, and wait for a while until their generators are closed."""
        self._has_stopped = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                for stream in list(self._open):
                    await stream.closed.wait()

    async def _call(self, message: Message) -> tuple[Content, Items]:
        given = await self._owner.read(message)
        names = given.names
        result = self._hook.call(given.payload, names if names or names is None else [], given.meta)
        return given, await opened(result)

    async def _next(self, items: Items, given: Content, message: Message) -> Message | None:
        result = await following(items)
        if result is END:
            return None
        response = results.unwrap(result, given.payload)
        return await self._owner.answer_with(response, given, message)

    async def _pulled(self, runner: Runner, work: _Work) -> Answers:
        pulled = _Pulled(runner, work, self._open.discard)
        self._open.add(pulled)
        try:
            while (answer := await pulled.following()) is not None:
                yield answer
        finally:
            pulled.leave()


class _Work(NamedTuple):
    """The user code of one stream: what makes the next answer, or None at the end; and what closes the generator."""

    take: Callable[[], Coroutine[Any, Any, Message | None]]
    close: Callable[[], Coroutine[Any, Any, None]]


async def _on_loop(work: _Work) -> Answers:
    """The answers of a stream whose user code runs on the event loop, which others get in between."""
    since = perf_counter()
    try:
        while (answer := await work.take()) is not None:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError  # the generator has caught it
            yield answer
            if perf_counter() - since > _TURN_S:
                await asyncio.sleep(0)
                since = perf_counter()
    finally:
        await work.close()


def items_of(result: Any) -> Items:
    """What the hook returned as an iterator.

    Raises: ComponentError if it is none.
    """
    if isinstance(result, Iterator | AsyncIterator):
        return result
    raise ComponentError(f"predict_stream must be a generator, and it returned a {type(result).__name__}")


def only_item(streamed: Hook) -> MethodHooks:
    """How a component without `predict` answers it: with the only item of its stream.

    Raises: when it is called, ComponentError for any other number of items.
    """

    def take(*arguments: Any) -> Any:
        return drive(take_async(*arguments))

    async def take_async(*arguments: Any) -> Any:
        items = await opened(streamed.call(*arguments))
        try:
            return _only(await following(items), await following(items))
        finally:
            await close(items)

    plain = Hook(take_async, True) if streamed.is_async else Hook(take, False)
    return MethodHooks(plain, None, None, None, streamed.is_async, False)


def _only(first: Any, second: Any) -> Any:
    if first is not END and second is END:
        return first
    given = "no item" if first is END else "several items"
    text = f"predict_stream gave {given}, and there is no predict: ask for a stream"
    raise ComponentError(text, status=400, reason="MICROSERVICE_BAD_DATA")


async def opened(result: Any) -> Items:
    """The iterator of an async hook, which may be a coroutine that returns it."""
    return items_of(await result if inspect.isawaitable(result) else result)


async def following(items: Items) -> Any:
    """The next item, or END. Waits for nothing where they are not async."""
    return await anext(items, END) if isinstance(items, AsyncIterator) else next(items, END)


async def close(items: Items) -> None:
    """Close a generator; what it raises then is logged. Waits for nothing where it is not async."""
    closing = getattr(items, "aclose", None) or getattr(items, "close", None)
    if closing is None:
        return
    try:
        waiting = closing()
        if inspect.isawaitable(waiting):
            await waiting
    except asyncio.CancelledError:
        raise
    except BaseException:  # noqa: BLE001 - user code may raise anything
        _log.exception("predict_stream could not be closed")


class _Pulled:
    """The answers of a stream that are made by a runner, a few ahead of their reader.

    Args:
        on_closed: called once the generator is closed.
    Promises: the generator is closed once, after `leave`, and not while it runs.
    """

    def __init__(self, runner: Runner, work: _Work, on_closed: Callable[[_Pulled], None]) -> None:
        self._runner = runner
        self._work = work
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._is_signalled = self._is_running = self._is_over = self._is_left = False
        self._ahead = 1  # the first item goes out alone, as early as it can
        self._error: BaseException | None = None
        self.closed = asyncio.Event()

    async def following(self) -> Message | None:
        """The next answer; None at the end.

        Raises: what `take` raised.
        """
        while not self._ready:
            if self._is_over:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            if not self._is_running:
                self._start_turn()
            await (asyncio.sleep(0) if self._runner is INLINE else self._changed.wait())
        return self._ready.popleft()

    def leave(self) -> None:
        """There is no reader any more: close the generator, once it is not running."""
        self._is_left = True
        if not self._is_running:
            self._submit_close()

    def _start_turn(self) -> None:
        self._is_running = True
        job = Job(work=self._turn(), done=self._turned)
        if self._runner.submit(job):
            self._turned(job)

    def _turned(self, job: Job) -> None:
        self._is_running = False
        self._ahead = 1 if self._runner is INLINE else _AHEAD
        if job.error is not None:
            self._error, self._is_over = job.error, True
        elif job.result:
            self._is_over = True
        self._changed.set()
        if self._is_left:
            self._submit_close()

    def _submit_close(self) -> None:
        job = Job(work=self._work.close(), done=self._has_closed)
        if self._runner.submit(job):
            self._has_closed(job)

    def _has_closed(self, job: Job) -> None:
        self.closed.set()
        self._on_closed(self)

    # ── in the runner ───────────────────────────────────────────────────────────────────────────────────────────

    async def _turn(self) -> bool:
        """Make answers until enough are ahead or others wait; whether the stream is at its end."""
        began = perf_counter()
        while not self._is_left:
            message = await self._work.take()
            if message is None:
                return True
            self._ready.append(message)
            if self._is_enough(message, began):
                return False
            if not self._is_signalled:
                self._is_signalled = True
                with suppress(RuntimeError):  # the loop is closed, and so nobody reads
                    self._loop.call_soon_threadsafe(self._signal)
        return False

    def _is_enough(self, message: Message, began: float) -> bool:
        if len(self._ready) >= self._ahead or _size_bytes(message) > _HEAVY_BYTES:
            return True
        return self._runner.has_waiting() and perf_counter() - began > _TURN_S

    def _signal(self) -> None:
        self._is_signalled = False
        self._changed.set()


def _size_bytes(message: Message) -> int:
    """The size of an answer's arrays or text; values of other kinds count as nothing."""
    payload = message.payload
    if isinstance(payload, TensorSet | np.ndarray):
        return payload.nbytes
    return len(payload) if isinstance(payload, str | bytes) else 0
