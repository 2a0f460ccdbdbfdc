"""Compressed files as streams of blocks: gzip and zstd, in constant memory.

file ─▶ slices ─▶ decompressor ─▶ blocks            lines ─▶ compressor ─▶ file

A slice is so short that what it can unpack to is bounded: the formats' greatest ratios are 1,032 and about 32,000.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO, cast

from infergraph.errors import MissingExtra, PayloadError
from infergraph.wire.file_kind import Compression

BLOCK_BYTES = 1 << 20
_SLICE_BYTES = {Compression.GZIP: 16 << 10, Compression.ZSTD: 1 << 10}
_ZSTD_WINDOW_BYTES = 128 << 20
"""Of what `zstd` itself writes, up to its level 22 without `--long`."""


def blocks_of(file: BinaryIO, compression: Compression) -> Iterator[bytes]:
    """The unpacked contents of a file.

    Raises: PayloadError if it is not what its first bytes promise, or ends early; MissingExtra.
    """
    if compression is Compression.NONE:
        return iter(lambda: file.read(BLOCK_BYTES), b"")
    return _unpacked(file, compression)


def _unpacked(file: BinaryIO, compression: Compression) -> Iterator[bytes]:
    name, step = compression.name.lower(), _SLICE_BYTES[compression]
    new, errors = _decompressors(compression)
    frame = new()
    try:
        for block in iter(lambda: file.read(BLOCK_BYTES), b""):
            for at in range(0, len(block), step):
                rest = block[at : at + step]
                while rest:
                    if frame.eof:
                        if not rest.strip(b"\0"):  # padding, as tape drives and `gzip` itself accept it
                            break
                        frame = new()
                    if plain := frame.decompress(rest):
                        yield plain
                    rest = frame.unused_data if frame.eof else b""
    except errors as error:
        raise PayloadError(f"the {name} file is damaged: {error}") from error
    if not frame.eof:
        raise PayloadError(f"the {name} file ends early")


def _decompressors(compression: Compression) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    """What makes a decompressor for one frame or member, and what it raises."""
    if compression is Compression.GZIP:
        return lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), (zlib.error,)
    zstd = _zstd()
    if sys.version_info >= (3, 14):
        largest = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_BYTES.bit_length() - 1}
        return lambda: zstd.ZstdDecompressor(options=largest), (zstd.ZstdError,)
    return lambda: zstd.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj(), (zstd.ZstdError,)


def packed(file: BinaryIO, compression: Compression) -> AbstractContextManager[BinaryIO]:
    """A file that compresses what is written to it; the same for the same contents. Raises: MissingExtra."""
    if compression is Compression.NONE:
        return nullcontext(file)
    if compression is Compression.GZIP:
        return cast(BinaryIO, gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0))
    zstd = _zstd()
    if sys.version_info >= (3, 14):
        return cast(BinaryIO, zstd.ZstdFile(file, "w"))
    return cast(BinaryIO, zstd.ZstdCompressor().stream_writer(file, closefd=False))


def check_available(compression: Compression) -> None:
    """Raises: MissingExtra if the compression needs a package that is not installed."""
    if compression is Compression.ZSTD:
        _zstd()


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtra.of("zstandard", "zstd", "A file compressed by zstd") from error
    return zstandard
