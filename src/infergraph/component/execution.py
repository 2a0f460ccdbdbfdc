"""Where a component's plain methods run: on the event loop if they are far faster than a thread hop, else in a pool."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np

from infergraph.at_once import drive
from infergraph.settings import Execution

T = TypeVar("T")

_log = logging.getLogger(__name__)

LARGE_BYTES = 64 * 1024
"""Above this a message takes so long to read that the event loop is no place for it."""

_FAST_S = 0.0002
_SLOW_S = 0.001
_STALL_S = 0.01
_TRUSTED = 32
_TRUST_LIMIT = 1000
_SLOW_COSTS = 200
_STALLS_LIMIT = 3
_THREAD_BOUND = (sqlite3.Connection, threading.local)
_WITHOUT_PARTS = (type, ModuleType, FunctionType, BuiltinFunctionType, str, bytes, int, float, np.ndarray)
_CONTAINERS = (dict, list, tuple, set, frozenset)
_LOOKED_AT_LIMIT = 2000


def is_large(request: object) -> bool:
    """Whether a request came with more bytes than are read on the event loop."""
    raw = getattr(request, "raw", None)
    return raw is not None and len(raw) > LARGE_BYTES


def is_thread_bound(component: object) -> bool:
    """Whether the component holds, however deep, something that must be used in the thread that made it.

    The nearest objects are looked at first, and no more than a few thousand of them.
    """
    seen: set[int] = set()
    waiting = deque([component])
    while waiting and len(seen) < _LOOKED_AT_LIMIT:
        found = waiting.popleft()
        if id(found) in seen or isinstance(found, _WITHOUT_PARTS):
            continue
        seen.add(id(found))
        if isinstance(found, _THREAD_BOUND):
            return True
        if not isinstance(found, _CONTAINERS) or len(found) <= _LOOKED_AT_LIMIT:  # a larger one is data
            waiting.extend(gc.get_referents(found))
    return False


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that remembers whether it was ever run."""

    has_run = False

    def run_forever(self) -> None:
        self.has_run = True
        super().run_forever()


class _OwnLoop:
    """The event loop of a thread, closed when the thread ends."""

    def __init__(self) -> None:
        self._loop = _Loop()
        asyncio.set_event_loop(self._loop)
        # Not by __del__: a garbage collection may have taken the loop's sockets by then.
        weakref.finalize(self, self._loop.close).atexit = False

    @property
    def has_run(self) -> bool:
        """Whether user code counts on it: then it belongs into a thread."""
        return self._loop.has_run


class Executor:
    """Runs plain work inline or in a bounded thread pool, by the time it was measured to take.

    A unit is called inline once it has been fast many times; slow calls cost that trust. A call that is slow on the
    clock may only have been preempted (a busy machine, a CPU quota), which tells nothing about the unit, so single ones
    are forgiven; three stalls of the event loop before a thousand fast calls keep the unit in the threads for good. One
    thread (the default) means that no two calls of user code ever overlap: inline work waits until the pool is empty.

    Args:
        may_move: whether work may leave its thread; asked once, before it would for the first time.
    """

    def __init__(
        self,
        execution: Execution,
        threads: int,
        name: str,
        may_move: Callable[[], bool] = lambda: True,
        enter_thread: Callable[[], None] | None = None,
    ) -> None:
        self._enter_thread = enter_thread
        self._name = name
        self._execution = execution
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"{name}-unit", initializer=self._give_loop)
        self._own = threading.local()
        self._may_move = may_move
        self._asked = False
        self._trust = 0
        self._stalls = 0
        self._threads = threads
        self._in_pool = 0
        self._waiting: list[asyncio.Future[None]] = []

    def pin_to_threads(self) -> None:
        """From now on never inline, unless that is the setting."""
        if self._execution is Execution.AUTO:
            self._execution = Execution.THREAD

    async def run(self, work: Coroutine[Any, Any, T], *, large: bool = False) -> T:
        """The result of `work`; `large` work (a big message) never runs inline unless that is pinned."""
        loop = asyncio.get_running_loop()
        if self._in_pool and self._threads == 1 and self._is_trusted(large):
            await self._wait_for_pool(loop, work)  # behind others in the pool: under load it would never be empty
        if self.is_inline(large):
            started = time.perf_counter()
            asyncio._set_running_loop(None)  # user code may run a loop of its own, as it may in a thread
            try:
                return drive(work)
            finally:
                asyncio._set_running_loop(loop)
                seconds = time.perf_counter() - started
                if seconds >= _FAST_S or self._trust < _TRUST_LIMIT:
                    self._learn(seconds, inline=True)
        self._in_pool += 1
        future = self._pool.submit(copy_context().run, self._timed, work)  # user code sees its request's trace
        future.add_done_callback(lambda done: self._left(loop, done, work))
        return await asyncio.wrap_future(future)

    def _left(self, loop: asyncio.AbstractEventLoop, done: Future[Any], work: Coroutine[Any, Any, Any]) -> None:
        if done.cancelled():
            work.close()
        try:
            loop.call_soon_threadsafe(self._count_out)
        except RuntimeError:
            self._in_pool -= 1  # the loop has gone, and who waited with it

    def _count_out(self) -> None:
        self._in_pool -= 1
        if not self._in_pool:
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_result(None)
            self._waiting.clear()

    async def _wait_for_pool(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> None:
        """Returns once the pool is empty; `work` is closed if nobody waits for it any more."""
        waiting = loop.create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            work.close()
            raise

    def is_inline(self, large: bool) -> bool:
        """Whether work would now run inline."""
        return self._execution is Execution.INLINE or (self._is_trusted(large) and not self._in_pool)

    def _is_trusted(self, large: bool) -> bool:
        return self._trust >= _TRUSTED and not large and self._execution is Execution.AUTO

    def _timed(self, work: Coroutine[Any, Any, T]) -> T:
        started = time.perf_counter()
        try:
            return drive(work)
        finally:
            self._learn(time.perf_counter() - started)
            own = getattr(self._own, "loop", None)
            if own is not None and own.has_run:
                self.pin_to_threads()

    def _give_loop(self) -> None:
        """Give a thread of the pool what `asyncio.get_event_loop()` finds in a program's main thread."""
        if self._enter_thread is not None:
            self._enter_thread()
        with contextlib.suppress(OSError):  # no more files to be had: most user code does without
            self._own.loop = _OwnLoop()

    def _learn(self, seconds: float, *, inline: bool = False) -> None:
        if seconds < _FAST_S:
            self._trust = min(self._trust + 1, _TRUST_LIMIT)
            if not self._asked and self._trust >= _TRUSTED - 1:
                self._asked = True
                if not self._may_move():
                    self.pin_to_threads()
            if self._trust == _TRUST_LIMIT:
                self._stalls = 0
        elif seconds > _SLOW_S:
            self._trust = max(0, self._trust - _SLOW_COSTS)
            if inline and seconds > _STALL_S:
                self._count_stall(seconds)

    def _count_stall(self, seconds: float) -> None:
        self._stalls += 1
        if self._stalls >= _STALLS_LIMIT and self._execution is Execution.AUTO:
            text = "%s held up the event loop %d times (last %.0f ms); it runs in threads from now on"
            _log.info(text, self._name, self._stalls, seconds * 1000)
            self.pin_to_threads()

    async def call(self, function: Any) -> Any:
        """Run a plain function in the pool (load, for one)."""
        return await asyncio.wrap_future(self._pool.submit(function))

    def close(self) -> None:
        """Let running work end and take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
