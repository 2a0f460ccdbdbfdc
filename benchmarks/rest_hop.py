"""CPU time of one REST call to a node: our client, the whole RestUnit, and aiohttp, side by side in one run.

The node is another process, so that only the caller's time is counted: `time.process_time` over many calls, the
least of several rounds, one call after the other and 16 at once. Run: python benchmarks/rest_hop.py
"""

from __future__ import annotations

import asyncio
import multiprocessing
import platform
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version

import aiohttp
import httptools
import uvloop

from infergraph.graph.remote.rest import RestUnit
from infergraph.message import Context, Method, Transport
from infergraph.net.address import Address
from infergraph.net.http_client import Call, HttpClient, HttpOptions
from infergraph.wire.json_codec import JsonMessage

BODY = b'{"data":{"names":["a","b"],"tensor":{"shape":[2,2],"values":[1.0,2.0,3.0,4.0]}},"meta":{}}'
REPLY = b"HTTP/1.1 200 OK\r\nserver: node\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
HEADERS = (
    (b"host", b"127.0.0.1:9000"),
    (b"user-agent", b"python-requests/2.32"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"content-type", b"application/json"),
    (b"content-length", b"90"),
    (b"seldon-puid", b"5f0b6c4e-6f43-4b43-8d8f-0d6f0c8a7b11"),
)
CALLS, ROUNDS, WIDTH = 4000, 5, 16


class Node(asyncio.Protocol):
    """Answers every request with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(REPLY)  # type: ignore[attr-defined]


def serve(listener: socket.socket) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Node, sock=listener)
        await server.serve_forever()

    uvloop.run(run())


async def measure(call: Callable[[], Awaitable[object]], width: int) -> float:
    """Least CPU microseconds of one call."""

    async def many() -> None:
        for _ in range(CALLS // width):
            await call()

    await many()
    best = float("inf")
    for _ in range(ROUNDS):
        before = time.process_time()
        await asyncio.gather(*(many() for _ in range(width)))
        best = min(best, time.process_time() - before)
    return best / CALLS * 1e6


async def compare(port: int) -> None:
    client = HttpClient(Address("127.0.0.1", port), HttpOptions())
    lines = b"content-type: application/json\r\naccept-encoding: identity\r\n"
    unit = RestUnit("node", "127.0.0.1", port)
    context = Context(Transport.REST, HEADERS, "5f0b6c4e-6f43-4b43-8d8f-0d6f0c8a7b11")
    message = JsonMessage(BODY)
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/predict"

        async def with_aiohttp() -> bytes:
            async with session.post(url, data=BODY, headers={"content-type": "application/json"}) as reply:
                return await reply.read()

        async def bare() -> object:
            return await client.exchange(Call("POST", "/predict", lines, BODY))

        async def whole() -> object:
            return await unit.answer(Method.PREDICT, message, context)

        for name, call in (("aiohttp", with_aiohttp), ("our client", bare), ("RestUnit", whole)):
            alone, together = await measure(call, 1), await measure(call, WIDTH)
            print(f"{name:12} {alone:8.1f} us one after the other {together:8.1f} us {WIDTH} at once")
    client.close()
    await unit.stop()


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    node = multiprocessing.get_context("fork").Process(target=serve, args=(listener,))
    node.start()
    try:
        print(
            platform.platform(),
            sys.version.split()[0],
            *(f"{p} {version(p)}" for p in ("uvloop", "aiohttp", "httptools")),
        )
        port = listener.getsockname()[1]
        print("uvloop")
        uvloop.run(compare(port))
        print("asyncio")
        asyncio.run(compare(port))
    finally:
        node.terminate()
        node.join()


if __name__ == "__main__":
    main()
