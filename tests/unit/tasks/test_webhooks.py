"""Webhooks: where they may go, and how patiently they are sent."""

from __future__ import annotations

import asyncio
import json
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from infergraph.errors import PayloadError, SettingsError
from infergraph.settings import load
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.sqlite import SqliteStore
from infergraph.tasks.store import Claim, Delivery, Store
from infergraph.tasks.task import NewTask, State
from infergraph.tasks.webhooks import (
    ATTEMPTS_LIMIT,
    PAUSES,
    Event,
    Signer,
    WebhookSender,
    check_events,
    check_webhook,
    delivery_id,
    is_wanted,
    receiver_of,
    send,
    stopped_body,
)
from task_harness import WAIT_S, wait_for

SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "A" * 43 + "="]


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
        return asyncio.run(send(check_webhook(url, "*"), Delivery(1, url, b"{}", 0), {}))

    assert sent(refuses.url) == "it answered 500"
    assert "refused" in sent(dead).lower()
    refuses.close()


def headers_of(request: bytes) -> dict[str, str]:
    """The headers of a received request."""
    lines = request.decode().split("\r\n")[1:-1]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


@pytest.mark.parametrize("known", SECRETS)
def test_deliveries_are_signed_with_every_secret(store: Store, known: str) -> None:
    """Whichever of the secrets a receiver has, it can verify a delivery, and a changed body fails."""
    good = Receiver()
    fill(store, "t", good.url)
    sender = WebhookSender(store, "*", Clocks(), ",".join(SECRETS))
    sender.start()
    try:
        request = good.requests.get(timeout=WAIT_S)
    finally:
        sender.stop()
        good.close()
    headers, body = headers_of(request), request.rpartition(b"\r\n")[2]
    assert Webhook(known).verify(body, headers) == {}
    for changed in (b"[]", b"{} "):
        with pytest.raises(WebhookVerificationError):
            Webhook(known).verify(changed, headers)
    late = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}
    with pytest.raises(WebhookVerificationError):
        Webhook(known).verify(body, late)


def test_openais_client_takes_the_signature() -> None:
    """The event of a batch is read by the client that made it."""
    body = b'{"id": "evt_x", "object": "event", "created_at": 1, "type": "batch.completed", "data": {"id": "batch_x"}}'
    headers = Signer(SECRETS[0]).headers("msg_x", int(time.time()), body)
    event = openai.OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=SECRETS[0])
    assert (event.type, event.data.id) == ("batch.completed", "batch_x")


def test_without_a_secret_there_is_an_id_and_no_signature() -> None:
    """Id and time are told in any case; the id of a delivery is the same at each attempt."""
    assert Signer().headers("msg_x", 7, b"{}") == {"webhook-id": "msg_x", "webhook-timestamp": "7"}
    first, again, other = (
        delivery_id(Delivery(1, "u", body, tries)) for body, tries in ((b"a", 0), (b"a", 3), (b"b", 0))
    )
    assert first == again != other


@pytest.mark.parametrize(
    "text", ["hunter2", "whsec_x", "whsec_c2hvcnQ=", f"{SECRETS[0]} {SECRETS[1]}", f"{SECRETS[0]},", SECRETS[0] + "="]
)
def test_a_secret_that_is_none_is_refused_and_not_shown(text: str) -> None:
    """The fault names the setting, not what it was given."""
    with pytest.raises(SettingsError, match="task-webhook-secrets") as refused:
        load({}, {"task_webhook_secrets": text})
    assert text not in str(refused.value)


def test_events_are_chosen() -> None:
    """Without a choice the ends that nobody asked for by a request; else those that are named, or all."""
    told = {
        wanted: {event.value for event in Event if is_wanted(event, wanted)}
        for wanted in ("", "task.failed, batch.failed", "*")
    }
    assert told[""] == {event.value for event in Event} - {"task.stopped"}
    assert told["task.failed, batch.failed"] == {"task.failed", "batch.failed"}
    assert told["*"] == {event.value for event in Event}
    check_events("task.stopped,batch.expired,*")
    with pytest.raises(PayloadError, match=r"webhook_events: 'task\.done'"):
        check_events("task.failed,task.done")


def test_a_stopped_task_is_told_to_those_who_want_it(store: Store) -> None:
    """In the transaction that erases it; a task that had ended before is not told again."""
    values: dict[str, Any] = {"input_bytes": 1, "input_end": 1, "input_sha256": "", "total": 1, "webhook": "http://h/"}
    for id, events in [("wants", "task.stopped"), ("not", ""), ("over", "*")]:
        store.accept(NewTask(id=id, folder=id, webhook_events=events, **values), now=0.0, queue_limit=9)
    found = {id: store.find(id) for id in ("wants", "not", "over")}
    store.fail_waiting(found["over"].seq, now=1.0, error="")  # type: ignore[union-attr]
    bodies = {}
    for id in found:
        task = store.find(id)
        assert task is not None
        bodies[id] = stopped_body(task, 2.0)
        store.stop(id, [State.WAITING, State.FAILED])
        store.erase(task.seq, why="stopped", now=2.0, webhook=bodies[id], receiver="h")
    assert [id for id, body in bodies.items() if body] == ["wants"]
    (delivery,) = store.due(now=2.0, limit=9)
    assert json.loads(delivery.body) == {
        "type": "task.stopped",
        "timestamp": "1970-01-01T00:00:02.000+00:00",
        "id": "wants",
        "state": "stopped",
        "total": 1,
        "done": 0,
        "failed": 0,
        "error": "",
    }


def test_patience_grows_to_an_hour() -> None:
    """Each attempt waits up to twice as long as the one before, and never longer than an hour."""
    assert [PAUSES.wait_s(attempts, lambda: 0.0) for attempts in range(1, 5)] == [1, 2, 4, 8]
    assert PAUSES.wait_s(ATTEMPTS_LIMIT, lambda: 0.0) == 3600
