"""The answers of a task in another format than JSON lines, written once, when it is finished.

    answers, errors ─▶ rows of one table ─▶ CSV, Parquet ─pack─▶ file of answers

A crash repeats at most this. Nothing is ever in memory but a few rows. A driver imports this when the first such task
ends: the reader of JSON lines comes with NumPy, which is 20 MB that no other task needs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from infergraph.tasks.files import disk_faults
from infergraph.wire import csv_rows, jsonl, packing, parquet_rows
from infergraph.wire.error_lines import failed_lines
from infergraph.wire.file_kind import FileFormat, FileKind

_GROUP_BYTES = 4 << 20
"""Of answers that are in memory at a time, and one row group of Parquet."""
_ANSWER, _REASON = "answer", "error"

Row = dict[str, Any]


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
