"""Webhooks: where they may go, and how patiently they are sent."""

from __future__ import annotations

import asyncio
import queue
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import PayloadError
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.sqlite import SqliteStore
from infergraph.tasks.store import Claim, Delivery, Store
from infergraph.tasks.task import NewTask, State
from infergraph.tasks.webhooks import ATTEMPTS_LIMIT, PAUSES, WebhookSender, check_webhook, receiver_of, send
from task_harness import WAIT_S, wait_for


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://hooks.example/x", "hooks.example"),
        ("https://hooks.example:8443/x?y=1", "other, HOOKS.example:8443"),
        ("http://anything/", "*"),
        ("http://[::1]:80/", "::1"),
    ],
)
def test_allowed_hosts(url: str, allowed: str) -> None:
    """A host, or host and port, on the list may be called."""
    check_webhook(url, allowed)


@pytest.mark.parametrize(
    ("url", "allowed", "why"),
    [
        ("http://hooks.example/", "", "not allowed"),
        ("http://169.254.169.254/latest", "hooks.example", "not allowed"),
        ("http://hooks.example:81/", "hooks.example:80", "not allowed"),
        ("http://hooks.example@evil/", "hooks.example", "user name"),
        ("http://hooks.example.evil/", "hooks.example", "not allowed"),
        ("file:///etc/passwd", "*", "not an http"),
        ("hooks.example", "*", "not an http"),
        ("http://", "*", "not an http"),
        ("http://x:port/", "*", "not a URL"),
    ],
)
def test_other_hosts_are_refused(url: str, allowed: str, why: str) -> None:
    """Nothing else is called, and the caller is told why, by the field's name."""
    with pytest.raises(PayloadError, match=why) as caught:
        check_webhook(url, allowed)
    assert str(caught.value).startswith("webhook: ")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a..b/", "is not a valid host name"),
        ("http://" + "x" * 64 + ".example/", "is not a valid host name"),
        ("http://" + "ü" * 64 + ".example/", "is not a valid host name"),
        ("http://exa_mple!.org/", "is not a valid host name"),
        ("http://-/", "is not a valid host name"),
        ("http://[::g]/", "webhook: "),
        ("http://a.example:0/", "port 0"),
        ("http://a.example:99999/", "not a URL"),
        ("http://a.example/with a blank", "blank"),
        ("http://a.example/x\r\nX: y", "control character"),
        ("http://a.example/\ud800", "not valid Unicode"),
    ],
)
def test_an_address_that_cannot_be_called_is_refused(url: str, why: str) -> None:
    """Names, ports and characters that no request can be made of are told when the task is made."""
    with pytest.raises(PayloadError, match=why):
        check_webhook(url, "*")


@given(st.text(max_size=40), st.sampled_from(["", "http://", "https://a.example/", "http://a.example:8/?"]))
def test_an_address_is_refused_or_can_be_called(text: str, start: str) -> None:
    """Whatever is given as an address, it is refused by name, or its parts are fit for a request."""
    try:
        address, path = check_webhook(start + text, "*")
    except PayloadError:
        return
    assert (path + address.host_header).isascii()
    assert not set(path + address.host_header) & set("\r\n\t ")


def test_other_alphabets_are_encoded() -> None:
    """A name and a path beyond ASCII are called as browsers call them."""
    address, path = check_webhook("https://bücher.example/käse/%C3%A9?q=ü", "*")
    assert (address.host, address.port) == ("xn--bcher-kva.example", 443)
    assert path == "/k%C3%A4se/%C3%A9?q=%C3%BC"


class Receiver:
    """Listens on the loopback; answers each request with `status`, or never."""

    def __init__(self, status: int = 200, *, is_mute: bool = False) -> None:
        self.requests: queue.Queue[bytes] = queue.Queue()
        self._status = status
        self._is_mute = is_mute
        self._held: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/hook"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                if self._is_mute:
                    self._held.append(connection)
                    continue
                with connection, connection.makefile("rb") as file:
                    head = b"".join(iter(file.readline, b"\r\n"))
                    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
                    self.requests.put(head + file.read(length))
                    connection.sendall(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n" % self._status)

    def close(self) -> None:
        """End: nothing is accepted any more, and nothing is left open."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which a close does not
        self._thread.join(WAIT_S)
        for connection in (self._listener, *self._held):
            connection.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store."""
    made = SqliteStore.open(tmp_path / "tasks.db")
    yield made
    made.close()


def fill(store: Store, id: str, url: str) -> None:
    """A task that ended, and whose webhook is due."""
    new = NewTask(id=id, folder=id, input_bytes=1, input_end=1, input_sha256="", total=1, webhook=url)
    store.accept(new, now=0.0, queue_limit=10_000)
    (task,) = store.claim(Claim(driver="d", now=0.0))
    store.end(task, State.FINISHED, now=0.0, error="", sha256="", webhook=b"{}", receiver=receiver_of(url))


def test_dead_receivers_hold_up_nobody(store: Store) -> None:
    """A good receiver gets its own behind hundreds for the dead, the mute and those that cannot be called."""
    mute, good = Receiver(is_mute=True), Receiver()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    for number in range(100):
        fill(store, f"dead-{number}", dead)
        fill(store, f"mute-{number}", mute.url)
    for number, url in enumerate(("http://a..b/", "http://[", "http://127.0.0.1/é", "no URL")):
        fill(store, f"bad-{number}", url)
    fill(store, "good", good.url)
    sender = WebhookSender(store, "*", Clocks())
    sender.start()
    try:
        request = good.requests.get(timeout=WAIT_S)
    finally:
        sender.stop()
        mute.close()
        good.close()
    assert request.startswith(b"POST /hook HTTP/1.1\r\n")
    assert request.endswith(b"\r\n{}")


def test_a_host_that_is_no_longer_allowed_is_not_called(store: Store) -> None:
    """The list is looked at again when a webhook is sent; what is not allowed is tried again, and noted."""
    good = Receiver()
    fill(store, "t", good.url)
    sender = WebhookSender(store, "elsewhere", Clocks())
    sender.start()
    try:
        wait_for(lambda: not store.due(now=Clocks().wall(), limit=1), "the first attempt")
    finally:
        sender.stop()
        good.close()
    assert store.outbox() == 1
    assert good.requests.empty()


def test_an_unfriendly_answer_is_an_error_in_words() -> None:
    """A refusal, nobody listening and what is no HTTP are told, not raised."""
    refuses = Receiver(500)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/"

    def sent(url: str) -> str:
        return asyncio.run(send(check_webhook(url, "*"), Delivery(1, url, b"{}", 0)))

    assert sent(refuses.url) == "it answered 500"
    assert "refused" in sent(dead).lower()
    refuses.close()


def test_patience_grows_to_an_hour() -> None:
    """Each attempt waits up to twice as long as the one before, and never longer than an hour."""
    assert [PAUSES.wait_s(attempts, lambda: 0.0) for attempts in range(1, 5)] == [1, 2, 4, 8]
    assert PAUSES.wait_s(ATTEMPTS_LIMIT, lambda: 0.0) == 3600
