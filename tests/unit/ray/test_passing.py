"""Requests that are passed on to a server, and answers that are passed back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import Request

from infergraph.net.address import Address
from infergraph.ray.passing import Passed

ANSWER = (
    b"HTTP/1.1 207 Multi-Status\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nserver: x\r\n"
    b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
)


@asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[tuple[Address, list[bytes]]]:
    """A server that answers each connection the same; its address, and what was sent."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        if b"content-length" in heard[-1]:
            heard.append(await reader.readexactly(4))
        writer.write(answer)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield Address("127.0.0.1", listening.sockets[0].getsockname()[1]), heard


async def passed(address: Address, scope: dict[str, Any], body: bytes = b"") -> list[dict[str, Any]]:
    """What is sent to the client of a request."""
    sent: list[dict[str, Any]] = []
    scope = {"type": "http", "method": "POST", "query_string": b"", "headers": [], **scope}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await Passed(Request(scope, receive), address)(scope, receive, send)
    return sent


def test_a_request_and_its_answer_pass_unchanged() -> None:
    """Path, query, headers and body arrive, but what is of a connection; so do status, all headers, and blocks."""

    async def ask() -> None:
        async with server(ANSWER) as (address, heard):
            headers = [
                (b"content-length", b"4"),
                (b"x-own", b"1"),
                (b"connection", b"close"),
                (b"host", b"of.a.client"),
            ]
            scope = {"path": "/flow/a b", "root_path": "/flow", "query_string": b"q=1", "headers": headers}
            begin, *blocks = await passed(address, scope, b"body")
        head, body = heard
        assert head.startswith(b"POST /a%20b?q=1 HTTP/1.1\r\n")
        assert b"\r\nx-own: 1\r\n" in head
        assert (head.count(b"host:"), b"of.a.client" in head, body) == (1, False, b"body")
        assert (begin["status"], begin["headers"]) == (207, [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
        assert b"".join(each["body"] for each in blocks) == b"abc"
        assert [each["more_body"] for each in blocks][-1] is False

    asyncio.run(ask())


def test_a_head_request_has_no_body() -> None:
    """The head is that of GET."""

    async def ask() -> None:
        async with server(ANSWER) as (address, heard):
            begin, *blocks = await passed(address, {"method": "HEAD", "path": "/", "raw_path": b"/"})
        assert (heard[0][:4], begin["status"], [each["body"] for each in blocks]) == (b"GET ", 207, [b""])

    asyncio.run(ask())


def test_a_server_that_is_gone_is_said() -> None:
    """The client is told 503, in the words of the protocol."""

    async def ask() -> None:
        async with server(ANSWER) as (address, _):
            pass
        begin, block = await passed(address, {"path": "/"})
        assert begin["status"] == 503
        assert b'"FAILURE"' in block["body"]

    asyncio.run(ask())


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"])
def test_an_answer_that_ends_early_ends_early(answer: bytes) -> None:
    """Serve closes the connection; no second answer is begun."""

    async def ask() -> None:
        async with server(answer) as (address, _):
            with pytest.raises(Exception, match="closed"):
                await passed(address, {"path": "/"})

    asyncio.run(ask())
