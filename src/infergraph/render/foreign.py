"""Containers of nodes that have an image of their own: the user's, and packaged servers.

Source: sections A4 to A6, A10 and B3 of the Kubernetes notes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from infergraph.graph.placement import Place
from infergraph.graph.spec import Node, entries, member
from infergraph.render import names, servers
from infergraph.render.documents import Attached, added, attached, filled, respelt
from infergraph.render.here import Built, with_secrets
from infergraph.render.models import MOUNTED, Model, asked_by, model_of
from infergraph.render.ports import FIRST_GRPC, FIRST_HTTP, FIRST_METRICS, counted
from infergraph.render.scene import Scene
from infergraph.render.security import CONFINED
from infergraph.render.servers import TENSORFLOW_IMAGE, Kind, Packaged, packaged, parameters_text, tensorflow_args
from infergraph.render.yaml_text import Noted, noted, plain

TENSORFLOW = "tfserving"
_FIRST_PROXIED = 2001, 2000
_OPERATOR = "as the operator sets it"
_METRICS_PATH = "/prometheus"
_PROBES = {
    "livenessProbe": {"initialDelaySeconds": 60},
    "readinessProbe": {"initialDelaySeconds": 20},
}
_TIMES = {"periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": 1}
_LIFECYCLE = {"preStop": {"exec": {"command": ["/bin/sh", "-c", "/bin/sleep 10"]}}}
_POD_INFO = Attached(
    {"name": "seldon-podinfo", "mountPath": "/etc/podinfo"},
    {
        "name": "seldon-podinfo",
        "downwardAPI": {"items": [{"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]},
    },
)
_MEMBERS = (
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "ports",
    "env",
    "envFrom",
    "resources",
    "volumeMounts",
    "livenessProbe",
    "readinessProbe",
    "lifecycle",
    "securityContext",
)


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """A container of a node.

    Args:
        place: the node.
        given: its container in the file; empty where it has none.
        field: what it comes from.
        metrics_port: of its metrics.
        proxied: how many TensorFlow nodes of the pod stand before it.
    """

    place: Place
    node: Node
    given: Mapping[str, Any] = {}
    field: str
    metrics_port: int
    proxied: int = 0


def built(scene: Scene, foreign: Foreign, pod: Mapping[str, Any], taken: frozenset[str]) -> Built:
    """The container of a node, and what its pod needs for it.

    Args:
        pod: the user's pod.
        taken: names of its volumes.
    """
    node, place = foreign.node, foreign.place
    proxied = _FIRST_PROXIED[0] + 2 * foreign.proxied, _FIRST_PROXIED[1] + 2 * foreign.proxied
    is_proxy = node.packaged != "" and servers.kind_of(scene, node) is Kind.PROXY
    behind = names.part(f"{TENSORFLOW}-{node.name}") if foreign.proxied else TENSORFLOW
    asking = asked_by(place, node, place.field)
    if is_proxy:
        asking = msgspec.structs.replace(asking, name=behind, node="")
    model = model_of(scene, asking, taken=taken) if node.model_uri else Model(folder=MOUNTED)
    ports = place.ports
    server = packaged(scene, node, model.folder, ports, proxied) if node.packaged else None
    given = respelt(foreign.given, _MEMBERS)
    image = given.get("image") or Noted(*servers.image_of(scene, node))
    container: dict[str, Any] = {"name": names.part(node.name), "image": image}
    container |= {key: value for key, value in given.items() if key not in container}
    if server is not None and server.args and not container.get("args"):
        container["args"] = Noted(list(server.args), node.packaged)
    added(container, "ports", _ports(foreign))
    container["env"] = _environment(scene, foreign, server, model.folder, str(plain(image)))
    container = filled(container, noted({"imagePullPolicy": "IfNotPresent"}, "default"))
    if node.resources:
        container["resources"] = Noted(node.resources, f"{place.field}.resources")
    with_secrets(container, [model.secret])
    behind_it = _tensorflow(foreign, behind, pod, model, proxied) if is_proxy else None
    volumes = attached(container, [_POD_INFO, *(() if is_proxy else model.attached)])
    volumes += [each.volume for each in model.attached if each.volume is not None] if is_proxy else []
    defaults = {**_probes(scene, foreign, server), "lifecycle": _LIFECYCLE, "securityContext": CONFINED}
    return Built(
        container=filled(container, noted(defaults, "default")),
        volumes=volumes,
        initializers=[model.initializer] if model.initializer is not None else [],
        beside=[behind_it] if behind_it is not None else [],
    )


def _ports(foreign: Foreign) -> list[dict[str, Any]]:
    numbers = {
        "metrics": (foreign.metrics_port, FIRST_METRICS),
        "http": (foreign.place.http_port, FIRST_HTTP),
        "grpc": (foreign.place.grpc_port, FIRST_GRPC),
    }
    return [
        {"name": name, "containerPort": Noted(number, counted(number, first))}
        for name, (number, first) in numbers.items()
    ]


def is_grpc(scene: Scene, node: Node) -> bool:
    """Whether the node is called over gRPC."""
    kind = node.endpoint.type if node.endpoint is not None else ""
    return scene.deployment.transport == "grpc" or kind == "GRPC"


def _environment(scene: Scene, foreign: Foreign, server: Packaged | None, folder: str, image: str) -> list[Any]:
    """The user's variables, then those that are missing, then those that are set whatever the user says."""
    if_missing, always = _variables(scene, foreign, server, folder, image)
    found: dict[str, Any] = {}
    written = respelt(foreign.given, ("env",)).get("env")
    for place, variable in enumerate(written if isinstance(written, list) else ()):
        name = str(member(variable, "name") or "")
        if name in always:
            if member(variable, "value") != always[name]:
                text = f"{name} is set to {always[name]}, as the operator does"
                scene.findings.warn(f"{foreign.field}.env[{place}]", text)
            continue
        found.pop(name, None)
        found[name] = variable
    ours = {name: value for name, value in if_missing.items() if name not in found} | always
    return [*found.values(), *({"name": name, "value": Noted(value, _OPERATOR)} for name, value in ours.items())]


def _variables(
    scene: Scene, foreign: Foreign, server: Packaged | None, folder: str, image: str
) -> tuple[dict[str, str], dict[str, str]]:
    node, place = foreign.node, foreign.place
    predictor = scene.cut.predictors[place.predictor].predictor
    http, grpc, metrics = str(place.http_port), str(place.grpc_port), str(foreign.metrics_port)
    if_missing = {
        "PREDICTIVE_UNIT_SERVICE_PORT": grpc if is_grpc(scene, node) else http,
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": http,
        "MLSERVER_HTTP_PORT": http,
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": grpc,
        "MLSERVER_GRPC_PORT": grpc,
    }
    parameters = node.parameters if server is None else server.parameters
    if parameters:
        if_missing["PREDICTIVE_UNIT_PARAMETERS"] = parameters_text(parameters)
    if server is not None:
        if_missing |= server.environment
    if node.model_uri:
        if_missing["MLSERVER_MODEL_URI"] = folder
    labels = {"version": predictor.name} | predictor.labels
    return if_missing, {
        "PREDICTIVE_UNIT_ID": node.name,
        "MLSERVER_MODEL_NAME": node.name,
        "PREDICTIVE_UNIT_IMAGE": image,
        "PREDICTOR_ID": predictor.name,
        "PREDICTOR_LABELS": msgspec.json.encode(labels, order="sorted").decode(),
        "SELDON_DEPLOYMENT_ID": scene.deployment.name,
        "SELDON_EXECUTOR_ENABLED": "true",
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": metrics,
        "MLSERVER_METRICS_PORT": metrics,
        "PREDICTIVE_UNIT_METRICS_ENDPOINT": _METRICS_PATH,
        "MLSERVER_METRICS_ENDPOINT": _METRICS_PATH,
    }


def _probes(scene: Scene, foreign: Foreign, server: Packaged | None) -> dict[str, Any]:
    port = foreign.place.grpc_port if is_grpc(scene, foreign.node) else foreign.place.http_port
    found = {}
    for name, delay in _PROBES.items():
        ending = "live" if name == "livenessProbe" else "ready"
        asked: dict[str, Any] = {"tcpSocket": {"port": port}}
        if server is not None and server.has_health:
            asked = {"httpGet": {"path": f"/v2/health/{ending}", "port": "http"}}
        found[name] = asked | delay | _TIMES
    return found


def _tensorflow(
    foreign: Foreign, name: str, pod: Mapping[str, Any], model: Model, ports: tuple[int, int]
) -> dict[str, Any]:
    """The TensorFlow Serving behind the proxy of a node; a user's container of that name is filled in."""
    own = entries(pod, "containers")
    given = respelt(next((each for each in own if member(each, "name") == name), {}), _MEMBERS)
    container = filled(
        {"name": name} | given,
        {
            "image": Noted(TENSORFLOW_IMAGE, "default"),
            "args": Noted(list(tensorflow_args(foreign.node.name, model.folder, ports)), foreign.node.packaged),
            "ports": Noted([{"containerPort": number} for number in sorted(ports)], foreign.node.packaged),
        },
    )
    attached(container, model.attached)
    return filled(container, noted({"securityContext": CONFINED}, "default"))
