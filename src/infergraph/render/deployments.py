"""Deployments, and the StatefulSet of a front that takes tasks in.

Source: sections A6, B2 and B8 of the Kubernetes notes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infergraph.render import labels, scaling
from infergraph.render.pods import Pod
from infergraph.render.scene import Object, Scene
from infergraph.render.workloads import Workload
from infergraph.render.yaml_text import Noted, noted

_STATEFUL_LIMIT = 52  # its pods have a label with the name and a hash
_STRATEGY = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}


def deployment(
    scene: Scene, workload: Workload, pod: Pod, *, replicas: Any, checksums: Mapping[str, str] | None = None
) -> Object:
    """A Deployment.

    Args:
        replicas: the number of pods; None for none in it.
        checksums: further annotations of the pods.
    """
    head: dict[str, Any] = {} if replicas is None else {"replicas": replicas}
    found = workload.predictor
    deadline = None if found is None else found.predictor.progress_deadline_seconds
    if found is not None and deadline is not None:
        head["progressDeadlineSeconds"] = Noted(deadline, found.field("progressDeadlineSeconds"))
    head |= noted({"strategy": _STRATEGY}, "default")
    return _of_pods("Deployment", scene, workload, pod, head, checksums or {})


def stateful_set(
    scene: Scene, workload: Workload, pod: Pod, *, replicas: Any, checksums: Mapping[str, str], service: str
) -> Object:
    """A StatefulSet whose pod keeps tasks on a volume.

    Args:
        service: its Service.
    """
    number = replicas.value if isinstance(replicas, Noted) else 1
    if scaling.is_autoscaled(workload.asked) or number > 1:
        count = "is autoscaled" if scaling.is_autoscaled(workload.asked) else f"would have {number} replicas"
        text = f"{workload.name} {count}: a task is known to the pod that took it in"
        scene.findings.refuse("--tasks", text)
    if len(workload.name) > _STATEFUL_LIMIT:
        text = f"the pods of a StatefulSet take names of {_STATEFUL_LIMIT} characters: shorten {workload.name}"
        scene.findings.refuse("--tasks", text)
    storage = {"requests": {"storage": Noted(scene.options.tasks, "--tasks")}}
    claim = {"metadata": {"name": pod.claim}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": storage}}
    head = {"serviceName": service, "replicas": number if replicas is None else replicas}
    found = _of_pods("StatefulSet", scene, workload, pod, head, checksums)
    found.document["spec"]["volumeClaimTemplates"] = [claim]
    return found


def _of_pods(
    kind: str, scene: Scene, workload: Workload, pod: Pod, head: Mapping[str, Any], checksums: Mapping[str, str]
) -> Object:
    own = labels.of_pods(scene, workload)
    annotations = labels.annotations_of_pod(scene, workload, pod.metrics_port)
    metadata = {"labels": own.pod}
    if annotations or checksums:
        metadata["annotations"] = {**annotations, **checksums}
    document = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": scene.metadata(workload.name, own.workload, annotations),
        "spec": {
            **head,
            "selector": {"matchLabels": labels.selector(workload)},
            "template": {"metadata": metadata, "spec": pod.spec},
        },
    }
    return Object(document, workload.field)
