"""A retry of failed lines only: good answers are copied from the previous round, failed lines are processed again."""

from __future__ import annotations

from collections.abc import Generator

from infergraph.tasks.driver.chunks import BLOCK_BYTES, Chunk, LineReader
from infergraph.tasks.engines.messages import Lines
from infergraph.tasks.files import DataFolder
from infergraph.tasks.task import Task
from infergraph.wire.error_lines import failed_lines


class SecondRound:
    """Cuts the input into chunks that keep their old answers and chunks that are processed again.

    Args:
        input: the task's input.
        old: the answers of the previous round.
        failed: numbers of its failed lines that are not done yet.
    """

    def __init__(self, input: LineReader, old: LineReader, failed: Generator[int, None, None]) -> None:
        self._input = input
        self._old = old
        self._old_at = 0
        self._failed = failed
        self._next: int | None = None

    @classmethod
    def open(cls, data: DataFolder, task: Task, input: LineReader) -> SecondRound:
        """The round of a task, at its watermark. Raises: OSError."""
        before = task.round - 1
        old = data.output(task.folder, before, task.writer_before)
        failed = failed_lines(data.errors(task.folder, before, task.writer_before), task.done)
        round = cls(input, LineReader.open(old, old.stat().st_size), failed)
        try:
            round._seek(task.done)
        except BaseException:
            round.close()
            raise
        return round

    def _seek(self, lines: int) -> None:
        """Skip the answers of the first `lines` lines, and find the first failed line."""
        self._next = next(self._failed, None)
        while lines:
            chunk = self._old.cut(self._old_at, 1, lines=lines)
            self._old_at, lines = chunk.end, lines - chunk.lines

    def cut(self, offset: int, line: int, *, lines: int) -> tuple[Chunk, Lines | None]:
        """The next chunk, and its old answers if it keeps them.

        Args:
            lines: maximum lines of a chunk that is processed again.
        """
        if self._next is not None and self._next <= line:
            return self._again(offset, line, lines), None
        stretch = BLOCK_BYTES if self._next is None else self._next - line
        chunk = self._input.cut(offset, line, lines=stretch)
        return chunk, Lines(self._take_old(chunk.lines), b"", 0, chunk.lines)

    def _again(self, offset: int, line: int, lines: int) -> Chunk:
        """Consecutive failed lines, at most `lines`."""
        count = 0
        while self._next == line + count and count < lines:
            count += 1
            self._next = next(self._failed, None)
        chunk = self._input.take(offset, line, count)
        self._take_old(chunk.lines)
        return chunk

    def _take_old(self, lines: int) -> bytes:
        chunk = self._old.take(self._old_at, 1, lines)
        self._old_at = chunk.end
        return self._old.read(chunk)

    def close(self) -> None:
        """Close the files. Idempotent."""
        self._old.close()
        self._failed.close()
