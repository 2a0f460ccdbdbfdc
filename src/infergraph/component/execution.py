"""Where a component's plain code runs: a thread of its own for its whole life, or the event loop's.

    loop: submit, submit, … ─one wake-up a turn─▶ queue ─▶ thread: drive, drive, … ─one wake-up a batch─▶ loop: done …

A hop costs two wake-ups of a thread, which is more than many models take. So all that the event loop hands over in one
turn is put into the queue at once, and all that the thread has finished by the time the loop comes to it is taken at
once: under load a hop costs next to nothing (docs/decisions/0016-one-thread-for-a-component.md).
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
    """A thread, or a pool of them, in which components are constructed, loaded and asked.

    Several components may share one: then a chain of them is asked with one hop. It begins with the first that starts
    and ends with the last that stops.

    Args:
        name: of the threads.
        threads: how many; with one, no two calls of user code overlap.
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

    def enter_with(self, function: Callable[[], None]) -> None:
        """Have each thread call `function` when it begins."""
        self._enter.append(function)

    def start(self) -> None:
        """Begin, unless it has; to be called on the event loop that work will be submitted on."""
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
        """Take no more work, if nobody uses it any more; running user code ends by itself."""
        self._users -= 1
        if self._users == 0:
            self._flush()
            for _ in range(self._threads):
                self._queue.put(None)

    def is_current(self) -> bool:
        """Whether the caller runs in one of the threads."""
        return threading.get_ident() in self._idents

    def submit(self, job: Job) -> bool:
        """Hand a job to the threads; False, since it has not ended."""
        if self._users < 1:
            job.close()
            job.error = NotReady(f"{self._name} has stopped")
            return True
        if not self._turn:
            self._loop.call_soon(self._flush)
        self._turn.append(job)
        return False

    def _flush(self) -> None:
        """Hand over what was submitted in this turn of the loop."""
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
            for job in taken if isinstance(taken, list) else (taken,):
                if job.abandoned:
                    job.close()
                    continue
                own_loop.install()
                context.drive(job)
                self._finish(job)
        own_loop.close()

    def _finish(self, job: Job) -> None:
        # The first of a batch wakes the loop, since the next may take long; what follows until it comes needs no other.
        self._finished.append(job)
        if not self._is_signalled:
            self._is_signalled = True
            with contextlib.suppress(RuntimeError):  # the loop has gone, and who waited with it
                self._loop.call_soon_threadsafe(self._deliver)

    # ── on the event loop ───────────────────────────────────────────────────────────────────────────────────────

    def _deliver(self) -> None:
        self._is_signalled = False  # first: what is finished from now on signals anew
        finished = self._finished
        while finished:
            job = finished.popleft()
            if job.abandoned or job.done is None:
                continue
            try:
                job.done(job)
            except Exception:  # noqa: BLE001 - one answer is no reason to lose the others
                _log.exception("an answer could not be handed on")


class OwnLoop:
    """What `asyncio.get_event_loop()` finds in user code, as in a program's main thread. For one thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.install()

    def install(self) -> None:
        """Put it in place, also where user code has closed it or put away (as `asyncio.run` does)."""
        if self._loop is None or self._loop.is_closed():
            with contextlib.suppress(OSError):  # no more files to be had: most user code does without
                self._loop = asyncio.SelectorEventLoop()
        asyncio.set_event_loop(self._loop)

    def close(self) -> None:
        """Take it away."""
        asyncio.set_event_loop(None)
        if self._loop is not None:
            self._loop.close()


def is_inline(execution: Execution, component: type) -> bool:
    """Whether a component runs on the event loop: by the setting, or as its class declares (`execution = "inline"`)."""
    if execution is Execution.AUTO:
        return getattr(component, "execution", None) == Execution.INLINE.value
    return execution is Execution.INLINE
