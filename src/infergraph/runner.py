"""Where an answer that waits for nothing is made: on the event loop's own thread (inline), or on a component's thread.

    edge ─▶ unit.runner(method) ─▶ INLINE  run at once, no task
                                   Runner  handed to a thread, `done` is called on the loop
                                   None    the answer may wait: an asyncio task

What may have to wait is written once, as a coroutine; where it is known that nothing in it will wait, it is driven to
its end without a task.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def drive(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing.

    Raises: what it raises; RuntimeError if it waits after all, which ends it.
    """
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError("a coroutine that was said to wait for nothing waits")


class Job(msgspec.Struct, kw_only=True, eq=False):
    """A coroutine that waits for nothing, for a runner to drive, and in the end what came of it.

    Args:
        work: the coroutine.
        done: called on the event loop when it has ended, if it did not end at once.
        abandoned: nobody wants its result any more.
        context: what the work sees of its caller's context variables, such as the trace of its request.
    """

    work: Coroutine[Any, Any, Any] | None = None
    done: Callable[[Any], None] | None = None
    context: contextvars.Context = msgspec.field(default_factory=contextvars.copy_context)
    result: Any = None
    error: BaseException | None = None
    abandoned: bool = False

    def taken(self) -> Coroutine[Any, Any, Any]:
        """The work, for whoever begins it now."""
        work, self.work = self.work, None
        assert work is not None
        return work

    def close(self) -> None:
        """Forget the work, if it has not begun."""
        work, self.work = self.work, None
        if work is not None:
            work.close()


class UserContext:
    """The context variables of the user code of one thread, kept from one job to the next as in any program.

    Python keeps the precision of decimals there, and NumPy how it reports errors: what `load` sets is there for all
    requests. A request's own variables, such as its trace, are laid over them for its job.

    Args:
        kept: where the user code starts from; empty in a new thread.
        base: the context that requests come from, by which their own variables are told.
    """

    def __init__(self, kept: contextvars.Context, base: contextvars.Context) -> None:
        self._kept = kept
        self._base = dict(base.items())
        self._is_entered = False

    def drive(self, job: Job) -> None:
        """Run a job to its end, here.

        Promises: user code that forks and comes back in both processes is answered by the parent alone.
        """
        pid = os.getpid()
        if self._is_entered:  # user code runs an event loop of its own, and asks a unit there
            job.context.run(_drive_job, job)
        else:
            self._is_entered = True
            try:
                self._kept.run(self._overlay, job)
            finally:
                self._is_entered = False
        if os.getpid() != pid:
            os._exit(0)

    def _overlay(self, job: Job) -> None:
        base = self._base
        tokens = [(var, var.set(value)) for var, value in job.context.items() if base.get(var) is not value]
        _drive_job(job)
        for var, token in tokens:
            var.reset(token)


def _drive_job(job: Job) -> None:
    try:
        job.result = drive(job.taken())
    except BaseException as error:  # noqa: BLE001 - handed on to who asked
        job.error = error


class Runner(ABC):
    """Drives coroutines that wait for nothing. One for each thread, or pool of threads, that components run on."""

    @abstractmethod
    def submit(self, job: Job) -> bool:
        """Drive a job; to be called on the event loop.

        Returns: whether it has ended already; else its `done` is called on the event loop, once.
        Promises: an abandoned job that has not begun never runs, and `done` of an abandoned one is not called.
        """

    @abstractmethod
    def is_current(self) -> bool:
        """Whether the caller is being driven by this runner."""

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; where the caller is driven by this runner already it is awaited here."""
        if self.is_current():
            return await work
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        job = Job(work=work, done=functools.partial(_settle, future))
        if self.submit(job):
            _settle(future, job)
        try:
            return await future
        except asyncio.CancelledError:
            job.abandoned = True
            raise

    async def call(self, function: Callable[[], T]) -> T:
        """What a plain function gives, called by this runner."""
        return await self.run(_called(function))


async def _called(function: Callable[[], T]) -> T:
    return function()


def _settle(future: asyncio.Future[Any], job: Job) -> None:
    if future.done():
        return
    if job.error is None:
        future.set_result(job.result)
    else:
        future.set_exception(_raisable(job.error))


def _raisable(error: BaseException) -> BaseException:
    """The error itself, where a future may hold it."""
    return RuntimeError("a coroutine raised StopIteration") if isinstance(error, StopIteration) else error


class Inline(Runner):
    """Drives work where it is called, on the event loop's thread, which is held up meanwhile.

    The running loop is hidden from the work: user code may run a loop of its own, as it may in a thread.
    """

    def __init__(self) -> None:
        self._own = threading.local()

    def submit(self, job: Job) -> bool:
        """Drive it now."""
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            self._context().drive(job)
        finally:
            asyncio._set_running_loop(loop)
        return True

    def _context(self) -> UserContext:
        try:
            return self._own.context  # type: ignore[no-any-return]
        except AttributeError:
            here = contextvars.copy_context()
            self._own.context = UserContext(here, here)
            return self._own.context  # type: ignore[no-any-return]

    def is_current(self) -> bool:
        """Whether the running loop is hidden."""
        return asyncio._get_running_loop() is None


INLINE = Inline()
"""The one runner of all that runs on the event loop's thread."""
