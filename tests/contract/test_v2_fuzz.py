"""Requests of the open inference protocol that no client should send: each is answered, and none is our fault."""

from __future__ import annotations

import http.client
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from infergraph.protocol.services import INFERENCE
from served import Served, served
from v2_fuzz_inputs import grpc_payloads, rest_requests

COMPONENT = '''
class Hooks:
    """Answers whatever it is given."""

    execution = "{execution}"

    def predict(self, X, names=None, meta=None):
        return [] if X is None else X
'''
SEED = 20
COUNT = 1200
REFUSALS = {400, 404, 415}


@pytest.fixture(scope="module", params=["thread", "inline"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A component that answers with what it was given, in a thread and on the event loop."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    (folder / "hooks.py").write_text(COMPONENT.format(execution=request.param))
    with served("hooks.py:Hooks", folder=folder) as there:
        yield there


def test_nothing_that_comes_over_rest_is_our_fault(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Every body is answered on one connection: with 200, as the caller's fault, or as a result without a form."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    statuses: Counter[int] = Counter()
    with caplog.at_level(logging.ERROR):
        for asked in rest_requests(SEED, COUNT):
            connection.request("POST", "/v2/models/Hooks/infer", asked.body, asked.headers)
            reply = connection.getresponse()
            body = reply.read()
            statuses[reply.status] += 1
            size = reply.headers.get("Inference-Header-Content-Length")
            answer = json.loads(body[: int(size)] if size else body)
            assert reply.status in (200, 500) or reply.status in REFUSALS, (asked, reply.status, body)
            if reply.status != 200:
                assert list(answer) == ["error"], asked
                assert "internal error" not in answer["error"], asked
                assert size is None, asked
    connection.close()
    assert statuses[200] > COUNT / 5  # not all of them are refused at the door
    assert statuses[500] < COUNT / 50  # ragged lists and nulls out of JSON that the component gives back
    assert not [record for record in caplog.records if record.name.startswith("infergraph.serving")]


def test_nothing_that_comes_over_grpc_is_our_fault(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Every message is answered, or refused as the caller's fault."""
    codes: Counter[str] = Counter()
    with caplog.at_level(logging.ERROR), server.channel() as channel:
        infer = channel.unary_unary(f"/{INFERENCE}/ModelInfer")
        for payload in grpc_payloads(SEED, COUNT):
            code, details = _asked(infer, payload)
            codes[code] += 1
            assert code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL"), (payload, details)
            assert "internal error" not in details, payload
    assert codes["OK"] > COUNT / 5
    assert codes["INTERNAL"] < COUNT / 50
    assert not [record for record in caplog.records if record.name.startswith("infergraph.serving")]


def _asked(infer: Any, payload: bytes) -> tuple[str, str]:
    """Code and details of an answer."""
    try:
        infer(payload, timeout=30)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


PARTS = """
class Parts:
    def predict(self, X, names=None):
        return X

    def route(self, X, names=None):
        return 0

    def aggregate(self, Xs, names=None):
        return Xs[0]
"""
TENSORS = b'[{"name":"x","shape":[600000],"datatype":"INT64","data":[%b]}]' % b",".join([b"[]"] * 600_000)


@pytest.mark.parametrize("path", ["infer", "route", "aggregate"])
def test_what_the_values_of_a_body_take_is_charged_at_every_path(tmp_path: Path, path: str) -> None:
    """A body of many empty lists is refused by the setting before there is an object for each."""
    (tmp_path / "parts.py").write_text(PARTS)
    body = b'[{"outputs":%b}]' % TENSORS if path == "aggregate" else b'{"inputs":%b}' % TENSORS
    with served("parts.py:Parts", folder=tmp_path, grpc=False, bodies_limit_bytes=80_000_000) as there:
        reply = there.ask("POST", f"/v2/models/Parts/{path}", body)
    assert reply.status == 413
    assert "bodies_limit_bytes" in reply.json["error"]
