"""Numbers of pods: replicas, autoscalers and disruption budgets.

Source: sections A7, A8 and B4 of the Kubernetes notes; autoscaling/v2 and policy/v1 of the Kubernetes API reference;
the ScaledObject of KEDA.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infergraph.graph.placement import Asked, Given
from infergraph.graph.spec import member
from infergraph.render import labels
from infergraph.render.documents import respelt
from infergraph.render.scene import Object, Scene
from infergraph.render.workloads import Component, Workload
from infergraph.render.yaml_text import Noted

_HPA_MEMBERS = ("minReplicas", "maxReplicas", "metrics", "metricsv2")
_KEDA_MEMBERS = ("minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod", "advanced", "triggers")
_PDB_MEMBERS = ("minAvailable", "maxUnavailable")
_DEFAULT_METRIC = "cpu"


def is_autoscaled(asked: Asked) -> bool:
    """Whether an autoscaler chooses the number of pods."""
    return asked.keda_spec is not None or asked.hpa_spec is not None


def replicas(scene: Scene, workload: Workload) -> Any:
    """The number of pods; None where the file says nothing, or an autoscaler chooses it."""
    asked = workload.asked
    if asked.replicas is None:
        return None
    if is_autoscaled(asked):
        if asked.replicas.field not in _shared(workload):
            text = f"{asked.replicas.value} is not rendered: the autoscaler of {workload.name} chooses the number"
            scene.findings.warn(asked.replicas.field, text)
        return None
    return Noted(asked.replicas.value, asked.replicas.field)


def _shared(workload: Workload) -> tuple[str, str]:
    """The fields whose number is that of other workloads as well."""
    predictor = workload.predictor
    return "replicas" if predictor is None else predictor.field("replicas"), "spec.replicas"


def objects(scene: Scene, workload: Workload, pod: Mapping[str, Any]) -> Iterator[Object]:
    """The autoscaler and the budget of a workload.

    Args:
        pod: its spec, as rendered.
    """
    asked = workload.asked
    if asked.keda_spec is not None:
        if asked.hpa_spec is not None:
            scene.findings.warn(asked.hpa_spec.field, f"is not rendered: {asked.keda_spec.field} scales these pods")
        yield _scaled_object(scene, workload, asked.keda_spec)
    elif asked.hpa_spec is not None:
        yield _autoscaler(scene, workload, asked.hpa_spec, pod)
    if asked.pdb_spec is not None:
        yield _budget(scene, workload, asked.pdb_spec)


def _target(workload: Workload) -> dict[str, str]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.name}


def _metadata(scene: Scene, workload: Workload) -> dict[str, Any]:
    return scene.metadata(workload.name, labels.of_object(scene, workload.name, workload.component), {})


def _scaled_object(scene: Scene, workload: Workload, given: Given) -> Object:
    spec = respelt(given.value, _KEDA_MEMBERS)
    spec.pop("scaleTargetRef", None)
    document = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _metadata(scene, workload),
        "spec": {"scaleTargetRef": _target(workload), **spec},
    }
    return Object(document, given.field)


def _autoscaler(scene: Scene, workload: Workload, given: Given, pod: Mapping[str, Any]) -> Object:
    written = respelt(given.value, _HPA_MEMBERS)
    for name in written:
        if name not in _HPA_MEMBERS:
            scene.findings.warn(f"{given.field}.{name}", "is not rendered: the operator has no such member either")
    old, new = written.get("metrics") or (), written.get("metricsv2") or ()
    if old and new:
        scene.findings.warn(f"{given.field}.metricsv2", "is not rendered: metrics stands beside it, and counts")
    metrics = [_converted(metric) for metric in old] if old else list(new)
    spec: dict[str, Any] = {"scaleTargetRef": _target(workload)}
    spec |= {name: written[name] for name in ("minReplicas", "maxReplicas") if written.get(name) is not None}
    if metrics:
        spec["metrics"] = metrics
    _warn_without_request(scene, given, metrics, pod)
    document = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(scene, workload),
        "spec": spec,
    }
    return Object(document, given.field)


def _warn_without_request(scene: Scene, given: Given, metrics: list[Any], pod: Mapping[str, Any]) -> None:
    """A share of nothing is nothing: the autoscaler would never act."""
    for resource, name in _shares(metrics):
        for container in pod["containers"]:
            resources = container.get("resources")
            resources = resources.value if isinstance(resources, Noted) else resources
            known = [member(resources, kind) or {} for kind in ("requests", "limits")]
            is_meant = name in ("", container["name"])
            if is_meant and not any(resource in each for each in known):
                text = f"goes by the share of {resource}, for which the container {container['name']} has no request"
                scene.findings.warn(given.field, f"{text}: the autoscaler would never act")


def _shares(metrics: list[Any]) -> Iterator[tuple[str, str]]:
    """The resources that are measured as a share of what is requested, and the container, if it is a certain one."""
    if not metrics:
        yield _DEFAULT_METRIC, ""
    for metric in metrics:
        for kind in ("resource", "containerResource"):
            found = member(metric, kind)
            if member(member(found, "target"), "type") == "Utilization":
                yield str(member(found, "name") or ""), str(member(found, "container") or "")


def _budget(scene: Scene, workload: Workload, given: Given) -> Object:
    spec = respelt(given.value, _PDB_MEMBERS)
    if all(spec.get(name) is not None for name in _PDB_MEMBERS):
        scene.findings.refuse(given.field, "minAvailable and maxUnavailable exclude each other")
    document = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(scene, workload),
        "spec": {**spec, "selector": {"matchLabels": labels.selector(workload)}},
    }
    return Object(document, given.field)


def warn_of_front(scene: Scene, index: int, found: list[Workload]) -> None:
    """Warn of an autoscaler of the first pod that, under the operator, scaled the orchestrator as well."""
    front = next((each for each in found if each.component is Component.FRONT and each.pod is None), None)
    first = next((each for each in found if each.pod == 0), None)
    if front is None or first is None or not is_autoscaled(first.asked):
        return
    given = first.asked.keda_spec or first.asked.hpa_spec
    assert given is not None
    field = scene.cut.predictors[index].field("svcOrchSpec.replicas")
    text = f"scales {first.name} alone; the operator's orchestrator was in that pod: give {field}"
    scene.findings.warn(given.field, f"{text} for {front.name}")


# ── metrics as autoscaling/v2beta1 has them ─────────────────────────────────────────────────────────────────────────


def _converted(metric: Any) -> Any:
    """A metric of v2beta1 as one of v2; one that is of v2 already stays as it is."""
    kind = str(member(metric, "type") or "")
    name = f"{kind[:1].lower()}{kind[1:]}"
    old = member(metric, name)
    convert = _CONVERSIONS.get(name)
    if convert is None or not isinstance(old, dict) or member(member(old, "target"), "type") is not None:
        return metric
    return {"type": kind, name: convert(old)}


def _resource(old: dict[str, Any]) -> dict[str, Any]:
    container = {"container": member(old, "container")} if member(old, "container") else {}
    value = member(old, "targetAverageValue")
    if value is not None:
        target = {"type": "AverageValue", "averageValue": value}
    else:
        target = {"type": "Utilization", "averageUtilization": member(old, "targetAverageUtilization")}
    return {"name": member(old, "name"), **container, "target": target}


def _pods(old: dict[str, Any]) -> dict[str, Any]:
    target = {"type": "AverageValue", "averageValue": member(old, "targetAverageValue")}
    return {"metric": _metric(old, "selector"), "target": target}


def _external(old: dict[str, Any]) -> dict[str, Any]:
    value = member(old, "targetValue")
    if value is not None:
        target = {"type": "Value", "value": value}
    else:
        target = {"type": "AverageValue", "averageValue": member(old, "targetAverageValue")}
    return {"metric": _metric(old, "metricSelector"), "target": target}


def _object(old: dict[str, Any]) -> dict[str, Any]:
    average = member(old, "averageValue")
    if average is not None:
        target = {"type": "AverageValue", "averageValue": average}
    else:
        target = {"type": "Value", "value": member(old, "targetValue")}
    return {"describedObject": member(old, "target"), "target": target, "metric": _metric(old, "selector")}


def _metric(old: dict[str, Any], selector: str) -> dict[str, Any]:
    given = member(old, selector)
    return {"name": member(old, "metricName"), **({"selector": given} if given else {})}


_CONVERSIONS = {
    "resource": _resource,
    "containerResource": _resource,
    "pods": _pods,
    "external": _external,
    "object": _object,
}
