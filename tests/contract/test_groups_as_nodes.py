"""The groups of a cut graph call each other: the same answers as in one process, in each protocol and transport."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from infergraph.graph import spec
from infergraph.graph.placement import Place, cut, file_of, split_of
from served import Served, served

STEPS = """
class Clean:
    def transform_input(self, X, names=None):
        return X + 1


class Best:
    def route(self, X, names=None):
        return int(X[0][0] > 2)


class Small:
    def predict(self, X, names=None):
        return X * 2


class Large:
    def predict(self, X, names=None):
        return X * 10
"""
GRAPH = """
kind: SeldonDeployment
metadata: {{name: flow}}
spec:
  protocol: {protocol}
  transport: {transport}
  predictors:
  - name: default
    graph:
      name: clean
      type: TRANSFORMER
      component: steps.py:Clean
      children:
      - name: best
        type: ROUTER
        component: steps.py:Best
        place: own
        children:
        - {{name: small, type: MODEL, component: "steps.py:Small"}}
        - {{name: large, type: MODEL, component: "steps.py:Large", place: own}}
"""


@contextmanager
def groups(folder: Path, graph: str) -> Iterator[Served]:
    """The front of a cut graph, whose groups are served, too."""
    (folder / "steps.py").write_text(STEPS)
    (deployment,) = spec.read(graph, source="graph.yaml")
    found = cut(deployment, {})
    there: dict[str, Served] = {}

    def address(place: Place) -> spec.Endpoint:
        server = there[place.field]
        return spec.Endpoint("127.0.0.1", http_port=server.http_port, grpc_port=server.grpc_port)

    several = len(found.predictors) > 1
    with ExitStack() as stack:
        for predictor in found.predictors:
            for place in reversed(predictor.served):  # children first, whose addresses their parents need
                name = f"{place.predictor}-{place.name}.yaml"
                (folder / name).write_text(spec.to_yaml(file_of(found, place, address)))
                there[place.field] = stack.enter_context(served(name, folder=folder))
        if several:
            (folder / "split.yaml").write_text(spec.to_yaml(split_of(found, address)))
        front = found.predictors[0].front
        assert front is not None
        yield stack.enter_context(served("split.yaml", folder=folder)) if several else there[front.field]


@pytest.mark.parametrize("transport", ["rest", "grpc", "''"])
@pytest.mark.parametrize("protocol", ["seldon", "v2"])
def test_answers_are_those_of_one_process(tmp_path: Path, protocol: str, transport: str) -> None:
    """A request goes through all groups, and its answer is that of the graph in one process."""
    graph = GRAPH.format(protocol=protocol, transport=transport)
    (tmp_path / "whole.yaml").write_text(graph)
    if protocol == "v2":
        path, asked = "/v2/models/flow/infer", _tensor
    else:
        path, asked = "/api/v1.0/predictions", _array
    with groups(tmp_path, graph) as front, served("whole.yaml", folder=tmp_path) as whole:
        for number in (0.0, 5.0):
            answer, expected = (server.post(path, asked(number)) for server in (front, whole))
            assert (answer.status, answer.json) == (200, expected.json)


def test_feedback_reaches_the_branch_that_answered(tmp_path: Path) -> None:
    """A feedback goes by the routing of the answer, also where the router is in another group."""
    graph = GRAPH.format(protocol="seldon", transport="''")
    with groups(tmp_path, graph) as front:
        answer = front.post("/api/v1.0/predictions", _array(5.0)).json
        assert answer["meta"]["routing"] == {"best": 1}
        feedback = {"request": _array(5.0), "response": answer, "reward": 1.0}
        assert front.post("/api/v1.0/feedback", feedback).status == 200


def test_several_predictors_are_chosen_among_by_a_split(tmp_path: Path) -> None:
    """The split of several predictors calls the front of each, and marks the answer with the one that it chose."""
    (only,) = spec.read(GRAPH.format(protocol="seldon", transport="''"), source="graph.yaml")
    first = only.predictors[0]
    graph = f"""
kind: SeldonDeployment
metadata: {{name: flow}}
spec:
  predictors:
  - {{name: old, traffic: 0, graph: {spec.node_document(first.graph)}}}
  - {{name: new, traffic: 100, graph: {{name: only, type: MODEL, component: "steps.py:Large"}}}}
"""
    with groups(tmp_path, graph) as front:
        answer = front.post("/api/v1.0/predictions", _array(5.0)).json
    assert answer["data"]["ndarray"] == [[50.0]]
    assert answer["meta"]["routing"]["flow"] == 1


def _array(number: float) -> dict[str, Any]:
    return {"data": {"ndarray": [[number]]}, "meta": {"puid": "p"}}


def _tensor(number: float) -> dict[str, Any]:
    return {"id": "p", "inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [number]}]}
