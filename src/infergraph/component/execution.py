"""Execution of a component's plain code: in its own thread, or inline on the event loop.

    loop: submit, submit, … ─one wake-up a turn─▶ queue ─▶ thread: drive, drive, … ─one wake-up a batch─▶ loop: done …

A hop costs two thread wake-ups, which is more than many models take. So all jobs submitted in one iteration of the
event loop are queued at once, and all jobs that the thread has finished when the loop gets to them are collected at
once: under load a hop costs almost nothing (docs/decisions/0016-one-thread-for-a-component.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from infergraph.errors import NotReady
from infergraph.runner import Job, Runner, UserContext
from infergraph.settings import Execution

_log = logging.getLogger(__name__)


class ComponentThread(Runner):
    """A thread, or a thread pool, in which components are constructed, loaded and called.

    Several components may share one: then a chain of them needs one hop. It starts with the first component that
    starts, and stops with the last that stops.

    Args:
        name: thread name.
        threads: number of threads; with one, no two calls of user code overlap.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._name = name
        self._threads = threads
        self._users = 0
        self._enter: list[Callable[[], None]] = []
        self._idents: frozenset[int] = frozenset()
        self._queue: SimpleQueue[Job | list[Job] | None] = SimpleQueue()
        self._turn: list[Job] = []
        self._finished: deque[Job] = deque()
        self._is_signalled = False
        self._left = 0

    def enter_with(self, function: Callable[[], None]) -> None:
        """Have each thread call `function` when it starts."""
        self._enter.append(function)

    def start(self) -> None:
        """Start, unless started already; to be called on the event loop that will submit work."""
        self._users += 1
        if self._users > 1:
            return
        self._loop = asyncio.get_running_loop()
        self._queue = SimpleQueue()
        arguments = self._queue, contextvars.copy_context()
        threads = [
            threading.Thread(target=self._serve, args=arguments, name=f"{self._name}-unit_{at}", daemon=True)
            for at in range(self._threads)
        ]
        for thread in threads:
            thread.start()
        self._idents = frozenset(thread.ident for thread in threads if thread.ident is not None)

    def stop(self) -> None:
        """Accept no more work, once no component uses it; running user code is not interrupted."""
        self._users -= 1
        if self._users == 0:
            self._flush()
            for _ in range(self._threads):
                self._queue.put(None)

    def is_current(self) -> bool:
        """Whether the caller runs in one of the threads."""
        return threading.get_ident() in self._idents

    def has_waiting(self) -> bool:
        """Whether a job is queued behind the current one."""
        return self._left > 0 or not self._queue.empty()

    def submit(self, job: Job) -> bool:
        """Queue a job for the threads; returns False, since it has not completed."""
        if self._users < 1:
            job.close()
            job.error = NotReady(f"{self._name} has stopped")
            return True
        if not self._turn:
            self._loop.call_soon(self._flush)
        self._turn.append(job)
        return False

    def _flush(self) -> None:
        """Queue the jobs submitted in this iteration of the loop."""
        turn, self._turn = self._turn, []
        if self._threads == 1:
            if turn:
                self._queue.put(turn)
            return
        for job in turn:
            self._queue.put(job)

    # ── in the threads ──────────────────────────────────────────────────────────────────────────────────────────

    def _serve(self, queue: SimpleQueue[Job | list[Job] | None], base: contextvars.Context) -> None:
        for enter in self._enter:
            enter()
        own_loop, context = OwnLoop(), UserContext(contextvars.Context(), base)
        while (taken := queue.get()) is not None:
            jobs = taken if isinstance(taken, list) else [taken]
            self._left = len(jobs)
            for job in jobs:
                self._left -= 1
                if job.abandoned:
                    job.close()
                    continue
                own_loop.install()
                context.drive(job)
                self._finish(job)
        own_loop.close()

    def _finish(self, job: Job) -> None:
        # The first result wakes the loop, since the next may take long; those before the loop runs need no wake-up.
        self._finished.append(job)
        if not self._is_signalled:
            self._is_signalled = True
            with contextlib.suppress(RuntimeError):  # the loop is closed, and so nothing waits for the result
                self._loop.call_soon_threadsafe(self._deliver)

    # ── on the event loop ───────────────────────────────────────────────────────────────────────────────────────

    def _deliver(self) -> None:
        self._is_signalled = False  # first: jobs that finish from now on wake the loop again
        finished = self._finished
        while finished:
            job = finished.popleft()
            if job.abandoned:
                job.result = job.error = None  # nobody takes them; the error's traceback may refer to the job
                continue
            if job.done is None:
                continue
            try:
                job.done(job)
            except Exception:  # noqa: BLE001 - a failing callback must not affect other jobs
                _log.exception("an answer could not be handed on")


class OwnLoop:
    """The event loop that `asyncio.get_event_loop()` returns in user code of one thread, as in a main thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.install()

    def install(self) -> None:
        """Set it, also if user code has closed or unset it (as `asyncio.run` does)."""
        loop = self._loop
        try:
            if loop is not None and asyncio.get_event_loop() is loop and not loop.is_closed():
                return
        except RuntimeError:  # none is set
            pass
        if loop is None or loop.is_closed():
            with contextlib.suppress(OSError):  # out of file descriptors: most user code does not need it
                self._loop = asyncio.SelectorEventLoop()
        asyncio.set_event_loop(self._loop)

    def close(self) -> None:
        """Close and unset it."""
        asyncio.set_event_loop(None)
        if self._loop is not None:
            self._loop.close()


def is_inline(execution: Execution, component: type) -> bool:
    """Whether a component runs on the event loop: by the setting, or as its class declares (`execution = "inline"`)."""
    if execution is Execution.AUTO:
        return getattr(component, "execution", None) == Execution.INLINE.value
    return execution is Execution.INLINE
