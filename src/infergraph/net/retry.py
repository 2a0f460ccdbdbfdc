"""Retries: which faults are worth a retry, and the retry loop with back-off.

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
    """What a fault means for a retry of the same request."""

    REFUSED = "refused"
    """The request is at fault: a retry gets the same answer."""
    FAILED = "failed"
    """The server failed at it, or timed out; a retry may repeat work that was done."""
    TRANSIENT = "transient"
    """The server is unreachable, loading or overloaded: nothing was done, and a retry may succeed."""


_TRANSIENT_HTTP = frozenset({408, 425, 429, 502, 503})
_REFUSED_HTTP = frozenset({*range(400, 500), 501, 505}) - _TRANSIENT_HTTP - {499}
_TRANSIENT_GRPC = frozenset({GrpcStatus.RESOURCE_EXHAUSTED, GrpcStatus.UNAVAILABLE})
_REFUSED_GRPC = frozenset(
    {GrpcStatus.INVALID_ARGUMENT, GrpcStatus.NOT_FOUND, GrpcStatus.ALREADY_EXISTS, GrpcStatus.PERMISSION_DENIED,
     GrpcStatus.FAILED_PRECONDITION, GrpcStatus.OUT_OF_RANGE, GrpcStatus.UNIMPLEMENTED, GrpcStatus.UNAUTHENTICATED}
)  # fmt: skip


def verdict(fault: Fault) -> Verdict:
    """The one rule, for nodes, clients and rows of tasks alike.

    The server's status takes precedence over the fault's class; of two statuses that of HTTP, which the component set.
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
    """Whether the request is at fault, so that neither a retry nor a fallback would help."""
    return verdict(fault) is Verdict.REFUSED


def is_transient(fault: Fault) -> bool:
    """Whether the same request may succeed a moment later, and a retry repeats no work."""
    return verdict(fault) is Verdict.TRANSIENT


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """The retry policy of a call.

    Args:
        retries: attempts after the first.
        backoff: the waits between them.
        is_worth_it: whether a fault is worth another attempt.
        draw: for the waits.
        sleep: waits for a number of seconds.
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
        """The result of the first attempt that succeeds.

        Args:
            deadline: on the event loop's clock; no attempt starts after it.
            on_failure: called with each fault that is retried, and the number of failures so far.
        Raises: the fault of the last attempt, or the first that is not worth a retry.
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
    """The wait that a server asks for with `Retry-After`."""
    error = remote_error_of(fault)
    return (error.retry_after_s if error is not None else None) or 0.0
