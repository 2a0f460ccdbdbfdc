"""What driver and worker say to each other over a pair of pipes.

    driver ── Plan, then Order | Drop … ──▶ worker                 small: where the lines stand, not the lines
    worker ── Ready | LoadFailed, then Answer | Dropped | Leaving … ──▶ driver

A frame is its length (8 bytes) and MessagePack. The reading side never blocks on half a frame.
"""

from __future__ import annotations

import os
import struct
from typing import Any, Generic, TypeVar

import msgspec

_LENGTH = struct.Struct(">Q")
_READ_BYTES = 1 << 20

Frame = TypeVar("Frame")


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """What a worker shall be.

    Args:
        factory: "module:function" that makes the unit from `source` and the settings.
        source: the unit's description, JSON.
        path: the driver's import path.
        settings: `Settings` as builtins, for the logs.
        mark: what tells processes of this driver's workers from others (see `kinship.end_orphans`).
    """

    factory: str
    source: str
    path: list[str]
    settings: dict[str, Any]
    mark: str = ""


class Key(msgspec.Struct, frozen=True, array_like=True):
    """Which hand-out this is: an answer under an old key is refused.

    Args:
        attempt: number of the opening of a task, unique in the driver's life.
        serial: the ledger's number.
    """

    attempt: int
    serial: int


class Order(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Work: the lines of `path` from byte `offset` on, or `data` where no disk is shared.

    Args:
        line: number of the first line.
        rows: how lines reach the unit, a value of `RowMode`.
        charset: of the file as it came; empty for UTF-8.
    """

    key: Key
    path: str
    offset: int
    size: int
    line: int
    lines: int
    rows: str
    data: bytes | None = None
    charset: str = ""


class Drop(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Forget the orders of this attempt that are not yet begun."""

    attempt: int


Command = Order | Drop


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The unit is loaded."""

    load_s: float


class LoadFailed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The unit cannot be loaded; the worker ends."""

    text: str


class Lines(msgspec.Struct, frozen=True):
    """The answers to a block of lines.

    Args:
        output: one line for each line of the block, each with its line end.
        errors: those of them that are error lines.
        failed: how many they are.
        lines: how many lines the block has.
    """

    output: bytes
    errors: bytes
    failed: int
    lines: int


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The lines that answer an order; `seconds` is the time it took."""

    key: Key
    output: bytes
    errors: bytes
    failed: int
    seconds: float


class Dropped(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """These orders were forgotten, and never begun."""

    keys: list[Key]


class Leaving(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The worker goes away in good order: what it has not answered is for others, and no line is to blame."""


Reply = Ready | LoadFailed | Answer | Dropped | Leaving

_encode = msgspec.msgpack.Encoder().encode


def frame(value: object) -> bytes:
    """`value` as a frame."""
    body = _encode(value)
    return _LENGTH.pack(len(body)) + body


class FrameReader(Generic[Frame]):
    """Frames of one type from a descriptor, as far as they have come."""

    def __init__(self, fd: int, decoder: msgspec.msgpack.Decoder[Frame]) -> None:
        self._fd = fd
        self._decode = decoder.decode
        self._buffer = bytearray()

    def read(self) -> list[Frame]:
        """The frames that are complete after one read.

        Raises: EOFError when the other side is gone; BlockingIOError if there was nothing to read.
        """
        block = os.read(self._fd, _READ_BYTES)
        if not block:
            raise EOFError
        self._buffer += block
        frames = []
        while (end := self._end()) is not None:
            with memoryview(self._buffer) as view:
                frames.append(self._decode(view[_LENGTH.size : end]))
            del self._buffer[:end]
        return frames

    def _end(self) -> int | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        end: int = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
        return end if len(self._buffer) >= end else None
