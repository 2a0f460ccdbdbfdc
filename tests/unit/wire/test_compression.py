"""Unpacking compressed bodies."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest

from infergraph.errors import PayloadError, UploadTooLarge
from infergraph.wire.compression import unpacked


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_what_was_packed_comes_out(pack: Callable[[bytes], bytes]) -> None:
    """gzip and zlib are read, up to the limit and not a byte further."""
    assert unpacked(pack(b"x" * 1000), 1000) == b"x" * 1000
    with pytest.raises(UploadTooLarge, match="more than 999 bytes"):
        unpacked(pack(b"x" * 1000), 999)


@pytest.mark.parametrize(
    ("packed", "text"),
    [(b"hello", "not valid gzip"), (gzip.compress(b"hello", mtime=0)[:-3], "ends early"), (b"", "ends early")],
)
def test_what_is_not_packed(packed: bytes, text: str) -> None:
    """Other bytes, and packed ones that were cut, are refused."""
    with pytest.raises(PayloadError, match=text):
        unpacked(packed, 1000)
