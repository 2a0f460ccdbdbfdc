"""Task files in other formats than JSON lines: converted once, when they come in.

    received file ─unpack─▶ blocks ─decode─▶ UTF-8 ─CSV, Parquet─▶ JSON lines ─▶ input of the task

From there on a task knows JSON lines alone: offsets, watermark and recovery are the same for every format. Nothing is
ever in memory but a few rows. `answer_files` writes the answers.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from infergraph.errors import PayloadError, UploadTooLarge
from infergraph.wire import csv_rows, file_kind, packing, parquet_rows
from infergraph.wire.file_kind import Compression, FileFormat, FileKind
from infergraph.wire.transcoding import Transcoder

_GROWTH = 10
_CHECK_EVERY_BYTES = 16 << 20


def check_available(kind: FileKind) -> None:
    """Raises: MissingExtra if files of this kind need a package that is not installed."""
    packing.check_available(kind.compression)
    if kind.format is FileFormat.PARQUET:
        parquet_rows.check_available()


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
            packed = file_kind.compression_of(file.read(file_kind.MAGIC_BYTES))
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
