"""Containers that run infergraph: of a front, a group, or a split.

Source: section B3 of the Kubernetes notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from infergraph.graph.placement import PredictorCut
from infergraph.graph.spec import Deployment, entries, member
from infergraph.render import names
from infergraph.render.documents import Attached, attached, filled, respelt
from infergraph.render.models import Model
from infergraph.render.ports import FIRST_GRPC, FIRST_HTTP, FIRST_METRICS, counted, port_named
from infergraph.render.scene import Scene
from infergraph.render.security import CONFINED, SEALED
from infergraph.render.yaml_text import Noted, noted

FRONT_PORTS = 8000, 5001
FILE = "graph.yaml"
CONTAINER = "infergraph"
_CERTIFICATES = "seldon-cert-volume"
_FIRST_PORTS = {"http": FIRST_HTTP, "grpc": FIRST_GRPC, "metrics": FIRST_METRICS}
_ENGINE = "seldon.io/engine-"
_DEFAULT_RESOURCES = {"requests": {"cpu": "500m", "memory": "512Mi"}}
_MEMBERS = (
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "ports",
    "env",
    "envFrom",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "volumeMounts",
    "securityContext",
)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A process of infergraph in a pod.

    Args:
        name: of its container.
        field: what it comes from.
        given: its container in the file; empty where it has none.
        suffix: of its volumes, where the pod has several such processes.
        file: name of the ConfigMap with its graph.
        env: of the orchestrator, with the field each comes from.
        certificate: the secret with the server's certificate.
        serves_tls: whether it serves by that certificate.
        keeps_data: it takes tasks in, and the pod has a volume claim for its data.
    """

    name: str
    field: str
    file: str
    http_port: int
    grpc_port: int
    metrics_port: int
    given: Mapping[str, Any] = {}
    suffix: str = ""
    resources: Any = None
    env: tuple[tuple[dict[str, Any], str], ...] = ()
    models: tuple[Model, ...] = ()
    certificate: str = ""
    serves_tls: bool = False
    keeps_data: bool = False


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A container, and what its pod needs for it."""

    container: dict[str, Any]
    volumes: list[dict[str, Any]] = []
    initializers: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []


def built(scene: Scene, server: Server, taken: frozenset[str]) -> Built:
    """The container of a process of infergraph.

    Args:
        taken: names of the pod's volumes in the file.
    """
    given = respelt(server.given, _MEMBERS)
    for name in ("command", "args"):
        if given.pop(name, None):
            scene.findings.warn(f"{server.field}.{name}", "is not rendered: the container runs `infergraph serve`")
    own_workdir = given.pop("workingDir", None)
    workdir = own_workdir or scene.options.workdir
    given_image = given.pop("image", None)
    container = {
        "name": names.part(server.name),
        "image": given_image or Noted(scene.options.image, "--image"),
        "command": ["infergraph", "serve", FILE],
        "workingDir": Noted(workdir, "--workdir") if own_workdir is None else own_workdir,
        "ports": _ports(scene, server, given.pop("ports", None)),
        "env": _environment(scene, server, given.pop("env", None)),
        **{key: value for key, value in given.items() if key != "name"},
    }
    with_secrets(container, (model.secret for model in server.models))
    container["resources"] = server.resources or Noted(_DEFAULT_RESOURCES, "default")
    container = filled(container, noted(_probes(server), "default"))
    volumes = attached(container, _attached(server, workdir, taken))
    return Built(
        container=filled(container, noted({"securityContext": CONFINED if given_image else SEALED}, "default")),
        volumes=volumes,
        initializers=[model.initializer for model in server.models if model.initializer is not None],
    )


def _attached(server: Server, workdir: str, taken: frozenset[str]) -> Iterator[Attached]:
    """The graph file, folders to write in, models, the certificate."""
    graph, data, tmp = (names.unused(names.part(f"{name}{server.suffix}"), taken) for name in ("graph", "data", "tmp"))
    file = {"name": graph, "mountPath": f"{workdir.rstrip('/')}/{FILE}", "subPath": FILE, "readOnly": True}
    yield Attached(file, {"name": graph, "configMap": {"name": server.file}})
    yield Attached({"name": data, "mountPath": "/data"}, None if server.keeps_data else {"name": data, "emptyDir": {}})
    yield Attached({"name": tmp, "mountPath": "/tmp"}, {"name": tmp, "emptyDir": {}})
    for model in server.models:
        yield from model.attached
    if server.certificate:
        mount = {"name": _CERTIFICATES, "mountPath": "/cert/", "readOnly": True}
        yield Attached(mount, {"name": _CERTIFICATES, "secret": {"secretName": server.certificate}})


def orchestrator_environment(deployment: Deployment, predictor: PredictorCut) -> tuple[tuple[dict[str, Any], str], ...]:
    """The variables that a front gets from svcOrchSpec, and from the annotations seldon.io/engine-…, in this order."""
    field = predictor.field("svcOrchSpec.env")
    given = entries(predictor.predictor.svc_orch_spec, "env")
    found = [(each, f"{field}[{place}]") for place, each in enumerate(given)]
    known = {member(each, "name") for each, _ in found}
    for key in sorted(deployment.annotations):
        name = key.removeprefix(_ENGINE).replace("-", "_").upper()
        if key.startswith(_ENGINE) and name != "SEPARATE_POD" and name not in known:
            value = {"name": name, "value": deployment.annotations[key]}
            found.append((value, f"spec.annotations.{key}"))
    return tuple(found)


def _ports(scene: Scene, server: Server, given: Any) -> list[Any]:
    """The container's ports: those of the file under other names, and ours."""
    numbers = {"http": server.http_port, "grpc": server.grpc_port, "metrics": server.metrics_port}
    found = []
    for port in given if isinstance(given, list) else ():
        name = member(port, "name")
        if name in numbers and member(port, "containerPort") != numbers[name]:
            text = f"the port {name} is {numbers[name]} here: the front listens on it, whatever the file says"
            scene.findings.warn(f"{server.field}.ports", text)
        elif name not in numbers:
            found.append(port)
    ours = [
        {"name": name, "containerPort": Noted(number, _source(server, name, number))}
        for name, number in numbers.items()
    ]
    return [*ours, *found]


def _source(server: Server, name: str, number: int) -> str:
    """Where a port number comes from."""
    if number in FRONT_PORTS:
        return "front"
    if not server.given:
        return "default"
    if port_named(server.given, name) == number:
        return f"{server.field}.ports"
    return counted(number, _FIRST_PORTS[name])


def _environment(scene: Scene, server: Server, given: Any) -> list[Any]:
    """The variables of the container: ours, the orchestrator's, the user's, each name once; the last one counts."""
    ours = {
        "INFERGRAPH_HOST": "0.0.0.0",
        "INFERGRAPH_HTTP_PORT": str(server.http_port),
        "INFERGRAPH_GRPC_PORT": str(server.grpc_port),
        "INFERGRAPH_METRICS_PORT": str(server.metrics_port),
        "INFERGRAPH_DATA_DIR": "/data",
        "INFERGRAPH_TASKS": "on" if server.keeps_data else "off",
        "INFERGRAPH_LOG_FORMAT": "json",
        "INFERGRAPH_DRAIN_DELAY_S": "5",
    }
    if server.serves_tls:
        ours |= {"INFERGRAPH_TLS_CERT": "/cert/tls.crt", "INFERGRAPH_TLS_KEY": "/cert/tls.key"}
    if server.certificate:
        ours["SELDON_CERT_MOUNT_PATH"] = "/cert/"
    found: dict[str, Any] = {name: {"name": name, "value": Noted(value, "default")} for name, value in ours.items()}
    for variable, field in server.env:
        name = str(member(variable, "name") or "")
        found.pop(name, None)
        found[name] = variable if field.endswith("]") else Noted(variable, field)
    for place, variable in enumerate(given if isinstance(given, list) else ()):
        name = str(member(variable, "name") or "")
        if name in _FIXED and member(variable, "value") != ours[name]:
            text = f"{name} is set to {member(variable, 'value')}; probes and Services go by {ours[name]}"
            scene.findings.warn(f"{server.field}.env[{place}]", text)
        found.pop(name, None)
        found[name] = variable
    return list(found.values())


_FIXED = frozenset({"INFERGRAPH_HOST", *(f"INFERGRAPH_{name}_PORT" for name in ("HTTP", "GRPC", "METRICS"))})


def with_secrets(container: dict[str, Any], secrets: Iterable[str]) -> None:
    """Add the variables of secrets to a container of ours."""
    found = list(container.get("envFrom") or ())
    found += [{"secretRef": {"name": name}} for name in dict.fromkeys(secrets) if name]
    if found:
        container["envFrom"] = found


def _probes(server: Server) -> dict[str, Any]:
    def probe(path: str, period_s: int) -> dict[str, Any]:
        scheme = {"scheme": "HTTPS"} if server.serves_tls else {}
        return {"httpGet": {"path": path, "port": "http", **scheme}, "periodSeconds": period_s}

    return {"livenessProbe": probe("/live", 10), "readinessProbe": probe("/ready", 2)}
