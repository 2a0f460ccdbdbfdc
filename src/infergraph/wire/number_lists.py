"""Regular arrays of numbers as a `google.protobuf.ListValue` and back, vectorized with NumPy.

In such a list every number takes the same eleven bytes and every row the same length, so the bytes are a rectangle of
headers and values that NumPy can slice:

    0a 09 11 <double>                      one number: a value of nine bytes whose field 2 is a double
    0a <length> 32 <length> <elements>     one row: a value whose field 6 is a list
"""

from __future__ import annotations

import numpy as np

from infergraph.wire.arrays import AXES_LIMIT
from infergraph.wire.fields import read_varint, varint

_NUMBER_HEADER = np.frombuffer(b"\x0a\x09\x11", dtype=np.uint8)
_ELEMENT, _NUMBER, _LIST = 0x0A, 0x11, 0x32


def encode(values: np.ndarray) -> bytes:
    """The bytes of a ListValue.

    Args:
        values: numbers, one axis or more, none of size 0.
    """
    shape = values.shape
    doubles = np.ascontiguousarray(values, dtype="<f8")
    cells = np.empty((doubles.size, 11), dtype=np.uint8)
    cells[:, :3] = _NUMBER_HEADER
    cells[:, 3:] = doubles.view(np.uint8).reshape(-1, 8)
    rows = cells.reshape(-1, shape[-1] * 11)
    for size in shape[-2::-1]:
        header = _row_header(rows.shape[1])
        framed = np.empty((rows.shape[0], len(header) + rows.shape[1]), dtype=np.uint8)
        framed[:, : len(header)] = np.frombuffer(header, dtype=np.uint8)
        framed[:, len(header) :] = rows
        rows = framed.reshape(-1, size * framed.shape[1])
    return rows.tobytes()


def _row_header(length: int) -> bytes:
    inner = b"\x32" + varint(length)
    return b"\x0a" + varint(len(inner) + length) + inner


def decode(raw: bytes | memoryview) -> np.ndarray | None:
    """The array of a ListValue's bytes; None if it is not a regular array of numbers, or not written the usual way."""
    block = np.frombuffer(raw, dtype=np.uint8)
    block_length = block.size
    shape: list[int] = []
    while block.size and len(shape) < AXES_LIMIT:
        head = block[:24].tobytes()
        try:
            length, at = read_varint(head, 1)
            total = at + length
            if head[0] != _ELEMENT or block_length % total or at >= len(head):
                return None
            rows = block.reshape(-1, total)
            shape.append(block_length // total)
            if head[at] == _NUMBER and length == 9:
                return _numbers(rows, at + 1, shape)
            if head[at] != _LIST:
                return None
            block_length, at = read_varint(head, at + 1)
        except ValueError:
            return None
        if at + block_length != total or not _same_headers(rows, at):
            return None
        block = np.ascontiguousarray(rows[:, at:]).ravel()
    return None


def _numbers(rows: np.ndarray, at: int, shape: list[int]) -> np.ndarray | None:
    if not _same_headers(rows, at):
        return None
    doubles = np.ascontiguousarray(rows[:, at:]).view("<f8").reshape(shape)
    return doubles.astype(np.float64, copy=False)


def _same_headers(rows: np.ndarray, width: int) -> bool:
    return bool((rows[:, :width] == rows[0, :width]).all())
