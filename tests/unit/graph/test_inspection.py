"""What a check of a deployment file tells beyond its schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infergraph.graph import inspection

ENDPOINT = {"service_host": "there", "service_port": 9000}


def advice(graph: dict[str, Any], protocol: str = "v2", **overrides: str) -> list[str]:
    document = {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "flow"},
        "spec": {"protocol": protocol, "predictors": [{"name": "main", "graph": graph}]},
    }
    found = inspection.inspect(json.dumps(document), "flow.json", overrides)
    return [f"{each.problem.field} {each.problem.text}" for each in found.advice]


def node(kind: str, transport: str, **more: Any) -> dict[str, Any]:
    models = [{"name": name, "type": "MODEL", "endpoint": ENDPOINT} for name in ("a", "b")]
    return {"name": "r", "type": kind, "endpoint": ENDPOINT | {"type": transport} | more, "children": models}


@pytest.mark.parametrize(("kind", "asked"), [("ROUTER", "route"), ("COMBINER", "aggregate")])
def test_only_our_servers_are_asked_for_routes_and_aggregates_over_grpc(kind: str, asked: str) -> None:
    """A remote router or combiner of protocol v2 over gRPC is told by its place, by TLS too; others are not."""
    wanted = f"spec.predictors[0].graph over gRPC the parameter seldon_method asks for the {asked}"
    for told in (
        advice(node(kind, "GRPC")),
        advice(node(kind, "GRPC", tls=True)),
        advice(node(kind, "", grpcPort=9001, tls=True)),
        advice(node(kind, "REST"), r="grpcs://there:443"),
    ):
        assert any(line.startswith(wanted) for line in told), told
    for given in (
        advice(node(kind, "REST")),
        advice(node(kind, "GRPC"), "seldon"),
        advice(node(kind, "GRPC"), r="m:C"),
    ):
        assert not any("seldon_method" in line for line in given)


def test_rewards_do_not_reach_remote_nodes_of_the_open_inference_protocol() -> None:
    """The protocol has no feedback, so a remote router learns nothing."""
    inner = {"name": "t", "type": "TRANSFORMER", "endpoint": ENDPOINT, "children": [node("ROUTER", "REST")]}
    assert any(line.startswith("spec.predictors[0].graph[0] protocol v2 has no feedback") for line in advice(inner))
    assert not any("feedback" in line for line in advice(inner, "seldon"))
    assert not any("feedback" in line for line in advice(inner, r="m:C"))
