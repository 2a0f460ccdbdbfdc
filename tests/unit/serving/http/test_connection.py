"""One HTTP connection, over a transport that keeps what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from infergraph.component.execution import ComponentThread
from infergraph.runner import INLINE, Runner
from infergraph.serving.http.app import Endpoint, Handler, HttpApp, HttpOptions, Paths
from infergraph.serving.http.connection import Connection
from infergraph.serving.http.dialects import Cors, InternalDialect
from infergraph.serving.http.error_responses import JSON_TYPE, Answer
from infergraph.serving.http.exchange import Exchange

POST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


class Account:
    """An account that keeps what it is told."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def started(self) -> None: ...

    def finished(self, method: str, code: str, *_: object) -> None:
        self.codes.append(code)


class Recorder(asyncio.Transport):
    """The client's end: what was written, and whether the connection was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.reads = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 5) if name == "peername" else default

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, parts: Any) -> None:
        self.written += b"".join(parts)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


async def other(*_: object) -> None:
    raise AssertionError("nothing here goes to the other application")


def app_of(handler: Handler, account: Account, runner: Runner | None) -> HttpApp:
    endpoint = Endpoint(frozenset({"POST"}), handler, "predict", runner=lambda: runner)
    options = HttpOptions(message_limit_bytes=1000, concurrency_limit=0)
    return HttpApp(Paths({"/predict": endpoint}), InternalDialect(Cors()), other, options, account)


def talk(handler: Handler, kind: str, *pieces: bytes, enough: Callable[[Account], bool]) -> tuple[Recorder, Account]:
    """What a client is sent for these pieces, once `enough` is counted."""

    async def scenario() -> tuple[Recorder, Account]:
        thread = ComponentThread("unit")
        thread.start()
        account, transport = Account(), Recorder()
        app = app_of(handler, account, {"inline": INLINE, "thread": thread}.get(kind))
        connection = Connection(app, set())
        connection.connection_made(transport)
        for piece in pieces:
            connection.data_received(piece)
        while not enough(account):  # noqa: ASYNC110 - the account is no event
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        thread.stop()
        return transport, account

    return asyncio.run(scenario())


async def echo(exchange: Exchange) -> Answer:
    return Answer(200, exchange.body, [JSON_TYPE])


async def break_the_head(exchange: Exchange) -> Answer:
    return Answer(200, b"{}", [(b"x-note", b"two\r\nlines")])


KINDS = pytest.mark.parametrize("kind", ["inline", "thread", "task"])


@KINDS
def test_pipelined_requests_are_answered_in_their_order(kind: str) -> None:
    """However many requests come in one piece, each gets its answer, in its turn, and reading goes on."""
    bodies = [b"%02d" % number for number in range(50)]
    requests = b"".join(POST.replace(b"{}", body) for body in bodies)
    transport, account = talk(echo, kind, requests, enough=lambda account: len(account.codes) == len(bodies))
    answers = transport.written.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [answer[-2:] for answer in answers] == bodies
    assert set(account.codes) == {"200"}
    assert transport.reads
    assert not transport.closed


@KINDS
def test_an_answer_that_would_break_its_head_ends_the_connection(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A header with a line end in it is not sent: the connection ends instead, so that nobody waits."""
    transport, account = talk(break_the_head, kind, POST + POST, enough=lambda account: bool(account.codes))
    assert transport.written == b""
    assert transport.closed
    assert account.codes == ["499"]
    assert "x-note" in caplog.text


def test_nothing_is_written_to_a_client_that_has_left() -> None:
    """An answer that comes when the connection is closed already is dropped without a word."""

    async def leave(exchange: Exchange) -> Answer:
        exchange.wire.close()
        return Answer(200, b"{}", [JSON_TYPE])

    transport, account = talk(leave, "inline", POST, enough=lambda account: bool(account.codes))
    assert transport.written == b""
    assert account.codes == ["200"]
