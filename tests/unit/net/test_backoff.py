"""Waits that double."""

from __future__ import annotations

import pytest

from infergraph.net.backoff import Backoff, FailureStreak


def test_waits_double_up_to_their_limit() -> None:
    """Each wait is twice the one before, however many failures there were, and there is none without a failure."""
    backoff = Backoff(first_s=0.5, limit_s=4.0, jitter=0.0)
    assert [backoff.wait_s(failures) for failures in (0, 1, 2, 3, 4, 5, 5000)] == [0.0, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


@pytest.mark.parametrize(("drawn", "expected"), [(0.0, 2.0), (0.5, 1.5), (1.0, 1.0)])
def test_a_share_of_each_wait_is_drawn(drawn: float, expected: float) -> None:
    """With a jitter of a half, a wait is between half of its time and all of it."""
    assert Backoff(first_s=1.0, limit_s=9.0).wait_s(2, lambda: drawn) == expected


def test_a_streak_ends_with_a_success() -> None:
    """The free failures are not waited for, the others wait ever longer, and a success begins again."""
    streak = FailureStreak(Backoff(first_s=0.5, limit_s=4.0, jitter=0.0), free=1)
    assert [streak.failed() for _ in range(6)] == [0.0, 0.5, 1.0, 2.0, 4.0, 4.0]
    streak.succeeded()
    assert streak.failed() == 0.0
