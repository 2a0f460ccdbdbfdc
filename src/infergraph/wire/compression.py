"""Decompression of bodies, within a limit."""

from __future__ import annotations

import zlib

from infergraph.errors import PayloadError, UploadTooLarge

ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
"""Content encodings that `unpacked` supports."""


def unpacked(packed: bytes, limit_bytes: int) -> bytes:
    """Decompress a gzip or zlib body.

    Raises: PayloadError if it is neither, or ends early; UploadTooLarge if it unpacks to more than `limit_bytes`.
    """
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        plain = unpacker.decompress(packed, limit_bytes)
    except zlib.error as error:
        raise PayloadError(f"the body is not valid gzip: {error}") from error
    if unpacker.unconsumed_tail:
        raise UploadTooLarge(f"the body unpacks to more than {limit_bytes} bytes (message_limit_bytes)")
    if not unpacker.eof:
        raise PayloadError("the body is not valid gzip: it ends early")
    return plain
