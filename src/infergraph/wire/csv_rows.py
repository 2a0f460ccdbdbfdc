"""CSV to JSON lines and back: the first row names the columns, every value is a text.

A value is read as the text that stands in the file: no row's types depend on another row, "007" stays "007". A row that
cannot be read, since it has more or fewer fields than the header or stray quotes, becomes a line that says why.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import orjson

from infergraph.errors import PayloadError
from infergraph.wire import error_lines

FIELD_LIMIT = 16 << 20
"""Characters of one field, and of one line; beyond them a quote was certainly not closed."""
_ROWS_AT_ONCE = 512
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks of complete JSON lines, an object for each row.

    Args:
        blocks: UTF-8; bytes that are none make their row a bad one.
    Raises: PayloadError naming the line, if the header is unusable, a quote is never closed, or there are no rows.
    """
    csv.field_size_limit(FIELD_LIMIT)  # of the process, and with 128 KiB too small for documents
    source = _Lines(blocks)
    rows = csv.reader(source, strict=True)
    names: list[str] = []
    lines = _json_lines(rows, source, names)
    block = list(islice(lines, _ROWS_AT_ONCE))
    if not block:
        raise PayloadError("the file has a header, but no rows" if names else "the file is empty")
    while block:
        yield b"\n".join(block) + b"\n"
        block = list(islice(lines, _ROWS_AT_ONCE))


class _Lines:
    """The lines of a CSV file, and those of the current row."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        buffered = io.BufferedReader(_Stream(blocks), 1 << 16)
        self._text = io.TextIOWrapper(buffered, "utf-8", "surrogateescape", newline="")
        self.number = 0
        self.row: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(FIELD_LIMIT)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == FIELD_LIMIT and line[-1] not in "\r\n":
            raise PayloadError(f"line {self.number} is longer than {FIELD_LIMIT} characters")
        if self.number == 1:
            line = line.removeprefix("\ufeff")
        self.row.append(line)
        return line

    @property
    def first(self) -> int:
        """The number of the current row's first line."""
        return self.number - len(self.row) + 1

    def bad(self, reason: str) -> bytes:
        """The line that takes the place of the current row."""
        raw = "".join(self.row).rstrip("\r\n").encode("utf-8", "surrogateescape")
        return error_lines.bad_line(f"line {self.first} of the file: {reason}", raw)


def _json_lines(rows: Iterator[list[str]], source: _Lines, names: list[str]) -> Iterator[bytes]:
    """A JSON line for each row; `names` is filled with the header."""
    width = len(names)
    while True:
        source.row.clear()
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield _unreadable(source, str(error), is_header=not names)
            continue
        if not row:
            continue  # a blank line
        if not names:
            names += _header(row, source)
            width = len(names)
        elif len(row) != width:
            yield source.bad(f"{_count(len(row), 'field')}, the header has {width}")
        else:
            yield _json_line(dict(zip(names, row, strict=True)), source)


def _json_line(row: dict[str, str], source: _Lines) -> bytes:
    try:
        return orjson.dumps(row)
    except orjson.JSONEncodeError:
        return source.bad("not UTF-8; name the encoding of the file if it is another (--encoding gb18030)")


def _unreadable(source: _Lines, why: str, *, is_header: bool) -> bytes:
    """The line for a row that is not CSV. Raises: PayloadError where it cannot be said where the next one begins."""
    if "end of data" in why or "field limit" in why:
        raise PayloadError(f"line {source.first}: a quote is opened and not closed")
    if is_header:
        raise PayloadError(f"line {source.first}: the header is not CSV: {why}")
    return source.bad(f"not CSV: {why}")


def _header(row: list[str], source: _Lines) -> list[str]:
    """The names of the columns. Raises: PayloadError."""
    where = f"line {source.first}"
    if row[0].lstrip().startswith(("{", "[")):
        raise PayloadError(f"{where}: the file looks like JSON, not CSV")
    twice = repeated(row)
    if twice is not None:
        raise PayloadError(f"{where}: two columns are called {twice!r:.80}")
    for delimiter, name in _OTHER_DELIMITERS.items():
        if len(row) == 1 and delimiter in row[0]:
            raise PayloadError(f"{where}: the columns are separated by {name}; commas are expected")
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        raise PayloadError(f"{where}: not UTF-8; name the encoding of the file (--encoding gb18030)") from None
    return row


def repeated(names: Iterable[str]) -> str | None:
    """The first of these names that an earlier column has; None if each has one of its own."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class CsvTable:
    """The columns of rows, in the order in which they were first seen."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def learn(self, rows: list[dict[str, Any]]) -> bool:
        """Take in more rows; whether they have more columns."""
        before = len(self.names)
        for row in rows:
            if not row.keys() <= self.names.keys():
                self.names |= dict.fromkeys(row)
        return len(self.names) > before

    def writer(self, file: BinaryIO) -> CsvWriter:
        """A writer of rows with these columns."""
        return CsvWriter(file, list(self.names))


class CsvWriter:
    """Writes rows below a header, in UTF-8."""

    def __init__(self, file: BinaryIO, names: list[str]) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", "replace", newline="", write_through=True)
        self._names = names
        self._writer = csv.writer(self._text, lineterminator="\n")
        self._writer.writerow(names)

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write rows; a missing value is an empty field."""
        names = self._names
        for row in rows:
            self._writer.writerow([value if type(value) in _WRITTEN else cell(value) for value in map(row.get, names)])

    def close(self) -> None:
        """Write what is buffered; the file stays open."""
        self._text.flush()
        self._text.detach()


_WRITTEN = frozenset({str, int, float, type(None)})
"""What Python's csv writes as `cell` does."""


def cell(value: Any) -> str:
    """A JSON value as a field: a text as it is, nothing for null, JSON for all else."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class _Stream(io.RawIOBase):
    """Blocks as a raw file."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
