"""The liveness probe while an inline unit loads."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from infergraph.serving.http.liveness import LoadingLiveness


class Echo(asyncio.Protocol):
    """The event loop's protocol: answers what it received."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, asyncio.WriteTransport)
        self.transport.write(data)
        self.transport.close()


class Blocked:
    """A server whose event loop is blocked until `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.done = threading.Event()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.get_running_loop().create_server(Echo, sock=self.listening)
        liveness = LoadingLiveness(self.listening, ["/live"], Echo)
        liveness.start()
        self.release.wait(60)
        liveness.stop()
        await asyncio.to_thread(self.done.wait, 60)
        server.close()

    def status(self, path: str) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader("connection")


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    there = Blocked()
    thread = threading.Thread(target=there.run)
    thread.start()
    yield there
    there.release.set()
    there.done.set()
    thread.join()


def test_the_probe_is_answered_while_the_event_loop_is_blocked(blocked: Blocked) -> None:
    """With or without a query, each time again."""
    assert [blocked.status(path) for path in ("/live", "/live?x=1", "/live")] == [(200, "close")] * 3


@pytest.mark.parametrize(
    "sent", [b"POST /predict HTTP/1.1\r\n\r\n", b"GET /live", b"GET /liveness HTTP/1.1\r\n\r\n", b"\0"]
)
def test_other_requests_wait_for_the_event_loop(blocked: Blocked, sent: bytes) -> None:
    """What is not the probe, or is not whole, reaches the event loop from its first byte on."""
    with socket.create_connection(("127.0.0.1", blocked.port), timeout=30) as connection:
        connection.sendall(sent)
        assert blocked.status("/live")[0] == 200  # connections are taken in turn: the other one has been seen
        blocked.release.set()
        assert b"".join(iter(lambda: connection.recv(65536), b"")) == sent
