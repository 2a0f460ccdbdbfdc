"""The observed orchestrator cases once more, now through the whole server: REST front, graph, remote nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contract.nodes import serving
from contract.test_orchestrator_cases import CASES, EXPECTED, REFUSED_AT_START, _spelt_out, _value
from served import Reply, Served, served

# The payload log needs what only the graph suite sets up; V10's untyped node needs a protocol that a bare predictor,
# which alone is taken without defaults, cannot name. Of families that differ by the graph alone, a few stand for all.
GRAPH_SUITE_ONLY = {case["id"] for case in CASES if "payload_logs" in case} | REFUSED_AT_START | {"V10"}
SAMPLED = ("A", "B", "D")
HEADERS = (
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "x-content-type-options",
    "seldon-puid",
    "location",
)


def deployment(case: dict[str, Any], ports: dict[str, int]) -> dict[str, Any]:
    """A deployment file whose nodes are at these ports."""

    def placed(node: dict[str, Any]) -> dict[str, Any]:
        node = {**node, "children": [placed(child) for child in node.get("children") or ()]}
        if node["name"] in ports:
            port = ports[node["name"]]
            node["endpoint"] = {"service_host": "127.0.0.1", "service_port": port, "httpPort": port}
        return node

    args = case.get("args", [])
    if not args and not case.get("protocol"):
        return {"name": "p", "graph": placed(case["graph"])}
    annotations = {"seldon.io/rest-timeout": args[args.index("--rest_timeout") + 1]} if "--rest_timeout" in args else {}
    specification = {"predictors": [{"name": "p", "graph": placed(case["graph"])}], "annotations": annotations}
    if case.get("protocol"):
        specification["protocol"] = case["protocol"]
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "sdep"},
        "spec": specification,
    }


def ask(there: Served, request: dict[str, Any]) -> Reply:
    headers = {name: value for name, value in request["headers"].items() if not isinstance(value, list)}
    headers.setdefault("Content-Type", "application/json")
    body = None if request["body"] is None else request["body"].encode()
    return there.ask(request["method"], request["path"], body, headers)


def chosen() -> list[dict[str, Any]]:
    through = [case for case in CASES if case["id"] not in GRAPH_SUITE_ONLY]
    return [case for place, case in enumerate(through) if not case["id"].startswith(SAMPLED) or place % 4 == 0]


@pytest.mark.parametrize("case", chosen(), ids=lambda case: case["id"])
def test_case_through_the_server(case: dict[str, Any], tmp_path: Path) -> None:
    """Status, body and the front's fixed headers are those observed, or what the graph suite's EXPECTED says."""
    settings = {"full_health_checks": "--full_health_checks=true" in case.get("args", [])}
    with serving(case["nodes"], tuple(case.get("down", ()))) as nodes:
        (tmp_path / "deployment.json").write_text(json.dumps(deployment(case, nodes.ports)))
        environment = {
            "SELDON_ENABLE_ROUTING_INJECTION": case.get("env", {}).get("SELDON_ENABLE_ROUTING_INJECTION", "")
        }
        with served("deployment.json", folder=tmp_path, environment=environment, grpc=False, **settings) as there:
            for number, step in enumerate(case["steps"]):
                expected = {**step["observed"], **EXPECTED.get((case["id"], number), {})}
                expected = _spelt_out(case["id"], expected, step, case)
                reply = ask(there, step["request"])
                assert reply.status == expected["status"], reply.body
                assert _value(reply.body) == _value(expected["body"])
                observed = {name.lower(): value for name, value in (step["observed"].get("headers") or {}).items()}
                if isinstance(step["request"]["headers"].get("Seldon-Puid"), str):
                    for name in HEADERS:
                        assert reply.headers.get(name) == observed.get(name), name


def test_faults_tell_their_reason_and_node_in_headers(tmp_path: Path) -> None:
    """A fault's reason and node reach the caller beside the orchestrator's own body."""
    graph = {"name": "a", "type": "MODEL", "endpoint": {"service_host": "127.0.0.1", "service_port": 1, "httpPort": 1}}
    (tmp_path / "deployment.json").write_text(json.dumps(deployment({"graph": graph}, {})))
    with served("deployment.json", folder=tmp_path, grpc=False) as there:
        reply = there.post("/api/v1.0/predictions", {"strData": "s"})
        assert reply.status == 500
        assert reply.headers["infergraph-node"] == "a"
        assert reply.headers["infergraph-reason"] == "MICROSERVICE_INTERNAL_ERROR"
        assert there.get("/ready").status == 503
