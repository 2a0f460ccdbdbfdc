"""Server-sent events out of a streamed reply."""

from __future__ import annotations

import asyncio

import pytest

from infergraph.net.http_stream import Event, StreamReply

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
STREAM = b': hello\n\nevent: progress\ndata: {"a": 1}\n\ndata: x\ndata: y\n\nevent: end\ndata: null\n\ndata: cut'


class Pieces(asyncio.StreamReader):
    """Bytes that come in pieces of one size."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__()
        self.size = size
        self.feed_data(data)
        self.feed_eof()

    async def read(self, n: int = -1) -> bytes:
        return await super().read(self.size)


def events(stream: bytes, size: int) -> list[Event]:
    async def run() -> list[Event]:
        reply = StreamReply(Pieces(HEAD + stream, size), None, "GET /events")
        await reply.begin(None)
        return [event async for event in reply.events()]

    return asyncio.run(run())


@pytest.mark.parametrize("stream", [STREAM, STREAM.replace(b"\n", b"\r\n")], ids=["LF", "CRLF"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events(size: int, stream: bytes) -> None:
    """Events come out whole however the stream is cut; comments and what the end cuts off are left out."""
    expected = [Event("progress", b'{"a": 1}'), Event("message", b"x\ny"), Event("end", b"null")]
    assert events(stream, size) == expected


def test_an_event_that_is_too_long_is_dropped() -> None:
    """An event over a megabyte is not gathered in memory, and the stream goes on after it."""
    stream = b"data: " + b"x" * 3_000_000 + b"\n\ndata: next\n\n"
    assert events(stream, 65536)[-1] == Event("message", b"next")
