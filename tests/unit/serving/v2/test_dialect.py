"""Errors of the open inference protocol, without a server."""

from __future__ import annotations

import json

import pytest

from infergraph.errors import ComponentError, RemoteError
from infergraph.serving.http.dialects import Cors, InternalDialect
from infergraph.serving.http.error_responses import Answer
from infergraph.serving.v2.dialect import V2Dialect

DIALECT = V2Dialect(InternalDialect(Cors()))


def text_of(answer: Answer) -> str:
    [(member, text)] = json.loads(answer.body).items()
    assert member == "error"
    return str(text)


@pytest.mark.parametrize(
    ("raised", "answered"), [(200, 500), (204, 500), (302, 500), (400, 400), (418, 418), (503, 503)]
)
def test_an_error_never_looks_like_success(raised: int, answered: int) -> None:
    """Clients of the protocol take 200, and nothing else, for success: a component's other statuses are its own."""
    answer = DIALECT.of_fault(ComponentError("it went off", status=raised))
    assert (answer.status, text_of(answer)) == (answered, "it went off")


@pytest.mark.parametrize(
    "body", [b'{"error": %b}' % (b"[" * 1000 + b"]" * 1000), b'{"error": {}}', b'{"status": {"info": 1}}']
)
def test_an_error_of_a_node_that_is_no_text_is_not_shown(body: bytes) -> None:
    """The fault's own text stands for it."""
    assert text_of(DIALECT.of_fault(RemoteError("the node refused", status=400, body=body))) == "the node refused"
