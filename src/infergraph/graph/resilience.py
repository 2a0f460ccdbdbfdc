"""Units around a unit that make it answer in time, or again, or otherwise.

    Retried( Timed( unit ) )          the limit is for each attempt

Each is used only where the node asks for it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Awaitable, Callable

from infergraph.errors import DeadlinePassed, Fault
from infergraph.graph.spec import Node
from infergraph.message import ONCE_ONLY, Around, Context, Message, Method, PredictiveUnit, Request, share
from infergraph.net.backoff import Backoff
from infergraph.net.retry import Retry, is_refused

_log = logging.getLogger("infergraph.graph")

_BACKOFF_LIMIT_S = 30.0


class Timed(Around):
    """Gives a unit a longest time for each answer.

    Raises: DeadlinePassed when it is over; what the unit was doing is cancelled.
    """

    def __init__(self, unit: PredictiveUnit, timeout_s: float) -> None:
        super().__init__(unit)
        self.timeout_s = timeout_s

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """What the unit within answers in time."""
        deadline = asyncio.get_running_loop().time() + self.timeout_s
        if context.deadline is not None and context.deadline <= deadline:
            return await self.unit.answer(method, request, context)
        timed = context.due(deadline)
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await self.unit.answer(method, request, timed)
        except TimeoutError:
            if not limit.expired():
                raise
            text = f"node {self.name} gave no answer within {self.timeout_s:g} s (its timeout_ms)"
            raise DeadlinePassed(text, node=self.name) from None


class Retried(Around):
    """Asks a unit again when it failed; never for a route or a feedback, which must happen once.

    Args:
        retries: how often again, at most.
        backoff_s: wait before the first repeat; it doubles with each, and half of it is drawn at random.
        rng: for that.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        unit: PredictiveUnit,
        retries: int,
        backoff_s: float,
        *,
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(unit)
        self._retry = Retry(
            retries=retries,
            backoff=Backoff(first_s=backoff_s, limit_s=_BACKOFF_LIMIT_S),
            is_worth_it=lambda fault: not is_refused(fault),
            draw=rng.random,
            sleep=sleep,
        )

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """What the unit within answers, in the end.

        Raises: the fault of the last attempt, or of the first that another attempt would not mend.
        """
        if method in ONCE_ONLY:
            return await self.unit.answer(method, request, context)
        share(request)
        attempt = functools.partial(self.unit.answer, method, request, context)
        return await self._retry.call(attempt, deadline=context.deadline, on_failure=self._failed)

    def _failed(self, fault: Fault, failures: int) -> None:
        _log.info("node %s failed, attempt %d of %d: %s", self.name, failures, self._retry.retries + 1, fault)


def guarded(unit: PredictiveUnit, node: Node, rng: random.Random) -> PredictiveUnit:
    """The unit with what its node asks for around it; the unit itself where it asks for nothing."""
    if node.timeout_ms > 0:
        unit = Timed(unit, node.timeout_ms / 1000)
    if node.retries > 0:
        unit = Retried(unit, node.retries, node.retry_backoff_ms / 1000, rng=rng)
    return unit
