"""Passing a request of Serve's HTTP proxy on to a server of this machine, and its answer back, block by block."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from infergraph.errors import RemoteError
from infergraph.net.address import Address
from infergraph.net.http_client import HttpOptions
from infergraph.net.http_stream import StreamCall, StreamReply, stream

_OF_A_CONNECTION = frozenset(
    (b"connection", b"expect", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
_SET_ANEW = frozenset((b"host", b"content-length"))
_OF_THE_PROXY = frozenset((b"date", b"server"))
_OPTIONS = HttpOptions()


class Passed(Response):
    """The answer of a server to a request.

    Args:
        address: of the server.
    """

    def __init__(self, request: Request, address: Address) -> None:
        self._request = request
        self._address = address
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back."""
        has_begun = False
        try:
            async with stream(self._address, _OPTIONS, _call(self._request)) as reply:
                has_begun = True
                await self._answer(reply, send)
        except RemoteError as fault:
            if has_begun:
                raise
            status = {"code": 503, "info": str(fault), "status": "FAILURE"}
            await JSONResponse({"status": status}, 503)(scope, receive, send)

    async def _answer(self, reply: StreamReply, send: Send) -> None:
        headers = list(_kept(reply.header_lines, _OF_A_CONNECTION | _OF_THE_PROXY))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if self._request.method != "HEAD":
            async for block in reply.blocks():
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _call(request: Request) -> StreamCall:
    """The request, as it is passed on; HEAD as GET, whose body is not read."""
    length = request.headers.get("content-length")
    has_body = length is not None or "transfer-encoding" in request.headers
    head = b"".join(b"%b: %b\r\n" % line for line in _kept(request.headers.raw, _OF_A_CONNECTION | _SET_ANEW))
    return StreamCall(
        "GET" if request.method == "HEAD" else request.method,
        _path(request.scope),
        head,
        silence_s=None,
        body=_blocks(request) if has_body else None,
        length=None if length is None else int(length),
    )


def _path(scope: Scope) -> str:
    """The path below the application's prefix, and the query."""
    path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("ascii")
    path = path.removeprefix(quote(scope.get("root_path", "").rstrip("/"))) or "/"
    query = scope.get("query_string", b"").decode("ascii")
    return f"{path}?{query}" if query else path


async def _blocks(request: Request) -> AsyncGenerator[bytes, None]:
    async for block in request.stream():
        if block:
            yield block


def _kept(lines: Iterable[tuple[bytes, bytes]], without: frozenset[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return ((name, value) for name, value in lines if name.lower() not in without)
