"""Webhooks: word of a task's end, from an outbox, again and again until it arrives or is given up.

A dead receiver delays nothing: the sender has threads of its own, and the task's end is durable before it begins.
"""

from __future__ import annotations

import http.client
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from infergraph.errors import PayloadError, TaskFault
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.store import Delivery, Store

_log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
ATTEMPTS_LIMIT = 16
_LOOK_S = 1.0
_AT_ONCE = 8
_PAUSE_LIMIT_S = 3600.0


def check_webhook(url: str, allowed: str) -> None:
    """Whether a webhook may be sent there.

    Args:
        allowed: hosts (or host:port) separated by commas; `*` for any.
    Raises: PayloadError with the reason, for a person.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise PayloadError(f"webhook: not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise PayloadError("webhook: not an http or https URL")
    if parts.username is not None:
        raise PayloadError("webhook: a URL with a user name is not taken")
    names = {name.strip().lower() for name in allowed.split(",") if name.strip()}
    if not names & {"*", host, f"{host}:{port}"}:
        raise PayloadError(f"webhook: the host {host!r} is not allowed (setting task_webhook_hosts)")


def pause_s(attempts: int) -> float:
    """How long to wait after so many attempts that failed."""
    return min(_PAUSE_LIMIT_S, float(2**attempts))


class Postman:
    """Delivers what is in the outbox.

    Args:
        allowed: see `check_webhook`; checked again at delivery, since the setting may have changed.
    """

    def __init__(self, store: Store, allowed: str, clocks: Clocks) -> None:
        self._store = store
        self._allowed = allowed
        self._clocks = clocks
        self._over = threading.Event()
        self._busy: set[str] = set()
        self._thread = threading.Thread(target=self._loop, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End; what has not arrived by then is sent again by the next postman."""
        self._over.set()
        self._thread.join()

    def _loop(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook") as pool:
            while not self._over.is_set():
                try:
                    for delivery in self._store.due(now=self._clocks.wall(), limit=64):
                        self._hand_out(pool, delivery)
                except TaskFault as fault:
                    _log.warning("webhooks wait: %s", fault)
                self._over.wait(_LOOK_S)

    def _hand_out(self, pool: ThreadPoolExecutor, delivery: Delivery) -> None:
        """One call at a time for each host, so that a dead one holds up nobody else."""
        host = urlsplit(delivery.url).netloc
        if host in self._busy or len(self._busy) >= _AT_ONCE:
            return
        self._busy.add(host)
        pool.submit(self._deliver, delivery).add_done_callback(lambda _: self._busy.discard(host))

    def _deliver(self, delivery: Delivery) -> None:
        if self._over.is_set():
            return
        error = send(delivery, self._allowed)
        if not error:
            self._store.delivered(delivery.number)
        elif delivery.attempts + 1 >= ATTEMPTS_LIMIT:
            _log.warning("webhook to %s is given up: %s", delivery.url, error)
            self._store.delivered(delivery.number)
        else:
            next_at = self._clocks.wall() + pause_s(delivery.attempts)
            self._store.postpone(delivery.number, next_at=next_at, error=error)


def send(delivery: Delivery, allowed: str) -> str:
    """Send one webhook; redirects are not followed. Why it did not arrive; empty if it did."""
    try:
        check_webhook(delivery.url, allowed)
    except PayloadError as fault:
        return str(fault)
    parts = urlsplit(delivery.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Content-Type": "application/json", "Idempotency-Key": f"infergraph-{delivery.number}"}
    try:
        connection.request("POST", target, delivery.body, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return "" if 200 <= status < 300 else f"it answered {status}"
