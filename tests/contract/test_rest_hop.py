"""The REST hop to a node, byte by byte: what goes out, what comes back, when a connection is used again."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from infergraph.errors import RemoteError
from infergraph.graph.remote.remote import RestOptions, RestUnit
from infergraph.message import Context, Encoding, Feedback, FeedbackContent, Message, Method, Transport
from infergraph.net.address import Address
from infergraph.net.http_client import Call, HttpClient, HttpOptions
from infergraph.wire.json_codec import JsonFeedback, JsonMessage

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CLOSE = object()
SILENCE = object()


class Node:
    """A server that answers each request with the next entry of its script, and keeps what it was sent.

    An entry is bytes, or a list of pieces sent one after the other; CLOSE ends the connection, SILENCE waits.
    """

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
                self.requests.append(head + await reader.readexactly(length))
                self.asked.set()
                entry = self.script.pop(0) if self.script else OK
                for piece in entry if isinstance(entry, list) else [entry]:
                    if piece is CLOSE:
                        return
                    if piece is SILENCE:
                        await reader.read()
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()


@asynccontextmanager
async def serving(*script: Any) -> AsyncIterator[Node]:
    node = Node(*script)
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    node.port = server.sockets[0].getsockname()[1]
    try:
        yield node
    finally:
        server.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Runs a test's coroutine function on both event loops that we serve on."""
    runner = {"asyncio": asyncio.run, "uvloop": uvloop.run}[request.param]
    return lambda function: runner(asyncio.wait_for(function(), 20))


def client_of(node: Node, **options: Any) -> HttpClient:
    return HttpClient(Address("127.0.0.1", node.port), HttpOptions(**options))


def post(body: bytes = b"{}", *, replayable: bool = True) -> Call:
    return Call("POST", "/predict", b"x: 1\r\n", body, replayable)


def plain(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", *headers, b"content-length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


# ── replies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "reply",
    [
        plain(b"hello"),
        [plain(b"hello")[:20], plain(b"hello")[20:]],
        [bytes([byte]) for byte in plain(b"hello")],
        chunked(b"he", b"llo"),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\ntrailer: 1\r\n\r\n",
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhel", b"lo", CLOSE],
        [b"HTTP/1.0 200 OK\r\n\r\nhello", CLOSE],
        b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"hello"),
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + plain(b"hello"),
        plain(gzip.compress(b"hello", mtime=0), b"Content-Encoding: gzip"),
        plain(zlib.compress(b"hello"), b"content-encoding: deflate"),
        plain(b"hello", b"content-encoding: identity"),
    ],
    ids=["length", "two pieces", "byte by byte", "chunked", "trailers", "until close", "http 1.0", "100", "103", "gzip",
         "deflate", "identity"],
)  # fmt: skip
def test_every_framing(run: Any, reply: Any) -> None:
    """A body arrives whole however it is framed, cut or packed, and the connection serves the next call if it may."""

    async def call() -> None:
        async with serving(reply, OK) as node:
            client = client_of(node)
            assert (await client.exchange(post())).body == b"hello"
            assert (await client.exchange(post())).body == b"{}"
            client.close()

    run(call)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhel", CLOSE], "ended early"),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", CLOSE], "ended early"),
        ([b"HTTP/1.1 200 OK\r\nconte", CLOSE], "ended early"),
        (b"hello there\r\n\r\n", "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 70_000, "headers are longer than"),
        (plain(b"y" * 2000), "longer than 1000 bytes"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n" + b"y" * 2000 + b"\r\n0\r\n\r\n",
            "longer than",
        ),
        (plain(gzip.compress(b"y" * 2000, mtime=0), b"content-encoding: gzip"), "unpacks to more than 1000 bytes"),
        (plain(gzip.compress(b"y" * 900, mtime=0)[:-4], b"content-encoding: gzip"), "ends early"),
        (plain(b"hello", b"content-encoding: gzip"), "not valid gzip"),
        (plain(b"hello", b"content-encoding: br"), "content encoding 'br'"),
        ([CLOSE], "EOF"),
    ],
)
def test_broken_replies(run: Any, reply: Any, text: str) -> None:
    """A reply that is cut off, malformed, too long or oddly packed is a RemoteError that says so with the address."""

    async def call() -> None:
        async with serving(reply) as node:
            client = client_of(node, reply_limit_bytes=1000)
            with pytest.raises(RemoteError, match=text) as caught:
                await client.exchange(post())
            assert f'Post "http://127.0.0.1:{node.port}/predict": ' in str(caught.value)
            assert (await client.exchange(post())).body == b"{}"  # on a new connection
            assert node.connections == 2
            client.close()

    run(call)


def test_large_bodies(run: Any) -> None:
    """Megabytes go out and come back unchanged."""
    body = bytes(range(256)) * 20_000

    async def call() -> None:
        async with serving(plain(body), plain(body)) as node:
            client = client_of(node)
            for _ in range(2):
                assert (await client.exchange(post(body))).body == body
            assert all(request.endswith(body) for request in node.requests)
            assert node.connections == 1
            client.close()

    run(call)


# ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_connection_is_used_again(run: Any) -> None:
    """Calls in turn share one connection; calls at once each have their own, and only so many are kept."""

    async def call() -> None:
        async with serving() as node:
            client = client_of(node, idle_connections=2)
            for _ in range(5):
                await client.exchange(post())
            assert node.connections == 1
            await asyncio.gather(*(client.exchange(post()) for _ in range(6)))
            assert node.connections == 6
            assert len(client._idle) == 2
            client.close()

    run(call)


def test_connection_close_is_heeded(run: Any) -> None:
    """A connection that the node wants closed is not used again."""

    async def call() -> None:
        async with serving(plain(b"x", b"connection: close"), OK) as node:
            client = client_of(node)
            await client.exchange(post())
            await client.exchange(post())
            assert node.connections == 2
            client.close()

    run(call)


def test_dead_connection_is_replaced(run: Any) -> None:
    """When a kept connection died before a byte of the reply, the call goes out once more, on a new one."""

    async def call() -> None:
        async with serving(OK, CLOSE, OK) as node:
            client = client_of(node)
            await client.exchange(post())
            assert (await client.exchange(post(b'{"n":2}'))).body == b"{}"
            assert node.connections == 2
            assert [request.endswith(b'{"n":2}') for request in node.requests] == [False, True, True]
            client.close()

    run(call)


def test_no_second_sending_after_a_byte_or_on_a_new_connection(run: Any) -> None:
    """A call is not sent again once a reply has begun, nor when the new connection dies too."""

    async def call() -> None:
        async with serving(OK, [b"HTTP", CLOSE], CLOSE) as node:
            client = client_of(node)
            await client.exchange(post())
            for sent in (2, 3):
                with pytest.raises(RemoteError):
                    await client.exchange(post())
                assert len(node.requests) == sent
            client.close()

    run(call)


@pytest.mark.parametrize("method", [Method.ROUTE, Method.SEND_FEEDBACK])
def test_routes_and_rewards_are_sent_once(run: Any, method: Method) -> None:
    """What must happen once is never sent twice, even on a connection that turns out dead."""
    feedback = Feedback(FeedbackContent(None, None, 1.0, None))
    request = feedback if method is Method.SEND_FEEDBACK else Message.of("x", Encoding.STR)

    async def call() -> None:
        async with serving(OK, CLOSE) as node:
            unit = RestUnit("u", "127.0.0.1", node.port)
            await unit.answer(Method.PREDICT, Message.of("x", Encoding.STR), Context())
            with pytest.raises(RemoteError):
                await unit.answer(method, request, Context())
            assert len(node.requests) == 2
            await unit.stop()

    run(call)


def test_once_only_calls_want_a_fresh_connection(run: Any) -> None:
    """A call that must not be sent twice does not ride on a connection that was idle for long."""

    async def call() -> None:
        async with serving() as node:
            client = client_of(node, fresh_s=-1.0)  # none is fresh enough
            await client.exchange(post())
            await client.exchange(post(replayable=False))
            assert node.connections == 2
            await client.exchange(post())
            assert node.connections == 2
            client.close()

    run(call)


def test_cancelled_call_closes_its_connection(run: Any) -> None:
    """When the caller goes, the node sees its connection end."""

    async def call() -> None:
        async with serving(SILENCE) as node:
            client = client_of(node)
            asking = asyncio.ensure_future(client.exchange(post()))
            await node.asked.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await node.closed.wait()

    run(call)


# ── the unit ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_bytes_pass_verbatim(run: Any) -> None:
    """A JSON message goes out as the bytes it came in, and the answer is the bytes that came back, never read."""
    body = b' {"zzz": 12345678901234567890, "data":{"ndarray":[1.0 , 1e3]} }\n'
    answer = b'{"by": "n",  "x": 1.50}'

    async def call() -> None:
        async with serving(plain(answer, b"content-type: application/x+json; v=1")) as node:
            unit = RestUnit("u", "127.0.0.1", node.port)
            message = JsonMessage(body, "application/json; charset=utf-8")
            got = await unit.answer(Method.PREDICT, message, Context())
            assert isinstance(got, JsonMessage)
            assert (got.raw, got.content_type) == (answer, "application/x+json; v=1")
            head, _, sent = node.requests[0].partition(b"\r\n\r\n")
            assert sent == body
            assert b"content-type: application/json; charset=utf-8" in head
            for passed in (message, got):
                assert passed._document is JsonMessage(b"")._document  # neither was ever read
            await unit.stop()

    run(call)


def test_compressed_messages_pass_verbatim(run: Any) -> None:
    """A compressed body goes out compressed, with its encoding named once."""
    body = gzip.compress(b'{"strData":"x"}', mtime=0)

    async def call() -> None:
        async with serving() as node:
            unit = RestUnit("u", "127.0.0.1", node.port)
            headers = ((b"content-encoding", b"gzip"), (b"content-length", b"1"))
            context = Context(Transport.REST, headers)
            await unit.answer(Method.PREDICT, JsonMessage(body, content_encoding="gzip"), context)
            head, _, sent = node.requests[0].partition(b"\r\n\r\n")
            assert sent == body
            assert head.lower().count(b"content-encoding: gzip") == 1
            assert head.lower().count(b"content-length:") == 1
            await unit.stop()

    run(call)


def test_headers(run: Any) -> None:
    """The client's headers reach the node in their order with repeats; those of one hop do not, and nothing can
    smuggle a line in."""
    given = (
        (b"x-a", b"1"), (b"x-a", b"2"), (b"authorization", b"Bearer z"), (b"connection", b"keep-alive, x-b"),
        (b"host", b"front"), (b"te", b"trailers"), (b"transfer-encoding", b"chunked"), (b"content-length", b"7"),
        (b"accept-encoding", b"br"), (b"expect", b"100-continue"), (b"bad", b"1\r\nevil: 2"),
    )  # fmt: skip

    async def call() -> None:
        async with serving() as node:
            unit = RestUnit("u", "127.0.0.1", node.port)
            await unit.answer(Method.PREDICT, JsonMessage(b"{}"), Context(Transport.REST, given, "p-1"))
            head = node.requests[0].partition(b"\r\n\r\n")[0].split(b"\r\n")
            assert head == [
                b"POST /predict HTTP/1.1",
                b"host: 127.0.0.1:%d" % node.port,
                b"x-a: 1",
                b"x-a: 2",
                b"authorization: Bearer z",
                b"seldon-puid: p-1",
                b"accept-encoding: identity, infergraph-request",
                b"content-type: application/json",
                b"content-length: 2",
            ]
            await unit.stop()

    run(call)


def test_feedback_passes_verbatim(run: Any) -> None:
    """A feedback goes out as the bytes it came in."""
    body = b'{ "reward": 1.0, "zzz": 1}'

    async def call() -> None:
        async with serving() as node:
            unit = RestUnit("u", "127.0.0.1", node.port)
            await unit.answer(Method.SEND_FEEDBACK, JsonFeedback(body), Context())
            assert node.requests[0].startswith(b"POST /send-feedback HTTP/1.1\r\n")
            assert node.requests[0].endswith(b"\r\n\r\n" + body)
            await unit.stop()

    run(call)


def test_error_answers_pass(run: Any) -> None:
    """Status, body and type of an error pass; of a router's error only the status does."""
    reply = b"HTTP/1.1 418 No\r\ncontent-type: text/x\r\ncontent-length: 3\r\n\r\nno!"

    async def call() -> None:
        async with serving(reply, reply) as node:
            unit = RestUnit("u", "127.0.0.1", node.port)
            for method, body, kind in ((Method.PREDICT, b"no!", "text/x"), (Method.ROUTE, None, "")):
                with pytest.raises(RemoteError) as caught:
                    await unit.answer(method, JsonMessage(b"{}"), Context())
                fault = caught.value
                assert (fault.status, fault.body, fault.content_type, fault.node) == (418, body, kind, "u")
                assert "failed calling http://127.0.0.1" in str(fault)
                assert "status code 418" in str(fault)
            await unit.stop()

    run(call)


def test_timeout_of_the_annotation(run: Any) -> None:
    """A call over its time is the protocol's 500 with the address, and its connection is not used again."""

    async def call() -> None:
        async with serving(SILENCE, OK) as node:
            unit = RestUnit("u", "127.0.0.1", node.port, RestOptions(timeout_s=0.05))
            with pytest.raises(RemoteError, match=rf"http://127\.0\.0\.1:{node.port}/predict.*0\.050 s") as caught:
                await unit.answer(Method.PREDICT, JsonMessage(b"{}"), Context())
            assert (caught.value.status, caught.value.grpc_code, caught.value.reason) == (500, 4, "DEADLINE_PASSED")
            await unit.answer(Method.PREDICT, JsonMessage(b"{}"), Context())
            assert node.connections == 2
            await unit.stop()

    run(call)


def test_full_health_check(run: Any) -> None:
    """A full check asks the node and wants exactly 200, in time."""

    async def call() -> None:
        async with serving(OK, b"HTTP/1.1 204 No\r\n\r\n", SILENCE) as node:
            options = RestOptions(full_health_checks=True, ready_timeout_s=0.05)
            unit = RestUnit("u", "127.0.0.1", node.port, options)
            assert [await unit.ready() for _ in range(3)] == [True, False, False]
            assert all(request.startswith(b"GET /api/v1.0/health/status HTTP/1.1\r\n") for request in node.requests)
            await unit.stop()

    run(call)


def test_an_assumed_address_must_answer_as_a_node(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What listens where a container would is ready if it knows a path of a node, or is busy; else the log says so."""
    missing = b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"
    odd = b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n"

    async def ready(*replies: bytes) -> bool:
        async with serving(*replies) as node:
            options = RestOptions(is_assumed=True, ready_timeout_s=0.2)
            unit = RestUnit("u", "127.0.0.1", node.port, options)
            found = await unit.ready()
            await unit.stop()
            return found

    assert run(lambda: ready(OK))
    assert run(lambda: ready(missing, odd))
    assert run(lambda: ready(SILENCE))
    assert not run(lambda: ready(b"220 mail here\r\n"))
    assert not run(lambda: ready(*[missing] * 7))
    assert "node u is not ready" in caplog.text


# ── redirects ───────────────────────────────────────────────────────────────────────────────────────────────────────


def redirect(status: int, location: str) -> bytes:
    return b"HTTP/1.1 %d X\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n" % (status, location.encode())


@pytest.mark.parametrize(
    ("status", "line", "body"),
    [(302, b"GET /other?a=1 HTTP/1.1", b""), (303, b"GET /other?a=1 HTTP/1.1", b""),
     (307, b"POST /other?a=1 HTTP/1.1", b'{"n":1}'), (308, b"POST /other?a=1 HTTP/1.1", b'{"n":1}')],
)  # fmt: skip
def test_redirects(run: Any, status: int, line: bytes, body: bytes) -> None:
    """302 and 303 lead on with GET and no body, 307 and 308 with the same request."""

    async def call() -> None:
        async with serving(redirect(status, "/other?a=1"), OK) as node:
            client = client_of(node)
            assert (await client.exchange(post(b'{"n":1}'))).status == 200
            assert node.requests[1].startswith(line)
            assert node.requests[1].endswith(b"\r\n\r\n" + body)
            client.close()

    run(call)


def test_redirect_elsewhere_keeps_secrets_at_home(run: Any) -> None:
    """At another address a redirected call arrives without the client's credentials."""

    async def call() -> None:
        async with serving() as other, serving(redirect(307, f"http://localhost:{other.port}/x")) as node:
            client = client_of(node)
            headers = b"authorization: z\r\nx-a: 1\r\ncookie: c\r\n"
            assert (await client.exchange(Call("POST", "/p", headers, b"{}"))).status == 200
            head = other.requests[0].lower()
            assert b"x-a: 1" in head
            assert b"authorization" not in head
            assert b"cookie" not in head
            client.close()

    run(call)


@pytest.mark.parametrize(
    ("location", "text"),
    [("/again", "stopped after 10 redirects"), ("https://127.0.0.1/x", "cannot go to"), ("http://[", "cannot go to")],
)
def test_redirects_that_lead_nowhere(run: Any, location: str, text: str) -> None:
    """A loop ends after ten steps, and an address that cannot be followed is named."""

    async def call() -> None:
        async with serving(*[redirect(307, location)] * 20) as node:
            client = client_of(node)
            with pytest.raises(RemoteError, match=text):
                await client.exchange(post())
            client.close()

    run(call)
