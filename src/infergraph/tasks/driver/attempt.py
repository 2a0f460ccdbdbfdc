"""One attempt at a task: its input, its reorder buffer, its output, and the watermark.

    cut ─▶ reorder buffer ─▶ assignments ─▶ answers ─▶ reorder buffer ─▶ append ─▶ sync ─▶ watermark

The recovery rule: truncate the output to the watermark, read on from the watermark. Truncation never extends a file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from infergraph.settings import RowMode
from infergraph.tasks.driver.chunks import BLOCK_BYTES, Chunk, ChunkSizer, LineReader
from infergraph.tasks.driver.reorder_buffer import ReorderBuffer
from infergraph.tasks.driver.retry_round import SecondRound
from infergraph.tasks.engines.messages import Answer, Assignment, Key, Lines
from infergraph.tasks.failpoints import crash_point
from infergraph.tasks.files import DataFolder, Part, disk_faults, sync_folder, write_all
from infergraph.tasks.task import Progress, Task, Watermark
from infergraph.wire import error_lines, request_lines

STALLS_SOLO = 7
STALLS_LIMIT = 12
_RATE_MEMORY_S = 5.0


class AttemptRules(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of an attempt; the settings of the same names."""

    chunk_target_s: float
    chunk_lines_limit: int
    attempts_limit: int
    row_timeout_s: float
    window: int
    """Maximum of chunks that are assigned, or waiting for an earlier one."""
    carries_data: bool = False
    """Whether assignments contain the lines, since workers do not share the disk."""
    own_files: bool = False
    """Whether each claim writes files of its own, since the driver of an earlier one may still be alive."""

    def writer(self, task: Task) -> int:
        """The writer of an attempt at a task; see `Task`."""
        return task.fence if self.own_files else task.writer


class _Files(NamedTuple):
    """The open files of an attempt.

    Args:
        path: of the input.
        second: the previous round, for a retry of failed lines.
        output, errors: descriptors for appending.
        paths: of both.
        opened: closes them all.
    """

    path: Path
    reader: LineReader
    second: SecondRound | None
    output: int
    errors: int
    paths: tuple[Path, Path]
    opened: ExitStack

    @classmethod
    def open(cls, data: DataFolder, task: Task, writer: int) -> _Files:
        """The files of this writer, with what the watermark covers. Raises: OSError if they do not match it."""
        path = data.input(task.folder)
        with ExitStack() as opened:
            reader = opened.enter_context(closing(LineReader.open(path, task.input_end)))
            second = opened.enter_context(closing(SecondRound.open(data, task, reader))) if task.round else None
            if writer != task.writer:
                _take_over(data.output, task, writer, task.out_off)
                _take_over(data.errors, task, writer, task.err_off)
            paths = data.output(task.folder, task.round, writer), data.errors(task.folder, task.round, writer)
            output = _reopen(paths[0], task.out_off)
            opened.callback(os.close, output)
            errors = _reopen(paths[1], task.err_off)
            opened.callback(os.close, errors)
            sync_folder(path.parent)
            return cls(path, reader, second, output, errors, paths, opened.pop_all())


class Attempt:
    """One attempt at a task.

    Args:
        number: unique in the driver's lifetime; answers refer to it.
        line_s: recent seconds per line in other tasks; 0 for unknown.
    """

    def __init__(
        self,
        task: Task,
        number: int,
        rules: AttemptRules,
        files: _Files,
        *,
        clock: Callable[[], float],
        line_s: float,
    ) -> None:
        self.task = task
        self.number = number
        self.spent_s = 0.0
        self.retries = task.retries
        self.kills = task.kills
        self.last_error = task.error
        self.overdue: set[Key] = set()
        self.began = False
        self._last_lines = 0
        self.moved = False
        self._errors_dirty = False
        self._rules = rules
        self._clock = clock
        self._began_at = 0.0
        self._stalls = task.stalls
        self._files = files
        self._buffer: ReorderBuffer[Lines] = ReorderBuffer(task.in_off, files.reader.split, rules.attempts_limit)
        self._cut_to, self._cut_line = task.in_off, task.done + 1
        self.mark = Watermark(
            in_off=task.in_off,
            out_off=task.out_off,
            err_off=task.err_off,
            done=task.done,
            failed=task.failed,
            writer=rules.writer(task),
        )
        self._committed_mark = self.mark
        self._sha = hashlib.sha256() if not task.out_off else None
        self.sizer = ChunkSizer(rules.chunk_target_s, self._lines_limit(), line_s=line_s, alone=rules.row_timeout_s > 0)
        self._rate = 0.0
        self._rate_at = (0.0, task.done)

    @classmethod
    def open(
        cls,
        data: DataFolder,
        task: Task,
        number: int,
        rules: AttemptRules,
        *,
        clock: Callable[[], float],
        line_s: float,
    ) -> Attempt:
        """An attempt at a task with its files open, at the watermark.

        Raises: OSError if they do not match it; StorageFull.
        """
        attempt = cls(task, number, rules, _Files.open(data, task, rules.writer(task)), clock=clock, line_s=line_s)
        try:
            if task.stalls > STALLS_LIMIT:
                attempt._fail_head()
        except BaseException:
            attempt.close()
            raise
        return attempt

    def _lines_limit(self) -> int:
        """Attempts without progress use ever smaller chunks, to isolate the line that crashes the server."""
        return max(1, self._rules.chunk_lines_limit >> (2 * self._stalls))

    def _fail_head(self) -> None:
        chunk, kept = self._next_chunk(1)
        reason = f"the server died {self.task.stalls} times while it worked on this line"
        self._buffer.complete_chunk(chunk, kept or self._failed_line(chunk, reason))

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def weight(self) -> float:
        """The weight of the task's share of the workers: doubles with each step of priority."""
        return float(2.0 ** max(-8, min(8, self.task.priority)))

    @property
    def assignment_s(self) -> float:
        """Estimated time of the next assignment; infinite if nothing is known yet."""
        return self._last_lines * self.sizer.line_s or float("inf")

    @property
    def has_next(self) -> bool:
        """Whether there is an assignment to assign."""
        if self._buffer.has_queued:
            return not self._is_solo or not self._buffer.assigned
        window = 1 if self._is_solo else self._rules.window
        return self._cut_to < self.task.input_end and self._buffer.unwritten < window

    @property
    def _is_solo(self) -> bool:
        return self._stalls >= STALLS_SOLO

    def next_assignment(self) -> Assignment | None:
        """The next assignment; None if the lines that were cut needed no work."""
        if not self._buffer.has_queued:
            self._cut()
            if not self._buffer.has_queued:
                return None
        serial, chunk = self._buffer.assign()
        self._last_lines = chunk.lines
        self.spent_s += max(chunk.lines * self.sizer.line_s, 1e-3) / self.weight
        return Assignment(
            Key(self.number, serial),
            os.fspath(self._files.path),
            chunk.offset,
            chunk.size,
            chunk.line,
            chunk.lines,
            self.task.rows,
            self._files.reader.read(chunk) if self._rules.carries_data else None,
            self.task.charset,
            self.task.is_table,
        )

    def _cut(self) -> None:
        chunk, kept = self._next_chunk(self.sizer.lines)
        if kept is None:
            self._buffer.add(chunk)
        else:
            self._buffer.complete_chunk(chunk, kept)

    def _next_chunk(self, lines: int) -> tuple[Chunk, Lines | None]:
        """The next lines of the input, and their answers if they are known already."""
        reader, second = self._files.reader, self._files.second
        if second is None:
            chunk, kept = reader.cut(self._cut_to, self._cut_line, lines=lines, bytes=BLOCK_BYTES), None
        else:
            chunk, kept = second.cut(self._cut_to, self._cut_line, lines=lines)
        self._cut_to, self._cut_line = chunk.end, chunk.line + chunk.lines
        return chunk, kept

    # ── back ────────────────────────────────────────────────────────────────────────────────────────────────────

    def answered(self, answer: Answer) -> bool:
        """Accept an answer; False if it is no longer expected."""
        chunk = self.chunk(answer.key)
        if chunk is None:
            return False
        lines = Lines(answer.output, answer.errors, answer.failed, chunk.lines)
        self._buffer.complete(answer.key.serial, lines)
        self.sizer.seen(chunk.lines, answer.seconds)
        return True

    def chunk(self, key: Key) -> Chunk | None:
        """The chunk of an assignment; None if it is no longer expected."""
        return self._buffer.chunk(key.serial)

    def requeue(self, key: Key) -> None:
        """An assignment is returned unprocessed, without blame."""
        self.retries += 1
        self._buffer.requeue(key.serial)

    def worker_died(self, key: Key, why: str) -> None:
        """The worker died while processing an assignment, or was killed because the assignment took too long."""
        self.retries += 1
        self.kills += 1
        is_late = key in self.overdue
        self.overdue.discard(key)
        if is_late:
            why = f"took longer than {self._rules.row_timeout_s:g} s"
        failed = self._buffer.retry_in_parts(key.serial, deadly=is_late)
        if failed is not None:
            reason = why if is_late else f"the worker {why} on this line"
            self._buffer.complete_chunk(failed, self._failed_line(failed, reason))

    def _failed_line(self, chunk: Chunk, reason: str) -> Lines:
        raw, charset = self._files.reader.read(chunk).removesuffix(b"\n"), self.task.charset
        if self._has_requests:
            line = request_lines.failure_of(raw, request_lines.SERVER_ERROR, reason, charset)
        else:
            line = error_lines.error_line(chunk.line, reason, raw, charset)
        return Lines(line + b"\n", line + b"\n", 1, 1)

    @property
    def _has_requests(self) -> bool:
        """Whether the answers have the form of `wire.request_lines`."""
        return self.task.rows == RowMode.REQUEST.value

    def allowed_s(self, key: Key) -> float:
        """The time limit of an assignment; 0 for none.

        A single line gets exactly its limit; several lines get in addition four times their usual time, after which
        they are retried in parts.
        """
        chunk = self.chunk(key)
        limit_s = self._rules.row_timeout_s
        if chunk is None or not limit_s:
            return 0.0
        return limit_s if chunk.lines == 1 else limit_s + 4 * chunk.lines * self.sizer.line_s

    # ── to the disk ─────────────────────────────────────────────────────────────────────────────────────────────

    def append(self) -> None:
        """Append the answers that are next in order.

        Raises: StorageFull; the attempt then has to be closed and reopened at its watermark.
        """
        output, errors, mark = [], [], self.mark
        for chunk, lines in self._buffer.drain():
            output.append(lines.output)
            errors.append(lines.errors)
            mark = Watermark(
                in_off=chunk.end,
                out_off=mark.out_off + len(lines.output),
                err_off=mark.err_off + len(lines.errors),
                done=mark.done + lines.lines,
                failed=mark.failed + lines.failed,
                writer=mark.writer,
            )
        if not output:
            return
        with disk_faults():
            for part in output:
                write_all(self._files.output, part)
                if self._sha is not None:
                    self._sha.update(part)
            if mark.failed > self.mark.failed:
                trouble = b"".join(errors)
                write_all(self._files.errors, trouble)
                self._errors_dirty = True
                self.last_error = self.told(trouble.rstrip(b"\n").rsplit(b"\n", 1)[-1])[:2000]
        crash_point("output-written")
        self.mark = mark

    def told(self, error: bytes) -> str:
        """An error line for people."""
        if self._has_requests:
            return request_lines.reason_of(error)
        number, reason, _ = error_lines.read_error_line(error)
        return f"line {number}: {reason}"

    def files_to_sync(self) -> list[int]:
        """Duplicated descriptors of the files with unsynced data; the caller has to close them."""
        files = [self._files.output] + [self._files.errors] * self._errors_dirty
        self._errors_dirty = False
        return [os.dup(fd) for fd in files]

    def parts_to_keep(self) -> list[Part]:
        """What the watermark that is committed next covers of the files of its writer, and no one before it."""
        before, mark = self._committed_mark, self.mark
        is_first = not self.moved and mark.writer != self.task.writer
        starts = (0, 0) if is_first else (before.out_off, before.err_off)
        parts = zip(self._files.paths, starts, (mark.out_off, mark.err_off), strict=True)
        return [Part(path, start, end) for path, start, end in parts if start < end]

    @property
    def kept_writer(self) -> int:
        """The writer of the files up to the committed watermark."""
        return self._committed_mark.writer if self.moved else self.task.writer

    @property
    def is_dirty(self) -> bool:
        """Whether data is appended beyond the committed watermark."""
        return self.mark != self._committed_mark

    def committed(self, mark: Watermark) -> None:
        """The watermark has advanced: reset what counts attempts without progress."""
        self._committed_mark = mark
        self.moved = True
        self._stalls = 0
        self.sizer.widen(self._rules.chunk_lines_limit)

    def progress(self) -> Progress:
        """The counts for display, and the recent rate."""
        now = self._clock()
        then, done = self._rate_at
        if self.began and now > then:
            rate = (self.mark.done - done) / (now - then)
            share = min(1.0, (now - then) / _RATE_MEMORY_S)
            self._rate = rate if not self._rate else self._rate + share * (rate - self._rate)
            self._rate_at = (now, self.mark.done)
        return Progress(
            retries=self.retries, kills=self.kills, rate=self._rate, worked_s=self.worked_s, error=self.last_error
        )

    @property
    def worked_s(self) -> float:
        """Seconds of work on the task, including earlier attempts, without the loading of the unit."""
        return self.task.worked_s + (self._clock() - self._began_at if self.began else 0.0)

    def begin(self) -> None:
        """Called before the first assignment is sent."""
        self.began = True
        self._began_at = self._clock()
        self._rate_at = (self._began_at, self.mark.done)

    @property
    def lines_left(self) -> int:
        """How many lines are not answered, or not appended yet."""
        return self.task.total - self.mark.done

    @property
    def is_complete(self) -> bool:
        """Whether everything is answered and appended."""
        return self.mark.in_off >= self.task.input_end

    def digest(self) -> str | None:
        """The SHA-256 of the output if this attempt wrote all of it; None if the file must be read."""
        return self._sha.hexdigest() if self._sha is not None else None

    def close(self) -> None:
        """Close the files; data beyond the watermark is truncated when they are reopened. Idempotent."""
        self._files.opened.close()


def _take_over(file: Callable[[str, int, int], Path], task: Task, writer: int, size: int) -> None:
    """Begin this writer's file with the first `size` bytes of the last one's, which that one may still write to.

    Raises: OSError; StorageFull.
    """
    path = file(task.folder, task.round, writer)
    if size and not path.exists():
        copy = path.with_suffix(".copy")
        with disk_faults():
            _copy_head(file(task.folder, task.round, task.writer), copy, size)
            copy.rename(path)


def _reopen(path: Path, size: int) -> int:
    """Truncate a file to `size` bytes, and open it for appending."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    found = os.fstat(fd).st_size
    if found < size:
        os.close(fd)
        raise OSError(f"{path.name} has {found} bytes, but {size} were committed")
    os.ftruncate(fd, size)
    os.lseek(fd, size, os.SEEK_SET)
    return fd


def _copy_head(source: Path, target: Path, size: int) -> None:
    """Copy the first `size` bytes of a file."""
    with source.open("rb") as old, target.open("wb") as new:
        at = 0
        while at < size:
            copied = os.sendfile(new.fileno(), old.fileno(), at, size - at)
            if not copied:
                break
            at += copied


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
