"""Status codes: gRPC's own, those that cross between HTTP and gRPC, and reasons."""

from __future__ import annotations

import grpc
import pytest

from infergraph.errors import Fault
from infergraph.protocol.status import BY_REASON, HTTP_OF_GRPC, GrpcStatus, grpc_of_http, http_of_grpc


def test_the_numbers_are_those_of_grpc() -> None:
    """Every status of grpcio stands in our enumeration, with its name and number."""
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {each.name: each.value for each in GrpcStatus}


def test_a_reason_leads_back_to_its_fault() -> None:
    """Each reason names a fault class that gives it, and the reason that many things share names none."""
    assert all(kind.reason == reason for reason, kind in BY_REASON.items())
    assert Fault.reason not in BY_REASON


def test_every_grpc_status_but_ok_is_an_error_over_http() -> None:
    """Each number of gRPC has a status from 400 on; a number that gRPC does not know is 500."""
    numbers = {code.value[0] for code in grpc.StatusCode} - {0}
    assert set(HTTP_OF_GRPC) == numbers
    assert all(400 <= status < 600 for status in HTTP_OF_GRPC.values())
    assert http_of_grpc(99) == 500


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 499, 501, 503, 504])
def test_what_both_know_comes_back_as_it_went(status: int) -> None:
    """A status that gRPC has a word for survives the way through gRPC and back."""
    assert http_of_grpc(grpc_of_http(status)) == status


@pytest.mark.parametrize(("status", "code"), [(415, 3), (422, 3), (500, 2), (418, 2), (302, 2)])
def test_what_grpc_has_no_word_for(status: int, code: int) -> None:
    """Refusals of the content are INVALID_ARGUMENT; all else is UNKNOWN, as in the reference."""
    assert grpc_of_http(status) == code
