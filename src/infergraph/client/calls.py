"""One call of a client: what may be said of it, and how patiently it is tried.

call ─▶ attempt ─▶ answer
           └─ refused before any work, connection lost ─▶ wait, doubling ─▶ attempt …   until retries or time run out
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypedDict, TypeVar

from infergraph.errors import DeadlinePassed, Fault, NotReady, Overloaded, PayloadError, RemoteError
from infergraph.message import Meta

T = TypeVar("T")

Headers = tuple[tuple[str, str], ...]

_FIRST_WAIT_S = 0.1
_GATEWAY = frozenset({429, 502, 503, 504})
_UNAVAILABLE = 14
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class CallOptions(TypedDict, total=False):
    """What may be said of any single call; all of it is optional."""

    names: Sequence[str]
    """Column names of the data; a data frame brings its own."""
    meta: Meta
    """The protocol's meta, such as {"puid": …, "tags": {…}}."""
    headers: Mapping[str, str]
    """Headers (gRPC: metadata) beside the client's own."""
    timeout_s: float
    """Longest time for the call with all its retries, instead of the client's; 0 for no limit."""


class Sending(NamedTuple):
    """What one attempt is sent with.

    Args:
        timeout_s: what is left of the call's time; None for no limit.
        limit_s: the whole call's time, as its caller gave it.
    """

    headers: Headers
    timeout_s: float | None
    limit_s: float | None = None

    @property
    def told_limit(self) -> str:
        """The limit for the text of a fault that it has passed; empty for none."""
        limit_s = self.limit_s if self.limit_s is not None else self.timeout_s
        return "" if limit_s is None else f" within {limit_s:.3g} s"


def header_lines(given: Iterable[tuple[str, str]]) -> Headers:
    """Headers in lower case, checked.

    Raises: PayloadError for one that cannot be sent.
    """
    headers = tuple((name.lower(), value) for name, value in given)
    for name, value in headers:
        if not name or not _TOKEN.issuperset(name) or any(char in value for char in "\r\n\0"):
            raise PayloadError(f"the header {name!r} cannot be sent: {value!r}")
    return headers


class Patience(NamedTuple):
    """How often a call is tried, and for how long.

    Args:
        retries: further attempts after the first; only what may be asked twice is asked again.
        timeout_s: longest time for all attempts; None for no limit.
        longest_wait_s: between two attempts.
        draw: a number from 0 to 1, so that many clients do not come back at once.
    """

    retries: int
    timeout_s: float | None
    longest_wait_s: float = 10.0
    draw: Callable[[], float] = random.random

    async def call(self, attempt: Callable[[float | None], Awaitable[T]], *, is_repeatable: bool) -> T:
        """The result of the first attempt that works; each is told the time that is left.

        Raises: the last attempt's fault; DeadlinePassed.
        """
        loop = asyncio.get_running_loop()
        deadline = None if self.timeout_s is None else loop.time() + self.timeout_s
        failed = 0
        while True:
            try:
                return await attempt(None if deadline is None else deadline - loop.time())
            except Fault as fault:
                wait_s = self._wait_s(fault, failed)
                failed += 1
                if not is_repeatable or failed > self.retries or not is_passing(fault):
                    raise
                if deadline is not None and loop.time() + wait_s >= deadline:
                    raise
                await asyncio.sleep(wait_s)

    def _wait_s(self, fault: Fault, failed: int) -> float:
        error = told_by(fault)
        asked_s = (error.retry_after_s if error is not None else None) or 0.0
        own_s: float = _FIRST_WAIT_S * 2 ** min(failed, 16) * (0.5 + self.draw() / 2)
        return min(max(asked_s, own_s), self.longest_wait_s)


def is_passing(fault: Fault) -> bool:
    """Whether the same call may well work a moment later."""
    if isinstance(fault, DeadlinePassed):
        return False
    if isinstance(fault, RemoteError):
        if fault.status is None and fault.grpc_code is None:
            return True
        return fault.status in _GATEWAY or fault.grpc_code == _UNAVAILABLE
    return isinstance(fault, NotReady | Overloaded)


def told_by(fault: Fault) -> RemoteError | None:
    """The error as it was answered: status, body, code; None for a fault that no server told."""
    if isinstance(fault, RemoteError):
        return fault
    return fault.__cause__ if isinstance(fault.__cause__, RemoteError) else None
