"""Faults x edges: both edges answer the same fault for the same reason, from one table."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from graph_units import Saying
from infergraph import errors
from infergraph.errors import Fault
from infergraph.message import Encoding, Message
from infergraph.protocol import services
from infergraph.protocol.headers import REASON, REASON_KEY
from infergraph.protocol.status import codes_of, grpc_status
from infergraph.serving.grpc.app import GrpcApp, Metadata
from infergraph.serving.http import error_responses
from infergraph.serving.http.dialects import Cors, ExternalDialect, InternalDialect
from infergraph.serving.seldon.grpc import SeldonGrpc
from infergraph.wire import proto_codec

EXPECTED = {
    errors.PayloadError: (400, "INVALID_ARGUMENT"),
    errors.UnsupportedBody: (415, "INVALID_ARGUMENT"),
    errors.MethodMissing: (400, "UNIMPLEMENTED"),
    errors.ComponentError: (500, "INTERNAL"),
    errors.BadMetric: (500, "INTERNAL"),
    errors.BadMetadata: (500, "INTERNAL"),
    errors.RoutingError: (500, "INTERNAL"),
    errors.RemoteError: (500, "UNAVAILABLE"),
    errors.DeadlinePassed: (504, "DEADLINE_EXCEEDED"),
    errors.Overloaded: (503, "RESOURCE_EXHAUSTED"),
    errors.NotReady: (503, "UNAVAILABLE"),
    errors.UnknownTask: (404, "NOT_FOUND"),
    errors.TaskState: (409, "FAILED_PRECONDITION"),
    errors.TaskConflict: (409, "FAILED_PRECONDITION"),
    errors.UploadTooLarge: (413, "RESOURCE_EXHAUSTED"),
    errors.StorageFull: (507, "RESOURCE_EXHAUSTED"),
    errors.StoreAway: (503, "UNAVAILABLE"),
}

ASKED = proto_codec.encode(Message.of("x", Encoding.STR))


def every(kind: type[Fault] = Fault) -> list[type[Fault]]:
    return [kind, *(found for child in kind.__subclasses__() for found in every(child))]


class Uncounted:
    """Counts nothing."""

    def started(self) -> None: ...

    def finished(self, *_: object) -> None: ...


class Replied:
    """What the gRPC edge sends; a call that waits for it gets status, text and trailing metadata."""

    def __init__(self) -> None:
        self.failure: asyncio.Future[tuple[int, str, Mapping[str, Any]]] = asyncio.get_running_loop().create_future()

    def respond(self, payload: bytes, initial: Metadata) -> None:
        raise AssertionError("the call was answered")

    def fail(self, code: int, text: str, trailing: Metadata) -> None:
        self.failure.set_result((code, text, dict(trailing)))


def over_grpc(fault: Fault) -> tuple[int, str, Mapping[str, Any]]:
    """What the gRPC edge answers where the unit raises `fault`."""

    async def run() -> tuple[int, str, Mapping[str, Any]]:
        app = GrpcApp(
            SeldonGrpc(Saying("unit", fault=fault), is_graph=False).methods(),
            Uncounted(),
            gives_ids=False,
            message_limit_bytes=1000,
            concurrency_limit=0,
            request_timeout_s=0,
        )
        replied = Replied()
        app.calls.start(app.call(services.path("Model/Predict"), ASKED, (), None, replied))
        return await replied.failure

    return asyncio.run(run())


@pytest.mark.parametrize("kind", every(), ids=lambda kind: kind.__name__)
def test_every_fault_is_answered_alike_on_both_edges(kind: type[Fault]) -> None:
    """Each class of fault is answered over REST, to a component and to a graph, and over gRPC, with its own codes."""
    fault = kind("what happened")
    answers = [InternalDialect(Cors()).of_fault(fault), ExternalDialect(Cors()).of_fault(fault)]
    code, text, trailing = over_grpc(fault)
    assert {answer.status for answer in answers} == {codes_of(kind).http}
    assert all(b"what happened" in answer.body for answer in answers)
    assert fault.reason.encode() in answers[0].body
    assert dict(answers[1].headers)[REASON] == fault.reason.encode()
    assert (code, text, trailing[REASON_KEY]) == (codes_of(kind).grpc, "what happened", fault.reason)


@pytest.mark.parametrize(("kind", "codes"), EXPECTED.items(), ids=lambda each: getattr(each, "__name__", None))
def test_the_codes_of_the_protocol(kind: type[Fault], codes: tuple[int, str]) -> None:
    """The codes are those that the house's table of faults promises."""
    assert (codes_of(kind).http, codes_of(kind).grpc.name) == codes


def test_a_users_status_and_a_nodes_answer_pass_through() -> None:
    """The status that a user's exception carries, and the body that a remote node answered, reach the caller."""
    assert error_responses.of_fault(errors.ComponentError("pay", status=402)).status == 402
    fault = errors.RemoteError("no", status=418, body=b"<teapot/>", content_type="text/xml", grpc_code=7)
    answer = error_responses.of_fault(fault)
    assert (answer.status, answer.body, answer.headers) == (418, b"<teapot/>", [(b"content-type", b"text/xml")])
    assert grpc_status(fault) == 7


def test_texts_that_no_json_can_hold_are_mended() -> None:
    """A fault whose text has a lone surrogate is still answered."""
    assert error_responses.of_fault(Fault("bad \ud800 text")).status == 500
