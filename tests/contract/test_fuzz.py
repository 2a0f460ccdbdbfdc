"""Requests that no client should send, some thousands from a seed: each is answered, and none is our fault.

A longer run is a matter of the counts below, or of other seeds.
"""

from __future__ import annotations

import http.client
import logging
import random
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from fuzz_inputs import grpc_payloads, rest_requests
from infergraph.protocol import services
from served import Served, served

COMPONENT = '''
class Hooks:
    """Answers whatever it is given."""

    execution = "{execution}"

    def predict(self, X, names=None):
        return [] if X is None else X

    transform_input = predict

    def route(self, X, names=None):
        return 0

    def aggregate(self, Xs, names=None):
        return [] if Xs[0] is None else Xs[0]

    def send_feedback(self, X, names, reward, truth, routing=None):
        return None
'''
SEED = 20
REST_COUNT = 1500
GRPC_COUNT = 800


@pytest.fixture(scope="module", params=["thread", "inline"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A component that answers with what it was given, in a thread and on the event loop."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    (folder / "hooks.py").write_text(COMPONENT.format(execution=request.param))
    with served("hooks.py:Hooks", folder=folder) as there:
        yield there


def test_nothing_that_comes_over_rest_is_our_fault(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Every body under every header is answered on one connection, with 200 or as the caller's fault."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    with caplog.at_level(logging.ERROR):
        for asked in rest_requests(SEED, REST_COUNT):
            connection.request("POST", asked.path, asked.body, asked.headers)
            reply = connection.getresponse()
            said = reply.read()
            assert reply.status in (200, 400, 413, 415), (asked, said)
    connection.close()
    assert not caplog.records


def test_nothing_that_comes_over_grpc_is_our_fault(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Every message to every method is answered, or refused as the caller's fault."""
    rng = random.Random(SEED)
    paths = [services.path(call) for call in services.METHODS]
    allowed = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    with caplog.at_level(logging.ERROR), server.channel() as channel:
        for payload in grpc_payloads(SEED, GRPC_COUNT):
            try:
                channel.unary_unary(rng.choice(paths))(payload, timeout=30)
            except grpc.RpcError as error:
                assert error.code() in allowed, (payload, error.details())  # noqa: PT017 - most calls do not raise
    assert not caplog.records


@pytest.mark.parametrize("depth", [60, 260, 299, 310, 1000])
def test_a_request_too_deep_to_be_answered_is_its_senders_fault(server: Served, depth: int) -> None:
    """What comes in too deep to go out again is refused with 400, and what is less deep is answered."""
    body = b'{"jsonData":' + b"[" * depth + b"]" * depth + b"}"
    reply = server.ask("POST", "/predict", body, {"Content-Type": "application/json"})
    assert reply.status == (200 if depth < 300 else 400)
    assert reply.status == 200 or "the request is nested too deeply" in reply.json["status"]["info"]


@pytest.mark.parametrize("digits", [4301, 100_000])
def test_an_integer_of_too_many_digits_is_refused_with_its_place(server: Served, digits: int) -> None:
    """More digits than Python converts are the sender's fault; the answer says where they are."""
    for body in (b'{"jsonData":[1,%b]}', b'{"data":{"ndarray":[[1,%b]]}}'):
        reply = server.ask("POST", "/predict", body % (b"9" * digits), {"Content-Type": "application/json"})
        assert reply.status == 400
        assert f"an integer of {digits} digits at byte {body.index(b'%b')}" in reply.json["status"]["info"]
