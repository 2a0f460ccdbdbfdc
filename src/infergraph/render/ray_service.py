"""The RayService of an application: a Ray cluster with a worker group for each group of the graph.

Source: section C of the Kubernetes notes; KubeRay's API reference, ray.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infergraph.graph.spec import member
from infergraph.render import names
from infergraph.render.labels import labels_of
from infergraph.render.ray import FRONT, Application, RayOptions, Replicated, serve_config
from infergraph.render.scene import Object
from infergraph.render.yaml_text import Noted, plain, to_yaml

RAY_VERSION = "2.60.0"
_HEAD_PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "serve": 8000, "grpc": 9000}
_FRONT_GROUP = "workers"


def ray_service(application: Application, options: RayOptions) -> Object:
    """The RayService of an application."""
    deployment = application.deployment
    name = names.joined(deployment.name)
    metadata: dict[str, Any] = {"name": name}
    if application.namespace:
        given = Noted(application.namespace, "--namespace")
        metadata["namespace"] = given if options.namespace else application.namespace
    metadata["labels"] = {**deployment.labels, **labels_of(names.identity(deployment.name), name)}
    if deployment.metadata_annotations:
        metadata["annotations"] = dict(deployment.metadata_annotations)
    version = options.ray_version or RAY_VERSION
    cluster = {
        "rayVersion": Noted(version, "--ray-version" if options.ray_version else "default"),
        "enableInTreeAutoscaling": any(each.bounds[0] != each.bounds[1] for each in application.replicated),
        "headGroupSpec": _head(options),
        "workerGroupSpecs": [_group(each, options) for each in application.replicated],
    }
    document = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": metadata,
        "spec": {"serveConfigV2": to_yaml(plain(serve_config([application]))), "rayClusterConfig": cluster},
    }
    return Object(document, deployment.field("spec.predictors"))


def _head(options: RayOptions) -> dict[str, Any]:
    container = {
        "name": "ray-head",
        "image": Noted(options.image, "--image"),
        "ports": [{"name": name, "containerPort": port} for name, port in _HEAD_PORTS.items()],
        "resources": Noted({"requests": {"cpu": "1", "memory": "2Gi"}}, "default"),
    }
    return {"rayStartParams": {"num-cpus": "0"}, "template": {"spec": {"containers": [container]}}}


def _group(replicated: Replicated, options: RayOptions) -> dict[str, Any]:
    """A worker group: one replica of the Serve deployment in each pod."""
    least, most = replicated.bounds
    given = replicated.container
    container: dict[str, Any] = {
        "name": "ray-worker",
        "image": given.get("image") or Noted(options.image, "--image"),
    }
    more = {
        "env": [each for each in given.get("env") or () if member(each, "value") is None],
        "envFrom": given.get("envFrom"),
        "resources": _resources(replicated.resources),
        "volumeMounts": given.get("volumeMounts"),
    }
    container |= {name: value for name, value in more.items() if value}
    return {
        "groupName": _FRONT_GROUP if replicated.name == FRONT else names.part(replicated.name),
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {},
        "template": {"spec": {"containers": [container], **replicated.pod}},
    }


def _resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    order = ("requests", "limits")
    return {name: resources[name] for name in order if name in resources} | {
        name: value for name, value in resources.items() if name not in order
    }
