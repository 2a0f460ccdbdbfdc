"""Facts of Kubernetes objects in the words of the cases: `tests/contract/cases/kubernetes/*.json`.

text ──objects──▶ plain documents ──facts──▶ what a case says of each, to be compared
"""

from __future__ import annotations

from typing import Any

import yaml

Document = dict[str, Any]
_WORKLOADS = ("Deployment", "StatefulSet")


def objects(text: str) -> list[Document]:
    """The objects of a rendered text."""
    return [document for document in yaml.safe_load_all(text) if document is not None]


def called(document: Document) -> str:
    """Kind and name."""
    return f"{document['kind']} {document['metadata']['name']}"


def graphs(documents: list[Document]) -> dict[str, str]:
    """The graph files by the names of their ConfigMaps."""
    found = {}
    for each in documents:
        if each["kind"] == "ConfigMap":
            assert list(each["data"]) == ["graph.yaml"]
            found[each["metadata"]["name"]] = each["data"]["graph.yaml"]
    return found


def selected(selector: dict[str, str], documents: list[Document]) -> list[str]:
    """The names of the workloads whose pods have the labels of `selector`."""
    found = []
    for each in documents:
        if each["kind"] in _WORKLOADS:
            labels = each["spec"]["template"]["metadata"]["labels"]
            if all(labels.get(name) == value for name, value in selector.items()):
                found.append(each["metadata"]["name"])
    return sorted(found)


def facts(document: Document, documents: list[Document]) -> dict[str, Any]:
    """The facts of an object; `documents` are all that are rendered with it."""
    spec = document.get("spec", {})
    found: dict[str, Any] = {
        "kind": document["kind"],
        "name": document["metadata"]["name"],
        "namespace": document["metadata"].get("namespace"),
    }
    match document["kind"]:
        case "ConfigMap":
            return found | {"graph": graph(yaml.safe_load(document["data"]["graph.yaml"]))}
        case "Service":
            ports = {port["name"]: port["port"] for port in spec["ports"]}
            assert all(port["port"] == port["targetPort"] for port in spec["ports"])
            selects = selected(spec["selector"], documents)
            return found | {"selects": selects, "headless": spec.get("clusterIP") == "None", "ports": ports}
        case "PodDisruptionBudget":
            return found | spec | {"selects": selected(spec["selector"]["matchLabels"], documents)}
        case "HorizontalPodAutoscaler" | "ScaledObject":
            return found | spec | {"target": spec["scaleTargetRef"]["name"]}
        case kind if kind in _WORKLOADS:
            return found | _of_workload(spec)
    return found | {"spec": spec}


def _of_workload(spec: Document) -> dict[str, Any]:
    pod, metadata = spec["template"]["spec"], spec["template"]["metadata"]
    claims = {
        each["metadata"]["name"]: each["spec"]["resources"]["requests"]["storage"]
        for each in spec.get("volumeClaimTemplates", ())
    }
    return {
        "replicas": spec.get("replicas"),
        "progressDeadlineSeconds": spec.get("progressDeadlineSeconds"),
        "containers": {each["name"]: _of_container(each) for each in pod["containers"]},
        "initContainers": {each["name"]: _of_container(each) for each in pod.get("initContainers", ())},
        "volumes": {each["name"]: _source(each) for each in pod.get("volumes", ())},
        "serviceAccountName": pod.get("serviceAccountName"),
        "podLabels": metadata["labels"],
        "podAnnotations": metadata.get("annotations", {}),
        "serviceName": spec.get("serviceName"),
        "claims": claims,
    }


def _source(volume: Document) -> str:
    (kind,) = set(volume) - {"name"}
    names = {"configMap": "name", "persistentVolumeClaim": "claimName", "secret": "secretName"}
    return f"{kind}:{volume[kind][names[kind]]}" if kind in names else kind


def _of_container(container: Document) -> dict[str, Any]:
    variables = container.get("env", [])
    names = [variable["name"] for variable in variables]
    assert len(names) == len(set(names)), "no variable stands twice"
    probes = {
        name: container[name]["httpGet"]["path"]
        for name in ("livenessProbe", "readinessProbe")
        if "httpGet" in container.get(name, {})
    }
    return {
        **{name: container.get(name) for name in ("image", "command", "args", "resources", "envFrom")},
        "ports": {
            str(port.get("name", port["containerPort"])): port["containerPort"] for port in container.get("ports", ())
        },
        "env": {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables},
        "mounts": {
            mount["mountPath"]: f"{mount['name']}/{mount['subPath']}" if "subPath" in mount else mount["name"]
            for mount in container.get("volumeMounts", ())
        },
        "probes": probes,
    }


def graph(document: Document) -> dict[str, Any]:
    """A graph file as the cases spell it."""
    spec = document["spec"]
    predictors = []
    for predictor in spec["predictors"]:
        kept = {name: predictor[name] for name in ("name", "traffic", "shadow") if name in predictor}
        predictors.append(kept | {"graph": _of_node(predictor["graph"])})
    kept = {name: spec[name] for name in ("annotations", "protocol", "transport") if name in spec}
    return kept | {"predictors": predictors}


def _of_node(node: Document) -> dict[str, Any]:
    found = {name: value for name, value in node.items() if name not in ("endpoint", "children", "parameters")}
    if "endpoint" in node:
        endpoint = dict(node["endpoint"])
        found["at"] = {"host": endpoint.pop("service_host"), **endpoint}
    if node.get("parameters"):
        found["parameters"] = [parameter["name"] for parameter in node["parameters"]]
    if node.get("children"):
        found["children"] = [_of_node(child) for child in node["children"]]
    return found
