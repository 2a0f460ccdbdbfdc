"""Pods: the user's template with what its nodes need, or one of ours around a single container.

Source: sections A6 and B3 of the Kubernetes notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from infergraph.graph.placement import Place, PlaceKind
from infergraph.graph.spec import Node, entries, member
from infergraph.render import foreign, here, names, security, servers
from infergraph.render.documents import filled, names_in, respelt, together
from infergraph.render.foreign import TENSORFLOW, Foreign
from infergraph.render.here import CONTAINER, FRONT_PORTS, Built, Server, orchestrator_environment
from infergraph.render.models import Model, asked_by, model_of, warn_of_account
from infergraph.render.ports import FIRST_METRICS
from infergraph.render.scene import Scene
from infergraph.render.security import CONFINED
from infergraph.render.workloads import Component, Workload
from infergraph.render.yaml_text import Noted, noted

GRACE_S = 40
"""Above the drain delay and grace_s together."""

_FOREIGN_GRACE_S = 20
_MEMBERS = (
    "serviceAccountName",
    "automountServiceAccountToken",
    "terminationGracePeriodSeconds",
    "enableServiceLinks",
    "securityContext",
    "initContainers",
    "containers",
    "volumes",
)


class Pod(msgspec.Struct, frozen=True):
    """The spec of a pod.

    Args:
        metrics_port: of infergraph in it; None where it has none, or nodes with images of their own.
        claim: name of the volume claim for its data, where it has one.
    """

    spec: dict[str, Any]
    metrics_port: int | None
    claim: str = "data"


class PodMaker:
    """Makes the pod of a workload.

    Args:
        files: the names of the ConfigMaps, by the path of the place.
        keeps_data: the pod has a volume claim for its data.
    """

    def __init__(self, scene: Scene, workload: Workload, files: Mapping[str, str], *, keeps_data: bool = False) -> None:
        self._scene = scene
        self._workload = workload
        self._files = files
        self._keeps_data = keeps_data
        self._given = respelt(member(workload.template, "spec"), _MEMBERS)
        self._taken = names_in(self._given, "volumes")
        self._servers = 0
        self._proxies = 0
        self._metrics: int | None = None

    def pod(self) -> Pod:
        """The pod."""
        built = list(self._containers())
        spec = dict(self._given)
        self._set_account(spec)
        own = {name: spec.pop(name, None) for name in ("initContainers", "containers", "volumes")}
        first = together(own["initContainers"], _distinct(each for one in built for each in one.initializers))
        then = [one.container for one in built]
        then = together(then, (each for one in built for each in one.beside))
        volumes = together(own["volumes"], (each for one in built for each in one.volumes))
        runs_here = self._servers > 0
        defaults: dict[str, Any] = {"terminationGracePeriodSeconds": GRACE_S if runs_here else _FOREIGN_GRACE_S}
        defaults |= {"enableServiceLinks": False} if runs_here else {}
        defaults["securityContext"] = self._context([*first, *then])
        spec = filled(spec, noted(defaults, "default"))
        lists = {"initContainers": first, "containers": then, "volumes": volumes}
        spec |= {name: found for name, found in lists.items() if found}
        port = self._metrics if self._workload.component is not Component.NODE else None
        return Pod(spec, port, names.unused("data", self._taken))

    def _context(self, containers: list[dict[str, Any]]) -> dict[str, Any]:
        found = security.of_pod(containers)
        return found | {"fsGroup": security.USER} if self._keeps_data else found

    def _containers(self) -> Iterator[Built]:
        if self._workload.component is Component.SPLIT:
            yield self._of_split()
            return
        if self._workload.pod is None:
            for place in self._workload.places:
                yield self._of_place(place, {}, self._workload.field)
            return
        behind = {TENSORFLOW, *(names.part(f"{TENSORFLOW}-{place.name}") for place in self._workload.places)}
        proxies = [place for place in self._workload.places if self._is_proxy(place)]
        for number, given in enumerate(entries(self._given, "containers")):
            name = str(member(given, "name") or "")
            found = self._workload.place(name)
            field = f"{self._workload.field}.spec.containers[{number}]"
            if found is not None:
                yield self._of_place(found, given, field)
            elif not (proxies and name in behind):
                yield Built(container=self._beside(given, field))

    def _is_proxy(self, place: Place) -> bool:
        node = place.node
        is_foreign = place.kind is PlaceKind.FOREIGN and node is not None and bool(node.packaged)
        return is_foreign and node is not None and servers.kind_of(self._scene, node) is servers.Kind.PROXY

    def _beside(self, given: dict[str, Any], field: str) -> dict[str, Any]:
        """A container that is no node."""
        container = respelt(given, ("name", "image", "securityContext"))
        name = str(container.get("name") or "")
        if name != names.part(name):
            container["name"] = mended(self._scene, name, field)
        return filled(container, noted({"securityContext": CONFINED}, "default"))

    def _of_place(self, place: Place, given: dict[str, Any], field: str) -> Built:
        if place.node is not None and self._workload.pod is not None and names.part(place.name) != place.name:
            mended(self._scene, place.name, field)
        if place.kind is PlaceKind.FOREIGN:
            return self._of_foreign(place, given, field)
        return self._of_server(place, given, field)

    def _of_foreign(self, place: Place, given: dict[str, Any], field: str) -> Built:
        assert place.node is not None
        container = Foreign(
            place=place,
            node=place.node,
            given=given,
            field=field,
            metrics_port=self._scene.metrics_port(place, self._workload),
            proxied=self._proxies,
        )
        self._proxies += self._is_proxy(place)
        return foreign.built(self._scene, container, self._given, self._taken)

    def _of_server(self, place: Place, given: dict[str, Any], field: str) -> Built:
        http, grpc = place.ports
        is_front = place.kind is PlaceKind.FRONT
        found = self._scene.cut.predictors[place.predictor]
        name = place.name if self._workload.pod is not None else CONTAINER
        metrics = self._scene.metrics_port(place, self._workload)
        if self._metrics is None:
            self._metrics = metrics
        resources = place.asked.resources
        certificate = str(member(found.predictor.ssl, "certSecretName") or "") if is_front else ""
        server = Server(
            name=name,
            field=field,
            file=self._files[place.field],
            http_port=http,
            grpc_port=grpc,
            metrics_port=metrics,
            given=given,
            suffix=f"-{names.part(name)}" if self._servers else "",
            resources=None if resources is None else Noted(resources.value, resources.field),
            env=orchestrator_environment(self._scene.deployment, found) if is_front else (),
            models=tuple(models_of(self._scene, place, self._taken).values()),
            certificate=certificate,
            serves_tls=certificate != "" and self._scene.serves_tls,
            keeps_data=self._keeps_data and is_front,
        )
        self._servers += 1
        return here.built(self._scene, server, self._taken)

    def _of_split(self) -> Built:
        http, grpc = FRONT_PORTS
        self._servers, self._metrics = 1, FIRST_METRICS
        server = Server(
            name=CONTAINER,
            field=self._workload.field,
            file=self._files[self._workload.field],
            http_port=http,
            grpc_port=grpc,
            metrics_port=FIRST_METRICS,
            keeps_data=self._keeps_data,
        )
        return here.built(self._scene, server, self._taken)

    def _set_account(self, spec: dict[str, Any]) -> None:
        """The service account of a node is the pod's, if that has none."""
        for place in self._workload.places:
            for field, node in nodes_of(self._scene, place):
                account = node.service_account_name
                if not account:
                    continue
                own = spec.setdefault("serviceAccountName", account)
                if own != account:
                    text = f"{account} is not rendered: the pod runs as {own}"
                    self._scene.findings.warn(f"{field}.serviceAccountName", text)
                secret = node.env_secret_ref_name
                warn_of_account(self._scene, account, uri=node.model_uri, secret=secret, field=field)
        if self._workload.pod is None and "serviceAccountName" not in spec:
            spec["automountServiceAccountToken"] = False


def _distinct(initializers: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Init containers of ours, whose names may be the same once they are mended and cut."""
    taken: dict[str, Any] = {}
    for each in initializers:
        first = taken.setdefault(each["name"], each)
        if first is each:
            yield each
        elif first["args"] != each["args"]:
            yield each | {"name": names.hashed(" ".join(each["args"]))}


def mended(scene: Scene, name: str, field: str) -> str:
    """The name of a container as a cluster takes it."""
    found = names.part(name)
    scene.findings.warn(f"{field}.name", f"{name} is no name for a container: it is called {found}")
    return found


def nodes_of(scene: Scene, place: Place) -> Iterator[tuple[str, Node]]:
    """The nodes that run in a place, with their paths."""
    found = scene.cut.predictors[place.predictor]
    if place.kind is PlaceKind.FOREIGN:
        if place.node is not None:
            yield place.field, place.node
        return
    for field, node in found.nodes.items():
        if found.homes[field] == place.field and node.name in place.nodes:
            yield field, node


def models_of(scene: Scene, place: Place, taken: frozenset[str] = frozenset()) -> dict[str, Model]:
    """The models of the nodes of a front or a group, by their paths."""
    return {
        field: model_of(scene, asked_by(place, node, field), taken=taken)
        for field, node in nodes_of(scene, place)
        if node.model_uri and node.name not in scene.cut.overrides
    }
