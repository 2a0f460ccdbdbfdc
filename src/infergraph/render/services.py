"""Services: the door of a predictor, and one for each node's container and each group.

Source: sections A4 and B2 of the Kubernetes notes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infergraph.graph.placement import Place, PlaceKind
from infergraph.render import labels
from infergraph.render.here import FRONT_PORTS
from infergraph.render.ports import FIRST_METRICS
from infergraph.render.scene import Object, Scene
from infergraph.render.workloads import Component, Workload, front_service

HEADLESS = "seldon.io/headless-svc"
_BALANCES_CLIENTS = True
"""Whether a node may have many addresses: then clients balance over the pods, and Services of nodes are headless."""


def of_workload(scene: Scene, workload: Workload) -> list[Object]:
    """The Services that send to a workload, the door first."""
    if workload.predictor is None:
        return [_of_split(scene, workload)]
    found = []
    entrance = workload.predictor.entrance
    if entrance.kind is PlaceKind.FOREIGN and entrance in workload.places and entrance.pod == workload.pod:
        http, grpc = entrance.ports
        found.append(_door(scene, workload, entrance, {"http": http, "grpc": grpc}))
    for place in workload.places:
        if place.pod != workload.pod:  # its Service stands beside the first of the pods that have it
            continue
        http, grpc = place.ports
        ports = {"http": http, "grpc": grpc, "metrics": scene.metrics_port(place, workload)}
        if place.kind is PlaceKind.FRONT:
            found.append(_door(scene, workload, place, ports))
        else:
            found.append(_of_node(scene, workload, place, ports))
    return found


def service(
    scene: Scene,
    name: str,
    *,
    selector: Mapping[str, str],
    ports: Mapping[str, int],
    component: Component,
    instance: str,
    field: str,
    annotations: Mapping[str, str],
    headless: bool = False,
) -> Object:
    """A Service."""
    numbers: dict[int, str] = {}
    for port, number in ports.items():
        numbers.setdefault(number, port)  # of two ports of one number a Service takes the first
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": scene.metadata(name, labels.of_object(scene, instance, component), annotations),
        "spec": {
            "type": "ClusterIP",
            **({"clusterIP": "None"} if headless else {}),
            "selector": dict(selector),
            "ports": [_port(port, number) for number, port in numbers.items()],
        },
    }
    return Object(document, field)


def _port(name: str, number: int) -> dict[str, Any]:
    protocol = {"appProtocol": "kubernetes.io/h2c"} if name == "grpc" else {}
    return {"name": name, "port": number, "targetPort": number, **protocol}


def is_headless(scene: Scene) -> bool:
    """Whether the file asks for doors without an address of their own."""
    deployment = scene.deployment
    asked = deployment.annotations.get(HEADLESS, deployment.metadata_annotations.get(HEADLESS, "false"))
    return asked != "false"


def _of_split(scene: Scene, workload: Workload) -> Object:
    http, grpc = FRONT_PORTS
    return service(
        scene,
        workload.name,
        selector=labels.selector(workload),
        ports={"http": http, "grpc": grpc, "metrics": FIRST_METRICS},
        component=Component.SPLIT,
        instance=workload.name,
        field=workload.field,
        annotations={},
    )


def _door(scene: Scene, workload: Workload, place: Place, ports: Mapping[str, int]) -> Object:
    assert workload.predictor is not None
    predictor = workload.predictor.predictor
    return service(
        scene,
        front_service(scene.deployment.name, predictor),
        selector=_selector(scene, workload, place),
        ports=ports,
        component=Component.FRONT if place.kind is PlaceKind.FRONT else Component.NODE,
        instance=workload.name,
        field=workload.predictor.path or "graph",
        annotations=labels.of_service(workload),
        headless=is_headless(scene),
    )


def _of_node(scene: Scene, workload: Workload, place: Place, ports: Mapping[str, int]) -> Object:
    return service(
        scene,
        scene.service(place),
        selector=_selector(scene, workload, place),
        ports=ports,
        component=Component.NODE if place.kind is PlaceKind.FOREIGN else Component.GROUP,
        instance=workload.name,
        field=place.field,
        annotations=labels.of_service(workload),
        headless=_BALANCES_CLIENTS,
    )


def _selector(scene: Scene, workload: Workload, place: Place) -> dict[str, str]:
    shared = labels.shared(scene, workload).get(place.name)
    return labels.selector(workload) if shared is None else {shared[0]: shared[1]}
