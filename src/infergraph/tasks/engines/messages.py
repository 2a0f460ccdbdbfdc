"""The message protocol between driver and worker, over a pair of pipes.

    driver ── Plan, then Assignment | Drop … ──▶ worker                 small: offsets of the lines, not the lines
    worker ── Ready | LoadFailed, then Answer | Dropped | Leaving … ──▶ driver

A frame is its length (8 bytes) and MessagePack. Reading never blocks on an incomplete frame.
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
    """The configuration of a worker.

    Args:
        factory: "module:function" that makes the unit from `source` and the settings.
        source: the unit's description, JSON.
        path: the driver's import path.
        settings: `Settings` as builtins, for the logs.
        mark: identifies the processes of this driver's workers (see `lifetime.end_orphans`).
        requests: "module:function" that makes of the unit, `source` and the settings what answers rows that are
            requests (`request_rows.Requests`).
    """

    factory: str
    source: str
    path: list[str]
    settings: dict[str, Any]
    mark: str = ""
    requests: str = "infergraph.serving.row_requests:of_task_worker"


class Key(msgspec.Struct, frozen=True, array_like=True):
    """The key of an assignment: an answer with an old key is refused.

    Args:
        attempt: the number of the attempt, unique in the driver's lifetime.
        serial: the reorder buffer's serial number.
    """

    attempt: int
    serial: int


class Assignment(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An assignment: the lines of `path` from byte `offset` on, or `data` if no disk is shared.

    Args:
        line: number of the first line.
        rows: how lines are passed to the unit, a value of `RowMode`.
        charset: of the received file; empty for UTF-8.
        is_table: whether the lines are rows of a table, objects with the names of its columns.
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
    is_table: bool = False


class Drop(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Drop the assignments of this attempt that have not been started."""

    attempt: int


Command = Assignment | Drop


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The unit is loaded."""

    load_s: float


class LoadFailed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The unit cannot be loaded; the worker exits."""

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
    """The lines that answer an assignment; `seconds` is the time it took."""

    key: Key
    output: bytes
    errors: bytes
    failed: int
    seconds: float


class Dropped(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """These assignments were dropped, and never started."""

    keys: list[Key]


class Leaving(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The worker leaves gracefully: its unanswered assignments are reassigned, and no line is blamed."""


Reply = Ready | LoadFailed | Answer | Dropped | Leaving

_encode = msgspec.msgpack.Encoder().encode


def frame(value: object) -> bytes:
    """`value` as a frame."""
    body = _encode(value)
    return _LENGTH.pack(len(body)) + body


class FrameReader(Generic[Frame]):
    """Reads frames of one type from a descriptor, as they arrive."""

    def __init__(self, fd: int, decoder: msgspec.msgpack.Decoder[Frame]) -> None:
        self._fd = fd
        self._decode = decoder.decode
        self._buffer = bytearray()

    def read(self) -> list[Frame]:
        """The frames completed by one read.

        Raises: EOFError at the end of the stream; BlockingIOError if there is nothing to read.
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
