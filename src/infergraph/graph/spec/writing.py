"""Records back to documents and YAML, as a deployment file spells them."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from infergraph.graph.spec.records import Deployment, Node, Predictor


def node_document(node: Node) -> dict[str, Any]:
    """A node as a plain document, members at their default left out."""
    document: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(node, children=(), fallback=None))
    document["name"] = node.name
    if document.pop("methods_written", False) and not node.methods:
        document["methods"] = []
    if isinstance(node.fallback, Node):
        document["fallback"] = node_document(node.fallback)
    elif node.fallback is not None:
        document["fallback"] = node.fallback
    if node.children:
        document["children"] = [node_document(child) for child in node.children]
    return _plain(document)


def predictor_document(predictor: Predictor) -> dict[str, Any]:
    """A predictor as a plain document, as ENGINE_PREDICTOR holds it."""
    document: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(predictor, graph=Node()))
    document.pop("graph", None)
    head = {"name": predictor.name, "graph": node_document(predictor.graph)}
    return _plain(head | {key: value for key, value in document.items() if key != "name"})


def deployment_document(deployment: Deployment) -> dict[str, Any]:
    """A deployment as a plain document."""
    metadata = {
        "name": deployment.name,
        "namespace": deployment.namespace,
        "labels": deployment.labels,
        "annotations": deployment.metadata_annotations,
    }
    spec = {
        "name": deployment.spec_name,
        "protocol": deployment.protocol,
        "transport": deployment.transport,
        "serverType": deployment.server_type,
        "replicas": deployment.replicas,
        "oauth_key": deployment.oauth_key,
        "oauth_secret": deployment.oauth_secret,
        "annotations": deployment.annotations,
    }
    return {
        "apiVersion": deployment.api_version,
        "kind": deployment.kind,
        "metadata": _given(metadata),
        "spec": _given(spec) | {"predictors": [predictor_document(item) for item in deployment.predictors]},
    }


def to_yaml(deployment: Deployment) -> str:
    """A deployment file; `read` gives the same deployment back."""
    text: str = yaml.dump(
        deployment_document(deployment), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110
    )
    return text


class _Dumper(yaml.SafeDumper):
    """No anchors: a value that occurs twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value not in ("", None, {})}


def _plain(members: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, which is all that YAML and JSON know."""
    return {key: _listed(member) for key, member in members.items()}


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return _plain(value)
    return [_listed(member) for member in value] if isinstance(value, list | tuple) else value
