"""Waits that double: before a call is made again, and before a process is spawned again.

Apart from `retry`, since the supervisor, which has no event loop, waits likewise.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Waits that double.

    Args:
        first_s: the first.
        limit_s: the longest.
        jitter: the share of each wait that is drawn at random, so that many who failed together do not return together.
    """

    first_s: float
    limit_s: float
    jitter: float = 0.5

    def wait_s(self, failures: int, draw: Callable[[], float] = random.random) -> float:
        """The wait after so many failures in a row; none after none.

        Args:
            draw: a number from 0 to 1.
        """
        if failures < 1:
            return 0.0
        longest: float = min(self.first_s * 2.0 ** min(failures - 1, 60), self.limit_s)
        return longest * (1.0 - self.jitter * draw())


class FailureStreak:
    """Failures in a row, and the wait after each.

    Args:
        backoff: how the waits grow.
        free: so many failures are not waited for.
    """

    def __init__(self, backoff: Backoff, *, free: int = 0) -> None:
        self.failures = 0
        self._backoff = backoff
        self._free = free

    def failed(self) -> float:
        """Note a failure; the seconds to wait."""
        self.failures += 1
        return self._backoff.wait_s(self.failures - self._free)

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0
