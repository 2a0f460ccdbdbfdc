"""Patience: which faults are tried again, how often, and what time is left."""

from __future__ import annotations

import asyncio

import pytest

from infergraph.client.calls import Patience, header_lines, told_by
from infergraph.client.faults import BY_REASON, of_code, of_reply
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
    UnknownTask,
    UnsupportedBody,
)
from infergraph.net.http_client import Reply

PASSING = [
    RemoteError("refused"),
    RemoteError("bad gateway", status=502),
    RemoteError("unavailable", status=503),
    RemoteError("too many", status=429),
    RemoteError("unavailable", grpc_code=14),
    NotReady("loading"),
    Overloaded("full"),
]
LASTING = [
    RemoteError("broken", status=500),
    RemoteError("internal", grpc_code=13),
    PayloadError("bad"),
    DeadlinePassed("late"),
    UnknownTask("none"),
]


class Attempts:
    """Fails with each of the faults in turn, then answers."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = list(faults)
        self.left: list[float | None] = []

    async def __call__(self, left_s: float | None) -> str:
        self.left.append(left_s)
        if self.faults:
            raise self.faults.pop(0)
        return "answer"


def patience(retries: int, timeout_s: float | None = None) -> Patience:
    return Patience(retries, timeout_s, draw=lambda: 0.0)


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_passing_faults_are_tried_again(fault: Fault) -> None:
    """A call that was lost or refused before any work is made again, and its answer is the result."""
    attempts = Attempts(fault, fault)
    assert asyncio.run(patience(2).call(attempts, is_repeatable=True)) == "answer"
    assert len(attempts.left) == 3


@pytest.mark.parametrize("fault", LASTING, ids=str)
def test_lasting_faults_are_not(fault: Fault) -> None:
    """A fault that another attempt would meet again is raised at once."""
    attempts = Attempts(fault)
    with pytest.raises(type(fault)):
        asyncio.run(patience(5).call(attempts, is_repeatable=True))
    assert len(attempts.left) == 1


def test_what_may_not_be_asked_twice() -> None:
    """A call that is not repeatable has one attempt, whatever the fault."""
    attempts = Attempts(RemoteError("refused"))
    with pytest.raises(RemoteError):
        asyncio.run(patience(5).call(attempts, is_repeatable=False))
    assert len(attempts.left) == 1


def test_retries_run_out() -> None:
    """After as many retries as were given, the last fault is raised."""
    attempts = Attempts(*(NotReady(f"{number}") for number in range(5)))
    with pytest.raises(NotReady, match="2"):
        asyncio.run(patience(2).call(attempts, is_repeatable=True))
    assert len(attempts.left) == 3


def test_time_runs_out() -> None:
    """No further attempt begins when its wait would go beyond the call's time, and each is told what is left."""
    attempts = Attempts(*(NotReady("no") for _ in range(100)))
    with pytest.raises(NotReady):
        asyncio.run(patience(100, 0.3).call(attempts, is_repeatable=True))
    assert 2 <= len(attempts.left) < 5
    left = [left_s or 0.0 for left_s in attempts.left]
    assert left == sorted(left, reverse=True)
    assert max(left) <= 0.3


def test_a_server_that_names_a_time_is_waited_for() -> None:
    """A Retry-After that goes beyond the call's time ends the attempts at once."""
    attempts = Attempts(RemoteError("full", status=503, retry_after_s=5))
    with pytest.raises(RemoteError):
        asyncio.run(patience(9, 1.0).call(attempts, is_repeatable=True))
    assert len(attempts.left) == 1


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
    error = told_by(fault)
    assert error is not None
    assert (error.status, error.body) == (answer.status, answer.body)


def test_a_time_to_try_again_is_read() -> None:
    """Retry-After in seconds is kept with the error; a date is not understood and left out."""
    for text, seconds in (("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None)):
        error = told_by(of_reply(reply(503, b"", retry_after=text), "x"))
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
    fault = of_code(code, "what happened", reason, "n")
    assert type(fault) is kind
    assert (str(fault), fault.node) == ("what happened", "n")
    error = told_by(fault)
    assert error is not None
    assert error.grpc_code == code
