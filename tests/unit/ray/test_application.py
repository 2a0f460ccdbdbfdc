"""The application of a graph: its deployments, and what their replicas are started with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from infergraph.errors import GraphError, SettingsError
from infergraph.graph import spec
from infergraph.process.ray.plan import REPLICA_FOLDER, Order
from infergraph.ray.application import _cut_of, _Orders, app
from infergraph.render.ray import RayOptions, applications

GRAPH = """
kind: SeldonDeployment
metadata: {name: flow}
spec:
  predictors:
  - name: a
    traffic: 80
    graph:
      name: first
      type: TRANSFORMER
      component: steps.py:First
      children:
      - name: middle
        type: TRANSFORMER
        component: steps.py:Middle
        replicas: 2
        children:
        - {name: last, type: MODEL, component: "steps.py:Last", place: own, endpoint: {type: GRPC}}
  - name: b
    traffic: 20
    graph: {name: only, type: MODEL, component: "steps.py:Last"}
"""


def orders() -> _Orders:
    """Those of the graph."""
    return _Orders(_cut_of(yaml.safe_load(GRAPH)))


def read(order: bytes) -> tuple[Order, spec.Deployment]:
    """An order, and its graph."""
    told = msgspec.msgpack.decode(order, type=Order)
    (deployment,) = spec.read(told.group.graph, source="test")
    return told, deployment


def test_each_group_calls_what_is_below_it() -> None:
    """Groups are called at the files of addresses, over what the file says; nobody else's readiness is theirs."""
    found = orders()
    middle, graph = read(found.of_group(found.groups["a.middle"][1]))
    key, place = found.groups["a.last"]
    (leaf,) = graph.predictors[0].graph.children
    assert leaf.endpoint is not None
    assert (leaf.endpoint.service_hosts_file, leaf.endpoint.type) == (f"{REPLICA_FOLDER}/{key}.hosts", "GRPC")
    assert (middle.group.calls, middle.group.by_grpc, middle.group.plan.source["groups"]) == ((key,), False, [])
    last, _ = read(found.of_group(place))
    assert (last.group.calls, last.group.by_grpc) == ((), True)


def test_the_front_has_the_fronts_of_all_predictors() -> None:
    """One server chooses among predictors, runs what is in no group, and is ready when the groups are."""
    found = orders()
    front, graph = read(found.of_front())
    assert [(each.name, each.traffic, each.graph.name) for each in graph.predictors] == [
        ("a", 80, "first"),
        ("b", 20, "only"),
    ]
    assert front.group.calls == (found.groups["a.middle"][0],)
    assert front.group.plan.source["groups"] == ["middle"]


def test_the_deployments_are_those_that_are_rendered() -> None:
    """Serve finds each deployment of the configuration in the application."""
    (rendered,) = applications(GRAPH, "graph.yaml", RayOptions()).applications
    found = _Orders(_cut_of(rendered.document["args"]["graph"]))
    assert {each["name"] for each in rendered.document["deployments"]} == {"front", *found.groups}


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({}, "args.graph"),
        ({"graph": {"kind": "List", "items": [yaml.safe_load(GRAPH)] * 2}}, "one SeldonDeployment"),
        (
            {
                "graph": yaml.safe_load(
                    (Path(__file__).parents[2] / "contract/cases/kubernetes/01-one-model.yaml").read_text()
                )
            },
            "rank",
        ),
    ],
)
def test_what_cannot_run_is_said(args: dict[str, Any], told: str) -> None:
    """A document that is none, several, or has images is refused in one line."""
    with pytest.raises(GraphError, match=told):
        _cut_of(args.get("graph"))


def test_settings_are_checked_before_anything_starts() -> None:
    """A name that is no setting is told."""
    with pytest.raises(SettingsError, match="wokers"):
        app({"graph": yaml.safe_load(GRAPH), "settings": {"wokers": 2}})
