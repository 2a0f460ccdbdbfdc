"""Protobuf's wire format, encoded and decoded directly, which is faster than building messages.

Source: the protocol buffers encoding guide: a field is a tag (number * 8 + wire type) and a value; type 2 is a length
followed by that number of bytes; a varint holds seven bits per byte, least significant first.
"""

from __future__ import annotations

from collections.abc import Iterator

from infergraph.wire.json_values import text_of

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5


def varint(number: int) -> bytes:
    """`number` (0 to 2**64 - 1, or negative in two's complement of 64 bits) as a varint."""
    if 0 <= number < 128:
        return _SMALL[number]
    if number < 0:
        number += 1 << 64
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SMALL = [bytes([number]) for number in range(128)]


def delimited(tag: bytes, value: bytes) -> bytes:
    """A field of bytes: `tag`, the length, `value`."""
    size = len(value)
    return tag + (_SMALL[size] if size < 128 else varint(size)) + value


def utf8(text: str) -> bytes:
    """`text` in UTF-8; a lone surrogate becomes the replacement character."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text_of(text).encode()


def read_varint(raw: bytes | memoryview, start: int) -> tuple[int, int]:
    """The varint at `start`, and its end.

    Raises: ValueError if it does not end within ten bytes of `raw`.
    """
    number = shift = 0
    for at in range(start, min(start + 10, len(raw))):
        byte = raw[at]
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at + 1
        shift += 7
    raise ValueError(f"a number that does not end at byte {start}")


def split(raw: bytes | memoryview) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message, one level deep: number, wire type, and where the value starts and ends.

    Raises: ValueError if `raw` is not a message.
    """
    at, size = 0, len(raw)
    while at < size:
        tag, at = read_varint(raw, at)
        number, kind = tag >> 3, tag & 7
        start = at
        if kind == DELIMITED:
            length, start = read_varint(raw, at)
            at = start + length
        elif kind == VARINT:
            _, at = read_varint(raw, at)
        elif kind == FIXED64:
            at += 8
        elif kind == FIXED32:
            at += 4
        else:
            raise ValueError(f"a field of wire type {kind} at byte {at}")
        if at > size or number == 0:
            raise ValueError(f"a field that is cut off or not valid at byte {start}")
        yield number, kind, start, at
