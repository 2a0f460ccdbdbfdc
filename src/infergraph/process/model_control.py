"""Loading and unloading the served model in all workers of a server: the worker's side.

    worker ──asks──▶ supervisor ──request──▶ one worker after the other ──done──▶ supervisor ──outcome──▶ worker

The supervisor's side is `model_requests`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from infergraph.process.channel import ModelAction, ModelOutcome, ModelRequest, Report, WorkerState

Perform: TypeAlias = Callable[[ModelAction], Awaitable[str]]
"""Performs an action in one worker; returns why it failed, or an empty text."""


class ModelControl:
    """The worker's side. Used on its event loop only.

    Args:
        tell: sends a report to the supervisor; None for a worker without one, which is then all there is.
        is_unloaded: whether the worker starts without its model.
    """

    def __init__(self, tell: Callable[[Report], None] | None = None, *, is_unloaded: bool = False) -> None:
        self._tell = tell
        self.is_unloaded = is_unloaded
        self._perform: Perform | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._working: set[asyncio.Task[None]] = set()

    def performed_by(self, perform: Perform) -> None:
        """Have `perform` carry out the actions in this worker."""
        self._perform = perform

    async def ask(self, action: ModelAction) -> str:
        """Have all workers perform an action; returns once they have.

        Returns: why it failed in one of them, or an empty text.
        Promises: an action that has begun is finished, whether or not the caller still waits.
        """
        number = next(self._numbers)
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[number] = outcome
        if self._tell is None:
            self.take(ModelRequest(action, number))
        else:
            self._tell(Report(WorkerState.CONTROL, action.value, number=number))
        try:
            return await outcome
        finally:
            del self._waiting[number]

    def take(self, message: ModelRequest | ModelOutcome) -> None:
        """Take a request of the supervisor, or the outcome of what was asked."""
        if isinstance(message, ModelRequest):
            work = asyncio.get_running_loop().create_task(self._carry_out(message))
            self._working.add(work)
            work.add_done_callback(self._working.discard)
            return
        outcome = self._waiting.get(message.number)
        if outcome is not None and not outcome.done():
            outcome.set_result(message.text)

    async def _carry_out(self, request: ModelRequest) -> None:
        text = "" if self._perform is None else await self._perform(request.action)
        if self._tell is None:
            self.take(ModelOutcome(request.number, text))
        else:
            self._tell(Report(WorkerState.CONTROLLED, text, number=request.number))
