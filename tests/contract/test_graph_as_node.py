"""A served graph is a node of another graph, over REST as over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from served import Served, served

EXAMPLES = Path(__file__).parents[2] / "examples" / "graphs"
OUTER = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: outer}
spec:
  predictors:
  - name: default
    graph: {name: inner, type: MODEL}
"""
FLOWER = {"data": {"ndarray": [[5.1, 3.5, 1.4, 0.2]]}}


@pytest.fixture(scope="module")
def inner() -> Iterator[Served]:
    with served("deployment.yaml", folder=EXAMPLES / "pre-and-post") as there:
        yield there


@pytest.fixture(params=["http", "grpc"])
def outer(request: pytest.FixtureRequest, inner: Served, tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "outer.yaml").write_text(OUTER)
    port = inner.http_port if request.param == "http" else inner.grpc_port
    nodes = {"inner": f"{request.param}://127.0.0.1:{port}"}
    with served("outer.yaml", folder=tmp_path, nodes=nodes) as there:
        yield there


def test_a_graph_asks_a_graph(outer: Served) -> None:
    """A prediction goes through both graphs."""
    reply = outer.post("/api/v1.0/predictions", FLOWER)
    assert (reply.status, reply.json["data"]["ndarray"]) == (200, ["setosa"])


def test_feedback_goes_through_both(outer: Served) -> None:
    """A feedback reaches the graph that is a node."""
    assert outer.post("/api/v1.0/feedback", {"request": FLOWER, "reward": 1.0}).status == 200


def test_metadata_of_a_node_that_is_a_graph(outer: Served) -> None:
    """The outer graph's metadata names the inner graph as a model of its own."""
    models = outer.get("/api/v1.0/metadata").json["models"]
    assert models["inner"]["name"] == "default"
    assert outer.get("/api/v1.0/metadata/inner").json["name"] == "default"


def test_a_node_s_health(outer: Served) -> None:
    """The outer graph is told of the inner one's health."""
    assert outer.get("/api/v1.0/status/inner").status == 200


def test_what_a_graph_does_not_do_is_said(inner: Served) -> None:
    """A graph answers predictions and takes feedback: a path of another method is a 404 that names what is served."""
    reply = inner.post("/transform-input", FLOWER)
    assert reply.status == 404
    assert b"/api/v1.0/predictions" in reply.body


def test_the_paths_of_a_node(inner: Served) -> None:
    """The microservice paths answer beside the external ones."""
    assert inner.post("/predict", FLOWER).json["data"]["ndarray"] == ["setosa"]
    assert inner.get("/metadata").json["platform"] == "seldon"
    assert inner.get("/health/status").status == 200
    assert inner.get("/health/ping").body == b"pong"
