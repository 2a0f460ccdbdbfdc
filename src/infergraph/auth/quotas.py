"""Quotas of callers, counted over all workers in shared memory.

    worker 0: quota-0 ┐
    worker 1: quota-1 ┴▶ sum of this minute ─▶ Allowance ┊ QuotaExceeded

Each worker writes its own file and reads those of the others, so nobody waits for a lock that a dead worker holds;
workers that look at the same moment may each let one request more through. A file has a fixed number of entries:
however many callers come, memory stays the same, and the entry that was used longest ago goes.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from infergraph.errors import QuotaExceeded
from infergraph.protocol.callers import Caller

_REQUESTS, _UPLOAD_BYTES, _ROWS = range(_COUNTS := 3)
_ENTRY = struct.Struct(f"<QQ{_COUNTS}Q")
"""A caller's hash, the minute, and the counts in it."""
_WAYS = 4
_BUCKETS = 1024
_BUCKET_BYTES = _WAYS * _ENTRY.size
_FILE_BYTES = _BUCKETS * _BUCKET_BYTES
_MINUTE_S = 60
_LOOK_S = 1.0


class Allowance(NamedTuple):
    """What is left of a quota of requests: how many of how many, until the next minute."""

    limit: int
    remaining: int
    reset_s: int

    def entries(self) -> list[tuple[str, str]]:
        """As headers, or metadata of a gRPC call.

        Source: draft-ietf-httpapi-ratelimit-headers-06, which clients know.
        """
        return [(f"ratelimit-{name.removesuffix('_s')}", str(value)) for name, value in self._asdict().items()]


class Quotas:
    """The counts of one worker.

    Args:
        folder: shared by the workers.
        worker: its number.
        clock: seconds since 1970.
    """

    def __init__(self, folder: Path, worker: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._name = f"quota-{worker}"
        self._clock = clock
        self._own: mmap.mmap | None = None
        self._others: dict[str, mmap.mmap] = {}
        self._looked_at_s = 0.0

    def request(self, caller: Caller) -> Allowance | None:
        """Count a request of a caller; what it may still ask, or None without a limit.

        Raises: QuotaExceeded, also where its rows are used up.
        """
        limits = caller.limits
        if limits.rows_per_minute:
            used, reset_s = self._count(caller, _ROWS, 0)
            if used >= limits.rows_per_minute:
                raise _exceeded(caller, limits.rows_per_minute, "rows", reset_s)
        if not limits.requests_per_minute:
            return None
        used, reset_s = self._count(caller, _REQUESTS, 1)
        if used > limits.requests_per_minute:
            raise _exceeded(caller, limits.requests_per_minute, "requests", reset_s)
        return Allowance(limits.requests_per_minute, limits.requests_per_minute - used, reset_s)

    def upload(self, caller: Caller, size_bytes: int) -> None:
        """Count uploaded bytes of a caller. Raises: QuotaExceeded."""
        limit = caller.limits.upload_bytes_per_minute
        if limit:
            used, reset_s = self._count(caller, _UPLOAD_BYTES, size_bytes)
            if used > limit:
                raise _exceeded(caller, limit, "bytes of uploads", reset_s)

    def rows(self, caller: Caller, count: int) -> None:
        """Count rows that a caller was answered; the next request is refused if there are too many."""
        if caller.limits.rows_per_minute:
            self._count(caller, _ROWS, count)

    def _count(self, caller: Caller, what: int, more: int) -> tuple[int, int]:
        """Add to one count; its sum over all workers, and the seconds until the next minute."""
        now_s = self._clock()
        minute, passed_s = divmod(int(now_s), _MINUTE_S)
        id = int.from_bytes(sha256(caller.name.encode()).digest()[:8], "little")
        own = self._own or self._open_own()
        at, counts = _place(own, id, minute)
        counts[what] += more
        _ENTRY.pack_into(own, at, id, minute, *counts)
        used = counts[what] + sum(_place(other, id, minute)[1][what] for other in self._found(now_s))
        return used, _MINUTE_S - passed_s

    def _open_own(self) -> mmap.mmap:
        self._own = own = _mapped(self._folder / self._name)
        return own

    def _found(self, now_s: float) -> list[mmap.mmap]:
        """The files of the other workers; looked for once a second."""
        if not 0 <= now_s - self._looked_at_s < _LOOK_S:
            self._looked_at_s = now_s
            for file in self._folder.glob("quota-*"):
                if file.name != self._name and file.name not in self._others:
                    self._others[file.name] = _mapped(file)
        return list(self._others.values())


def _mapped(file: Path) -> mmap.mmap:
    fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(fd, _FILE_BYTES)
        return mmap.mmap(fd, _FILE_BYTES)
    finally:
        os.close(fd)


def _place(memory: mmap.mmap, id: int, minute: int) -> tuple[int, list[int]]:
    """Where a caller's entry of this minute is, or may be, with its counts."""
    start = id % _BUCKETS * _BUCKET_BYTES
    oldest_at, oldest = start, minute
    for at in range(start, start + _BUCKET_BYTES, _ENTRY.size):
        whose, when, *counts = _ENTRY.unpack_from(memory, at)
        if whose == id:
            return at, counts if when == minute else [0] * _COUNTS
        if when < oldest:
            oldest_at, oldest = at, when
    return oldest_at, [0] * _COUNTS


def _exceeded(caller: Caller, limit: int, what: str, reset_s: int) -> QuotaExceeded:
    text = f"{caller.name} has used up its {limit} {what} of this minute; try again in {reset_s} s"
    return QuotaExceeded(text, limit=limit, reset_s=reset_s)
