"""The rows of a task on their way out: a file or an iterable as a multipart form, block by block.

file, rows ─▶ blocks ─▶ between the form's first and last bytes ─▶ the body of a POST
"""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import stat
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from infergraph.errors import PayloadError
from infergraph.wire import charsets, jsonl

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO | Iterable[Any] | AsyncIterable[Any]"
"""What a task is made of: a path, a binary file, or rows: dicts, or lines that are JSON already."""

_BLOCK_BYTES = 1024 * 1024
_ROWS_AT_ONCE = 256


class Upload:
    """A task's file as a form.

    Args:
        source: what it is made of.
        fields: the other fields of the form.
        encoding: of a file that is not UTF-8.
    Raises: PayloadError for a file that cannot be read, or is open as text; or for an encoding of rows, which are sent
        in UTF-8, or one that is not known.
    """

    def __init__(self, source: Source, fields: Mapping[str, str], *, encoding: str = "") -> None:
        self._source = source
        boundary = uuid.uuid4().hex.encode()
        self.content_type = f"multipart/form-data; boundary={boundary.decode()}"
        parts = [b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, name.encode(),
                 value.encode("utf-8")) for name, value in fields.items()]  # fmt: skip
        file = b'--%b\r\nContent-Disposition: form-data; name="task_file"; filename="task.jsonl"\r\n' % boundary
        kind = f"application/x-ndjson{_charset_of(source, encoding)}"
        self._first = b"".join(parts) + file + b"Content-Type: %b\r\n\r\n" % kind.encode()
        self._last = b"\r\n--%b--\r\n" % boundary
        self._start, size = _measure(source)
        self.is_repeatable = size is not None or isinstance(source, list | tuple)
        self.length = None if size is None else len(self._first) + size + len(self._last)

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """The body of the request; again from its beginning where the upload is repeatable."""
        yield self._first
        async with aclosing(self._rows()) as rows:
            async for block in rows:
                yield block
        yield self._last

    def _rows(self) -> AsyncGenerator[bytes, None]:
        source = self._source
        if isinstance(source, str | os.PathLike):
            return _file_blocks(Path(source))
        if _is_file(source):
            return _opened_blocks(cast(BinaryIO, source), self._start)
        return _row_blocks(cast("Iterable[Any] | AsyncIterable[Any]", source))


def _charset_of(source: Source, encoding: str) -> str:
    """The parameter of a content type that names the encoding of a file."""
    codec = charsets.codec_of(encoding, "encoding")
    if codec is None:
        return ""
    if not isinstance(source, str | os.PathLike) and not _is_file(source):
        raise PayloadError("encoding: rows are sent in UTF-8; the encoding of a file can be named")
    return f"; charset={codec.name}"


def _is_file(source: object) -> bool:
    return callable(getattr(source, "read", None))


def _measure(source: Source) -> tuple[int, int | None]:
    """Where a file begins and how long it is from there; None where nobody can tell."""
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
    """Rows as JSONL; a plain iterator runs in a thread, since it may wait for something."""
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
    """Rows as lines. Raises: PayloadError naming the row that is no line."""
    for place, row in enumerate(rows):
        line = row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else jsonl.write_line(row)
        if isinstance(line, jsonl.Bad):
            # The codec's words are for answers.
            reason = line.reason.replace("the answer holds", "it holds").replace(" at ,", ",")
            raise PayloadError(f"row {before + place + 1}: {reason}")
        line = line.removesuffix(b"\n")
        if b"\n" in line:
            raise PayloadError(f"row {before + place + 1}: a line end within the row")
        yield line
