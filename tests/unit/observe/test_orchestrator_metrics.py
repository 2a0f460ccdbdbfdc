from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from graph_units import Saying
from infergraph.errors import ComponentError, DeadlinePassed, Fault, PayloadError, RemoteError
from infergraph.message import Context, Encoding, Message, Method, Transport
from infergraph.observe.orchestrator_metrics import MeasuredNode, ServerMetrics, Spot, code_of
from infergraph.observe.shared_metrics import Bounds, SharedMetrics, read

SPOT = Spot("dep", "pred", "v3", "node", "registry:5000/image", "1.2")
PATHS = {method: f"/{method.value}" for method in Method}
ASKED = Message.of("x", Encoding.STR)
CLIENT = "seldon_api_executor_client_requests_seconds"
SERVER = "seldon_api_executor_server_requests_seconds"
Key = tuple[str, str, str]


def counted(folder: Path, name: str) -> dict[Key, float]:
    """How many values the histograms of a name hold, by service, method and code."""
    found = {}
    for one in read(folder):
        if one.series.name == name:
            labels: Mapping[str, str] = one.series.labels
            found[labels["service"], labels["method"], labels["code"]] = sum(one.values[:-1])
    return found


def ask(node: MeasuredNode, method: Method = Method.PREDICT, transport: Transport = Transport.REST) -> None:
    asyncio.run(node.answer(method, ASKED, Context(transport)))


def test_a_node_is_timed_for_both_kinds_of_metrics(tmp_path: Path) -> None:
    """An answer is in our own histogram of the unit and in the orchestrator's of the call, with all of its labels."""
    ask(MeasuredNode(Saying("node"), SharedMetrics(tmp_path, "0"), SPOT, PATHS), Method.TRANSFORM_INPUT)
    assert counted(tmp_path, CLIENT) == {("/transform_input", "post", "200"): 1}
    by_name = {one.series.name: one for one in read(tmp_path)}
    assert by_name[CLIENT].series.labels == {
        "deployment_name": "dep",
        "predictor_name": "pred",
        "predictor_version": "v3",
        "model_name": "node",
        "model_image": "registry:5000/image",
        "model_version": "1.2",
        "service": "/transform_input",
        "method": "post",
        "code": "200",
    }
    assert by_name[CLIENT].series.bounds == Bounds.ORCHESTRATOR.name
    assert sum(by_name["infergraph_unit_seconds"].values[:-1]) == 1


@pytest.mark.parametrize(
    ("speaks", "came_by", "expected"),
    [
        (None, Transport.REST, ("/predict", "post", "200")),
        (None, Transport.GRPC, ("/seldon.protos.Model/Predict", "unary", "OK")),
        (Transport.REST, Transport.GRPC, ("/predict", "post", "200")),
        (Transport.GRPC, Transport.REST, ("/seldon.protos.Model/Predict", "unary", "OK")),
    ],
)
def test_a_call_is_named_as_it_was_made(
    speaks: Transport | None, came_by: Transport, expected: Key, tmp_path: Path
) -> None:
    """A node of one protocol is counted by it, any other by the request's own."""
    ask(MeasuredNode(Saying("node"), SharedMetrics(tmp_path, "0"), SPOT, PATHS, speaks), transport=came_by)
    assert counted(tmp_path, CLIENT) == {expected: 1}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RemoteError("it said no", status=418), "418"),
        (ComponentError("raised"), "500"),
        (ComponentError("raised", status=429), "429"),
        (PayloadError("bad"), "400"),
        (ValueError("a bug"), "500"),
    ],
)
def test_a_node_that_answers_an_error_is_counted_by_its_code(error: Exception, code: str, tmp_path: Path) -> None:
    """The code is the status that the node answered, or what an edge would answer to the fault."""
    with pytest.raises(type(error)):
        ask(MeasuredNode(Saying("node", fault=error), SharedMetrics(tmp_path, "0"), SPOT, PATHS))
    assert counted(tmp_path, CLIENT) == {("/predict", "post", code): 1}
    names = {one.series.name for one in read(tmp_path)}
    assert {"infergraph_unit_seconds", "infergraph_unit_faults"} <= names


@pytest.mark.parametrize("error", [RemoteError("connection refused"), DeadlinePassed("too late")])
def test_calls_without_an_answer_are_no_client_requests(error: Fault, tmp_path: Path) -> None:
    """A node that was not reached, or was too late, is in our own metrics alone, as in the reference."""
    with pytest.raises(Fault):
        ask(MeasuredNode(Saying("node", fault=error), SharedMetrics(tmp_path, "0"), SPOT, PATHS))
    assert counted(tmp_path, CLIENT) == {}
    assert "infergraph_unit_faults" in {one.series.name for one in read(tmp_path)}


def test_the_graph_is_counted_by_service_and_code(tmp_path: Path) -> None:
    """Predictions and feedback by REST have the services' names, by gRPC the full method; GETs are counted too."""
    metrics = ServerMetrics(SharedMetrics(tmp_path, "0"), SPOT)
    for _ in range(2):
        metrics.answered(Method.PREDICT, Transport.REST, 0.004)
    metrics.answered(Method.SEND_FEEDBACK, Transport.GRPC, 0.004)
    metrics.failed(Method.PREDICT, Transport.GRPC, PayloadError("bad"), 0.1)
    metrics.failed(Method.PREDICT, Transport.REST, RemoteError("gone"), 0.1)

    async def told() -> str:
        return "healthy"

    async def refused() -> str:
        raise RemoteError("no", status=404)

    async def get() -> None:
        assert await metrics.got("status", told()) == "healthy"
        with pytest.raises(RemoteError):
            await metrics.got("metadata", refused())

    asyncio.run(get())
    assert counted(tmp_path, SERVER) == {
        ("predictions", "post", "200"): 2,
        ("/seldon.protos.Seldon/SendFeedback", "unary", "OK"): 1,
        ("/seldon.protos.Seldon/Predict", "unary", "INVALID_ARGUMENT"): 1,
        ("predictions", "post", "500"): 1,
        ("status", "get", "200"): 1,
        ("metadata", "get", "404"): 1,
    }
    (first, *_) = [one.series.labels for one in read(tmp_path) if one.series.name == SERVER]
    assert set(first) == {"deployment_name", "predictor_name", "predictor_version", "service", "method", "code"}


@pytest.mark.parametrize(
    ("error", "rest", "grpc"),
    [
        (RemoteError("r", grpc_code=14), "503", "UNAVAILABLE"),
        (RemoteError("r", grpc_code=99), "500", "99"),
        (RemoteError("r", status=404), "404", "NOT_FOUND"),
        (RemoteError("r", status=418), "418", "UNKNOWN"),
        (ComponentError("c", answer=(418, b"", {})), "418", "INTERNAL"),
        (RuntimeError("bug"), "500", "INTERNAL"),
    ],
)
def test_codes_that_an_error_carries_itself(error: Exception, rest: str, grpc: str) -> None:
    """A remote node's own code passes through, as its nearest on the other protocol; a component's status over REST."""
    assert (code_of(error, grpc=False), code_of(error, grpc=True)) == (rest, grpc)
