"""Which chunks of a task are out, which came back, and what may be written next: pure logic, no input or output.

add ─▶ queue ─▶ take ─▶ out ─▶ settle ─▶ settled ─▶ drain (in order of the input, each byte once)
         ▲               │
         └── give_back ──┤
         └── blame ──────┘   again; in parts; or, a single line at its limit: guilty
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from infergraph.tasks.driver.chunks import Chunk

Answer = TypeVar("Answer")
PARTS = 8
"""A chunk that killed its worker is worked again in so many parts: each level costs a loaded model."""


class ReorderBuffer(Generic[Answer]):
    """The books of one running task.

    Args:
        start: offset of the first chunk.
        split: the same lines in up to n chunks.
        attempts_limit: deaths that a single line may cause before it is guilty.

    Promises: `drain` yields each byte from `start` on exactly once and in order, whatever the order of answers, deaths
    and returns. An answer to a chunk that was since handed out again, or split, is refused.
    """

    def __init__(self, start: int, split: Callable[[Chunk, int], list[Chunk]], attempts_limit: int) -> None:
        self._next = start
        self._split = split
        self._attempts_limit = attempts_limit
        self._queue: list[tuple[int, Chunk]] = []
        self._out: dict[int, Chunk] = {}
        self._settled: dict[int, tuple[Chunk, Answer]] = {}
        self._deaths: dict[int, int] = {}
        self._serial = 0

    @property
    def unwritten(self) -> int:
        """Chunks beyond what was drained: queued, out or waiting for an earlier one."""
        return len(self._queue) + len(self._out) + len(self._settled)

    @property
    def has_queued(self) -> bool:
        """Whether a chunk waits to be handed out."""
        return bool(self._queue)

    @property
    def out(self) -> int:
        """Chunks handed out and not back."""
        return len(self._out)

    def add(self, chunk: Chunk) -> None:
        """Take a chunk into the books; chunks come in any order and meet without gaps."""
        heapq.heappush(self._queue, (chunk.offset, chunk))

    def take(self) -> tuple[int, Chunk]:
        """Hand out the earliest queued chunk; the number is what its answer must carry."""
        _, chunk = heapq.heappop(self._queue)
        self._serial += 1
        self._out[self._serial] = chunk
        return self._serial, chunk

    def chunk(self, serial: int) -> Chunk | None:
        """The chunk that is out under this number; None if an answer under it would be refused."""
        return self._out.get(serial)

    def settle(self, serial: int, answer: Answer) -> Chunk | None:
        """Take the answer to a chunk; None if nobody waits for it any more."""
        chunk = self._out.pop(serial, None)
        if chunk is not None:
            self._settled[chunk.offset] = (chunk, answer)
        return chunk

    def settle_chunk(self, chunk: Chunk, answer: Answer) -> None:
        """Put in the answer to a chunk that is in nobody's hands (a guilty line, or lines that need no work)."""
        self._settled[chunk.offset] = (chunk, answer)

    def give_back(self, serial: int) -> None:
        """The chunk comes back unworked, through no fault of its own."""
        chunk = self._out.pop(serial, None)
        if chunk is not None:
            self.add(chunk)

    def blame(self, serial: int, *, deadly: bool = False) -> Chunk | None:
        """The worker died of this chunk: again in parts; a single line that reached its limit is returned.

        Args:
            deadly: one death is enough for a single line.
        """
        chunk = self._out.pop(serial, None)
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
        """What may be written now, in order; each is yielded once, and counts as written."""
        while self._next in self._settled:
            chunk, answer = self._settled.pop(self._next)
            self._next = chunk.end
            self._deaths.pop(chunk.offset, None)
            yield chunk, answer
