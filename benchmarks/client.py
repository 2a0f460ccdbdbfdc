"""A client in a process of its own: writes the request body, checks the answer, and loads where no C tool does.

    python -m benchmarks.client PLAN      PLAN is JSON, see plan.py

    stdout: one JSON line {"answer_bytes": n, "answer_s": t} once the server answered rightly and was warmed up;
    stdin:  a line says go (end of file: stop here);
    stdout: one JSON line with what was measured.

It runs apart so that it shares no memory pages with the servers when theirs are counted.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import grpc.aio
import httptools

from benchmarks import payloads
from benchmarks.plan import GRPC_METHODS, Plan, quantiles
from benchmarks.rows import ROWS, Row

ANSWER_LIMIT_S = 60.0
_CHANNEL_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Answerer:
    """One connection that answers HTTP requests one after the other, reconnecting where the server closes."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str], header_length: int | None = None) -> None:
        self._port = port
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if header_length is not None:
            head += f"Inference-Header-Content-Length: {header_length}\r\n"
        self._head = head.encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._done = self._keep = False
        self._parts: list[bytes] = []

    def on_body(self, part: bytes) -> None:
        """Called by the parser."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._done = True

    async def answer(self, body: bytes) -> bytes:
        """The body of the answer.

        Raises: ValueError if its status is not 200; OSError if the connection breaks.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        reader, writer = self._streams
        writer.writelines((self._head, b"Content-Length: %d\r\n\r\n" % len(body), body))
        parser = httptools.HttpResponseParser(self)
        self._parts, self._done = [], False
        while not self._done:
            received = await reader.read(1 << 20)
            if not received:
                raise ConnectionResetError("the server closed the connection before its answer was complete")
            parser.feed_data(received)
        if not parser.should_keep_alive():
            self.close()
        answer = b"".join(self._parts)
        if parser.get_status_code() != 200:
            raise ValueError(f"status {parser.get_status_code()}: {answer[:300]!r}")
        return answer

    def close(self) -> None:
        """Drop the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


Ask = Callable[[bytes], Awaitable[bytes]]


async def _in_turn(asks: Sequence[Ask], body: bytes) -> bytes:
    for ask in asks:
        body = await ask(body)
    return body


def _askers(plan: Plan, row: Row) -> list[Ask]:
    """One callable for each request in flight."""
    if row.transport == "rest":
        length = payloads.header_length(row)
        chains = [
            [Answerer(port, plan.path, plan.headers, length).answer for port in plan.ports]
            for _ in range(row.connections)
        ]
        return [lambda body, chain=chain: _in_turn(chain, body) for chain in chains]  # type: ignore[misc]
    method = GRPC_METHODS[plan.dialect]
    calls = []
    for connection in range(row.connections):
        # channels with equal arguments share a connection, so make them differ
        options = [*_CHANNEL_OPTIONS, ("bench.connection", connection)]
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{plan.ports[0]}", options=options)
        calls.append(channel.unary_unary(method))
    metadata = [(name.lower(), value) for name, value in plan.headers.items()]
    return [
        lambda body, call=call: call(  # type: ignore[misc]
            body, metadata=metadata, wait_for_ready=True, timeout=ANSWER_LIMIT_S
        )
        for call in calls
        for _ in range(row.streams)
    ]


async def _load(askers: Sequence[Ask], body: bytes, seconds: float, requests_max: int) -> dict[str, object]:
    """Send until the time or the number of requests is used up; at least one request from each asker."""
    latencies_s: list[float] = []
    begun = time.perf_counter()

    async def one(ask: Ask) -> None:
        while True:
            sent = time.perf_counter()
            await ask(body)
            now = time.perf_counter()
            latencies_s.append(now - sent)
            if now - begun >= seconds or len(latencies_s) >= requests_max:
                return

    async with asyncio.TaskGroup() as group:
        for ask in askers:
            group.create_task(one(ask))
    took_s = time.perf_counter() - begun
    return {"requests": len(latencies_s), "seconds": took_s, **quantiles(latencies_s)}


def _say(document: dict[str, object]) -> None:
    print(json.dumps(document), flush=True)


async def run(plan: Plan, row: Row, body: bytes) -> None:
    """Check, warm up, say so, wait for the word, load, say what was measured."""
    askers = _askers(plan, row)
    answer = await asyncio.wait_for(askers[0](body), ANSWER_LIMIT_S)
    payloads.check(row, plan.dialect, answer, plan.factor)
    sent = time.perf_counter()
    await askers[0](body)
    answer_s = time.perf_counter() - sent
    if plan.warm_s > answer_s:  # slower than that, the two requests so far have warmed it up
        await _load(askers, body, plan.warm_s, plan.requests_max)
    _say({"answer_bytes": len(answer), "answer_s": answer_s})
    if await asyncio.to_thread(sys.stdin.readline):
        _say(await _load(askers, body, plan.seconds, plan.requests_max))


def main(plan: Plan) -> None:
    """Write the body for whoever sends it, then run."""
    row = next(row for row in ROWS if row.name == plan.row)
    body = payloads.request(row, plan.dialect)
    framed = b"\0" + struct.pack(">I", len(body)) + body if row.transport == "grpc" else body
    Path(plan.body).write_bytes(framed)
    asyncio.run(run(plan, row, body))


if __name__ == "__main__":
    main(Plan(**json.loads(sys.argv[1])))
