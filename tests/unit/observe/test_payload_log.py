from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from infergraph.message import Context, Encoding, Feedback, FeedbackContent, Message, Transport
from infergraph.observe.payload_events import Event, Kind, Origin
from infergraph.observe.payload_log import PayloadLog, PayloadLogOptions
from infergraph.observe.shared_metrics import SharedMetrics, read
from infergraph.wire.json_codec import JsonMessage

ORIGIN = Origin(source="http://h:1/", deployment="d", namespace="n", predictor="p", protocol="seldon")
URL = "http://sink/"


class Kept:
    """A post that keeps what it is given; it fails, or waits to be let go, as it is told."""

    def __init__(self, *, fails: bool = False, waits: bool = False) -> None:
        self.events: list[Event] = []
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()
        if not waits:
            self.let_go.set()
        self._fails = fails

    async def __call__(self, url: str, event: Event) -> None:
        assert url == URL
        self.begun.set()
        await self.let_go.wait()
        if self._fails:
            raise OSError("refused")
        self.events.append(event)

    def headers(self, name: str) -> list[str]:
        return [dict(event.headers)[name] for event in self.events]


def context(puid: str = "1") -> Context:
    return Context(Transport.REST, (), puid)


def run(
    folder: Path, options: PayloadLogOptions, work: Callable[[PayloadLog, Kept], Awaitable[None]], **post: bool
) -> tuple[Kept, dict[str, float]]:
    """The post and the counters after `work` and the stop of the log."""

    async def whole() -> Kept:
        kept = Kept(**post)
        log = PayloadLog(kept, ORIGIN, shared_metrics, options)
        await log.start()
        await work(log, kept)
        await log.stop()
        return kept

    shared_metrics = SharedMetrics(folder, "0")
    kept = asyncio.run(whole())
    outcomes = {one.series.labels["outcome"]: one.values[0] for one in read(folder)}
    shared_metrics.close()
    return kept, outcomes


def test_all_that_is_shown_is_posted_before_the_end(tmp_path: Path) -> None:
    """Requests, answers and feedback arrive in order with ids of their own; stopping waits for what is queued."""

    async def work(log: PayloadLog, kept: Kept) -> None:
        tap = log.node("m", URL)
        tap.request(Message.of("q", Encoding.STR), context())
        tap.response(Message.of("a", Encoding.STR), context())
        tap.feedback(Feedback(FeedbackContent(None, None, 1.0, None)), context())
        assert kept.events == []  # nothing is sent while the request is being answered

    kept, outcomes = run(tmp_path, PayloadLogOptions(senders=1), work)
    assert kept.headers("Ce-Type") == [Kind.REQUEST.value, Kind.RESPONSE.value, Kind.FEEDBACK.value]
    assert kept.headers("Ce-Modelid") == ["m"] * 3
    assert len(set(kept.headers("Ce-Id"))) == 3
    assert outcomes == {"sent": 3, "failed": 0, "dropped": 0}


def test_a_full_queue_drops_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the limit records are dropped at once, counted, and told in one line; those queued are sent."""

    async def work(log: PayloadLog, kept: Kept) -> None:
        tap = log.node("m", URL)
        tap.request(Message.of("q", Encoding.STR), context())
        await kept.begun.wait()  # one is on its way, the queue is empty
        for _ in range(5):
            tap.request(Message.of("q", Encoding.STR), context())
        kept.let_go.set()

    with caplog.at_level(logging.WARNING):
        kept, outcomes = run(tmp_path, PayloadLogOptions(senders=1, queue_limit=2), work, waits=True)
    assert outcomes == {"sent": 3, "failed": 0, "dropped": 3}
    assert len(kept.events) == 3
    (line,) = caplog.messages
    assert "1 record dropped" in line
    assert "payload_log_queue_limit" in line


def test_waiting_bytes_are_limited_too(tmp_path: Path) -> None:
    """A few large payloads fill the queue; what is sent makes room again."""

    async def work(log: PayloadLog, kept: Kept) -> None:
        tap = log.node("m", URL)
        for _ in range(3):
            tap.request(JsonMessage(b"x" * 4000), context())
        kept.let_go.set()
        while len(kept.events) < 2:  # noqa: ASYNC110 - the sender is a task of this loop
            await asyncio.sleep(0)
        tap.request(JsonMessage(b"x" * 4000), context())

    _, outcomes = run(tmp_path, PayloadLogOptions(senders=1, queue_limit_bytes=10_000), work, waits=True)
    assert outcomes == {"sent": 3, "failed": 0, "dropped": 1}


def test_a_collector_that_fails_costs_its_record_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A record that cannot be sent is counted and told, not raised and not sent again; later ones wait their turn."""

    async def work(log: PayloadLog, kept: Kept) -> None:
        tap = log.node("m", URL)
        tap.request(Message.of("q", Encoding.STR), context())
        tap.request(Message.of("q", Encoding.STR), context())

    with caplog.at_level(logging.WARNING):
        kept, outcomes = run(tmp_path, PayloadLogOptions(senders=2), work, fails=True)
    assert kept.events == []
    assert outcomes == {"sent": 0, "failed": 2, "dropped": 0}
    (line,) = caplog.messages
    assert "http://sink/: refused" in line


def test_a_payload_that_cannot_be_written_does_not_end_its_sender(tmp_path: Path) -> None:
    """A body that claims to be gzip and is none is counted as failed, and the next record is sent."""

    async def work(log: PayloadLog, kept: Kept) -> None:
        tap = log.node("m", URL)
        tap.request(JsonMessage(b"no gzip", content_encoding="gzip"), context())
        tap.request(JsonMessage(b"{}"), context())

    kept, outcomes = run(tmp_path, PayloadLogOptions(senders=1), work)
    assert [event.body for event in kept.events] == [b"{}"]
    assert outcomes == {"sent": 1, "failed": 1, "dropped": 0}


def test_a_request_is_logged_whole_or_not_at_all(tmp_path: Path) -> None:
    """The share is drawn by the request's id: all records of a request have one fate, at about the share asked for."""
    puids = [f"request-{number}" for number in range(400)]

    async def work(log: PayloadLog, kept: Kept) -> None:
        for node in ("a", "b"):
            tap = log.node(node, URL)
            for puid in puids:
                tap.request(Message.of("q", Encoding.STR), context(puid))
                tap.response(Message.of("a", Encoding.STR), context(puid))

    kept, _ = run(tmp_path, PayloadLogOptions(share=0.25), work)
    logged = kept.headers("Ce-Requestid")
    assert all(logged.count(puid) in (0, 4) for puid in puids)
    assert 60 <= len(set(logged)) <= 140


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 50)])
def test_none_and_all(share: float, expected: int, tmp_path: Path) -> None:
    """A share of 0 logs nothing, of 1 everything, requests without an id included."""

    async def work(log: PayloadLog, kept: Kept) -> None:
        for number in range(50):
            log.node("a", URL).request(Message.of("q", Encoding.STR), context(str(number) if number else ""))

    kept, _ = run(tmp_path, PayloadLogOptions(share=share), work)
    assert len(kept.events) == expected


def test_stopping_does_not_wait_for_a_collector_that_hangs(tmp_path: Path) -> None:
    """What is not sent when the time is over is dropped and counted, and the log can be stopped twice."""

    async def work(log: PayloadLog, kept: Kept) -> None:
        tap = log.node("m", URL)
        for _ in range(4):
            tap.request(Message.of("q", Encoding.STR), context())
        await kept.begun.wait()
        await log.stop()

    kept, outcomes = run(tmp_path, PayloadLogOptions(senders=1, drain_s=0.05), work, waits=True)
    assert kept.events == []
    assert outcomes == {"sent": 0, "failed": 0, "dropped": 4}
