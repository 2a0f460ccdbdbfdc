"""Error responses in OpenAI's form."""

from __future__ import annotations

import json

import pytest

from infergraph.errors import Fault, Overloaded, PayloadError, QuotaExceeded, StorageFull, TaskState, UnknownTask
from infergraph.serving.openai import errors


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        (PayloadError("purpose: none"), 400, ("invalid_request_error", "purpose", "invalid_value")),
        (PayloadError("a[b]: none"), 400, ("invalid_request_error", "a[b]", "invalid_value")),
        (PayloadError("the body is not JSON: x"), 400, ("invalid_request_error", None, "invalid_value")),
        (UnknownTask("file: none"), 404, ("invalid_request_error", None, "not_found")),
        (TaskState("done"), 409, ("invalid_request_error", None, "conflict")),
        (QuotaExceeded("enough"), 429, ("rate_limit_error", None, "rate_limit_exceeded")),
        (Overloaded("full"), 503, ("server_error", None, "server_overloaded")),
        (StorageFull("full"), 507, ("server_error", None, "storage_full")),
        (Fault("broken"), 500, ("server_error", None, "server_error")),
    ],
)
def test_a_fault_in_their_form(fault: Fault, status: int, told: tuple[str, str | None, str]) -> None:
    """Type by status, code by class, and the member that the text begins with."""
    answer = errors.of_fault(fault)
    error = json.loads(answer.body)["error"]
    assert answer.status == status
    assert (error["type"], error["param"], error["code"]) == told
    assert error["message"] == fault.text
