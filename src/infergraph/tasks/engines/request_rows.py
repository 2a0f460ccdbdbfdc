"""Rows that are requests to a served path: each is answered as a client of that path would be.

line ─▶ RequestLine ─▶ Requests (the path's own endpoint over the unit) ─▶ status and body ─▶ line
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from infergraph.net.retry import Retry
from infergraph.protocol.headers import new_puid
from infergraph.tasks.engines.messages import Lines
from infergraph.wire import jsonl, request_lines
from infergraph.wire.request_lines import InvalidLine

_AT_ONCE = 16


class Reply(NamedTuple):
    """What a served path answers."""

    status: int
    body: bytes
    is_json: bool


class Requests(Protocol):
    """Answers requests by the endpoints that serve them; implemented in `serving.row_requests`."""

    async def ask(self, path: str, body: bytes, request_id: str) -> Reply:
        """What the path answers to a POST of JSON. Raises: what its handler raises."""

    def refusal(self, path: str, error: BaseException, request_id: str) -> Reply:
        """What the path answers when its handler has raised."""


class RequestRows:
    """Answers lines that are requests; several concurrently.

    Args:
        make: gives what answers the requests; called with the first of them.
        retry: for faults that a moment later may not occur again.
    """

    def __init__(self, make: Callable[[], Requests], retry: Retry) -> None:
        self._make = make
        self._retry = retry
        self._requests: Requests | None = None
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def answer(self, block: bytes, first: int, charset: str = "") -> Lines:
        """Answer a block of complete lines; the arguments as those of `RowReader.answer`."""
        raw = jsonl.split(block.removeprefix(jsonl.BOM) if first == 1 else block)
        answered = await asyncio.gather(*(self._line(line, charset) for line in raw))
        failed = [line for line, is_good in answered if not is_good]
        output = b"".join(line + b"\n" for line, _ in answered)
        return Lines(output, b"".join(line + b"\n" for line in failed), len(failed), len(raw))

    async def _line(self, line: bytes, charset: str) -> tuple[bytes, bool]:
        """The answer to one line, and whether it is a good one."""
        request = request_lines.read(line)
        if isinstance(request, InvalidLine):
            return request_lines.failure_of(line, request.code, request.message, charset), False
        request_id = new_puid()
        async with self._room:
            reply = await self._reply(request.url, bytes(request.body), request_id)
        written = request_lines.answer(request.custom_id, request_id, reply.status, reply.body, is_json=reply.is_json)
        return written, 200 <= reply.status < 300

    async def _reply(self, path: str, body: bytes, request_id: str) -> Reply:
        if self._requests is None:
            self._requests = self._make()
        requests = self._requests
        try:
            return await self._retry.call(lambda: requests.ask(path, body, request_id))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a unit raises is that request's answer
            return requests.refusal(path, error, request_id)
