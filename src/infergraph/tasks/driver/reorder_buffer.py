"""The reorder buffer: which chunks of a task are assigned, answered, and next to be written. Pure logic, no I/O.

add ─▶ queue ─▶ assign ─▶ assigned ─▶ complete ─▶ drain (in order of the input, each byte once)
         ▲                   │
         └──── requeue ──────┤
         └─ retry in parts ──┘   or, for a single line at its limit: failed
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from infergraph.tasks.driver.chunks import Chunk

Answer = TypeVar("Answer")
PARTS = 8
"""A chunk that killed its worker is retried in this many parts; each level costs a reload of the model."""


class ReorderBuffer(Generic[Answer]):
    """The chunks of one running task.

    Args:
        start: offset of the first chunk.
        split: the same lines in up to n chunks.
        attempts_limit: worker deaths that a single line may cause before it fails.

    Promises: `drain` yields each byte from `start` on exactly once and in order, whatever the order of answers, deaths
    and returns. An answer to a chunk that has been reassigned or split since is refused.
    """

    def __init__(self, start: int, split: Callable[[Chunk, int], list[Chunk]], attempts_limit: int) -> None:
        self._next = start
        self._split = split
        self._attempts_limit = attempts_limit
        self._queue: list[tuple[int, Chunk]] = []
        self._assigned: dict[int, Chunk] = {}
        self._completed: dict[int, tuple[Chunk, Answer]] = {}
        self._deaths: dict[int, int] = {}
        self._serial = 0

    @property
    def unwritten(self) -> int:
        """Chunks not drained yet: queued, assigned or waiting for an earlier one."""
        return len(self._queue) + len(self._assigned) + len(self._completed)

    @property
    def has_queued(self) -> bool:
        """Whether a chunk is waiting to be assigned."""
        return bool(self._queue)

    @property
    def assigned(self) -> int:
        """Chunks assigned and not yet answered."""
        return len(self._assigned)

    def add(self, chunk: Chunk) -> None:
        """Add a chunk; chunks may be added in any order, and must be contiguous."""
        heapq.heappush(self._queue, (chunk.offset, chunk))

    def assign(self) -> tuple[int, Chunk]:
        """Assign the earliest queued chunk; returns it with the serial number that its answer must carry."""
        _, chunk = heapq.heappop(self._queue)
        self._serial += 1
        self._assigned[self._serial] = chunk
        return self._serial, chunk

    def chunk(self, serial: int) -> Chunk | None:
        """The assigned chunk with this serial number; None if an answer to it would be refused."""
        return self._assigned.get(serial)

    def complete(self, serial: int, answer: Answer) -> Chunk | None:
        """Accept the answer to a chunk; None if it is no longer expected."""
        chunk = self._assigned.pop(serial, None)
        if chunk is not None:
            self._completed[chunk.offset] = (chunk, answer)
        return chunk

    def complete_chunk(self, chunk: Chunk, answer: Answer) -> None:
        """Add the answer to a chunk that is not assigned (a failed line, or lines that need no work)."""
        self._completed[chunk.offset] = (chunk, answer)

    def requeue(self, serial: int) -> None:
        """Return a chunk unprocessed, without blame."""
        chunk = self._assigned.pop(serial, None)
        if chunk is not None:
            self.add(chunk)

    def retry_in_parts(self, serial: int, *, deadly: bool = False) -> Chunk | None:
        """The worker died of this chunk: retry it in parts; a single line that reached its limit is returned.

        Args:
            deadly: a single line fails at the first death.
        """
        chunk = self._assigned.pop(serial, None)
        if chunk is None:
            return None
        if chunk.lines > 1:
            for part in self._split(chunk, PARTS):
                self.add(part)
            return None
        deaths = self._deaths.pop(chunk.offset, 0) + 1
        if deadly or deaths >= self._attempts_limit:
            return chunk
        self._deaths[chunk.offset] = deaths
        self.add(chunk)
        return None

    def drain(self) -> Iterator[tuple[Chunk, Answer]]:
        """The answers that can be written now, in order; each is yielded once, and then counts as written."""
        while self._next in self._completed:
            chunk, answer = self._completed.pop(self._next)
            self._next = chunk.end
            self._deaths.pop(chunk.offset, None)
            yield chunk, answer
