"""Faults x edges: both edges answer the same fault for the same reason, from one table each."""

from __future__ import annotations

import pytest

from infergraph import errors
from infergraph.errors import Fault
from infergraph.protocol.status import GRPC_NAMES, GrpcStatus, grpc_status
from infergraph.serving.http import answers

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
}


def every(kind: type[Fault] = Fault) -> list[type[Fault]]:
    return [kind, *(found for child in kind.__subclasses__() for found in every(child))]


@pytest.mark.parametrize("kind", every(), ids=lambda kind: kind.__name__)
def test_every_fault_has_a_code_on_both_edges(kind: type[Fault]) -> None:
    """Each class of fault is answered by both edges with a code, its text and its reason."""
    fault = kind("what happened")
    answer = answers.of_fault(fault)
    assert b"what happened" in answer.body
    assert fault.reason.encode() in answer.body
    if kind in EXPECTED:
        assert (answer.status, GRPC_NAMES[grpc_status(fault)]) == EXPECTED[kind]
    else:
        assert 400 <= answer.status < 600
        assert grpc_status(fault) != GrpcStatus.OK


def test_a_users_status_and_a_nodes_answer_pass_through() -> None:
    """The status that a user's exception carries, and the body that a remote node answered, reach the caller."""
    assert answers.of_fault(errors.ComponentError("pay", status=402)).status == 402
    fault = errors.RemoteError("no", status=418, body=b"<teapot/>", content_type="text/xml", grpc_code=7)
    answer = answers.of_fault(fault)
    assert (answer.status, answer.body, answer.headers) == (418, b"<teapot/>", [(b"content-type", b"text/xml")])
    assert grpc_status(fault) == 7


def test_texts_that_no_json_can_hold_are_mended() -> None:
    """A fault whose text has a lone surrogate is still answered."""
    assert answers.of_fault(Fault("bad \ud800 text")).status == 500
