"""Clients that send slowly, too much, or nonsense, or do not read: each is cut off, and harms nobody else."""

from __future__ import annotations

import json
import logging
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infergraph.serving.http.connection import HEAD_LIMIT_BYTES
from served import Served, served

HERE = Path(__file__).parent / "microservice"
ND = {"data": {"ndarray": [[1, 2]]}}
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
BODY = json.dumps(ND).encode()
WAIT_S = 30


@pytest.fixture(scope="module")
def impatient() -> Iterator[Served]:
    """A worker that waits half a second for clients."""
    with served("components.py:Identity", folder=HERE, receive_timeout_s=0.5) as there:
        yield there


def connected(there: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", there.http_port), timeout=WAIT_S)


def until_closed(connection: socket.socket) -> bytes:
    """All that the server still sends."""
    return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def check_refused(received: bytes, status: int) -> None:
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    told = json.loads(body)["status"]
    assert (told["code"], told["reason"], told["status"]) == (-1, "MICROSERVICE_BAD_DATA", 1)
    assert told["info"].startswith(str(status))


def check_alive(there: Served) -> None:
    assert there.post("/predict", ND).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /pre",
        HEAD,
        HEAD + b"Content-Length: 40\r\n\r\n",
        HEAD + b"Content-Length: 40\r\n\r\n" + BODY[:5],
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n",
        b"\r\n\r\n",
    ],
)
def test_a_request_that_is_never_finished_is_408(impatient: Served, sent: bytes) -> None:
    """Wherever a client falls silent inside a request, it is told so and its connection ends."""
    with connected(impatient) as connection:
        connection.sendall(sent)
        check_refused(until_closed(connection), 408)
    check_alive(impatient)


@pytest.mark.parametrize("drip", [b"X-Slow: a\r\n", b"P"], ids=["headers", "a byte"])
def test_bytes_one_at_a_time_do_not_buy_time(impatient: Served, drip: bytes) -> None:
    """A client that sends a little again and again is cut off as one that sends nothing."""
    stop = threading.Event()
    with connected(impatient) as connection:
        connection.sendall(HEAD if len(drip) > 1 else b"")

        def trickle() -> None:
            try:
                while not stop.wait(0.02):
                    connection.sendall(drip)
            except OSError:
                pass

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            received = connection.recv(1 << 16)
        except ConnectionResetError:  # it was still sending when the answer came
            received = b""
        stop.set()
        sender.join()
    assert received.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 400 ")) or not received
    check_alive(impatient)


def test_a_connection_without_a_request_is_closed_without_a_word(impatient: Served) -> None:
    """A client that connects and says nothing, as browsers do, is not told anything."""
    with connected(impatient) as connection:
        assert until_closed(connection) == b""


def test_a_request_in_work_is_not_cut_off() -> None:
    """The patience is for what the client owes: its answer may take longer, and stray line ends do not matter."""
    with served("components.py:Slow", folder=HERE, receive_timeout_s=0.2) as there, connected(there) as connection:
        body = b'{"data":{"ndarray":[1.5]}}'
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        connection.sendall(b"\r\n")
        assert until_closed(connection).startswith(b"HTTP/1.1 200 OK")


def test_an_idle_connection_is_kept_as_long_as_set(impatient: Served) -> None:
    """Between requests only keepalive_s counts, which is far longer than the patience here."""
    with connected(impatient) as idle:
        request = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
        idle.sendall(request)
        assert idle.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
        with connected(impatient) as other:
            assert until_closed(other) == b""  # the patience has run out meanwhile
        idle.sendall(request)
        assert idle.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")


def test_who_does_not_read_the_answer_is_cut_off(impatient: Served) -> None:
    """A large answer is not kept for ever for a client that reads nothing of it."""
    body = b'{"strData":"' + b"a" * 30_000_000 + b'"}'
    with connected(impatient) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        ending = select.poll()
        ending.register(connection, 0)  # an error or the end alone: what there is to read stays unread
        assert ending.poll(WAIT_S * 1000)
    check_alive(impatient)


@pytest.mark.parametrize("head", [b"X: " + b"a" * 2_000_000, b"\r\n".join([b"X: y"] * 500_000)], ids=["long", "many"])
def test_a_head_of_any_size_is_not_taken(impatient: Served, head: bytes) -> None:
    """A head beyond the limit is refused while it comes in."""
    assert len(head) > 4 * HEAD_LIMIT_BYTES
    with connected(impatient) as connection:
        try:
            connection.sendall(HEAD + head + b"\r\n\r\n")
            check_refused(connection.recv(1 << 16), 431)
        except (ConnectionResetError, BrokenPipeError):
            pass  # it was still sending when the answer came
    check_alive(impatient)


@pytest.mark.parametrize("size", [1000, 60_000])
def test_a_head_within_the_limit_is_taken(impatient: Served, size: int) -> None:
    """Large headers, such as tokens, pass."""
    assert impatient.post("/predict", ND, **{"X-Token": "a" * size}).status == 200


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"A" * 100_000, HEAD + b"Content-Length: -1\r\n\r\n"]
)
def test_what_is_no_http_is_a_400(impatient: Served, garbage: bytes) -> None:
    """Garbage is answered in the protocol's error body, and the connection ends."""
    with connected(impatient) as connection:
        connection.sendall(garbage)
        check_refused(until_closed(connection), 400)
    check_alive(impatient)


def test_slow_bodies_keep_nobody_out() -> None:
    """Requests whose bodies are still coming are not in work, so they do not use up the concurrency limit."""
    with served("components.py:Identity", folder=HERE, concurrency_limit=2) as there, ExitStack() as stack:
        for _ in range(5):
            slow = stack.enter_context(connected(there))
            slow.sendall(HEAD + b"Content-Length: 40\r\n\r\n{")
        check_alive(there)


def test_bodies_in_memory_are_bounded() -> None:
    """Unfinished bodies beyond the limit are turned away with 503, and what they held is given back."""
    limits = {"message_limit_bytes": 400_000, "bodies_limit_bytes": 1}
    half = HEAD + b"Content-Length: 400000\r\n\r\n" + b"[" * 300_000
    with served("components.py:Identity", folder=HERE, **limits) as there:
        for _ in range(3):
            with connected(there) as first, connected(there) as second:
                first.sendall(half)
                second.sendall(half)
                ready, _, _ = select.select([first, second], [], [], WAIT_S)
                received = ready[0].recv(1 << 16)
                assert received.startswith(b"HTTP/1.1 503 ")
                assert b"bodies_limit_bytes" in received
        body = b'{"strData":"' + b"a" * 399_000 + b'"}'
        assert there.post("/predict", body).status == 200


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"


@pytest.mark.parametrize(
    "framing", [b"Content-Length: %d\r\n\r\n%s", b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("cut", [0, 10])
def test_a_wish_for_http_2_does_not_cost_the_body(impatient: Served, framing: bytes, cut: int) -> None:
    """A request that would rather be HTTP/2, as those of Java's client, is answered in HTTP/1.1 with its body read."""
    request = HEAD + UPGRADE + framing % (len(BODY), BODY)
    pieces = [request[: len(request) - cut], request[len(request) - cut :]]
    with connected(impatient) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):  # the second on the same connection
            for piece in pieces:
                connection.sendall(piece)
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(1 << 20)
            assert received.startswith(b"HTTP/1.1 200 ")
            assert json.loads(received.partition(b"\r\n\r\n")[2])["data"]["ndarray"] == [[1, 2]]


@pytest.mark.parametrize(
    "framing", [b"Content-Length: %d\r\n\r\n%s", b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"]
)
def test_a_wish_for_http_2_may_be_cut_anywhere(impatient: Served, framing: bytes) -> None:
    """Wherever the network cuts such a request in two, its body is read."""
    request = HEAD + b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n" + framing % (len(BODY), BODY)
    for cut in range(1, len(request)):
        with connected(impatient) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(request[:cut])
            connection.sendall(request[cut:])
            received = until_closed(connection)
        assert received.startswith(b"HTTP/1.1 200 "), (cut, received)
        assert json.loads(received.partition(b"\r\n\r\n")[2])["data"]["ndarray"] == [[1, 2]]


def test_pipelined_wishes_for_http_2_keep_their_bodies(impatient: Served) -> None:
    """Several such requests in one piece are answered one after the other."""
    one = HEAD + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    last = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    with connected(impatient) as connection:
        connection.sendall(one + one + last)
        assert until_closed(connection).count(b'"ndarray":[[1,2]]') == 3


def test_connect_is_refused(impatient: Served) -> None:
    """A client that takes the server for a proxy is told so."""
    with connected(impatient) as connection:
        connection.sendall(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n")
        assert until_closed(connection).startswith(b"HTTP/1.1 4")
    check_alive(impatient)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "trailer",
    [
        b"Content-Type: application/x-npy",
        b"Content-Encoding: gzip",
        b"Content-Type: multipart/form-data; boundary=x",
        b"Accept: application/x-npy",
        b"Seldon-Puid: from-a-trailer",
        b"Origin: http://there.example",
        b"Connection: keep-alive",
        b"Upgrade: h2c",
    ],
)
def test_a_trailer_is_no_header(impatient: Served, trailer: bytes) -> None:
    """What comes behind a chunked body changes nothing: neither how it is read nor how it is answered."""
    body = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    answers = []
    for end in (b"\r\n", trailer + b"\r\n\r\n"):
        with connected(impatient) as connection:
            connection.sendall(CHUNKED + b"\r\n" + body + end)
            answers.append(until_closed(connection))
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"HTTP/1.1 200 ")


FLOODS = {
    "trailers": (CHUNKED + b"\r\n0\r\n", b"X-More: %s\r\n" % (b"a" * 1000)),
    "one trailer": (CHUNKED + b"\r\n0\r\nX-More: ", b"a" * 1000),
    "chunk extensions": (CHUNKED + b"\r\n", b"1;%s\r\na\r\n" % (b"e" * 1000)),
    "one chunk extension": (CHUNKED + b"\r\n5;", b"e" * 1000),
    "headers": (HEAD, b"X-More: %s\r\n" % (b"a" * 1000)),
}


@pytest.mark.parametrize(("begin", "more"), FLOODS.values(), ids=FLOODS)
def test_what_goes_round_a_body_is_bounded(impatient: Served, begin: bytes, more: bytes) -> None:
    """Head, chunk extensions and trailers together are limited: a client that sends them without end is cut off."""
    sent = 0
    with connected(impatient) as connection:
        connection.sendall(begin)
        try:
            while sent < 400 * HEAD_LIMIT_BYTES:
                connection.sendall(more * 20)
                sent += len(more) * 20
        except (ConnectionResetError, BrokenPipeError):
            pass
        else:
            raise AssertionError("it took everything")
    check_alive(impatient)


def test_chunks_of_one_byte_are_no_flood(impatient: Served) -> None:
    """A body in the smallest chunks there are is taken, however long it is."""
    body = b'{"strData":"' + b"a" * 100_000 + b'"}'
    with connected(impatient) as connection:
        connection.sendall(CHUNKED + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert until_closed(connection).startswith(b"HTTP/1.1 200 ")


def reset(connection: socket.socket) -> None:
    """Leave without a good-bye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("execution", ["thread", "inline"])
@pytest.mark.parametrize("component", ["Slow", "Identity"])
def test_clients_that_leave_are_no_news(execution: str, component: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whenever a client leaves, in its head, its body, its wait or its answer, nothing above DEBUG is logged."""
    answered = b'{"data":{"ndarray":[0.1]}}'
    large = b'{"data":{"ndarray":[0.1],"names":["' + b"a" * 3_000_000 + b'"]}}'
    with served(f"components.py:{component}", folder=HERE, execution=execution, access_log=False) as there:
        caplog.clear()
        for body, sent in ((answered, 30), (answered, None), (large, 2_000_000), (large, None)):
            request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
            for leave in (reset, socket.socket.close):
                for _ in range(3):
                    connection = connected(there)
                    connection.sendall(request[:sent])
                    leave(connection)
        check_alive(there)
        told = [record.getMessage()[:200] for record in caplog.records if record.levelno > logging.DEBUG]
    assert [text for text in told if "POST /predict" not in text] == []
