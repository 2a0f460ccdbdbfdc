"""Whether a call is worth another attempt, and the loop that makes it.

attempt ─▶ answer
   └─ fault ─verdict─▶ worth it? ─Backoff─▶ wait, doubling ─▶ attempt …    until retries or time run out
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

import msgspec

from infergraph.errors import DeadlinePassed, Fault, RemoteError, remote_error_of
from infergraph.net.backoff import Backoff
from infergraph.protocol.status import GrpcStatus, http_status

T = TypeVar("T")


class Verdict(Enum):
    """What a fault says of another attempt at the same request."""

    REFUSED = "refused"
    """The request was found fault with: another attempt gets the same answer."""
    FAILED = "failed"
    """Whoever was asked broke at it, or ran out of time; another attempt repeats work that may have been done."""
    TRANSIENT = "transient"
    """Nobody was there to work on it, or had room: unreachable, loading, full. It may well work a moment later."""


_TRANSIENT_HTTP = frozenset({408, 425, 429, 502, 503})
_REFUSED_HTTP = frozenset({*range(400, 500), 501, 505}) - _TRANSIENT_HTTP - {499}
_TRANSIENT_GRPC = frozenset({GrpcStatus.RESOURCE_EXHAUSTED, GrpcStatus.UNAVAILABLE})
_REFUSED_GRPC = frozenset(
    {GrpcStatus.INVALID_ARGUMENT, GrpcStatus.NOT_FOUND, GrpcStatus.ALREADY_EXISTS, GrpcStatus.PERMISSION_DENIED,
     GrpcStatus.FAILED_PRECONDITION, GrpcStatus.OUT_OF_RANGE, GrpcStatus.UNIMPLEMENTED, GrpcStatus.UNAUTHENTICATED}
)  # fmt: skip


def verdict(fault: Fault) -> Verdict:
    """The one rule, for nodes, clients and rows of tasks alike.

    What was answered goes before the fault's class; of two statuses the one of HTTP, which is a component's own.
    """
    if isinstance(fault, RemoteError) and fault.status is None:
        if fault.grpc_code is None:
            return Verdict.TRANSIENT
        return _of(fault.grpc_code, _REFUSED_GRPC, _TRANSIENT_GRPC)
    if isinstance(fault, DeadlinePassed):
        return Verdict.FAILED
    return _of(http_status(fault), _REFUSED_HTTP, _TRANSIENT_HTTP)


def _of(code: int, refused: frozenset[int], transient: frozenset[int]) -> Verdict:
    if code in refused:
        return Verdict.REFUSED
    return Verdict.TRANSIENT if code in transient else Verdict.FAILED


def is_refused(fault: Fault) -> bool:
    """Whether the request is at fault, so that neither a repeat nor a stand-in would help it."""
    return verdict(fault) is Verdict.REFUSED


def is_transient(fault: Fault) -> bool:
    """Whether the same request may well work a moment later, and no work is lost by asking again."""
    return verdict(fault) is Verdict.TRANSIENT


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often a call is attempted, and when.

    Args:
        retries: attempts after the first.
        backoff: the waits between them.
        is_worth_it: whether a fault is worth another attempt.
        draw: for the waits.
        sleep: waits so many seconds.
    """

    retries: int
    backoff: Backoff
    is_worth_it: Callable[[Fault], bool] = is_transient
    draw: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def call(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        deadline: float | None = None,
        on_failure: Callable[[Fault, int], None] = lambda fault, failures: None,
    ) -> T:
        """The result of the first attempt that works.

        Args:
            deadline: on the loop's clock; no attempt begins after it.
            on_failure: called with each fault that is worth another attempt, and how many there were so far.
        Raises: the fault of the last attempt, or of the first that is not worth another.
        """
        failures = 0
        while True:
            try:
                return await attempt()
            except Fault as fault:
                failures += 1
                if failures > self.retries or not self.is_worth_it(fault):
                    raise
                wait_s = max(self.backoff.wait_s(failures, self.draw), min(_asked_s(fault), self.backoff.limit_s))
                if deadline is not None and asyncio.get_running_loop().time() + wait_s >= deadline:
                    raise
                on_failure(fault, failures)
            await self.sleep(wait_s)


def _asked_s(fault: Fault) -> float:
    """The wait that a server asked for, as `Retry-After`."""
    error = remote_error_of(fault)
    return (error.retry_after_s if error is not None else None) or 0.0
