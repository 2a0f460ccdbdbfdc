"""Exponential back-off, for retries of calls and restarts of processes.

Separate from `retry`, since the supervisor, which has no event loop, uses it too.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential back-off.

    Args:
        first_s: the first wait.
        limit_s: the longest wait.
        jitter: the random share of each wait, so that clients that failed together do not retry together.
    """

    first_s: float
    limit_s: float
    jitter: float = 0.5

    def wait_s(self, failures: int, draw: Callable[[], float] = random.random) -> float:
        """The wait after a number of consecutive failures; 0 after none.

        Args:
            draw: a number from 0 to 1.
        """
        if failures < 1:
            return 0.0
        longest: float = min(self.first_s * 2.0 ** min(failures - 1, 60), self.limit_s)
        return longest * (1.0 - self.jitter * draw())


class FailureStreak:
    """Consecutive failures, and the wait after each.

    Args:
        backoff: how the waits grow.
        free: the number of failures without a wait.
    """

    def __init__(self, backoff: Backoff, *, free: int = 0) -> None:
        self.failures = 0
        self._backoff = backoff
        self._free = free

    def failed(self) -> float:
        """Record a failure; returns the seconds to wait."""
        self.failures += 1
        return self._backoff.wait_s(self.failures - self._free)

    def succeeded(self) -> None:
        """Reset the count."""
        self.failures = 0
