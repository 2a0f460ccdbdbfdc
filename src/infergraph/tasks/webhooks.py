"""Webhooks: a POST when a task or a batch ends, from a durable outbox, signed, with retries.

    outbox ──one at a time per receiver──▶ POST ──2xx──▶ delivered
                                             └─anything else──▶ retried with back-off, finally given up

Deliveries to different receivers are independent: one that is dead, slow or unreachable delays only its own. The end is
durable before its delivery begins. A delivery has the same id however often it is tried.

Source: Standard Webhooks, 1.0: headers, signature, secrets.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import threading
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from urllib.parse import urlsplit

import msgspec

from infergraph.errors import Fault, PayloadError, TaskFault
from infergraph.net.address import Location
from infergraph.net.backoff import Backoff
from infergraph.net.http_client import HttpOptions
from infergraph.net.http_stream import StreamCall, stream
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.store import Delivery, Store
from infergraph.tasks.task import Task

_log = logging.getLogger(__name__)

SECRET = "whsec_"
TIMEOUT_S = 10.0
ATTEMPTS_LIMIT = 16
PAUSES = Backoff(first_s=1.0, limit_s=3600.0)
_LOOK_S = 1.0
_STOP_LIMIT_S = 10.0
"""How long `stop` waits for the thread: it uses the store until its deliveries have been cancelled."""
_AT_ONCE = 256
_LOOKUPS_AT_ONCE = 32


def check_webhook(url: str, allowed: str) -> Location:
    """Validate a webhook's URL.

    Args:
        allowed: hosts (or host:port) separated by commas; `*` for any.
    Raises: PayloadError if its host is not allowed, or the URL is invalid.
    """
    try:
        location = Location.of(url)
    except ValueError as error:
        raise PayloadError(f"webhook: {error}") from error
    parts = urlsplit(url)
    if parts.username is not None:
        raise PayloadError("webhook: a URL with a user name is not taken")
    if " " in url:
        raise PayloadError("webhook: the URL holds a blank")
    host = (parts.hostname or "").lower()
    names = {name.strip().lower() for name in allowed.split(",") if name.strip()}
    if not names & {"*", host, f"{host}:{parts.port}"}:
        raise PayloadError(f"webhook: the host {host!r} is not allowed (setting task_webhook_hosts)")
    return location


class Event(StrEnum):
    """What a webhook tells."""

    FINISHED = "task.finished"
    FAILED = "task.failed"
    STOPPED = "task.stopped"
    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    BATCH_EXPIRED = "batch.expired"
    BATCH_CANCELLED = "batch.cancelled"


_USUAL = frozenset(Event) - {Event.STOPPED}
"""What is told to those who do not say what they want: the ends that nobody asked for by a request."""
_ALL = "*"


def check_events(text: str) -> str:
    """Validate a list of events, separated by commas. Raises: PayloadError naming an unknown one."""
    known = [event.value for event in Event]
    for name in _names(text):
        if name not in (*known, _ALL):
            raise PayloadError(f"webhook_events: {name!r:.60} is not one of {', '.join(known)}")
    return text


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def is_wanted(event: Event, wanted: str) -> bool:
    """Whether an event is in a list of events; an empty list has the usual ones."""
    names = _names(wanted)
    return event in _USUAL if not names else event.value in names or _ALL in names


def task_body(task: Task, event: Event, now: float, *, state: str, done: int, failed: int, error: str) -> bytes | None:
    """The body that tells an event of a task; None if its webhook does not want it.

    Args:
        state: of the task then.
        done, failed: lines answered, and failed ones among them.
    """
    if not task.webhook or not is_wanted(event, task.webhook_events):
        return None
    document = {
        "type": event.value,
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "id": task.id,
        "state": state,
        "total": task.total,
        "done": done,
        "failed": failed,
        "error": error,
    }
    return msgspec.json.encode(document)


def stopped_body(task: Task, now: float) -> bytes | None:
    """The body that tells that a task was stopped; None if it had ended before, or its webhook does not want it."""
    if task.finished is not None:
        return None
    return task_body(task, Event.STOPPED, now, state="stopped", done=task.done, failed=task.failed, error="")


class Signer:
    """Signs deliveries, with all of several secrets, so that a receiver may change its own at any time.

    Args:
        secrets: `whsec_` and base64 each, separated by commas; empty for no signatures.
    """

    def __init__(self, secrets: str = "") -> None:
        self._keys = [base64.b64decode(secret.removeprefix(SECRET) + "==") for secret in _names(secrets)]

    def headers(self, id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The headers of a delivery.

        Args:
            timestamp: Unix seconds, of this attempt.
        """
        found = {"webhook-id": id, "webhook-timestamp": str(timestamp)}
        if self._keys:
            signed = b"%b.%d.%b" % (id.encode(), timestamp, body)
            digests = [hmac.digest(key, signed, "sha256") for key in self._keys]
            found["webhook-signature"] = " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
        return found


def delivery_id(delivery: Delivery) -> str:
    """The id of a delivery, the same whenever it is tried, and another than any of another server's."""
    return f"msg_{hashlib.sha256(b'%d.%b' % (delivery.number, delivery.body)).hexdigest()[:32]}"


def receiver_of(url: str) -> str:
    """The receiver of a webhook, to which deliveries are made one at a time."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return url


class WebhookSender:
    """Delivers the webhooks in the outbox, in a thread with its own event loop.

    Args:
        allowed: see `check_webhook`; checked again at delivery, since the setting may have changed.
        secrets: see `Signer`.
    """

    def __init__(self, store: Store, allowed: str, clocks: Clocks, secrets: str = "") -> None:
        self._signer = Signer(secrets)
        self._store = store
        self._allowed = allowed
        self._clocks = clocks
        self._is_over = threading.Event()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._freed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; undelivered webhooks are sent by the next sender."""
        self._is_over.set()
        if self._loop is not None:
            with suppress(RuntimeError):  # it has stopped already
                self._loop.call_soon_threadsafe(self._freed.set)
        if self._thread is not None:
            self._thread.join(_STOP_LIMIT_S)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="webhook-lookup"))
        while not self._is_over.is_set():
            self._freed.clear()
            try:
                self._poll()
            except TaskFault as fault:
                _log.warning("webhooks wait: %s", fault)
            except Exception:  # noqa: BLE001 - the next poll may succeed
                _log.exception("the outbox of webhooks could not be read")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), _LOOK_S)
        for delivery in self._busy.values():
            delivery.cancel()

    def _poll(self) -> None:
        """Start due deliveries, for each receiver that has none in progress."""
        room = _AT_ONCE - len(self._busy)
        if room <= 0:
            return
        for delivery in self._store.due(now=self._clocks.wall(), limit=room, busy=tuple(self._busy)):
            self._busy[delivery.receiver] = task = asyncio.create_task(self._deliver(delivery))
            task.add_done_callback(partial(self._free, delivery.receiver))

    def _free(self, receiver: str, _: asyncio.Task[None]) -> None:
        del self._busy[receiver]
        self._freed.set()

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            location = check_webhook(delivery.url, self._allowed)
            signed = self._signer.headers(delivery_id(delivery), int(self._clocks.wall()), delivery.body)
            error = await send(location, delivery, signed)
        except PayloadError as fault:
            error = str(fault)
        except Exception as bug:  # noqa: BLE001 - a bad row must not end the sender
            _log.exception("the webhook to %s could not be sent", delivery.url)
            error = repr(bug)
        try:
            self._record(delivery, error)
        except TaskFault as fault:
            _log.warning("the delivery of a webhook could not be recorded: %s", fault)

    def _record(self, delivery: Delivery, error: str) -> None:
        if not error:
            self._store.delivered(delivery.number)
        elif delivery.attempts + 1 >= ATTEMPTS_LIMIT:
            _log.warning("the webhook to %s is given up: %s", delivery.url, error)
            self._store.give_up(delivery.number)
        else:
            next_at = self._clocks.wall() + PAUSES.wait_s(delivery.attempts + 1)
            self._store.postpone(delivery.number, next_at=next_at, error=error)


async def send(location: Location, delivery: Delivery, signed: Mapping[str, str]) -> str:
    """Send one webhook, without following redirects; returns the error, empty if delivered.

    Args:
        signed: its headers, as `Signer.headers` makes them.
    """
    headers = {"content-type": "application/json", "user-agent": "infergraph", **signed}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    call = StreamCall(
        "POST", location.path, head.encode(), silence_s=None, body=_once(delivery.body), length=len(delivery.body)
    )
    try:
        async with asyncio.timeout(TIMEOUT_S), stream(location.address, HttpOptions(), call) as reply:
            status = reply.status
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except Fault as fault:
        return str(fault)
    return "" if 200 <= status < 300 else f"it answered {status}"


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
