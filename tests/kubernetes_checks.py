"""What must hold of the Kubernetes objects of any deployment file: `check` raises AssertionError where it does not.

Schemas, names, selectors, ports and hosts down to the container, the tree joined from all graph files, what the user
wrote of a pod.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import referencing
import yaml
from kubernetes_validate.utils import schema_contents

from infergraph.graph import spec
from infergraph.graph.inspection import inspect
from kubernetes_facts import Document, called, graphs, selected

_EXTENSIONS = frozenset({"ScaledObject", "HTTPRoute", "ServiceMonitor"})
_WORKLOADS = ("Deployment", "StatefulSet")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OURS = frozenset({"env", "ports", "command", "args", "volumeMounts", "image", "name", "workingDir", "resources"})


@cache
def _validator(kind: str, api_version: str) -> jsonschema.Draft202012Validator:
    version = kubernetes_validate.latest_version()
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    schema = schema_contents(f"{folder}/{kind.lower()}-{group}.json", version)
    definitions = schema_contents(f"{folder}/_definitions.json", version)
    found: Any = referencing.Registry()
    for contents in (schema, definitions):
        found = referencing.Resource.from_contents(contents) @ found
    return jsonschema.Draft202012Validator(schema, registry=found)


def valid(document: Document) -> None:
    """Raise unless a document is valid by the schema of the newest Kubernetes."""
    if document["kind"] not in _EXTENSIONS:
        _validator(document["kind"], document["apiVersion"]).validate(document)


def check(text: str, documents: list[Document]) -> None:
    """Raise unless everything holds of the objects of a file.

    Args:
        text: of the file.
        documents: the objects.
    """
    times = Counter(map(called, documents))
    assert max(times.values(), default=1) == 1, times
    for document in documents:
        valid(document)
        assert _LABEL.fullmatch(document["metadata"]["name"]), called(document)
        _metadata(document["metadata"])
        if document["kind"] in _WORKLOADS:
            _workload(document, documents)
        if document["kind"] == "Service":
            _service(document, documents)
    for name, graph in graphs(documents).items():
        checked = inspect(graph, name, {})
        assert checked.problems == [], (name, checked.problems)
        assert not any("unknown member" in found.problem.text for found in checked.advice)
    _trees(text, documents)
    _templates(text, documents)


def _pod(document: Document) -> Document:
    found: Document = document["spec"]["template"]["spec"]
    return found


def _metadata(metadata: Document) -> None:
    """Labels and annotations have keys that a cluster takes, and labels short values."""
    for kind in ("labels", "annotations"):
        for key, value in metadata.get(kind, {}).items():
            name = key.rpartition("/")[2]
            assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", name), key
            assert kind != "labels" or re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", value), value


def _workload(document: Document, documents: list[Document]) -> None:
    name, pod = document["metadata"]["name"], _pod(document)
    assert selected(document["spec"]["selector"]["matchLabels"], documents) == [name]
    _metadata(document["spec"]["template"]["metadata"])
    volumes = [volume["name"] for volume in pod.get("volumes", ())]
    volumes += [claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", ())]
    containers = [*pod.get("initContainers", ()), *pod["containers"]]
    for names in (volumes, [each["name"] for each in containers]):
        assert len(names) == len(set(names)), names
        assert all(_LABEL.fullmatch(each) for each in names), names
    for container in containers:
        assert container.get("image"), container["name"]
        for members, key in (("volumeMounts", "mountPath"), ("env", "name")):
            found = [each[key] for each in container.get(members, ())]
            assert len(found) == len(set(found)), (container["name"], found)
        ports = [port["name"] for port in container.get("ports", ()) if "name" in port]
        assert len(ports) == len(set(ports)), ports
        assert {mount["name"] for mount in container.get("volumeMounts", ())} <= set(volumes), container["name"]


def _service(document: Document, documents: list[Document]) -> None:
    spec = document["spec"]
    targets = selected(spec["selector"], documents)
    assert targets, f"{called(document)} selects nothing"
    numbers = [port["port"] for port in spec["ports"]]
    assert len(numbers) == len(set(numbers)), numbers
    called_at = {port["port"] for port in spec["ports"] if port["name"] != "metrics" or len(targets) == 1}
    for each in documents:
        if each["kind"] in _WORKLOADS and each["metadata"]["name"] in targets:
            declared = {
                port["containerPort"] for container in _pod(each)["containers"] for port in container.get("ports", ())
            }
            assert called_at <= declared, (called(document), numbers, declared)


# ── the tree ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _trees(text: str, documents: list[Document]) -> None:
    """The graph files, joined at their endpoints, are the graphs of the file."""
    files = graphs(documents)
    services = {each["metadata"]["name"]: each for each in documents if each["kind"] == "Service"}
    for deployment in spec.read(text, source="the file"):
        for predictor in deployment.predictors:
            door = _door(deployment.name, predictor, services)
            if door is None:
                continue
            joined = _joined(_file_behind(door, documents, files), services, documents, files)
            assert joined == _shape(predictor.graph), predictor.name


def _door(name: str, predictor: spec.Predictor, services: dict[str, Document]) -> Document | None:
    """The Service of a predictor that infergraph answers."""
    for service in services.values():
        labels = service["metadata"]["labels"]
        is_front = labels["app.kubernetes.io/component"] == "front"
        if is_front and labels["seldon-deployment-id"] == name and _is_of(service, predictor):
            return service
    return None


def _is_of(service: Document, predictor: spec.Predictor) -> bool:
    name = predictor.annotations.get("seldon.io/svc-name")
    return name == service["metadata"]["name"] if name else service["metadata"]["name"].endswith(f"-{predictor.name}")


def _file_behind(service: Document, documents: list[Document], files: dict[str, str]) -> Document | None:
    """The graph file that is served behind a Service; None for a node that has an image of its own."""
    http = next(port["port"] for port in service["spec"]["ports"] if port["name"] == "http")
    (name, *_) = selected(service["spec"]["selector"], documents)
    workload = next(each for each in documents if each["kind"] in _WORKLOADS and each["metadata"]["name"] == name)
    pod = _pod(workload)
    for container in pod["containers"]:
        listens = {port.get("name"): port["containerPort"] for port in container.get("ports", ())}
        if listens.get("http") == http and container.get("command") == ["infergraph", "serve", "graph.yaml"]:
            volume = next(each["name"] for each in container["volumeMounts"] if each.get("subPath") == "graph.yaml")
            config = next(each["configMap"]["name"] for each in pod["volumes"] if each["name"] == volume)
            found: Document = yaml.safe_load(files[config])
            return found
    return None


def _joined(
    document: Document | None, services: dict[str, Document], documents: list[Document], files: dict[str, str]
) -> Any:
    assert document is not None
    (predictor,) = document["spec"]["predictors"]

    def walk(node: Document) -> Any:
        endpoint = node.get("endpoint", {})
        service = services.get(endpoint.get("service_host", ""))
        if service is not None:
            ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
            assert endpoint["httpPort"] == ports["http"]
            assert endpoint["grpcPort"] in (ports.get("grpc"), ports["http"])
            behind = _file_behind(service, documents, files)
            if behind is not None:
                return _joined(behind, services, documents, files)
        return (
            node["name"],
            [walk(child) for child in node.get("children", ())],
            walk(node["fallback"]) if "name" in (node.get("fallback") or {}) else None,
        )

    return walk(predictor["graph"])


def _shape(node: spec.Node) -> Any:
    fallback = _shape(node.fallback) if isinstance(node.fallback, spec.Node) else None
    return node.name, [_shape(child) for child in node.children], fallback


# ── the user's pods ─────────────────────────────────────────────────────────────────────────────────────────────────


def _templates(text: str, documents: list[Document]) -> None:
    """What the user wrote of a pod and its containers stands in one of the workloads."""
    for deployment in spec.read(text, source="the file"):
        for predictor in deployment.predictors:
            for pod in predictor.component_specs:
                written = pod.get("spec") or {}
                if written.get("containers"):
                    assert any(_keeps(written, _pod(each)) for each in _workloads(documents)), written


def _workloads(documents: list[Document]) -> Iterator[Document]:
    return (each for each in documents if each["kind"] in _WORKLOADS)


def _keeps(written: Document, found: Document) -> bool:
    for name, value in written.items():
        if name in ("containers", "initContainers", "volumes"):
            if not all(_stands(each, found.get(name, ())) for each in value):
                return False
        elif found.get(name) != value:
            return False
    return True


def _stands(written: Document, among: list[Document]) -> bool:
    name = str(written.get("name"))
    if len(name) > 63:
        name = f"seldon-{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}"
    name = re.sub("[^a-z0-9-]+", "-", name.lower()).strip("-")
    found = next((each for each in among if each["name"] == name), None)
    if found is None:
        return False
    rest = {key: value for key, value in written.items() if key not in _OURS}
    if "image" in written and found["image"] != written["image"]:
        return False
    kept = {each["name"] for each in found.get("env", ())}
    mounted = {each["mountPath"] for each in found.get("volumeMounts", ())}
    return (
        all(found.get(key) == value for key, value in rest.items())
        and {each["name"] for each in written.get("env", ())} <= kept
        and {each["mountPath"] for each in written.get("volumeMounts", ())} <= mounted
    )
