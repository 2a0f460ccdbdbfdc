"""Streaming HTTP: uploads, downloads and server-sent events, whose bodies do not fit into memory.

blocks ─▶ POST, streamed ┊ reply ─▶ head first, then blocks as they arrive

Unlike `http_client`, which buffers bodies, this opens one connection for each exchange, and closes it afterwards.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import NamedTuple

import httptools

from infergraph.errors import DeadlinePassed, RemoteError
from infergraph.net.address import Address, dial
from infergraph.net.http_client import HttpOptions, Reply
from infergraph.net.http_connection import Interrupted

_BLOCK_BYTES = 256 * 1024
_REFUSAL_BYTES = 1024 * 1024
_LAST_WORD_S = 1.0
_EVENT_LIMIT_BYTES = 1024 * 1024


class Event(NamedTuple):
    """One server-sent event: its name and its data."""

    name: str
    data: bytes


class StreamCall:
    """One request with a streamed body or reply.

    Args:
        head: header lines.
        body: its blocks, or all of it; None for no body.
        length: of the blocks; None if unknown, then they are sent chunked.
        silence_s: time-out without a byte in either direction; None for no limit.
    """

    __slots__ = ("body", "head", "length", "path", "silence_s", "verb")

    def __init__(
        self,
        verb: str,
        path: str,
        head: bytes,
        *,
        silence_s: float | None,
        body: AsyncGenerator[bytes, None] | bytes | None = None,
        length: int | None = None,
    ) -> None:
        self.verb = verb
        self.path = path
        self.head = head
        self.body = _whole(body) if isinstance(body, bytes) else body
        self.length = len(body) if isinstance(body, bytes) else length
        self.silence_s = silence_s

    def begin(self, host: str) -> bytes:
        """The encoded request head."""
        if self.body is None:
            framing = b""
        elif self.length is None:
            framing = b"transfer-encoding: chunked\r\n"
        else:
            framing = b"content-length: %d\r\n" % self.length
        first = f"{self.verb} {self.path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n".encode("ascii", "replace")
        return first + self.head + framing + b"\r\n"


class StreamReply:
    """A reply with a streamed body."""

    def __init__(self, reader: asyncio.StreamReader, silence_s: float | None, asked: str) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.header_lines: list[tuple[bytes, bytes]] = []
        self.is_whole = False
        self._reader = reader
        self._silence_s = silence_s
        self._asked = asked
        self._parser = httptools.HttpResponseParser(self)
        self._blocks: deque[bytes] = deque()
        self._is_open = False

    def header(self, name: bytes) -> str:
        """A header by its lower-case name; empty where there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    async def begin(self, silence_s: float | None) -> None:
        """Read the head. Raises: as `blocks` does."""
        while not self._is_open:
            await self._more(silence_s)

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """The blocks of the body, as they arrive.

        Raises: RemoteError if it ends early; DeadlinePassed after too long a silence.
        """
        while True:
            while self._blocks:
                yield self._blocks.popleft()
            if self.is_whole:
                return
            await self._more(self._silence_s)

    async def events(self, limit_bytes: int | None = None) -> AsyncGenerator[Event, None]:
        """The body as server-sent events; an incomplete one at the end is dropped.

        Args:
            limit_bytes: of an event; None to drop those over a megabyte.
        Raises: as `blocks` does; RemoteError for an event over the limit.
        """
        pending = b""
        async with aclosing(self.blocks()) as blocks:
            async for block in blocks:
                *whole, pending = (pending + block).replace(b"\r\n", b"\n").split(b"\n\n")
                for text in whole:
                    event = _event(text)
                    if event.data:
                        yield event
                if len(pending) > (limit_bytes or _EVENT_LIMIT_BYTES):
                    if limit_bytes:
                        raise RemoteError(f"{self._asked}: an event is larger than {limit_bytes} bytes")
                    pending = b""

    async def whole(self, limit_bytes: int = _REFUSAL_BYTES) -> Reply:
        """The buffered reply, for a short one; a longer body is truncated."""
        body = bytearray()
        async with aclosing(self.blocks()) as blocks:
            async for block in blocks:
                body += block
                if len(body) > limit_bytes:
                    break
        kind = self.header(b"content-type")
        return Reply(self.status, kind, "", bytes(body[:limit_bytes]), tuple(self.headers.items()))

    async def _more(self, silence_s: float | None) -> None:
        try:
            async with asyncio.timeout(silence_s):
                data = await self._reader.read(_BLOCK_BYTES)
        except TimeoutError:
            raise DeadlinePassed(f"{self._asked}: nothing came for {silence_s:g} s") from None
        except OSError as error:
            raise Interrupted(f"{self._asked}: {error}") from error
        if not data:
            if self._is_open and not self.headers.keys() & {b"content-length", b"transfer-encoding"}:
                self.is_whole = True
                return
            raise Interrupted(f"{self._asked}: the connection was closed" + (" early" if self._is_open else ""))
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise RemoteError(f"{self._asked}: malformed HTTP response: {error}") from error

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, from the parser."""
        self.headers[name.lower()] = value
        self.header_lines.append((name, value))

    def on_headers_complete(self) -> None:
        """The end of the head, from the parser."""
        self.status = self._parser.get_status_code()
        self._is_open = self.status >= 200

    def on_body(self, body: bytes) -> None:
        """Part of the body, from the parser."""
        self._blocks.append(body)

    def on_message_complete(self) -> None:
        """The end of the reply, from the parser."""
        self.is_whole = self._is_open


@asynccontextmanager
async def stream(address: Address, options: HttpOptions, call: StreamCall) -> AsyncIterator[StreamReply]:
    """The reply to `call`, its head read; the connection is closed at the end of the block.

    An early reply, such as a refusal, ends the sending of the body.

    Raises: RemoteError if the server is unreachable or violates the protocol; DeadlinePassed on time-out.
    """
    asked = f"{call.verb} {address.url(call.path)}"
    reader, writer = await _dial(address, options, asked)
    reply = StreamReply(reader, call.silence_s, asked)
    sending: asyncio.Task[None] | None = None
    try:
        writer.write(call.begin(address.host_header))
        if call.body is None:
            await reply.begin(call.silence_s)
        else:
            sending = asyncio.create_task(_send(writer, call, asked))
            await _begin(reply, sending, call.silence_s, asked)
        yield reply
    finally:
        writer.close()  # first: whoever is cancelled again while waiting below leaves no connection open
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        if call.body is not None:
            await call.body.aclose()
        with suppress(Exception):
            await writer.wait_closed()


async def _whole(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def _dial(
    address: Address, options: HttpOptions, asked: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_BLOCK_BYTES, loop=loop)
    try:
        transport, protocol = await dial(
            address,
            lambda: asyncio.StreamReaderProtocol(reader, loop=loop),
            timeout_s=options.connect_timeout_s,
            tls=options.tls,
        )
    except RemoteError as fault:
        raise type(fault)(f"{asked}: {fault}") from fault.__cause__
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _begin(reply: StreamReply, sending: asyncio.Task[None], silence_s: float | None, asked: str) -> None:
    """Wait for the head of the reply while the body is sent; an error in sending is raised if there is no reply.

    The time-out does not run while the body is being sent.
    """
    beginning = asyncio.create_task(reply.begin(None))
    try:
        await asyncio.wait({beginning, sending}, return_when=asyncio.FIRST_COMPLETED)
        if not beginning.done():
            broken = sending.exception()
            await asyncio.wait({beginning}, timeout=silence_s if broken is None else _LAST_WORD_S)
            if broken is not None and (not beginning.done() or beginning.exception() is not None):
                raise broken
        if not beginning.done():
            raise DeadlinePassed(f"{asked}: no answer within {silence_s:g} s")
        await beginning
    finally:
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)


async def _send(writer: asyncio.StreamWriter, call: StreamCall, asked: str) -> None:
    assert call.body is not None
    async for block in call.body:
        if call.length is None:
            block = b"%x\r\n%b\r\n" % (len(block), block)
        await _put(writer, block, call.silence_s, asked)
    if call.length is None:
        await _put(writer, b"0\r\n\r\n", call.silence_s, asked)


async def _put(writer: asyncio.StreamWriter, block: bytes, silence_s: float | None, asked: str) -> None:
    try:
        async with asyncio.timeout(silence_s):
            writer.write(block)
            await writer.drain()
    except TimeoutError:
        raise DeadlinePassed(f"{asked}: the server took nothing for {silence_s:g} s") from None
    except OSError as error:
        raise Interrupted(f"{asked}: {error}") from error


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
