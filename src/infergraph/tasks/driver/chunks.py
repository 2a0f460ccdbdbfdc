"""Chunks: consecutive lines of a task's input; the chunk size adapts to the unit's speed."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

BLOCK_BYTES = 1 << 18
_FIRST_LINES = 4
_GROWTH = 4


class Chunk(msgspec.Struct, frozen=True):
    """A range of complete lines.

    Args:
        offset, size: in bytes of the input.
        line: number of its first line, from 1.
        lines: how many.
    """

    offset: int
    size: int
    line: int
    lines: int

    @property
    def end(self) -> int:
        """Where the next chunk begins."""
        return self.offset + self.size


class LineReader:
    """Cuts a file into chunks of whole lines.

    Args:
        end: where reading ends; the last line needs no line end.
    """

    def __init__(self, fd: int, end: int) -> None:
        self._fd = fd
        self._end = end
        self._line_bytes = 256.0

    @classmethod
    def open(cls, path: Path, end: int) -> LineReader:
        """A reader of the file at `path`. Raises: OSError."""
        return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC), end)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def cut(self, offset: int, line: int, *, lines: int, bytes: int = BLOCK_BYTES) -> Chunk:
        """The next chunk: at most `lines` lines and about `bytes` bytes, but at least one line however long."""
        room = self._end - offset
        wanted = min(bytes, max(4096, int(lines * self._line_bytes * 1.25)))
        while True:
            block = os.pread(self._fd, min(wanted, room), offset)
            if not block:
                raise OSError(f"the input ends at byte {offset}, {room} bytes early")
            size, count = _whole_lines(block, lines)
            if len(block) >= room and count < lines and size < len(block):
                size, count = len(block), count + 1
            if count:
                self._line_bytes += 0.2 * (size / count - self._line_bytes)
                return Chunk(offset, size, line, count)
            wanted *= 4

    def take(self, offset: int, line: int, lines: int) -> Chunk:
        """Exactly `lines` lines, however long; fewer only at the end of the file."""
        chunk = self.cut(offset, line, lines=lines, bytes=self._end - offset)
        while chunk.lines < lines and chunk.end < self._end:
            more = self.cut(chunk.end, line + chunk.lines, lines=lines - chunk.lines, bytes=self._end - chunk.end)
            chunk = Chunk(offset, chunk.size + more.size, line, chunk.lines + more.lines)
        return chunk

    def split(self, chunk: Chunk, parts: int) -> list[Chunk]:
        """The same lines in up to `parts` chunks of nearly equal length."""
        step = -(-chunk.lines // parts)
        chunks = []
        offset, line = chunk.offset, chunk.line
        while offset < chunk.end:
            part = self.take(offset, line, min(step, chunk.line + chunk.lines - line))
            chunks.append(part)
            offset, line = part.end, line + part.lines
        return chunks

    def read(self, chunk: Chunk) -> bytes:
        """The bytes of a chunk."""
        return os.pread(self._fd, chunk.size, chunk.offset)


def _whole_lines(block: bytes, lines: int) -> tuple[int, int]:
    """Size in bytes, and number, of the complete lines in the block, at most `lines`."""
    count = block.count(b"\n")
    if count <= lines:
        return block.rfind(b"\n") + 1, count
    at = -1
    for _ in range(lines):
        at = block.index(b"\n", at + 1)
    return at + 1, lines


class ChunkSizer:
    """Adaptive chunk size: as many lines as take about `target_s`.

    Args:
        limit: maximum lines.
        line_s: seconds per line in other tasks; 0 for unknown.
        alone: start with a single line, to measure its time before several share a chunk.
    """

    def __init__(self, target_s: float, limit: int, *, line_s: float = 0.0, alone: bool = False) -> None:
        self._target_s = target_s
        self._limit = limit
        self._wanted = 1 if alone else _FIRST_LINES
        self.line_s = line_s
        if line_s:
            self._wanted = max(1, min(int(target_s / line_s), _FIRST_LINES * _GROWTH**2))

    @property
    def lines(self) -> int:
        """Lines of the next chunk."""
        return min(self._wanted, self._limit)

    def widen(self, limit: int) -> None:
        """Raise the limit."""
        self._limit = limit

    def seen(self, lines: int, seconds: float) -> None:
        """Record the time that a chunk took."""
        now = max(seconds / lines, 1e-9)
        self.line_s = now if not self.line_s else 0.5 * self.line_s + 0.5 * now
        self._wanted = max(1, min(int(self._target_s / self.line_s), max(lines, self.lines) * _GROWTH))
