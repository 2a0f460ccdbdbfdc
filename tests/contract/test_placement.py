"""The cut of deployments, held against the graph files that the Kubernetes cases hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infergraph.graph import spec
from infergraph.graph.placement import Cut, Place, PlaceKind, cut, file_of, split_of
from infergraph.unit_source import read_overrides

CASES = Path(__file__).parent / "cases" / "kubernetes"


def _runs() -> list[Any]:
    found = []
    for file in sorted(CASES.glob("[0-9]*.json")):
        case = json.loads(file.read_text())
        if file.name.startswith("10-") or "ray" in file.name:  # the names of objects are not the cut's
            continue
        for number, run in enumerate(case["runs"]):
            if any("graph" in fact for fact in run.get("objects", ())):
                found.append(pytest.param(CASES / case["input"], run, id=f"{file.stem}-{number}"))
    return found


def _service(found: Cut, place: Place) -> str:
    names = [found.deployment.name, found.predictors[place.predictor].predictor.name, place.name]
    return "-".join(names[:2] if place.kind is PlaceKind.FRONT else names)


def _model_uri(place: Place, node: spec.Node) -> str:
    if node.model_uri.startswith("pvc:"):
        return f"/pvc/{node.name}"
    return "/mnt/models" if place.pod is not None and place.name == node.name else f"/models/{node.name}"


def _files(deployment: spec.Deployment, overrides: dict[str, str]) -> dict[str, spec.Deployment]:
    """The graph files of a deployment by the names of the ConfigMaps that hold them."""
    found = cut(deployment, overrides)

    def addresses(place: Place) -> spec.Endpoint:
        return spec.Endpoint(_service(found, place), http_port=place.http_port, grpc_port=place.grpc_port)

    files = {
        f"{_service(found, place)}-graph": file_of(found, place, addresses, model_uri=_model_uri)
        for predictor in found.predictors
        for place in predictor.served
    }
    if len(found.predictors) > 1:
        files[f"{deployment.name}-graph"] = split_of(found, addresses)
    return files


def _facts(node: dict[str, Any]) -> dict[str, Any]:
    """A node as the cases spell it."""
    facts = {key: value for key, value in node.items() if key != "endpoint"}
    if "endpoint" in node:
        facts["at"] = {key.replace("service_host", "host"): value for key, value in node["endpoint"].items()}
    if "parameters" in node:
        facts["parameters"] = [parameter["name"] for parameter in node["parameters"]]
    if "children" in node:
        facts["children"] = [_facts(child) for child in node["children"]]
    return facts


def _graph(deployment: spec.Deployment) -> dict[str, Any]:
    written = spec.deployment_document(deployment)["spec"]
    predictors = [
        {key: value for key, value in each.items() if key in ("name", "traffic", "shadow")}
        | {"graph": _facts(each["graph"])}
        for each in written["predictors"]
    ]
    return written | {"predictors": predictors}


@pytest.mark.parametrize(("file", "run"), _runs())
def test_graph_files_of_the_kubernetes_cases(file: Path, run: dict[str, Any]) -> None:
    """Each place serves the graph that the case's ConfigMap holds."""
    nodes = [run["args"][index + 1] for index, text in enumerate(run["args"]) if text == "--node"]
    files = {}
    for deployment in spec.read(file.read_text(), source=file.name):
        files |= {name: _graph(each) for name, each in _files(deployment, read_overrides(nodes)).items()}
    wanted = {fact["name"]: fact["graph"] for fact in run["objects"] if "graph" in fact}
    assert {name: files[name] for name in wanted} == wanted


@pytest.mark.parametrize("file", sorted(CASES.glob("[0-9]*.yaml")), ids=lambda file: file.stem)
def test_graph_files_are_valid(file: Path) -> None:
    """Each graph file reads back as it was made, is valid, and asks for no place."""
    for deployment in spec.read(file.read_text(), source=file.name):
        for made in _files(deployment, {}).values():
            (again,) = spec.read(spec.to_yaml(made), source="graph.yaml")
            assert again.predictors == made.predictors
            assert spec.validate(again, in_process=spec.addressed(again)) == []
            assert not any(node.placing for one in again.predictors for node in one.graph.walk_all())
