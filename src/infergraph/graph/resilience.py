"""Time-outs and retries of a node, as units around its unit.

    Retried( Timed( unit ) )          the limit is for each attempt

Each is used only where the node asks for it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from infergraph.errors import DeadlinePassed, Fault
from infergraph.graph.spec import Node
from infergraph.message import ONCE_ONLY, Answers, Around, Context, Message, Method, PredictiveUnit, Request, share
from infergraph.net.backoff import Backoff
from infergraph.net.retry import Retry, is_refused
from infergraph.streams import Begun, begin, resumed, within

_log = logging.getLogger("infergraph.graph")

_BACKOFF_LIMIT_S = 30.0


class Timed(Around):
    """A unit around a unit that applies a time-out to each answer.

    Raises: DeadlinePassed on time-out; the call is cancelled.
    """

    def __init__(self, unit: PredictiveUnit, timeout_s: float) -> None:
        super().__init__(unit)
        self.timeout_s = timeout_s

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The unit's answer, within the time-out."""
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
            raise self._late() from None

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The unit's answers, each within the time-out."""
        answers = self.unit.stream(method, request, context)
        return within(answers, lambda: asyncio.timeout(self.timeout_s), self._late)

    def _late(self) -> DeadlinePassed:
        text = f"node {self.name} gave no answer within {self.timeout_s:g} s (its timeout_ms)"
        return DeadlinePassed(text, node=self.name)


class Retried(Around):
    """A unit around a unit that retries failed calls; never a route or a feedback, which must happen once.

    Args:
        retries: maximum number of retries.
        backoff_s: wait before the first retry; doubles with each, and half of it is random.
        rng: for the random part.
        sleep: waits this many seconds.
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
        """The answer of the first attempt that succeeds.

        Raises: the fault of the last attempt, or the first that is not worth a retry.
        """
        if method in ONCE_ONLY:
            return await self.unit.answer(method, request, context)
        share(request)
        attempt = functools.partial(self.unit.answer, method, request, context)
        return await self._retry.call(attempt, deadline=context.deadline, on_failure=self._failed)

    async def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The answers of the first attempt that gives one; once there is an answer, nothing is repeated."""
        share(request)
        attempt = functools.partial(self._begin, method, request, context)
        begun = await self._retry.call(attempt, deadline=context.deadline, on_failure=self._failed)
        async with aclosing(resumed(begun)) as answers:
            async for answer in answers:
                yield answer

    async def _begin(self, method: Method, request: Request, context: Context) -> Begun[Message]:
        return await begin(self.unit.stream(method, request, context))

    def _failed(self, fault: Fault, failures: int) -> None:
        _log.info("node %s failed, attempt %d of %d: %s", self.name, failures, self._retry.retries + 1, fault)


def resilient(unit: PredictiveUnit, node: Node, rng: random.Random) -> PredictiveUnit:
    """The unit with the time-out and retries of its node; the unit itself if the node has none."""
    if node.timeout_ms > 0:
        unit = Timed(unit, node.timeout_ms / 1000)
    if node.retries > 0:
        unit = Retried(unit, node.retries, node.retry_backoff_ms / 1000, rng=rng)
    return unit
