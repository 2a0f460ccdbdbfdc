"""The .npy codec: arrays over HTTP in NumPy's file format, which keeps the element type.

    bytes of a .npy file ──NpyMessage──▶ Content          decoded lazily
    Message ──encode──▶ bytes of a .npy file              None for anything but an array of numbers

Source: the NPY format, versions 1.0 and 2.0, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import ast
import io
import math

import numpy as np

from infergraph.errors import PayloadError
from infergraph.message import Content, Encoding, Message
from infergraph.wire.v2.messages import seldon_content

NPY_TYPE = "application/x-npy"
"""The media type that other servers of arrays also use."""

_NUMBERS = "biuf"
_LENGTHS = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}
_HEAD_LIMIT_BYTES = 10_000


class NpyMessage(Message):
    """An array received as a .npy file; a tensor without names or meta.

    Args:
        raw: the file's bytes.
    """

    __slots__ = ("raw",)

    raw: bytes

    def __init__(self, raw: bytes) -> None:
        super().__init__(None)
        self.raw = raw

    def _decode(self) -> Content:
        return Content(decode(self.raw), Encoding.TENSOR)

    def decode_again(self) -> Content | None:
        """A new copy of the content, for a reader that may change it.

        Raises: PayloadError like `content`.
        """
        return self._decode()


def received(raw: bytes) -> Message:
    """The message of a .npy file's bytes."""
    return NpyMessage(raw)


def is_npy(content_type: str) -> bool:
    """Whether a Content-Type or Accept header names the format."""
    return NPY_TYPE in content_type.lower()


def decode(raw: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """The array of a .npy file, writable, in the machine's byte order.

    Raises: PayloadError for anything but a complete file of booleans, integers or real numbers; nothing is unpickled.
    """
    head, start = _head(raw)
    kind, is_fortran, shape = (head.get(key) for key in ("descr", "fortran_order", "shape"))
    try:
        dtype = np.dtype(kind) if isinstance(kind, str) else None
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind not in _NUMBERS:
        raise PayloadError(f"the .npy body contains {kind!r:.100}; expected booleans, integers or real numbers")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise PayloadError(f"the .npy body has the invalid shape {shape!r:.100}")
    wanted, there = math.prod(shape) * dtype.itemsize, len(raw) - start
    if wanted != there:
        raise PayloadError(f"the .npy body has {there} bytes of values; shape {shape!r:.100} of {dtype} needs {wanted}")
    values = np.frombuffer(raw, dtype, offset=start) if there else np.empty(0, dtype)
    try:
        shaped = values.reshape(shape, order="F" if is_fortran else "C")
    except ValueError as error:  # too many axes, or huge sizes beside one of 0
        raise PayloadError(f"the .npy body has the shape {shape!r:.100}: {error}") from error
    return shaped.astype(dtype.newbyteorder("="))  # a writable copy


def _head(raw: bytes) -> tuple[dict[str, object], int]:
    """The file's header, and the offset of its values."""
    width = _LENGTHS.get(raw[:8])
    if width is None:
        raise PayloadError("the body is not a .npy file of version 1.0 or 2.0")
    at = 8 + width
    end = at + int.from_bytes(raw[8:at], "little")
    if end > len(raw) or end - at > _HEAD_LIMIT_BYTES:
        raise PayloadError(f"the .npy body has a header of {end - at} bytes, over the limit of {_HEAD_LIMIT_BYTES}")
    try:
        head = ast.literal_eval(raw[at:end].decode("latin-1"))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise PayloadError(f"the .npy body's header cannot be read: {error!s:.200}") from error
    if not isinstance(head, dict):
        raise PayloadError("the .npy body's header does not describe an array")
    return head, end


def encode(message: Message) -> bytes | None:
    """A message's array as a .npy file; None if it has no array of numbers that can be read."""
    try:
        content = message.content
        if content.encoding is Encoding.TENSORS:
            content = seldon_content(content)
    except PayloadError:  # it can still be sent as a document
        return None
    if not content.encoding.is_array:
        return None
    try:
        array = np.asarray(content.payload)
    except ValueError:  # ragged
        return None
    if array.dtype.kind not in _NUMBERS:
        return None
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
