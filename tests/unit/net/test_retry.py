"""The rule for another attempt, and the loop that makes it."""

from __future__ import annotations

import asyncio

import pytest

from infergraph import errors
from infergraph.errors import ComponentError, Fault, RemoteError
from infergraph.net.backoff import Backoff
from infergraph.net.retry import Retry, Verdict, verdict

REFUSED, FAILED, TRANSIENT = Verdict.REFUSED, Verdict.FAILED, Verdict.TRANSIENT

BY_CLASS = {
    errors.PayloadError: REFUSED,
    errors.UnsupportedBody: REFUSED,
    errors.MethodMissing: REFUSED,
    errors.ComponentError: FAILED,
    errors.RoutingError: FAILED,
    errors.RemoteError: TRANSIENT,  # nobody answered
    errors.DeadlinePassed: FAILED,
    errors.Overloaded: TRANSIENT,
    errors.NotReady: TRANSIENT,
    errors.TaskFault: FAILED,
    errors.UnknownTask: REFUSED,
    errors.TaskState: REFUSED,
    errors.TaskConflict: REFUSED,
    errors.UploadTooLarge: REFUSED,
    errors.StorageFull: FAILED,
    errors.StoreAway: TRANSIENT,
    errors.StartupFault: FAILED,
}
BY_HTTP = {
    302: FAILED, 400: REFUSED, 401: REFUSED, 404: REFUSED, 408: TRANSIENT, 409: REFUSED, 413: REFUSED, 422: REFUSED,
    425: TRANSIENT, 429: TRANSIENT, 499: FAILED, 500: FAILED, 501: REFUSED, 502: TRANSIENT, 503: TRANSIENT,
    504: FAILED, 507: FAILED,
}  # fmt: skip
BY_GRPC = {
    1: FAILED, 2: FAILED, 3: REFUSED, 4: FAILED, 5: REFUSED, 6: REFUSED, 7: REFUSED, 8: TRANSIENT, 9: REFUSED,
    10: FAILED, 11: REFUSED, 12: REFUSED, 13: FAILED, 14: TRANSIENT, 15: FAILED, 16: REFUSED,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "expected"), BY_CLASS.items(), ids=lambda each: getattr(each, "__name__", None))
def test_the_verdict_on_each_fault(kind: type[Fault], expected: Verdict) -> None:
    """What is wrong with the request is refused, what broke has failed, and what had no room or nobody there passes."""
    assert verdict(kind("what happened")) is expected


@pytest.mark.parametrize(("status", "expected"), BY_HTTP.items())
def test_the_verdict_on_an_http_status(status: int, expected: Verdict) -> None:
    """A status counts alike whether a server answered it or a component's own exception carries it."""
    assert verdict(RemoteError("x", status=status)) is expected
    assert verdict(ComponentError("x", status=status)) is expected


@pytest.mark.parametrize(("code", "expected"), BY_GRPC.items())
def test_the_verdict_on_a_grpc_status(code: int, expected: Verdict) -> None:
    """A gRPC status counts where no HTTP status, which is a component's own, came with it."""
    assert verdict(RemoteError("x", grpc_code=code)) is expected
    assert verdict(RemoteError("x", status=422, grpc_code=code)) is REFUSED


class Attempts:
    """Fails with each of the faults in turn, then answers; keeps the waits between."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = list(faults)
        self.made = 0
        self.waited: list[float] = []

    async def __call__(self) -> str:
        self.made += 1
        if self.faults:
            raise self.faults.pop(0)
        return "answer"

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)

    def retry(self, retries: int, limit_s: float = 60.0) -> Retry:
        backoff = Backoff(first_s=1.0, limit_s=limit_s, jitter=0.0)
        return Retry(retries=retries, backoff=backoff, sleep=self.sleep)


def test_a_transient_fault_is_tried_again() -> None:
    """A call that fails for the moment is made again after a wait that grows, and its answer is the result."""
    attempts = Attempts(errors.NotReady("loading"), RemoteError("refused"))
    assert asyncio.run(attempts.retry(2).call(attempts)) == "answer"
    assert (attempts.made, attempts.waited) == (3, [1.0, 2.0])


@pytest.mark.parametrize("fault", [errors.PayloadError("bad"), ComponentError("broke")], ids=str)
def test_another_fault_is_raised_at_once(fault: Fault) -> None:
    """What another attempt would meet again, or would do twice, is not tried again unless the caller says so."""
    attempts = Attempts(fault)
    with pytest.raises(type(fault)):
        asyncio.run(attempts.retry(5).call(attempts))
    assert attempts.made == 1


def test_retries_run_out() -> None:
    """After as many retries as there are, the last fault is raised."""
    attempts = Attempts(*(errors.NotReady(f"number {number}") for number in range(5)))
    with pytest.raises(errors.NotReady, match="number 2"):
        asyncio.run(attempts.retry(2).call(attempts))


def test_no_wait_beyond_the_deadline() -> None:
    """Where the wait would outlast the deadline, the fault is raised without it."""

    async def run() -> None:
        deadline = asyncio.get_running_loop().time() + 0.5
        await attempts.retry(9).call(attempts, deadline=deadline)

    attempts = Attempts(errors.NotReady("loading"))
    with pytest.raises(errors.NotReady):
        asyncio.run(run())
    assert attempts.waited == []


@pytest.mark.parametrize(("asked_s", "waited_s"), [(7.0, 7.0), (0.1, 1.0), (3600.0, 60.0)])
def test_a_server_that_names_a_time_is_waited_for(asked_s: float, waited_s: float) -> None:
    """A Retry-After makes a wait longer, never shorter, and not beyond the longest wait."""
    attempts = Attempts(RemoteError("full", status=503, retry_after_s=asked_s))
    assert asyncio.run(attempts.retry(1).call(attempts)) == "answer"
    assert attempts.waited == [waited_s]
