"""Requests that are answered before the event loop turns."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable

import pytest

from infergraph.errors import PayloadError
from infergraph.serving.http.answers import JSON_TYPE, Answer, Headers
from infergraph.serving.http.application import Endpoint, Exchange, Http, HttpOptions, Paths, Whole
from infergraph.serving.rest.dialects import Cors, MicroserviceFront

Handler = Callable[[Exchange], Awaitable[Answer]]
LARGE = b'"' + b"x" * 200_000 + b'"'


class Account:
    """An account that keeps what it is told."""

    def __init__(self) -> None:
        self.running = 0
        self.finished_as: list[tuple[str, int, int]] = []

    def started(self) -> None:
        self.running += 1

    def finished(
        self, method: str, code: str, transport: str, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        self.running -= 1
        self.finished_as.append((code, request_bytes, response_bytes))


async def other(*_: object) -> None:
    raise AssertionError("nothing here goes to the other application")


def http_of(handler: Handler, account: Account, *, now: bool = True, limit_bytes: int = 1000) -> Http:
    endpoint = Endpoint(frozenset({"POST"}), handler, "predict", answers_at_once=lambda size_bytes: now)
    options = HttpOptions(message_limit_bytes=limit_bytes, concurrency_limit=1)
    return Http(Paths({"/predict": endpoint}), MicroserviceFront(Cors()), other, options, account)


def asked(http: Http, body: bytes = b"{}", *headers: tuple[bytes, bytes]) -> list[tuple[int, Headers, bytes]]:
    """What is written for a request, without an event loop."""
    written: list[tuple[int, Headers, bytes]] = []
    endpoint = http.at_once("/predict", len(body))
    assert endpoint is not None
    head = [*headers, (b"content-length", b"%d" % len(body))]
    exchange = Whole(head, "/predict", None, body, lambda *answer: written.append(answer))
    http.answer_at_once(endpoint, exchange)
    return written


async def echo(exchange: Exchange) -> Answer:
    return Answer(200, await exchange.body(), [JSON_TYPE])


async def refuse(exchange: Exchange) -> Answer:
    raise PayloadError("no such thing")


async def wait(exchange: Exchange) -> Answer:
    await asyncio.sleep(0)
    raise AssertionError("nobody waits for this")


async def speak_at_length(exchange: Exchange) -> Answer:
    return Answer(200, LARGE, [JSON_TYPE])


def test_no_event_loop_is_needed() -> None:
    """A request whose handler waits for nothing is answered and counted where no loop runs."""
    account = Account()
    assert [(status, body) for status, _, body in asked(http_of(echo, account))] == [(200, b"{}")]
    assert (account.running, account.finished_as) == (0, [("200", 2, 2)])


def test_a_fault_is_told_as_always() -> None:
    """A handler's fault is answered by the front, and counted under its status."""
    account = Account()
    ((status, _, body),) = asked(http_of(refuse, account))
    assert status == 400
    assert b"no such thing" in body
    assert account.finished_as == [("400", 2, len(body))]


@pytest.mark.parametrize(
    ("path", "size_bytes", "now"), [("/predict", 2, False), ("/predict", 1001, True), ("/elsewhere", 2, True)]
)
def test_who_may_wait_is_not_asked_at_once(path: str, size_bytes: int, now: bool) -> None:
    """Nothing is answered at once by a handler that would wait now, over the size limit, or at another path."""
    assert http_of(echo, Account(), now=now).at_once(path, size_bytes) is None


def test_a_handler_that_waits_after_all_leaves_nothing_behind() -> None:
    """Who promised not to wait and does is an error, after which nothing counts as in work and others are answered."""
    account = Account()
    http = http_of(wait, account)
    with pytest.raises(RuntimeError, match="waited"):
        asked(http)
    assert account.running == 0
    with pytest.raises(RuntimeError, match="waited"):  # and not: too many requests in work
        asked(http)
    assert [code for code, _, _ in account.finished_as] == ["499", "499"]


def test_a_large_answer_is_compressed_without_waiting() -> None:
    """Where a task would have a thread compress a large answer, one given at once is compressed all the same."""
    ((_, headers, body),) = asked(http_of(speak_at_length, Account()), b"{}", (b"accept-encoding", b"gzip"))
    assert (b"content-encoding", b"gzip") in headers
    assert gzip.decompress(body) == LARGE
