"""The payload log: posts the requests and answers of nodes to a collector, without delaying them.

    executor ─▶ NodeLog ─▶ share of the requests ─▶ bounded queue ─▶ senders ─▶ post(url, CloudEvent)

If the queue is full, a record is dropped; one that cannot be sent is lost. Both are counted, and logged at most once a
minute. Source: the orchestrator specification, section 23.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
import zlib
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeAlias

import msgspec

from infergraph.message import Context, Feedback, Message
from infergraph.observe.payload_events import Event, Kind, Origin, Record, event_of
from infergraph.observe.shared_metrics import SharedMetrics

_log = logging.getLogger(__name__)
TELL_EVERY_S = 60.0
_STOPS = "the server is stopping"
_CRC_END = 1 << 32

Post: TypeAlias = Callable[[str, Event], Awaitable[None]]
"""Sends an event to a URL; raises if it was not delivered."""


class Outcome(Enum):
    """The outcome of a record."""

    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


class PayloadLogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the payload log.

    Args:
        share: of the requests, 0 to 1; selected by a hash of the request's id, so that all payloads of a request are
            logged or none, by all servers alike. Requests without an id are treated as one.
        queue_limit, queue_limit_bytes: maximum records, and bytes of payloads, in the queue.
        senders: records sent concurrently.
        drain_s: time limit for sending the queue when the log stops.
        pause_s: how long a sender pauses after a failed delivery.
    """

    share: float = 1.0
    queue_limit: int = 10_000
    queue_limit_bytes: int = 256 * 1024 * 1024
    senders: int = 10
    drain_s: float = 2.0
    pause_s: float = 1.0


class PayloadLog:
    """The payload log of one predictor. Bound to one event loop.

    Promises: `offer` neither waits nor raises; each record is posted at most once.
    """

    def __init__(
        self,
        post: Post,
        origin: Origin,
        shared_metrics: SharedMetrics,
        options: PayloadLogOptions = PayloadLogOptions(),  # noqa: B008  a frozen value
        *,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._post = post
        self._origin = origin
        self._options = options
        self._new_id = new_id
        self._shared_metrics = shared_metrics
        self._below = options.share * _CRC_END
        self._queue: asyncio.Queue[tuple[Record, int]] = asyncio.Queue()
        self._waiting_bytes = 0
        self._senders: list[asyncio.Task[None]] = []
        self._counts = {outcome: self._counter(outcome) for outcome in Outcome}
        self._losses = {Outcome.FAILED: _Losses("not sent"), Outcome.DROPPED: _Losses("dropped")}

    def _counter(self, outcome: Outcome) -> Callable[[int], None]:
        labels = {"outcome": outcome.value}
        cells = self._shared_metrics.counter("infergraph_payload_records", "Payload records by outcome.", labels)

        def add(count: int) -> None:
            cells[0] += count

        return add

    def node(self, name: str, url: str) -> NodeLog:
        """The payload tap of one node."""
        return NodeLog(self, name, url)

    def chooses(self, puid: str) -> bool:
        """Whether the request of this id is logged."""
        return zlib.crc32(puid.encode("utf-8", "replace")) < self._below

    def offer(self, record: Record) -> None:
        """Queue a record, or drop it if the queue is full."""
        size = record.size()
        options = self._options
        if self._queue.qsize() >= options.queue_limit:
            self._lose(Outcome.DROPPED, 1, f"{options.queue_limit} are waiting (setting payload_log_queue_limit)")
        elif self._waiting_bytes + size > options.queue_limit_bytes:
            limit = options.queue_limit_bytes
            self._lose(Outcome.DROPPED, 1, f"{limit} bytes are waiting (setting payload_log_queue_limit_bytes)")
        else:
            self._waiting_bytes += size
            self._queue.put_nowait((record, size))

    async def start(self) -> None:
        """Start sending."""
        if not self._senders:
            self._senders = [asyncio.create_task(self._send_all()) for _ in range(self._options.senders)]

    async def stop(self) -> None:
        """Send the queue, for at most `drain_s` seconds, and drop the rest. Idempotent."""
        senders, self._senders = self._senders, []
        if not senders:
            return
        try:
            async with asyncio.timeout(self._options.drain_s):
                await self._queue.join()
        except TimeoutError:
            self._give_up()
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)

    async def _send_all(self) -> None:
        while True:
            record, size = await self._queue.get()
            self._waiting_bytes -= size
            arrived = await self._send(record)
            self._queue.task_done()
            if not arrived:  # do not call a collector that is down at the rate of requests
                await asyncio.sleep(self._options.pause_s)

    def _give_up(self) -> None:
        unsent = self._queue.qsize()
        while not self._queue.empty():
            self._waiting_bytes -= self._queue.get_nowait()[1]
        if unsent:
            self._lose(Outcome.DROPPED, unsent, _STOPS)

    async def _send(self, record: Record) -> bool:
        """Send a record; whether to continue without a pause."""
        try:
            event = event_of(record, self._origin, self._new_id())
        except Exception as error:  # noqa: BLE001 - a payload of any kind must not end the sender
            self._lose(Outcome.FAILED, 1, f"a payload of node {record.node} cannot be encoded: {error}")
            return True
        try:
            await self._post(record.url, event)
        except asyncio.CancelledError:
            self._lose(Outcome.DROPPED, 1, _STOPS)
            raise
        except Exception as error:  # noqa: BLE001 - nor may an error of the collector
            self._lose(Outcome.FAILED, 1, f"{record.url}: {error or type(error).__name__}")
            return False
        self._counts[Outcome.SENT](1)
        return True

    def _lose(self, outcome: Outcome, count: int, why: str) -> None:
        self._counts[outcome](count)
        self._losses[outcome].tell(count, why, time.monotonic())


class _Losses:
    """Counts losses of one kind: the first is logged at once, later ones together, at most one line a minute."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0
        self._quiet_until = 0.0

    def tell(self, count: int, why: str, now: float) -> None:
        self._count += count
        if now >= self._quiet_until:
            records = "1 record" if self._count == 1 else f"{self._count} records"
            _log.warning("payload log: %s %s: %s", records, self._what, why)
            self._count = 0
            self._quiet_until = now + TELL_EVERY_S


class NodeLog:
    """The payload tap of one node, which the graph's executor calls."""

    __slots__ = ("_log", "_node", "_url")

    def __init__(self, log: PayloadLog, node: str, url: str) -> None:
        self._log = log
        self._node = node
        self._url = url

    def request(self, message: Message, context: Context) -> None:
        """Record a request to the node."""
        self._offer(Kind.REQUEST, message, context)

    def response(self, message: Message, context: Context) -> None:
        """Record an answer of the node."""
        self._offer(Kind.RESPONSE, message, context)

    def feedback(self, feedback: Feedback, context: Context) -> None:
        """Record a feedback to the node."""
        self._offer(Kind.FEEDBACK, feedback, context)

    def _offer(self, kind: Kind, carrier: Message | Feedback, context: Context) -> None:
        log = self._log
        if log.chooses(context.puid):
            log.offer(Record(self._url, kind, self._node, context.puid, carrier, context.transport, time.time()))
