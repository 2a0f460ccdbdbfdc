"""Problems of the members that say where a node runs."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from infergraph.graph import spec
from infergraph.graph.placement import problems

_ROOT = "spec.predictors[0].graph"


def _problems(graph: str, overrides: dict[str, str] | None = None, pods: list[Any] | None = None) -> list[str]:
    predictor = {"name": "p", "graph": yaml.safe_load(graph), "componentSpecs": pods or []}
    document = {"kind": "SeldonDeployment", "metadata": {"name": "d"}, "spec": {"predictors": [predictor]}}
    (deployment,) = spec.read(yaml.safe_dump(document), source="graph.yaml")
    return [str(problem) for problem in problems(deployment, overrides or {})]


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ("place: moon", ".place: 'moon' is no place"),
        ("place: parent, replicas: 2", ": replicas is asked for a node in its parent's process"),
        ("resources: {cpu: 2}", ".resources.cpu: resources have requests and limits, and no cpu"),
        (
            "resources: {limits: {memory: lots}}",
            ".resources.limits.memory: expected a quantity such as 500m, 2 or 4Gi, found the text 'lots'",
        ),
        (
            "resources: {requests: {cpu: true}}",
            ".resources.requests.cpu: expected a quantity such as 500m, 2 or 4Gi, found true",
        ),
        ("hpaSpec: {minReplicas: 1}", ".hpaSpec.maxReplicas: must be 1 or more, not 0"),
        (
            "hpaSpec: {minReplicas: 3, maxReplicas: 2}",
            ".hpaSpec.minReplicas: 3 is not from 0 to maxReplicas, which is 2",
        ),
        ("kedaSpec: {maxReplicaCount: 2}", ".kedaSpec: has no triggers"),
        (
            "pdbSpec: {minAvailable: 1, maxUnavailable: 50%}",
            ".pdbSpec: minAvailable and maxUnavailable exclude each other",
        ),
    ],
)
def test_members_that_do_not_hold_are_named(members: str, text: str) -> None:
    """Each is refused at its path, in a fallback node as in any other."""
    assert _problems(f"{{name: a, component: m:A, {members}}}") == [f"{_ROOT}{text}"]
    nested = f"{{name: a, component: m:A, fallback: {{name: b, component: m:B, {members}}}}}"
    assert _problems(nested) == [f"{_ROOT}.fallback{text}"]


@pytest.mark.parametrize("quantity", ["500m", "2", "1.5", ".5", "4Gi", "1e3", "128974848", "12E", 2, 0.5])
def test_quantities_of_kubernetes_are_taken(quantity: str | float) -> None:
    """Quantities are taken as Kubernetes writes them, and plain numbers."""
    assert _problems(f"{{name: a, component: m:A, resources: {{limits: {{cpu: {quantity}}}}}}}") == []


def test_node_at_an_address_is_not_scaled_here() -> None:
    """What is outside is scaled where it runs, whether the file or an override gives its address."""
    text = f"{_ROOT}: replicas is asked for a node at an address: scale it where it runs"
    outside = "{name: a, type: MODEL, replicas: 2, endpoint: {service_host: h, service_port: 1}}"
    assert _problems(outside) == [text]
    assert _problems(outside, {"a": "m:A"}) == []
    assert _problems("{name: a, component: m:A, replicas: 2}", {"a": "http://h:1"}) == [text]


def test_pods_with_several_nodes_are_scaled_as_one() -> None:
    """Numbers of one of several nodes of a pod belong at its componentSpec; a pod of one node takes the node's."""
    containers = [{"name": name, "image": f"{name}:1"} for name in ("a", "b", "sidecar")]
    graph = "{name: a, type: MODEL, replicas: 2, children: [{name: b, type: MODEL}]}"
    text = "replicas is asked for one of several nodes of a pod: write it at componentSpecs[0]"
    assert _problems(graph, pods=[{"spec": {"containers": containers}}]) == [f"{_ROOT}: {text}"]
    pods = [{"spec": {"containers": [container]}} for container in containers]
    assert _problems(graph, pods=pods) == []
    assert _problems(graph, {"b": "m:B"}, pods=[{"spec": {"containers": containers}}]) == []


def test_foreign_node_cannot_stay_with_its_parent() -> None:
    """An image of its own is a process of its own."""
    pods = [{"spec": {"containers": [{"name": "a", "image": "a:1"}]}}]
    text = f"{_ROOT}: place: parent is asked for a node with an image of its own"
    assert _problems("{name: a, type: MODEL, place: parent}", pods=pods) == [text]
    assert _problems("{name: a, component: m:A, place: parent}", pods=pods) == []
