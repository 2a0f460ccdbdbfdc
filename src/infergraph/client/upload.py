"""Streams the rows of a task, from a file or an iterable, as a multipart form.

file, rows ─▶ blocks ─▶ between the form's head and tail ─▶ the body of a POST
"""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from infergraph.errors import PayloadError
from infergraph.net.form import Form
from infergraph.wire import charsets, jsonl

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO | Iterable[Any] | AsyncIterable[Any]"
"""The source of a task: a path, a binary file, or rows: dicts, or encoded lines of JSON."""

_BLOCK_BYTES = 1024 * 1024
_ROWS_AT_ONCE = 256


class Upload:
    """The form of a submission.

    Args:
        source: the rows.
        fields: the other fields of the form.
        encoding: of a file that is not UTF-8.
    Raises: PayloadError for a file that cannot be read, or is open in text mode; for an unknown encoding, or one given
        for rows, which are sent in UTF-8.
    """

    def __init__(self, source: Source, fields: Mapping[str, str], *, encoding: str = "") -> None:
        self._source = source
        # The content type of rows is known; that of a file is not.
        charset = _charset_of(source, encoding)
        kind = f"application/x-ndjson{charset}" if charset or not _is_bytes(source) else ""
        self._form = Form.of(fields, file_field="task_file", file_name=_name_of(source), file_type=kind)
        self.content_type = self._form.content_type
        self._start, size = _measure(source)
        self.is_repeatable = size is not None or isinstance(source, list | tuple)
        self.length = None if size is None else len(self._form.head) + size + len(self._form.tail)

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """The body of the request; from the beginning each time, if the upload is repeatable."""
        yield self._form.head
        async with aclosing(self._rows()) as rows:
            async for block in rows:
                yield block
        yield self._form.tail

    def _rows(self) -> AsyncGenerator[bytes, None]:
        source = self._source
        if isinstance(source, str | os.PathLike):
            return _file_blocks(Path(source))
        if _is_file(source):
            return _opened_blocks(cast(BinaryIO, source), self._start)
        return _row_blocks(cast("Iterable[Any] | AsyncIterable[Any]", source))


def _is_bytes(source: Source) -> bool:
    """Whether the source is a file, whose bytes are sent unchanged."""
    return isinstance(source, str | os.PathLike) or _is_file(source)


def _name_of(source: Source) -> str:
    """The name of a file, if it has one."""
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    return os.path.basename(os.fsdecode(path)) if isinstance(path, str | os.PathLike) else "task.jsonl"


def _charset_of(source: Source, encoding: str) -> str:
    """The charset parameter of a content type."""
    codec = charsets.codec_of(encoding, "encoding")
    if codec is None:
        return ""
    if not isinstance(source, str | os.PathLike) and not _is_file(source):
        raise PayloadError("encoding: rows are sent in UTF-8; only a file can have another encoding")
    return f"; charset={codec.name}"


def _is_file(source: object) -> bool:
    return callable(getattr(source, "read", None))


def _measure(source: Source) -> tuple[int, int | None]:
    """The current position in a file and the size of the rest; None if it is not seekable."""
    if isinstance(source, str | os.PathLike):
        try:
            found = Path(source).stat()
        except OSError as error:
            raise PayloadError(f"{os.fspath(source)}: {error.strerror}") from error
        if stat.S_ISDIR(found.st_mode):
            raise PayloadError(f"{os.fspath(source)}: it is a folder; name a file in it")
        return 0, found.st_size if stat.S_ISREG(found.st_mode) else None
    if not _is_file(source):
        return 0, None
    file = cast(BinaryIO, source)
    if isinstance(file, io.TextIOBase):
        raise PayloadError("the file is open as text; open it with mode 'rb'")
    try:
        start = file.tell()
        size = file.seek(0, os.SEEK_END) - start
        file.seek(start)
    except (OSError, AttributeError):  # a pipe
        return 0, None
    return start, size


async def _file_blocks(path: Path) -> AsyncGenerator[bytes, None]:
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise PayloadError(f"{path}: {error.strerror}") from error
    with file:
        while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
            yield block


async def _opened_blocks(file: BinaryIO, start: int) -> AsyncGenerator[bytes, None]:
    if file.seekable():
        file.seek(start)
    while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
        yield block


async def _row_blocks(rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[bytes, None]:
    """Rows as JSONL; a plain iterator runs in a thread, since it may block."""
    number, block = 0, bytearray()
    async for several in _several(rows):
        for line in _lines(several, number):
            block += line + b"\n"
        number += len(several)
        if len(block) >= _BLOCK_BYTES // 4:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


async def _several(rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[list[Any]]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield [row]
        return
    iterator = iter(rows)
    while several := await asyncio.to_thread(lambda: list(itertools.islice(iterator, _ROWS_AT_ONCE))):
        yield several


def _lines(rows: list[Any], before: int) -> Iterator[bytes]:
    """Rows as lines. Raises: PayloadError naming the row that cannot be one."""
    for place, row in enumerate(rows):
        line = row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else jsonl.write_line(row)
        if isinstance(line, jsonl.Bad):
            # The codec's error message speaks of answers.
            reason = line.reason.replace("the answer holds", "it holds").replace(" at ,", ",")
            raise PayloadError(f"row {before + place + 1}: {reason}")
        line = line.removesuffix(b"\n")
        if b"\n" in line:
            raise PayloadError(f"row {before + place + 1}: the row contains a line break")
        yield line
