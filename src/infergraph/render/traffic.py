"""Traffic from outside: the HTTPRoute of a Gateway; and what watches it: ServiceMonitors.

Source: sections B7 and B8 of the Kubernetes notes; HTTPRoute of the Gateway API; ServiceMonitor of the Prometheus
operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infergraph.graph.spec import Predictor
from infergraph.render import labels, names
from infergraph.render.scene import Object, Scene
from infergraph.render.workloads import Component, front_service

ISTIO_HOST = "seldon.io/istio-host"
EXPLAINER_PORT = 9000
_GRPC_SERVICES = {"tensorflow": ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")}
_SELDON_SERVICE = "seldon.protos.Seldon"
_OPEN_SERVICE = "inference.GRPCInferenceService"


def route(scene: Scene, explainers: dict[str, tuple[str, int]]) -> Object:
    """The HTTPRoute of a deployment: REST by path, gRPC by service and headers, explainers by a path of their own.

    Args:
        explainers: name and port of the Service of each predictor's explainer, by the predictor's name.
    """
    deployment = scene.deployment
    namespace = scene.namespace or "default"
    name, _, home = scene.options.gateway.partition(".")
    spec: dict[str, Any] = {"parentRefs": [{"name": name, **({"namespace": home} if home else {})}]}
    hosts = scene.options.hosts or _istio_hosts(scene)
    if hosts:
        spec["hostnames"] = list(hosts)
    path = f"/seldon/{namespace}/{deployment.name}"
    rules = [
        {"matches": [_path(path)], **_filters(scene, 0, [_rewrite()]), "backendRefs": _backends(scene, 0)},
        {"matches": _grpc_matches(scene, namespace), **_filters(scene, 1, []), "backendRefs": _backends(scene, 1)},
    ]
    for predictor, (service, port) in explainers.items():
        matches = [_path(f"{path}-explainer/{predictor}")]
        rules.append({"matches": matches, "filters": [_rewrite()], "backendRefs": [{"name": service, "port": port}]})
    spec["rules"] = rules
    name = names.joined(deployment.name)
    component = labels.of_object(scene, name, Component.SPLIT)
    document = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": scene.metadata(name, component, {}),
        "spec": spec,
    }
    return Object(document, "spec.predictors")


def _istio_hosts(scene: Scene) -> tuple[str, ...]:
    deployment = scene.deployment
    host = deployment.annotations.get(ISTIO_HOST) or deployment.metadata_annotations.get(ISTIO_HOST)
    return (host,) if host and host != "*" else ()


def _path(value: str) -> dict[str, Any]:
    return {"path": {"type": "PathPrefix", "value": value}}


def _rewrite() -> dict[str, Any]:
    path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
    return {"type": "URLRewrite", "urlRewrite": {"path": path}}


def _grpc_matches(scene: Scene, namespace: str) -> list[dict[str, Any]]:
    usual = (_OPEN_SERVICE,) if scene.is_v2 else (_SELDON_SERVICE,)
    headers = [{"name": "seldon", "value": scene.deployment.name}, {"name": "namespace", "value": namespace}]
    found = _GRPC_SERVICES.get(scene.deployment.protocol, usual)
    return [{**_path(f"/{service}"), "headers": headers} for service in found]


def _backend(scene: Scene, index: int, port: int) -> dict[str, Any]:
    found = scene.cut.predictors[index]
    service = front_service(scene.deployment.name, found.predictor)
    return {"name": service, "port": found.entrance.ports[port]}


def _backends(scene: Scene, port: int) -> list[dict[str, Any]]:
    """The predictors that answer, with their shares where there are several.

    Args:
        port: 0 for HTTP, 1 for gRPC.
    """
    live = [(index, each) for index, each in _predictors(scene) if not each.shadow]
    weighs = len(live) > 1
    return [
        _backend(scene, index, port) | ({"weight": predictor.traffic} if weighs else {}) for index, predictor in live
    ]


def _filters(scene: Scene, port: int, first: list[dict[str, Any]]) -> dict[str, Any]:
    found = list(first)
    for index, predictor in _predictors(scene):
        if predictor.shadow:
            mirror = {"backendRef": _backend(scene, index, port)}
            share = {"percent": predictor.traffic} if predictor.traffic > 0 else {}
            found.append({"type": "RequestMirror", "requestMirror": mirror | share})
    return {"filters": found} if found else {}


def _predictors(scene: Scene) -> list[tuple[int, Predictor]]:
    return list(enumerate(scene.deployment.predictors))


def monitors(scene: Scene) -> Iterator[Object]:
    """The ServiceMonitors: of the Services of infergraph, and of nodes with an image of their own."""
    ours = (Component.FRONT, Component.GROUP, Component.SPLIT)
    base = names.joined(scene.deployment.name)
    yield _monitor(scene, base, ours, "/metrics")
    if any(found.foreign for found in scene.cut.predictors):
        yield _monitor(scene, names.joined(scene.deployment.name, "nodes"), (Component.NODE,), "/prometheus")


def _monitor(scene: Scene, name: str, components: tuple[Component, ...], path: str) -> Object:
    chosen = {"key": labels.COMPONENT, "operator": "In", "values": [component.value for component in components]}
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": scene.metadata(name, labels.of_object(scene, name, components[0]), {}),
        "spec": {
            "selector": {"matchLabels": {labels.PART_OF: scene.id}, "matchExpressions": [chosen]},
            "endpoints": [{"port": "metrics", "path": path}],
        },
    }
    return Object(document, "--service-monitor")
