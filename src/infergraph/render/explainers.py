"""Explainers: a Deployment and a Service around the user's container.

Source: section A11 of the Kubernetes notes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from infergraph.graph.placement import PredictorCut
from infergraph.graph.spec import member
from infergraph.render import labels, names, security
from infergraph.render.documents import added, attached, filled, respelt
from infergraph.render.here import Built, with_secrets
from infergraph.render.models import MOUNTED, Asking, Model, model_of, warn_of_account
from infergraph.render.ports import port_named
from infergraph.render.scene import Object, Scene
from infergraph.render.security import CONFINED
from infergraph.render.services import is_headless, service
from infergraph.render.traffic import EXPLAINER_PORT
from infergraph.render.workloads import Component, Workload, front_service
from infergraph.render.yaml_text import Noted, noted

_IMAGE = "seldonio/alibiexplainer:1.17.1"
_OPEN_IMAGE = "seldonio/mlserver:1.3.5-alibi-explain"
_RUNTIME = "mlserver_alibi_explain.AlibiExplainRuntime"
_GRACE_S = 20
_TIMES = {"periodSeconds": 5, "timeoutSeconds": 1}
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CONTAINER = ("name", "image", "args", "ports", "env", "envFrom", "volumeMounts", "securityContext")
_PROBES = ("livenessProbe", "readinessProbe")
_KNOWN = frozenset(
    {
        "type",
        "modeluri",
        "serviceaccountname",
        "containerspec",
        "config",
        "endpoint",
        "envsecretrefname",
        "storageinitializerimage",
        "replicas",
        "initparameters",
    }
)


class Explainer(msgspec.Struct, frozen=True):
    """The explainer of a predictor: its members as they were written, and its path."""

    found: PredictorCut
    field: str

    def text(self, name: str) -> str:
        """A member that is text."""
        return str(member(self.found.predictor.explainer, name) or "")

    def get(self, name: str) -> Any:
        """A member."""
        return member(self.found.predictor.explainer, name)

    @property
    def container(self) -> dict[str, Any]:
        """Its container, with the members that are looked at spelt as Kubernetes does."""
        return respelt(self.get("containerSpec"), (*_CONTAINER, *_PROBES))

    @property
    def port(self) -> int:
        """Where it listens."""
        own = port_named(self.container, "http")
        asked = member(self.get("endpoint"), "service_port")
        return own or (asked if type(asked) is int and asked > 0 else EXPLAINER_PORT)


def explainer_of(scene: Scene, found: PredictorCut) -> Explainer | None:
    """The explainer of a predictor; None, with a warning, for one without a type."""
    document = found.predictor.explainer
    field = found.field("explainer")
    if not document:
        return None
    if not document.get("type"):
        scene.findings.warn(field, "is not rendered: it has no type")
        return None
    for name in document:
        if name.lower() not in _KNOWN:
            scene.findings.warn(f"{field}.{name}", "unknown member, not rendered")
    return Explainer(found, field)


def workload_of(scene: Scene, explainer: Explainer) -> Workload:
    """The workload of an explainer."""
    predictor = explainer.found.predictor
    return Workload(
        name=names.joined(scene.deployment.name, predictor.name, "explainer"),
        component=Component.EXPLAINER,
        field=explainer.field,
        predictor=explainer.found,
    )


def replicas(scene: Scene, explainer: Explainer) -> Any:
    """The number of its pods; None where the file says nothing."""
    predictor, deployment = explainer.found.predictor, scene.deployment
    of_all, field = predictor.replicas, explainer.found.field("replicas")
    if of_all is None:
        of_all, field = deployment.replicas, "spec.replicas"
    if of_all == 0:
        return Noted(0, field)
    own = explainer.get("replicas")
    return None if own is None else Noted(own, f"{explainer.field}.replicas")


def pod(scene: Scene, explainer: Explainer) -> dict[str, Any]:
    """The spec of its pod."""
    container = _built(scene, explainer)
    account = explainer.text("serviceAccountName")
    secret = explainer.text("envSecretRefName")
    warn_of_account(scene, account, uri=explainer.text("modelUri"), secret=secret, field=explainer.field)
    spec: dict[str, Any] = {"serviceAccountName": account} if account else {"automountServiceAccountToken": False}
    spec |= {
        "terminationGracePeriodSeconds": _GRACE_S,
        "securityContext": security.of_pod([container.container]),
    }
    if container.initializers:
        spec["initContainers"] = container.initializers
    spec["containers"] = [container.container]
    if container.volumes:
        spec["volumes"] = container.volumes
    return spec


def service_of(scene: Scene, explainer: Explainer, workload: Workload) -> Object:
    """Its Service."""
    return service(
        scene,
        workload.name,
        selector=labels.selector(workload),
        ports={"http": explainer.port},
        component=Component.EXPLAINER,
        instance=workload.name,
        field=explainer.field,
        annotations=labels.of_service(workload),
        headless=is_headless(scene),
    )


def _built(scene: Scene, explainer: Explainer) -> Built:
    given = explainer.container
    name = names.part(str(given.get("name") or "explainer"))
    uri = explainer.text("modelUri")
    asking = Asking(
        uri=uri,
        name=name,
        field=explainer.field,
        secret=explainer.text("envSecretRefName"),
        image=explainer.text("storageInitializerImage"),
    )
    model = model_of(scene, asking) if uri else Model(folder="")
    image = given.get("image") or Noted(_OPEN_IMAGE if scene.is_v2 else _IMAGE, "default")
    container: dict[str, Any] = {"name": name, "image": image}
    container |= {key: value for key, value in given.items() if key not in container}
    if scene.is_v2:
        ours = _open_environment(scene, explainer, model.folder)
        added(container, "env", ({"name": key, "value": value} for key, value in ours.items()))
    elif not container.get("args"):
        container["args"] = _args(scene, explainer, model.folder)
    added(container, "ports", [{"name": "http", "containerPort": explainer.port}])
    with_secrets(container, [model.secret])
    volumes = attached(container, model.attached)
    asked = {"tcpSocket": {"port": explainer.port}}
    probes = {
        "livenessProbe": {**asked, "initialDelaySeconds": 60, "failureThreshold": 5, **_TIMES},
        "readinessProbe": {**asked, "initialDelaySeconds": 20, "failureThreshold": 7, **_TIMES},
    }
    return Built(
        container=filled(container, noted({**probes, "securityContext": CONFINED}, "default")),
        volumes=volumes,
        initializers=[model.initializer] if model.initializer is not None else [],
    )


def _calls(scene: Scene, explainer: Explainer) -> tuple[str, bool]:
    """Where the predictor is called, and whether over gRPC."""
    http, grpc = explainer.found.entrance.ports
    by_grpc = str(member(explainer.get("endpoint"), "type") or scene.deployment.transport).lower() == "grpc"
    host = front_service(scene.deployment.name, explainer.found.predictor)
    return f"{host}:{grpc if by_grpc else http}", by_grpc


def _config(explainer: Explainer, folder: str) -> Mapping[str, str]:
    uri = explainer.text("modelUri")
    config = {str(key): str(value) for key, value in sorted((explainer.get("config") or {}).items())}
    return {key: value.replace(uri, folder) if uri else value for key, value in config.items()}


def _args(scene: Scene, explainer: Explainer, folder: str) -> list[str]:
    host, by_grpc = _calls(scene, explainer)
    protocol = scene.deployment.protocol or "seldon"
    kind = explainer.text("type")
    return [
        f"--model_name={explainer.found.predictor.graph.name}",
        f"--predictor_host={host}",
        f"--protocol={protocol}.{'grpc' if by_grpc else 'http'}",
        f"--http_port={explainer.port}",
        *([f"--storage_uri={folder}"] if folder else []),
        kind,
        *(["--tf_data_type=float32"] if kind == "AnchorImages" else []),
        *(f"--{key}={value}" for key, value in _config(explainer, folder).items()),
    ]


def _open_environment(scene: Scene, explainer: Explainer, folder: str) -> dict[str, str]:
    """The variables of MLServer's runtime for explainers."""
    root = explainer.found.predictor.graph.name
    http, _ = explainer.found.entrance.ports
    host = f"{front_service(scene.deployment.name, explainer.found.predictor)}:{http}"
    extra: dict[str, Any] = {
        "explainer_type": _WORDS.sub("_", explainer.text("type")).lower(),
        "infer_uri": f"http://{host}/v2/models/{root}/infer",
    }
    given = explainer.get("initParameters")
    if given:
        extra["init_parameters"] = _decoded(scene, explainer, given)
    return {
        "MLSERVER_HTTP_PORT": str(explainer.port),
        "MLSERVER_MODEL_IMPLEMENTATION": _RUNTIME,
        "MLSERVER_MODEL_NAME": root,
        "MLSERVER_MODEL_URI": folder or MOUNTED,
        "MLSERVER_MODEL_EXTRA": json.dumps(extra, separators=(",", ":"), ensure_ascii=False),
    }


def _decoded(scene: Scene, explainer: Explainer, given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        scene.findings.warn(f"{explainer.field}.initParameters", "is not JSON: it is passed on as text")
        return given
