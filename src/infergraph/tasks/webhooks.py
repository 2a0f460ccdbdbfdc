"""Webhooks: a POST when a task ends, from a durable outbox, with retries.

    outbox ──one at a time per receiver──▶ POST ──2xx──▶ delivered
                                             └─anything else──▶ retried with back-off, finally given up

Deliveries to different receivers are independent: one that is dead, slow or unreachable delays only its own. The task's
end is durable before its delivery begins.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

from infergraph.errors import Fault, PayloadError, TaskFault
from infergraph.net.address import Location
from infergraph.net.backoff import Backoff
from infergraph.net.http_client import HttpOptions
from infergraph.net.http_stream import StreamCall, stream
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.store import Delivery, Store

_log = logging.getLogger(__name__)

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
    """

    def __init__(self, store: Store, allowed: str, clocks: Clocks) -> None:
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
            error = await send(check_webhook(delivery.url, self._allowed), delivery)
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


async def send(location: Location, delivery: Delivery) -> str:
    """Send one webhook, without following redirects; returns the error, empty if delivered."""
    head = (
        f"content-type: application/json\r\nuser-agent: infergraph\r\nidempotency-key: infergraph-{delivery.number}\r\n"
    )
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
