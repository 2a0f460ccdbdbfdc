"""Downloads a task's answers as a stream, and resumes after a lost connection.

GET … ─▶ blocks ─connection lost─▶ GET … with a Range, if the file is unchanged ─▶ blocks
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, BinaryIO

from infergraph.client import faults
from infergraph.errors import Fault, RemoteError
from infergraph.net.backoff import Backoff
from infergraph.net.http_stream import StreamReply
from infergraph.net.retry import is_transient
from infergraph.output_file import OutputPlace
from infergraph.wire import jsonl

_BACKOFF = Backoff(first_s=0.2, limit_s=10.0)

Fetch = Callable[[bytes], AbstractAsyncContextManager[StreamReply]]
"""Sends the request with these additional header lines."""


class Download:
    """One file of answers.

    Args:
        fetch: sends the request.
        asked: names the request in error messages.
        retries: consecutive lost connections after which the download fails.
    """

    def __init__(self, fetch: Fetch, asked: str, retries: int) -> None:
        self._fetch = fetch
        self._asked = asked
        self._retries = retries
        self._etag = ""
        self._received = 0

    @property
    def sha256(self) -> str:
        """The checksum from the server's header; empty if there is none."""
        digest = self._etag.strip('"')
        return digest if len(digest) == 64 else ""

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """The file, in blocks. Raises: the fault that the server reports; RemoteError if all retries fail."""
        failed = 0
        while True:
            before = self._received
            try:
                async with self._fetch(self._range()) as reply, aclosing(self._rest(reply)) as rest:
                    async for block in rest:
                        yield block
                return
            except Fault as fault:
                failed = 1 if self._received > before else failed + 1
                if failed > self._retries or not is_transient(fault):
                    raise
            await asyncio.sleep(_BACKOFF.wait_s(failed))

    def _range(self) -> bytes:
        if not self._received:
            return b""
        condition = f"if-range: {self._etag}\r\n" if self._etag else ""
        return f"range: bytes={self._received}-\r\n{condition}".encode("latin-1")

    async def _rest(self, reply: StreamReply) -> AsyncGenerator[bytes, None]:
        """The rest of the file."""
        if reply.status not in (200, 206):
            raise faults.of_reply(await reply.whole(), self._asked)
        etag = reply.header(b"etag")
        if self._received and etag != self._etag:
            raise RemoteError(f"{self._asked}: the file changed while it was read", status=reply.status)
        self._etag = etag
        known = self._received if reply.status == 200 else 0
        async with aclosing(reply.blocks()) as blocks:
            async for block in blocks:
                fresh = block[known:] if known else block
                known = max(0, known - len(block))
                self._received += len(fresh)
                if fresh:
                    yield fresh

    async def rows(self) -> AsyncGenerator[list[Any], None]:
        """The file's lines as JSON values, one list for each block.

        Raises: like `blocks`; RemoteError for a line that is not JSON.
        """
        pending = b""
        async with aclosing(self.blocks()) as blocks:
            async for block in blocks:
                whole, end, rest = (pending + block).rpartition(b"\n")
                pending = rest if end else whole + rest
                if end:
                    yield _rows(whole, self._asked)
        if pending:
            yield _rows(pending, self._asked)

    async def save(self, target: str | os.PathLike[str] | BinaryIO) -> int:
        """Write the file; returns its size in bytes.

        Promises: a path is replaced atomically, by the complete file; the checksum is verified if there is one.
        """
        if not isinstance(target, str | os.PathLike):
            return await self._pour(target)
        place = OutputPlace.at(target)
        if place.is_stream:
            with place.open_stream() as stream:
                return await self._pour(stream)
        partial = place.path.with_name(f"{place.path.name}.part")
        try:
            with await asyncio.to_thread(partial.open, "wb") as file:
                size = await self._pour(file)
            await asyncio.to_thread(place.put, partial)
        finally:
            partial.unlink(missing_ok=True)
        return size

    async def _pour(self, file: BinaryIO) -> int:
        digest, size = hashlib.sha256(), 0
        async with aclosing(self.blocks()) as blocks:
            async for block in blocks:
                digest.update(block)
                size += len(block)
                await asyncio.to_thread(file.write, block)
        if self.sha256 and digest.hexdigest() != self.sha256:
            raise RemoteError(f"{self._asked}: the checksum of the received file is not the one that the server gave")
        return size


def _rows(block: bytes, asked: str) -> list[Any]:
    _, rows = jsonl.read(block)
    bad = next((row for row in rows if isinstance(row, jsonl.Bad)), None)
    if bad is not None:
        raise RemoteError(f"{asked}: a line is not an answer: {bad.reason}")
    return rows
