"""What of a deployment has no effect here is named: every member of every record is used, or named."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
import yaml

from infergraph.graph import spec
from infergraph.graph.inspection import advice
from infergraph.graph.spec import decoder, records

FILE = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: mill}
spec:
  predictors:
  - name: main
    componentSpecs:
    - spec:
        containers:
        - {name: first, image: "example/first:1"}
    graph: {name: first, type: MODEL, component: "parts:First"}
"""
PLACES: dict[type, tuple[Any, ...]] = {
    decoder.Root: (),
    decoder.Metadata: ("metadata",),
    decoder.Spec: ("spec",),
    records.Predictor: ("spec", "predictors", 0),
    decoder.SvcOrchSpec: ("spec", "predictors", 0, "svcOrchSpec"),
    decoder.Container: ("spec", "predictors", 0, "componentSpecs", 0, "spec", "containers", 0),
    records.Node: ("spec", "predictors", 0, "graph"),
}
USED: dict[type, set[str]] = {
    decoder.Root: {"apiVersion", "kind", "metadata", "spec"},
    decoder.Metadata: {"name", "namespace"},
    decoder.Spec: {"predictors", "protocol", "transport", "serverType"},
    records.Predictor: {"name", "graph", "traffic", "shadow", "labels", "componentSpecs"},
    decoder.SvcOrchSpec: set(),
    decoder.Container: {"name", "image", "ports", "env"},
    records.Node: {"name", "type", "implementation", "methods", "children", "parameters", "logger", "component"}
    | {"timeout_ms", "retries", "retry_backoff_ms", "fallback", "shadow"},
}
"""What each record's members are used for has tests of its own; here it is only said that they are."""
VALUES: dict[str, Any] = {
    "annotations": {"example.com/a": "b"},
    "labels": {"a": "b"},
    "env": [{"name": "STEP", "value": "clean"}],
    "explainer": {"modelUri": "gs://m"},
    "endpoint": {"service_host": "there", "service_port": 80},
    "svcOrchSpec": {"replicas": 2},
}
OF_PODS = ("hpaSpec", "kedaSpec", "pdbSpec", "replicas", "metadata")
OF_POD_SPECS = ("volumes", "initContainers", "serviceAccountName", "terminationGracePeriodSeconds", "nodeSelector")
OF_CONTAINERS = ("command", "args", "resources", "livenessProbe", "readinessProbe", "volumeMounts", "envFrom")


def members() -> list[tuple[type, str]]:
    """Every member of every record, as it is spelt in a file, without those that are only kept for ourselves."""
    return [
        (record, field.encode_name)
        for record in PLACES
        for field in msgspec.structs.fields(record)
        if field.name != "methods_written"
    ]


def said(document: dict[str, Any], overrides: dict[str, str] | None = None) -> str:
    """All advice on a document, a line for each."""
    (deployment,) = spec.read(yaml.safe_dump(document), source="d.yaml")
    return "\n".join(f"{problem} ({problem.hint})" for problem in advice(deployment, overrides or {}))


def place(document: dict[str, Any], path: tuple[Any, ...]) -> Any:
    """The part of a document at `path`; objects on the way are made."""
    for part in path:
        document = document.setdefault(part, {}) if isinstance(document, dict) else document[part]
    return document


@pytest.mark.parametrize(("record", "name"), members(), ids=lambda value: getattr(value, "__name__", value))
def test_every_member_is_used_or_named(record: type, name: str) -> None:
    """A member that is set is either one that has an effect, or the advice names it."""
    document = yaml.safe_load(FILE)
    field = next(each for each in msgspec.structs.fields(record) if each.encode_name == name)
    value = VALUES.get(name, 2 if "int" in str(field.type) else {"a": "b"} if "dict" in str(field.type) else "x")
    if name not in USED[record]:
        place(document, PLACES[record])[name] = value
        assert name in said(document)


@pytest.mark.parametrize("path_and_names", [(4, OF_PODS), (5, OF_POD_SPECS), (7, OF_CONTAINERS)], ids=str)
def test_what_kubernetes_alone_reads_is_named_once(path_and_names: tuple[int, tuple[str, ...]]) -> None:
    """Members of pods and containers are named together in one line, with the container's name."""
    length, names = path_and_names
    document = yaml.safe_load(FILE)
    part = place(document, PLACES[decoder.Container][: length + 1])
    part.update({name: 2 if name == "replicas" else {} for name in names})
    lines = [line for line in said(document).splitlines() if "without effect" in line]
    assert len(lines) == 1
    assert all(lines[0].count(name) == 1 for name in names)
    assert ("of first" in lines[0]) is (names is OF_CONTAINERS)


def test_a_plain_deployment_has_nothing_to_name() -> None:
    """Where everything has an effect, nothing is said."""
    assert said(yaml.safe_load(FILE)) == ""


def test_the_environment_of_containers_is_told_by_what_runs_them() -> None:
    """The only node gets its environment; several keep it while they are loaded; one elsewhere gets none from here."""
    document = yaml.safe_load(FILE)
    container = place(document, PLACES[decoder.Container])
    container["env"] = VALUES["env"]
    assert said(document) == ""
    container["env"] = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    assert "env KEY of first" in said(document)
    assert "export it" in said(document)
    container["env"] = VALUES["env"]
    place(document, PLACES[records.Node])["children"] = [{"name": "second", "type": "MODEL", "component": "parts:B"}]
    assert "env STEP of first: holds while the node is loaded" in said(document)
    assert "--node NAME=http://HOST:PORT" in said(document)
    alone = copy.deepcopy(document)
    assert "set it where the node is started" in said(alone, {"first": "http://there:9000"})


def test_containers_without_a_class_are_called() -> None:
    """A node that is nothing but a container is called where it would listen, and the way to run it here is named."""
    document = yaml.safe_load(FILE)
    del place(document, PLACES[records.Node])["component"]
    assert "containers are called, not run: first (http://localhost:9000" in said(document)
    assert "--node NAME=file.py:Class" in said(document)


def test_what_a_node_does_not_read_depends_on_what_answers_there() -> None:
    """Parameters of a remote node, and the address or model of a node with a component, are named as without effect."""
    document = yaml.safe_load(FILE)
    node = place(document, PLACES[records.Node])
    node["parameters"] = [{"name": "a", "value": "1", "type": "INT"}]
    node["modelUri"] = "gs://m"
    assert "without effect here: modelUri" in said(document)
    assert "without effect here: modelUri, parameters" in said(document, {"first": "http://there:9000"})
