"""Server-sent events out of a stream of blocks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

_LIMIT_BYTES = 1024 * 1024


class Event(NamedTuple):
    """One event: its name and its data."""

    name: str
    data: bytes


async def events_of(blocks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """The events of a stream; an event that the stream's end cuts off is dropped, and so is one beyond a megabyte."""
    pending = b""
    async for block in blocks:
        *whole, pending = (pending + block.replace(b"\r\n", b"\n")).split(b"\n\n")
        for text in whole:
            event = _event(text)
            if event.data:
                yield event
        if len(pending) > _LIMIT_BYTES:
            pending = b""


def _event(text: bytes) -> Event:
    name, data = "message", []
    for line in text.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"data":
            data.append(value)
    return Event(name, b"\n".join(data))
