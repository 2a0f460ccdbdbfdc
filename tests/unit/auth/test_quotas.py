"""Quotas of callers."""

from __future__ import annotations

from pathlib import Path

import pytest

from infergraph.auth.quotas import Allowance, Quotas
from infergraph.errors import QuotaExceeded
from infergraph.protocol.callers import Caller, Limits

NOON_S = 1_800_000_000.0 - 1_800_000_000.0 % 60


def caller(name: str = "me", **limits: int) -> Caller:
    return Caller(name=name, scopes=frozenset(), limits=Limits(**limits))


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = NOON_S

    def __call__(self) -> float:
        return self.now_s


def test_requests_are_counted_over_all_workers(tmp_path: Path) -> None:
    """What one worker has let through is missing at the others; who has no limit is not counted."""
    clock = Clock()
    first, second = (Quotas(tmp_path, worker, clock) for worker in range(2))
    me = caller(requests_per_minute=3)
    assert first.request(me) == Allowance(3, 2, 60)
    clock.now_s += 1
    assert second.request(me) == Allowance(3, 1, 59)
    assert first.request(me) == Allowance(3, 0, 59)
    for worker in (first, second):
        with pytest.raises(QuotaExceeded) as refused:
            worker.request(me)
        assert (refused.value.limit, refused.value.reset_s) == (3, 59)
    assert first.request(caller("you", requests_per_minute=3)) == Allowance(3, 2, 59)
    assert first.request(caller("free")) is None


def test_a_new_minute_begins_anew(tmp_path: Path) -> None:
    """Counts are of a minute, and so is what a worker that was replaced has left."""
    clock = Clock()
    me = caller(requests_per_minute=1)
    Quotas(tmp_path, 0, clock).request(me)
    with pytest.raises(QuotaExceeded):
        Quotas(tmp_path, 0, clock).request(me)
    clock.now_s += 60
    assert Quotas(tmp_path, 1, clock).request(me) == Allowance(1, 0, 60)


def test_uploaded_bytes_are_counted_apart(tmp_path: Path) -> None:
    """Requests do not use up bytes, nor bytes requests."""
    quotas, me = Quotas(tmp_path, 0, Clock()), caller(requests_per_minute=2, upload_bytes_per_minute=10)
    quotas.request(me)
    quotas.upload(me, 10)
    quotas.request(me)
    with pytest.raises(QuotaExceeded, match="10 bytes of uploads of this minute"):
        quotas.upload(me, 1)


def test_rows_are_counted_when_they_are_answered(tmp_path: Path) -> None:
    """The request that goes over the limit is answered, the next one is refused, in whichever worker."""
    clock = Clock()
    first, second = (Quotas(tmp_path, worker, clock) for worker in range(2))
    me = caller(rows_per_minute=10)
    for count in (9, 9):
        assert second.request(me) is None
        first.rows(me, count)
    clock.now_s += 1  # the files of the others are looked for once a second
    for worker in (first, second):
        with pytest.raises(QuotaExceeded, match="10 rows of this minute"):
            worker.request(me)
    clock.now_s += 60
    assert first.request(me) is None


def test_memory_is_the_same_however_many_callers_come(tmp_path: Path) -> None:
    """Ten thousand callers are counted in the file of one, and each still has its limit."""
    quotas = Quotas(tmp_path, 0, Clock())
    quotas.request(caller(requests_per_minute=1))
    size = (tmp_path / "quota-0").stat().st_size
    for number in range(10_000):
        each = caller(f"caller {number}", requests_per_minute=1)
        assert quotas.request(each) == Allowance(1, 0, 60)
        with pytest.raises(QuotaExceeded):
            quotas.request(each)
    assert (tmp_path / "quota-0").stat().st_size == size
