"""One call of a client: its attempts, its headers, and the faults that answers tell of."""

from __future__ import annotations

import asyncio

import pytest

from infergraph.client.calls import attempted, header_lines
from infergraph.client.faults import of_reply, of_status
from infergraph.errors import (
    BadMetadata,
    DeadlinePassed,
    Fault,
    MethodMissing,
    NotReady,
    Overloaded,
    PayloadError,
    RemoteError,
    StartupFault,
    UnsupportedBody,
    remote_error_of,
)
from infergraph.net.http_client import Reply
from infergraph.protocol.status import BY_REASON


class Attempts:
    """Fails with each of the faults in turn, then answers; keeps the time that was left."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = list(faults)
        self.left: list[float | None] = []

    async def __call__(self, left_s: float | None) -> str:
        self.left.append(left_s)
        if self.faults:
            raise self.faults.pop(0)
        return "answer"


def test_each_attempt_is_told_the_time_that_is_left() -> None:
    """No further attempt begins when its wait would go beyond the call's time, and what is left becomes less."""
    attempts = Attempts(*(NotReady("no") for _ in range(100)))
    with pytest.raises(NotReady):
        asyncio.run(attempted(attempts, retries=100, timeout_s=0.3))
    assert 2 <= len(attempts.left) < 5
    left = [left_s or 0.0 for left_s in attempts.left]
    assert left == sorted(left, reverse=True)
    assert max(left) <= 0.3


def test_a_call_without_a_limit() -> None:
    """Without a limit an attempt has as long as it takes."""
    attempts = Attempts(NotReady("no"))
    assert asyncio.run(attempted(attempts, retries=1, timeout_s=None)) == "answer"
    assert attempts.left == [None, None]


def test_headers_are_checked() -> None:
    """Names come out in lower case; what would break the head of a request is refused."""
    assert header_lines([("X-Id", "ä")]) == (("x-id", "ä"),)
    for name, value in (("a b", "c"), ("", "c"), ("a", "b\r\nc: d"), ("a:", "b"), ("a", "b\0")):
        with pytest.raises(PayloadError, match="cannot be sent"):
            header_lines([(name, value)])


def test_every_reason_of_one_fault_has_its_class() -> None:
    """The table of reasons holds every fault of a reason of its own, and no start-up fault.

    A missing method shares its reason with bad data, over REST also its status.
    """

    def every(kind: type[Fault]) -> list[type[Fault]]:
        return [kind, *(found for child in kind.__subclasses__() for found in every(child))]

    for kind in every(Fault):
        if issubclass(kind, StartupFault):
            assert BY_REASON.get(kind.reason) is not kind
        elif kind.reason != Fault.reason and kind is not MethodMissing:
            assert issubclass(kind, BY_REASON[kind.reason])
    assert Fault.reason not in BY_REASON


def reply(status: int, body: bytes, kind: str = "application/json", **headers: str) -> Reply:
    pairs = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    return Reply(status, kind, "", body, pairs)


ENVELOPE = b'{"status":{"code":-1,"info":"what happened","reason":"%s","status":1}}'


@pytest.mark.parametrize(
    ("answer", "kind", "text", "reason", "node"),
    [
        (reply(400, ENVELOPE % b"MICROSERVICE_BAD_DATA"), PayloadError, "what happened", "MICROSERVICE_BAD_DATA", ""),
        (
            reply(415, ENVELOPE % b"MICROSERVICE_BAD_DATA"),
            UnsupportedBody,
            "what happened",
            "MICROSERVICE_BAD_DATA",
            "",
        ),
        (
            reply(500, ENVELOPE % b"MICROSERVICE_INTERNAL_ERROR"),
            RemoteError,
            "what happened",
            "MICROSERVICE_INTERNAL_ERROR",
            "",
        ),
        (reply(500, ENVELOPE % b"MICROSERVICE_BAD_METADATA"), BadMetadata, "what happened", None, ""),
        (reply(402, ENVELOPE % b"PAY"), RemoteError, "what happened", "PAY", ""),
        (
            reply(
                504,
                b'{"status":{"code":504,"info":"late","status":"FAILURE"}}',
                infergraph_reason="DEADLINE_PASSED",
                infergraph_node="caf%C3%A9",
            ),
            DeadlinePassed,
            "late",
            "DEADLINE_PASSED",
            "café",
        ),
        (reply(502, b"<html>nginx</html>", "text/html"), RemoteError, "POST x: HTTP status 502", None, ""),
        (
            reply(404, b"404 page not found\n", "text/plain"),
            RemoteError,
            "HTTP status 404: 404 page not found",
            None,
            "",
        ),
        (reply(500, b"[1]"), RemoteError, "HTTP status 500: [1]", None, ""),
        (reply(500, b'{"status":{"info":null}}'), RemoteError, "HTTP status 500", None, ""),
        (reply(503, b""), RemoteError, "POST x: HTTP status 503", None, ""),
    ],
)
def test_faults_of_replies(answer: Reply, kind: type[Fault], text: str, reason: str | None, node: str) -> None:
    """An answer without success becomes the fault of its reason; what was answered is its cause or the fault itself."""
    fault = of_reply(answer, "POST x")
    assert type(fault) is kind
    assert text in str(fault)
    assert fault.node == node
    assert reason is None or fault.reason == reason
    error = remote_error_of(fault)
    assert error is not None
    assert (error.status, error.body) == (answer.status, answer.body)


def test_a_time_to_try_again_is_read() -> None:
    """Retry-After in seconds is kept with the error; a date is not understood and left out."""
    for text, seconds in (("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None)):
        error = remote_error_of(of_reply(reply(503, b"", retry_after=text), "x"))
        assert error is not None
        assert error.retry_after_s == seconds


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (3, "", PayloadError),
        (3, "MICROSERVICE_BAD_DATA", PayloadError),
        (12, "MICROSERVICE_BAD_DATA", MethodMissing),
        (13, "MICROSERVICE_INTERNAL_ERROR", RemoteError),
        (2, "", RemoteError),
        (14, "NOT_READY", NotReady),
        (8, "OVERLOADED", Overloaded),
    ],
)
def test_faults_of_codes(code: int, reason: str, kind: type[Fault]) -> None:
    """A gRPC status becomes the fault of its reason, or of its code where it names none."""
    fault = of_status(RemoteError("what happened", reason=reason or None, node="n", grpc_code=code))
    assert type(fault) is kind
    assert (str(fault), fault.node) == ("what happened", "n")
    error = remote_error_of(fault)
    assert error is not None
    assert error.grpc_code == code
