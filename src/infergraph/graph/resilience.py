"""Units around a unit that make it answer in time, or again, or otherwise.

    Retried( Timed( unit ) )          the limit is for each attempt

Each is used only where the node asks for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from infergraph.errors import ComponentError, DeadlinePassed, Fault, MethodMissing, PayloadError, RemoteError
from infergraph.graph.spec import Node
from infergraph.message import Around, Context, Message, Method, PredictiveUnit, Request

_log = logging.getLogger("infergraph.graph")

# A router may draw or count, and a reward must count once.
_ONCE_ONLY = frozenset({Method.ROUTE, Method.SEND_FEEDBACK})
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
# gRPC codes that blame the request: INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
# FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED, UNAUTHENTICATED.
_GRPC_REFUSALS = frozenset({3, 5, 6, 7, 9, 11, 12, 16})
_BACKOFF_LIMIT_S = 30.0


def failed(fault: Fault) -> bool:
    """Whether the unit failed, rather than found fault with what it was asked."""
    if isinstance(fault, PayloadError | MethodMissing):
        return False
    if isinstance(fault, RemoteError) and fault.grpc_code in _GRPC_REFUSALS:
        return False
    status = fault.status if isinstance(fault, RemoteError | ComponentError) else None
    return status is None or status >= 500 or status < 400 or status in _WORTH_ANOTHER_TRY


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
        self.retries = retries
        self.backoff_s = backoff_s
        self._rng = rng
        self._sleep = sleep

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """What the unit within answers, in the end.

        Raises: the fault of the last attempt, or of the first that another attempt would not mend.
        """
        attempt = 0
        while True:
            try:
                return await self.unit.answer(method, request, context)
            except Fault as fault:
                wait_s = self._wait_s(attempt)
                if attempt == self.retries or method in _ONCE_ONLY or not failed(fault):
                    raise
                if _remaining_s(context) <= wait_s:
                    raise
                _log.info("node %s failed, attempt %d of %d: %s", self.name, attempt + 1, self.retries + 1, fault)
            await self._sleep(wait_s)
            attempt += 1

    def _wait_s(self, attempt: int) -> float:
        longest = min(self.backoff_s * 2.0 ** min(attempt, 30), _BACKOFF_LIMIT_S)
        return longest * (0.5 + self._rng.random() / 2)


def guarded(unit: PredictiveUnit, node: Node, rng: random.Random) -> PredictiveUnit:
    """The unit with what its node asks for around it; the unit itself where it asks for nothing."""
    if node.timeout_ms > 0:
        unit = Timed(unit, node.timeout_ms / 1000)
    if node.retries > 0:
        unit = Retried(unit, node.retries, node.retry_backoff_ms / 1000, rng=rng)
    return unit


def _remaining_s(context: Context) -> float:
    if context.deadline is None:
        return float("inf")
    return context.deadline - asyncio.get_running_loop().time()
