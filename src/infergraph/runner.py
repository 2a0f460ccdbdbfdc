"""Runners: execute coroutines that never suspend, on the event loop's thread (inline) or on a component's thread.

    edge ─▶ unit.runner(method) ─▶ INLINE  run at once, no task
                                   Runner  run in a thread, `done` is called on the loop
                                   None    the answer may wait: an asyncio task

Code that may have to wait is written once, as a coroutine; if it is known that nothing in it will wait, it is run to
completion without a task.
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
    """Run a coroutine that never suspends, and return its result.

    Raises: what it raises; RuntimeError if it does suspend, which closes it.
    """
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError("a coroutine that was said to wait for nothing waits")


class Job(msgspec.Struct, kw_only=True, eq=False):
    """A coroutine that never suspends, for a runner to run, and its result.

    Args:
        work: the coroutine.
        done: called on the event loop on completion, unless it completed in `submit`.
        abandoned: its result is no longer needed.
        context: the caller's context variables, such as the trace of its request.
    """

    work: Coroutine[Any, Any, Any] | None = None
    done: Callable[[Any], None] | None = None
    context: contextvars.Context = msgspec.field(default_factory=contextvars.copy_context)
    result: Any = None
    error: BaseException | None = None
    abandoned: bool = False

    def close(self) -> None:
        """Close the coroutine, if it has not been started."""
        work, self.work = self.work, None
        if work is not None:
            work.close()


class UserContext:
    """The context variables of user code in one thread, kept from one job to the next as in any program.

    Python keeps the precision of decimals there, and NumPy its error handling: what `load` sets applies to all
    requests. A request's own variables, such as its trace, are laid over them for its job.

    Args:
        kept: the initial context of the user code; empty in a new thread.
        base: the context that requests are started from; what differs from it belongs to the request.
    """

    def __init__(self, kept: contextvars.Context, base: contextvars.Context) -> None:
        self._kept = kept
        self._base = base
        self._is_entered = False

    def drive(self, job: Job) -> None:
        """Run a job to completion in this thread.

        Promises: if user code forks and returns in both processes, only the parent completes the job.
        """
        pid = os.getpid()
        if self._is_entered:  # user code runs its own event loop, and calls a unit there
            job.context.run(_drive_job, job)
        else:
            self._is_entered = True
            try:
                # Equal contexts mostly are one mapping, which their comparison sees at once.
                self._kept.run(_drive_job if job.context == self._base else self._overlay, job)
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
    work, job.work = job.work, None
    try:
        job.result = drive(work)  # type: ignore[arg-type]
    except BaseException as error:  # noqa: BLE001 - passed on to the caller
        job.error = error


class Runner(ABC):
    """Runs coroutines that never suspend. One for each thread, or thread pool, that components run on."""

    @abstractmethod
    def submit(self, job: Job) -> bool:
        """Run a job; to be called on the event loop.

        Returns: whether it has completed; if not, its `done` is called on the event loop, once.
        Promises: an abandoned job that has not started never runs, and `done` of an abandoned one is not called.
        """

    @abstractmethod
    def is_current(self) -> bool:
        """Whether the caller is executed by this runner."""

    def has_waiting(self) -> bool:
        """Whether other jobs wait for the one that asks; if so, a long one should end its turn."""
        return False

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` and return its result; awaited directly if the caller is executed by this runner already."""
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
        finally:
            # An error refers to this frame by its traceback: if this frame referred to it, both would keep the request.
            job.result = job.error = job.done = None
            del future

    async def call(self, function: Callable[[], T]) -> T:
        """Call a plain function on this runner, and return its result."""
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
    """The error, in a form that a future accepts."""
    return RuntimeError("a coroutine raised StopIteration") if isinstance(error, StopIteration) else error


class Inline(Runner):
    """Runs work directly on the event loop's thread, which is blocked meanwhile.

    The running loop is hidden from the work: user code may run its own event loop, as in a thread.
    """

    def __init__(self) -> None:
        self._own = threading.local()

    def submit(self, job: Job) -> bool:
        """Run it now."""
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
"""The runner of everything that runs on the event loop's thread."""
