"""Webhooks: a POST when a task ends, from an outbox, repeated until it is delivered or given up.

    outbox ──one delivery a receiver──▶ POST ──2xx──▶ delivered
                                          └─anything else──▶ later again, with back-off; in the end given up

Deliveries are independent of each other: each receiver has one at a time, and a receiver that is dead, slow or cannot
even be called holds up its own and nobody else's. The task's end is durable before its delivery begins.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from urllib.parse import quote, urlsplit

import msgspec

from infergraph.errors import PayloadError, TaskFault
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.store import Delivery, Store

_log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
ATTEMPTS_LIMIT = 16
_LOOK_S = 1.0
_AT_ONCE = 256
_LOOKUPS_AT_ONCE = 32
_PAUSE_LIMIT_S = 3600.0
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?")
_UNQUOTED = "/:?#[]@!$&'()*+,;=%~"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a webhook is sent.

    Args:
        host: as it is looked up: IDNA for names beyond ASCII.
        named_host: as the Host header names it.
        target: of the request line.
    """

    host: str
    port: int
    is_tls: bool
    named_host: str
    target: str


def check_webhook(url: str, allowed: str) -> Address:
    """Where a webhook goes, if it may be sent there.

    Args:
        allowed: hosts (or host:port) separated by commas; `*` for any.
    Raises: PayloadError with the reason, for a person: it may not be, or it cannot be called at all.
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
    if re.search(r"[\x00-\x20\x7f]", url):
        raise PayloadError("webhook: the URL holds a blank or a control character")
    names = {name.strip().lower() for name in allowed.split(",") if name.strip()}
    if not names & {"*", host, f"{host}:{port}"}:
        raise PayloadError(f"webhook: the host {host!r} is not allowed (setting task_webhook_hosts)")
    if port == 0:
        raise PayloadError("webhook: nothing can be called at port 0")
    called = _called(host)
    named = f"[{called}]" if ":" in called else called
    try:
        target = quote(parts.path or "/", safe=_UNQUOTED) + (
            f"?{quote(parts.query, safe=_UNQUOTED)}" if parts.query else ""
        )
    except UnicodeEncodeError as error:
        raise PayloadError("webhook: the URL is not valid Unicode") from error
    is_tls = parts.scheme == "https"
    return Address(
        host=called,
        port=port or (443 if is_tls else 80),
        is_tls=is_tls,
        named_host=named if port is None else f"{named}:{port}",
        target=target,
    )


def _called(host: str) -> str:
    """A host as it is looked up. Raises: PayloadError if no name or address is written so."""
    if ":" in host:
        with suppress(ValueError):
            return ipaddress.IPv6Address(host).compressed
        raise PayloadError(f"webhook: the host {host!r} is no IPv6 address")
    try:
        called = host if host.isascii() else host.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise PayloadError(f"webhook: the host {host!r} is no name of a host: {error}") from error
    if not _HOST.fullmatch(called) or any(not 0 < len(label) < 64 for label in called.rstrip(".").split(".")):
        raise PayloadError(f"webhook: the host {host!r} is no name of a host")
    return called


def receiver_of(url: str) -> str:
    """Who receives a webhook; deliveries to one receiver wait for each other."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return url


def pause_s(attempts: int) -> float:
    """How long to wait after so many attempts that failed."""
    return min(_PAUSE_LIMIT_S, float(2**attempts))


class WebhookSender:
    """Delivers what is in the outbox, in a thread with an event loop of its own.

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
        """Begin, in a thread."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what was not delivered by then is sent again by the next sender."""
        self._is_over.set()
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._freed.set)
        if self._thread is not None:
            self._thread.join(2 * _LOOK_S)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="webhook-lookup"))
        while not self._is_over.is_set():
            self._freed.clear()
            try:
                self._look()
            except TaskFault as fault:
                _log.warning("webhooks wait: %s", fault)
            except Exception:  # noqa: BLE001 - the next look may find better rows
                _log.exception("the outbox of webhooks could not be looked through")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), _LOOK_S)
        for delivery in self._busy.values():
            delivery.cancel()

    def _look(self) -> None:
        """Begin what is due, one delivery for each receiver that has none under way."""
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
            address = check_webhook(delivery.url, self._allowed)
            error = await send(address, delivery)
        except PayloadError as fault:
            error = str(fault)
        except Exception as bug:  # noqa: BLE001 - no row may end the sender
            _log.exception("the webhook to %s could not be sent", delivery.url)
            error = repr(bug)
        try:
            self._note(delivery, error)
        except TaskFault as fault:
            _log.warning("the delivery of a webhook could not be noted: %s", fault)

    def _note(self, delivery: Delivery, error: str) -> None:
        if not error:
            self._store.delivered(delivery.number)
        elif delivery.attempts + 1 >= ATTEMPTS_LIMIT:
            _log.warning("the webhook to %s is given up: %s", delivery.url, error)
            self._store.give_up(delivery.number)
        else:
            next_at = self._clocks.wall() + pause_s(delivery.attempts)
            self._store.postpone(delivery.number, next_at=next_at, error=error)


async def send(address: Address, delivery: Delivery) -> str:
    """Send one webhook; redirects are not followed. Why it was not delivered; empty if it was."""
    head = (
        f"POST {address.target} HTTP/1.1\r\nHost: {address.named_host}\r\nUser-Agent: infergraph\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(delivery.body)}\r\n"
        f"Idempotency-Key: infergraph-{delivery.number}\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status = await _exchange(address, head.encode("ascii") + delivery.body)
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if 200 <= status < 300 else f"it answered {status}"


async def _exchange(address: Address, request: bytes) -> int:
    """The status of the answer. Raises: OSError, EOFError; ValueError if it is no HTTP."""
    context = ssl.create_default_context() if address.is_tls else None
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    try:
        writer.write(request)
        with suppress(ConnectionError):  # it may have answered and closed before it read everything
            await writer.drain()
        status = 100
        while status < 200:
            status = _status((await reader.readuntil(b"\n")).split(b" ", 2))
            if status < 200:
                while (await reader.readuntil(b"\n")).strip():
                    pass
        return status
    finally:
        writer.transport.abort()


def _status(line: list[bytes]) -> int:
    if len(line) < 2 or not line[0].startswith(b"HTTP/") or not line[1].strip().isdigit():
        raise ValueError("the answer is no HTTP")
    return int(line[1])
