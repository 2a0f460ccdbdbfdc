"""The graph files that are rendered, served: each by a server of its own, joined by the hosts of their Services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import yaml

from infergraph.render.kubernetes import render
from infergraph.render.manifests import stream
from infergraph.render.options import Options
from kubernetes_facts import Document, graphs, objects
from served import Served, served

STEPS = """
class Clean:
    def transform_input(self, X, names=None):
        return X + 1


class Choose:
    rewards = 0

    def route(self, X, names=None):
        return int(X[0][0] > 2)

    def send_feedback(self, features, names, reward, truth, routing=None):
        self.rewards += reward

    def tags(self):
        return {"rewards": self.rewards}


class Ten:
    def predict(self, X, names=None):
        return X * 10


class Hundred:
    def predict(self, X, names=None):
        return X * 100
"""
DEPLOYMENT = """
kind: SeldonDeployment
metadata: {name: flow}
spec:
  predictors:
  - name: live
    traffic: 100
    graph:
      name: clean
      type: TRANSFORMER
      component: steps.py:Clean
      children:
      - name: choose
        type: ROUTER
        component: steps.py:Choose
        place: own
        children:
        - {name: ten, type: MODEL, component: "steps.py:Ten"}
        - {name: hundred, type: MODEL, component: "steps.py:Hundred", replicas: 2}
  - name: spare
    traffic: 0
    graph: {name: ten, type: MODEL, component: "steps.py:Ten"}
"""


def _hosts(node: Document) -> Iterator[Document]:
    """The endpoints of a graph file."""
    if "endpoint" in node:
        yield node["endpoint"]
    for child in node.get("children", ()):
        yield from _hosts(child)


def _file_of(service: str, documents: list[Document]) -> str:
    """The name of the ConfigMap behind a Service."""
    (selector,) = (
        each["spec"]["selector"]
        for each in documents
        if each["kind"] == "Service" and each["metadata"]["name"] == service
    )
    for each in documents:
        if each["kind"] == "Deployment":
            template = each["spec"]["template"]
            if selector.items() <= template["metadata"]["labels"].items():
                return next(str(volume["configMap"]["name"]) for volume in template["spec"]["volumes"])
    raise AssertionError(service)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The split of the rendered deployment, with every front and group behind it."""
    folder = tmp_path_factory.mktemp("rendered")
    (folder / "steps.py").write_text(STEPS)
    documents = objects(stream(render(DEPLOYMENT, "flow.yaml", Options(image="i")).objects, "flow.yaml"))
    files = graphs(documents)
    running: dict[str, Served] = {}
    with ExitStack() as stack:

        def start(name: str) -> Served:
            if name not in running:
                document: Any = yaml.safe_load(files[name])
                for predictor in document["spec"]["predictors"]:
                    for endpoint in _hosts(predictor["graph"]):
                        there = start(_file_of(endpoint["service_host"], documents))
                        endpoint |= {"service_host": "127.0.0.1", "service_port": there.http_port}
                        endpoint |= {"httpPort": there.http_port, "grpcPort": there.grpc_port}
                (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
                running[name] = stack.enter_context(served(f"{name}.yaml", folder=folder))
            return running[name]

        yield start("flow-graph")
        assert sorted(running) == sorted(files)


@pytest.mark.parametrize(("value", "answer", "branch"), [(1, 20, 0), (5, 600, 1)])
def test_a_request_goes_through_split_front_and_groups(door: Served, value: int, answer: int, branch: int) -> None:
    """The answer over REST is that of the whole graph, and says which way it went."""
    reply = door.post("/api/v1.0/predictions", {"data": {"ndarray": [[value]]}})
    assert (reply.status, reply.json["data"]["ndarray"]) == (200, [[answer]])
    routing = reply.json["meta"]["routing"]
    assert [routing["choose"], routing["flow"]] == [branch, 0]


def test_feedback_follows_the_answer(door: Served) -> None:
    """A reward for an answer reaches the router in its group, by the way that the answer went."""
    request = {"data": {"ndarray": [[5]]}}
    answer = door.post("/api/v1.0/predictions", request).json
    body = {"request": request, "response": answer, "reward": 1.0}
    assert door.post("/api/v1.0/feedback", body).status == 200
    assert door.post("/api/v1.0/predictions", request).json["meta"]["tags"] == {"rewards": 1.0}
