"""Which pieces of a task are out, which came back, and what may be written next: pure logic, no input or output.

add ─▶ queue ─▶ take ─▶ out ─▶ settle ─▶ settled ─▶ drain (in order of the input, each byte once)
         ▲               │
         └── give_back ──┤
         └── blame ──────┘   again; in parts; or, a single line at its limit: guilty
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from infergraph.tasks.driver.chunks import Piece

Answer = TypeVar("Answer")
PARTS = 8
"""A piece that killed its worker is worked again in so many parts: each level costs a loaded model."""


class ReorderBuffer(Generic[Answer]):
    """The books of one running task.

    Args:
        start: offset of the first piece.
        split: the same lines in up to n pieces.
        attempts_limit: deaths that a single line may cause before it is guilty.

    Promises: `drain` yields each byte from `start` on exactly once and in order, whatever the order of answers, deaths
    and returns. An answer to a piece that was since handed out again, or split, is refused.
    """

    def __init__(self, start: int, split: Callable[[Piece, int], list[Piece]], attempts_limit: int) -> None:
        self._next = start
        self._split = split
        self._attempts_limit = attempts_limit
        self._queue: list[tuple[int, Piece]] = []
        self._out: dict[int, Piece] = {}
        self._settled: dict[int, tuple[Piece, Answer]] = {}
        self._deaths: dict[int, int] = {}
        self._serial = 0

    @property
    def unwritten(self) -> int:
        """Pieces beyond what was drained: queued, out or waiting for an earlier one."""
        return len(self._queue) + len(self._out) + len(self._settled)

    @property
    def has_queued(self) -> bool:
        """Whether a piece waits to be handed out."""
        return bool(self._queue)

    @property
    def out(self) -> int:
        """Pieces handed out and not back."""
        return len(self._out)

    def add(self, piece: Piece) -> None:
        """Take a piece into the books; pieces come in any order and meet without gaps."""
        heapq.heappush(self._queue, (piece.offset, piece))

    def take(self) -> tuple[int, Piece]:
        """Hand out the earliest queued piece; the number is what its answer must carry."""
        _, piece = heapq.heappop(self._queue)
        self._serial += 1
        self._out[self._serial] = piece
        return self._serial, piece

    def piece(self, serial: int) -> Piece | None:
        """The piece that is out under this number; None if an answer under it would be refused."""
        return self._out.get(serial)

    def settle(self, serial: int, answer: Answer) -> Piece | None:
        """Take the answer to a piece; None if nobody waits for it any more."""
        piece = self._out.pop(serial, None)
        if piece is not None:
            self._settled[piece.offset] = (piece, answer)
        return piece

    def settle_piece(self, piece: Piece, answer: Answer) -> None:
        """Put in the answer to a piece that is in nobody's hands (a guilty line, or lines that need no work)."""
        self._settled[piece.offset] = (piece, answer)

    def give_back(self, serial: int) -> None:
        """The piece comes back unworked, through no fault of its own."""
        piece = self._out.pop(serial, None)
        if piece is not None:
            self.add(piece)

    def blame(self, serial: int, *, deadly: bool = False) -> Piece | None:
        """The worker died of this piece: again in parts; a single line that reached its limit is returned.

        Args:
            deadly: one death is enough for a single line.
        """
        piece = self._out.pop(serial, None)
        if piece is None:
            return None
        if piece.lines > 1:
            for part in self._split(piece, PARTS):
                self.add(part)
            return None
        deaths = self._deaths.pop(piece.offset, 0) + 1
        if deadly or deaths >= self._attempts_limit:
            return piece
        self._deaths[piece.offset] = deaths
        self.add(piece)
        return None

    def drain(self) -> Iterator[tuple[Piece, Answer]]:
        """What may be written now, in order; each is yielded once, and counts as written."""
        while self._next in self._settled:
            piece, answer = self._settled.pop(self._next)
            self._next = piece.end
            self._deaths.pop(piece.offset, None)
            yield piece, answer
