"""Labels, selectors and annotations.

Source: sections A3 and B2 of the Kubernetes notes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from infergraph.graph.spec import member
from infergraph.render import names
from infergraph.render.scene import Scene
from infergraph.render.workloads import Component, Workload, front_service, repeated
from infergraph.render.yaml_text import Noted

INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
PART_OF = "app.kubernetes.io/part-of"
_SHARED = "seldon-app-svc"


def of_object(scene: Scene, instance: str, component: Component) -> dict[str, Any]:
    """The labels that every object of ours has."""
    return labels_of(scene.id, instance, {COMPONENT: component.value})


def labels_of(identity: str, instance: str, more: Mapping[str, str] = {}) -> dict[str, Any]:
    """The labels of an object.

    Args:
        identity: of the deployment.
        instance: what the object belongs to.
    """
    return {
        "app.kubernetes.io/name": identity,
        INSTANCE: instance,
        **more,
        PART_OF: identity,
        "app.kubernetes.io/managed-by": "infergraph",
        "seldon-deployment-id": identity,
    }


def selector(workload: Workload) -> dict[str, str]:
    """The labels that only the pods of a workload have."""
    return {INSTANCE: workload.name}


class PodLabels(NamedTuple):
    """The labels of a workload's pods, and those of the workload, which has the document's as well."""

    pod: dict[str, Any]
    workload: dict[str, Any]


def of_pods(scene: Scene, workload: Workload) -> PodLabels:
    """The labels of a workload: the user's, then ours, which win; a clash is a warning."""
    first: dict[str, Any] = {"app": workload.name}
    written: list[tuple[str, Mapping[str, Any]]] = []
    if workload.predictor is not None:
        predictor = workload.predictor.predictor
        version = predictor.name if names.is_label_value(predictor.name) else names.mended(predictor.name)
        first["version"] = Noted(version, workload.predictor.field("name"))
        written.append((workload.predictor.field("labels"), predictor.labels))
    template = member(member(workload.template, "metadata"), "labels")
    if isinstance(template, dict):
        written.append((f"{workload.field}.metadata.labels", template))
    ours = of_object(scene, workload.name, workload.component) | _of_services(scene, workload)
    users: dict[str, Any] = {}
    for field, labels in written:
        users |= labels
        for name, value in labels.items():
            if ours.get(name, value) != value:
                scene.findings.warn(f"{field}.{name}", f"is set to {ours[name]}: it is a label of ours")
    return PodLabels(first | users | ours, first | scene.deployment.labels | users | ours)


def _of_services(scene: Scene, workload: Workload) -> dict[str, str]:
    """The labels of the Services that send to these pods."""
    if workload.component is Component.SPLIT:
        return {"seldon-app": workload.name}
    if workload.predictor is None or workload.component is Component.EXPLAINER:
        return {}
    found = {}
    entrance = workload.predictor.entrance
    if entrance in workload.places:
        found["seldon-app"] = front_service(scene.deployment.name, workload.predictor.predictor)
    return found | dict(shared(scene, workload).values())


def shared(scene: Scene, workload: Workload) -> dict[str, tuple[str, str]]:
    """For each container that stands in several pods: the label that all of them have, and its value."""
    if workload.predictor is None or workload.pod is None:
        return {}
    labels = {
        name: names.part(f"{_SHARED}-{name}") if number else _SHARED
        for number, name in enumerate(repeated(workload.predictor))
    }
    return {place.name: (labels[place.name], scene.service(place)) for place in workload.places if place.name in labels}


def annotations_of_pod(scene: Scene, workload: Workload, metrics_port: int | None) -> dict[str, Any]:
    """The annotations of a workload's pods, which its Deployment has as well: ours, then the user's, which win."""
    found: dict[str, Any] = {}
    if workload.component is not Component.EXPLAINER:
        found["prometheus.io/scrape"] = "true"
        found["prometheus.io/path"] = "/prometheus" if metrics_port is None else "/metrics"
    if metrics_port is not None:
        found["prometheus.io/port"] = str(metrics_port)
        if workload.component is Component.FRONT and has_certificate(workload) and scene.serves_tls:
            found["prometheus.io/scheme"] = "https"
    found |= scene.deployment.annotations
    if workload.predictor is not None:
        found |= workload.predictor.predictor.annotations
    template = member(member(workload.template, "metadata"), "annotations")
    return found | (template if isinstance(template, dict) else {})


def has_certificate(workload: Workload) -> bool:
    """Whether the predictor of a workload names a certificate."""
    return workload.predictor is not None and bool(member(workload.predictor.predictor.ssl, "certSecretName"))


def of_service(workload: Workload) -> Mapping[str, str]:
    """The annotations of a Service."""
    return {} if workload.predictor is None else workload.predictor.predictor.annotations
