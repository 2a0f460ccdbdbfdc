"""The fast path: on the wire its answers are the same as those of requests that run in a task."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from served import Served, served

HERE = Path(__file__).parent / "microservice"
BODY = b'{"data":{"ndarray":[[1,2]]}}'
LARGE = b'{"strData":"' + b"x" * 5000 + b'"}'
WAIT_S = 30
Pair = tuple[Served, Served]


def post(body: bytes = BODY, *headers: bytes, path: bytes = b"/predict", version: bytes = b"1.1") -> bytes:
    head = b"POST %b HTTP/%b\r\nHost: x\r\nContent-Type: application/json\r\n" % (path, version)
    return head + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


LAST = b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""Ends a conversation: its answer closes the connection."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A worker that never answers at once, and one that does so whenever it may."""
    with (
        served("components.py:Identity", folder=HERE, execution="thread") as tasks,
        served("components.py:Identity", folder=HERE, execution="inline") as direct,
    ):
        yield tasks, direct


def told(there: Served, *pieces: bytes) -> bytes:
    """All that comes back for these pieces, each sent when something has come back for the one before."""
    with socket.create_connection(("127.0.0.1", there.http_port), timeout=WAIT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


CONVERSATIONS = {
    "one": [post(), LAST],
    "pipelined": [post() + post(b'{"strData":"a"}') + post() + LAST],
    "a probe between": [post() + b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n" + post() + LAST],
    "closing": [post(BODY, b"Connection: close")],
    "old": [post(version=b"1.0")],
    "old and kept": [post(BODY, b"Connection: keep-alive", version=b"1.0")],
    "an id": [post(BODY, b"Seldon-Puid: some-id") + LAST],
    "an origin": [post(BODY, b"Origin: http://there.example") + LAST],
    "compressed": [post(LARGE, b"Accept-Encoding: gzip") + LAST],
    "a query": [post(b"", path=b"/predict?json=%7B%22strData%22%3A%22q%22%7D") + LAST],
    "an encoded path": [post(path=b"/pre%64ict") + LAST],
    "no such path": [post(path=b"/nowhere") + LAST],
    "broken": [post(b"{bad") + post() + LAST],
    "no body": [post(b"") + LAST],
    "chunked": [
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"strData":"s"}')
        + b"0\r\n\r\n"
        + LAST
    ],
    "broken chunks": [b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnope\r\n"],
    "not HTTP": [b"nonsense\r\n\r\n"],
    "an upgrade": [post(BODY, b"Connection: Upgrade, close", b"Upgrade: h2c")],
    "expecting": [post(BODY, b"Expect: 100-continue") + LAST],
}


@pytest.mark.parametrize("pieces", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_what_comes_back_is_the_same_to_the_byte(pair: Pair, pieces: list[bytes]) -> None:
    """Whatever is sent, a worker that answers at once sends the very bytes that a task would have sent."""
    tasks, direct = (told(there, *pieces) for there in pair)
    assert direct == tasks
    assert direct.startswith(b"HTTP/1.1 ")


def test_where_the_pieces_are_cut_does_not_matter(pair: Pair) -> None:
    """Two requests cut into three pieces anywhere get the answers that they get in one."""
    whole = post() + post(b'{"strData":"a"}') + LAST
    wanted = told(pair[0], whole)
    assert wanted.count(b"200 OK") == 3
    for begin, end in pairwise(range(0, len(whole), 37)):
        assert told(pair[1], whole[:begin], whole[begin:end], whole[end:]) == wanted


def test_requests_are_counted_alike(pair: Pair) -> None:
    """Answered at once or by a task, a request is in the same metrics with the same sizes."""
    counted = []
    for there in pair:
        before = figures(there)
        told(there, post(), post(b"{bad"), LAST)
        after = figures(there)
        counted.append({name: after[name] - before.get(name, 0.0) for name in after})
    assert counted[0] == counted[1]
    assert (
        counted[1]['infergraph_requests_total{code="200",method="predict",protocol="seldon",transport="rest"}'] == 1.0
    )
    assert (
        counted[1]['infergraph_requests_total{code="400",method="predict",protocol="seldon",transport="rest"}'] == 1.0
    )


def figures(there: Served) -> dict[str, float]:
    """The counts and byte sizes of predictions; times differ."""
    lines = there.get("/metrics").body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if 'method="predict"' in line and "_seconds_" not in line)
    return {name: float(value) for name, _, value in pairs}


def test_an_idle_connection_is_closed_however_it_was_answered() -> None:
    """After keepalive_s without a request a connection ends, whether or not a task answered its last one."""
    for execution in ("thread", "inline"):
        with served("components.py:Identity", folder=HERE, execution=execution, keepalive_s=0.2) as there:
            assert told(there, post()).startswith(b"HTTP/1.1 200 OK")
