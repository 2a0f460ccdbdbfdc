"""Compressed files: unpacked in bounded memory, members and frames one after the other, damage named."""

from __future__ import annotations

import gzip
import io
import random
import tracemalloc

import pytest
import zstandard

from infergraph.errors import PayloadError
from infergraph.wire import packing
from infergraph.wire.file_kind import Compression

PACKED = [Compression.GZIP, Compression.ZSTD]
PLAIN = b"".join(b'{"n": %d}\n' % random.Random(number).randrange(10**9) for number in range(30_000))


def pack(plain: bytes, compression: Compression) -> bytes:
    """The same bytes, compressed by the packages that others use."""
    return gzip.compress(plain) if compression is Compression.GZIP else zstandard.compress(plain)


def unpack(packed: bytes, compression: Compression) -> bytes:
    """What is read back."""
    return b"".join(packing.blocks_of(io.BytesIO(packed), compression))


@pytest.mark.parametrize("compression", PACKED)
def test_files_of_others_are_unpacked(compression: Compression) -> None:
    """One member or frame, several, empty ones among them."""
    assert unpack(pack(PLAIN, compression), compression) == PLAIN
    several = pack(b"one\n", compression) + pack(b"", compression) + pack(b"two\n", compression)
    assert unpack(several, compression) == b"one\ntwo\n"
    assert unpack(b"plain", Compression.NONE) == b"plain"


def test_zeros_behind_a_gzip_file_are_padding() -> None:
    """They are accepted, as gzip itself does."""
    assert unpack(gzip.compress(b"one\n") + b"\0" * 70_000, Compression.GZIP) == b"one\n"


@pytest.mark.parametrize("compression", PACKED)
def test_damage_is_named(compression: Compression) -> None:
    """A file that is cut off, or goes on with something else, is refused."""
    whole = pack(PLAIN, compression)
    with pytest.raises(PayloadError, match="ends early"):
        unpack(whole[:-20], compression)
    with pytest.raises(PayloadError, match="is damaged"):
        unpack(whole + b"something else", compression)


@pytest.mark.parametrize("compression", PACKED)
def test_what_is_written_is_read_by_others(compression: Compression) -> None:
    """And it is the same for the same contents, so that a repeated write has the same checksum."""

    def written() -> bytes:
        file = io.BytesIO()
        with packing.packed(file, compression) as packed:
            packed.write(PLAIN)
        return file.getvalue()

    read = (
        gzip.decompress if compression is Compression.GZIP else zstandard.ZstdDecompressor().decompressobj().decompress
    )
    assert read(written()) == PLAIN
    assert written() == written()


@pytest.mark.parametrize("compression", PACKED)
def test_a_bomb_unpacks_in_bounded_memory(compression: Compression) -> None:
    """An eighth of a gigabyte of zeros comes in blocks of at most 32 MiB."""
    size = 128 << 20
    packer = zstandard.ZstdCompressor(level=19).compressobj() if compression is Compression.ZSTD else None
    block = b"\0" * (64 << 20)
    if packer is None:
        bomb = b"".join(gzip.compress(block) for _ in range(size // len(block)))
    else:
        bomb = b"".join(packer.compress(block) for _ in range(size // len(block))) + packer.flush()
    tracemalloc.start()
    try:
        assert sum(map(len, packing.blocks_of(io.BytesIO(bomb), compression))) == size
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()
