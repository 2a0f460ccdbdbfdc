"""Task files in other formats than JSON lines: converted once when they come in, and once when the answers go out.

    received file ─unpack─▶ blocks ─decode─▶ UTF-8 ─CSV, Parquet─▶ JSON lines ─▶ input of the task
    answers, errors ─▶ rows of one table ─▶ CSV, Parquet ─pack─▶ file of answers

In between a task knows JSON lines alone: offsets, watermark and recovery are the same for every format, and a crash
repeats at most the writing of the finished answers. Nothing is ever in memory but a few rows.
"""

from __future__ import annotations

import codecs
import os
import shutil
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from infergraph.errors import PayloadError, UploadTooLarge
from infergraph.tasks.files import disk_faults
from infergraph.wire import csv_rows, error_lines, file_kind, jsonl, packing, parquet_rows
from infergraph.wire.file_kind import Compression, FileFormat, FileKind
from infergraph.wire.transcoding import Transcoder

_HEAD_BYTES = 4
_GROWTH = 10
_CHECK_EVERY_BYTES = 16 << 20
_GROUP_BYTES = 4 << 20
"""Of answers that are in memory at a time, and one row group of Parquet."""
_ANSWER, _REASON = "answer", "error"

Row = dict[str, Any]


def check_available(kind: FileKind) -> None:
    """Raises: MissingExtra if files of this kind need a package that is not installed."""
    packing.check_available(kind.compression)
    if kind.format is FileFormat.PARQUET:
        parquet_rows.check_available()


# ── in ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Conversion:
    """One file that comes in.

    Args:
        kind: what is said of it; its first bytes take precedence.
        codec: of its declared charset; None for UTF-8.
        scratch: a file that may be written, for compressed Parquet.
    """

    def __init__(self, path: Path, kind: FileKind, codec: codecs.CodecInfo | None, *, scratch: Path) -> None:
        self._path = path
        self._kind = kind
        self._transcoder = Transcoder(codec)
        self._scratch = scratch

    @property
    def charset(self) -> str:
        """By which the file was decoded, once its lines are read; empty for UTF-8."""
        return self._transcoder.charset

    def blocks(self, limits: ConversionLimits) -> Iterator[bytes]:
        """The file as blocks of JSON lines.

        Raises: PayloadError naming the line or the row group, if it cannot be read; MissingExtra; OSError; what
            `limits` raises.
        """
        for block in self._blocks(limits):
            limits.written(block)
            yield block

    def _blocks(self, limits: ConversionLimits) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            packed = file_kind.compression_of(file.read(_HEAD_BYTES))
            file.seek(0)
            unpacked = _counted(packing.blocks_of(file, packed), limits)
            first = next(unpacked, b"")
            unpacked = chain([first], unpacked)
            if file_kind.is_parquet(first):
                yield from self._parquet(unpacked, is_packed=packed is not Compression.NONE)
            elif self._kind.format is FileFormat.PARQUET:
                raise PayloadError("the file is not Parquet")
            elif self._kind.format is FileFormat.CSV:
                yield from csv_rows.read(self._text(unpacked))
            else:
                yield from self._text(unpacked)

    def _parquet(self, unpacked: Iterable[bytes], *, is_packed: bool) -> Iterator[bytes]:
        """Parquet is read from its end, and so from a file."""
        if not is_packed:
            yield from parquet_rows.read(self._path)
            return
        try:
            with self._scratch.open("wb") as file:
                file.writelines(unpacked)
            yield from parquet_rows.read(self._scratch)
        finally:
            self._scratch.unlink(missing_ok=True)

    def _text(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            yield self._transcoder.feed(block)
        yield self._transcoder.feed(b"", is_last=True)


class ConversionLimits:
    """What one file may cost, checked while it is converted.

    Args:
        limit_bytes: of the unpacked file; 0 for none. Its JSON lines may be ten times as large: each repeats the names
            of all columns, and Parquet is compressed inside.
        check_disk: raises if the disk is full; called every 16 MiB.
    Raises: UploadTooLarge from both methods, and what `check_disk` raises.
    """

    def __init__(self, limit_bytes: int, check_disk: Callable[[], None]) -> None:
        self._limit_bytes = limit_bytes
        self._check_disk = check_disk
        self._unpacked = self._written = self._checked = 0

    def begin(self) -> None:
        """Count from nothing again: another file, or the same once more."""
        self._unpacked = self._written = self._checked = 0

    def unpacked(self, block: bytes) -> None:
        """Count unpacked bytes of the file."""
        self._unpacked += len(block)
        self._check(self._unpacked, 1)

    def written(self, block: bytes) -> None:
        """Count bytes of JSON lines."""
        self._written += len(block)
        self._check(self._written, _GROWTH)

    def _check(self, size: int, growth: int) -> None:
        if self._limit_bytes and size > growth * self._limit_bytes:
            more = "ten times " if growth > 1 else ""
            limit = f"{more}the limit of {self._limit_bytes} bytes (setting task_upload_limit_bytes)"
            raise UploadTooLarge(f"the file unpacks to more than {limit}")
        if self._unpacked + self._written - self._checked >= _CHECK_EVERY_BYTES:
            self._checked = self._unpacked + self._written
            self._check_disk()


def _counted(blocks: Iterable[bytes], limits: ConversionLimits) -> Iterator[bytes]:
    for block in blocks:
        limits.unpacked(block)
        yield block


# ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_answers(output: Path, errors: Path, kind: FileKind, target: Path) -> None:
    """Write the answers of a finished task to a file of another kind, durably.

    Args:
        output, errors: the answers, and those of them that are error lines.
    Raises: StorageFull, TaskFault; MissingExtra.
    """
    answers = _Answers(output, errors)
    try:
        _write(answers, kind, target, is_surveyed=False)
    except _Unforeseen:
        _write(answers, kind, target, is_surveyed=True)


def _write(answers: _Answers, kind: FileKind, target: Path, *, is_surveyed: bool) -> None:
    with disk_faults(), target.open("wb") as file:
        with packing.packed(file, kind.compression) as written:
            if kind.format is FileFormat.JSONL:
                with answers.output.open("rb") as source:
                    shutil.copyfileobj(source, written, packing.BLOCK_BYTES)
            else:
                _write_table(answers, kind.format, written, is_surveyed=is_surveyed)
        file.flush()
        os.fsync(file.fileno())


class _Unforeseen(Exception):
    """A row has a column, or a type, that the rows before it do not show."""


def _write_table(answers: _Answers, format: FileFormat, file: BinaryIO, *, is_surveyed: bool) -> None:
    """The answers as a table: its columns are those of all rows, in the order in which they are first seen.

    Args:
        is_surveyed: whether to read all rows for that first; otherwise the first ones are believed.
    Raises: _Unforeseen if others have more.
    """
    table = csv_rows.CsvTable() if format is FileFormat.CSV else parquet_rows.ParquetTable()
    for group in answers.groups():
        table.learn(answers.good(group))
        if table.names and not is_surveyed:
            break
    reason = answers.reason_name(table.names)
    if answers.has_failed:
        table.learn([{reason: ""}])
    with closing(table.writer(file)) as writer:
        for group in answers.groups():
            good = answers.good(group)
            if not is_surveyed and (table.learn(good) or (answers.has_failed and any(reason in row for row in good))):
                raise _Unforeseen
            writer.write(answers.rows(group, reason))


class _Failed(NamedTuple):
    """A failed row: what is known of it, such as an id, and the reason."""

    known: Row
    reason: str


class _Answers:
    """The answers of a task as rows of a table.

    An object is a row; any other answer is the value of the column `answer`. A failed row has its reason in a column,
    and in the columns of the answers what its input has there.
    """

    def __init__(self, output: Path, errors: Path) -> None:
        self.output = output
        self._errors = errors
        self.has_failed = errors.stat().st_size > 0

    def reason_name(self, taken: Collection[str]) -> str:
        """The name of the column with the reasons of failed rows: `error`, unless the answers have such a column."""
        name = _REASON
        while name in taken:
            name = f"row_{name}"
        return name

    def groups(self) -> Iterator[list[Row | _Failed]]:
        """The rows in order, several at a time."""
        number = 0
        with closing(failed_lines(self._errors)) as failed, self.output.open("rb") as file:
            next_failed = next(failed, 0)
            while lines := file.readlines(_GROUP_BYTES):
                group: list[Row | _Failed] = []
                for value in jsonl.read(b"".join(lines))[1]:
                    number += 1
                    if number == next_failed:
                        next_failed = next(failed, 0)
                        group.append(_failed_row(value))
                    else:
                        group.append(value if isinstance(value, dict) else {_ANSWER: value})
                yield group

    def good(self, group: list[Row | _Failed]) -> list[Row]:
        """The rows of a group that did not fail."""
        return [row for row in group if isinstance(row, dict)] if self.has_failed else cast("list[Row]", group)

    def rows(self, group: list[Row | _Failed], reason: str) -> list[Row]:
        """All rows of a group, the failed ones with their reason in the column of this name."""
        if not self.has_failed:
            return cast("list[Row]", group)
        return [row if isinstance(row, dict) else {**row.known, reason: row.reason} for row in group]


def _failed_row(line: Row) -> _Failed:
    """The row of an error line."""
    given = jsonl.read_line(line["input"].encode("utf-8", "replace"))
    return _Failed(given if isinstance(given, dict) else {}, line["error"]["reason"])


def failed_lines(errors: Path, done: int = 0) -> Generator[int, None, None]:
    """Numbers of the failed lines beyond the first `done`, in order."""
    with errors.open("rb") as file:
        for line in file:
            number, _, _ = error_lines.read_error_line(line)
            if number > done:
                yield number
