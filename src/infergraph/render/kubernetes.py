"""`infergraph render kubernetes`: from deployments to plain Kubernetes objects.

    text ──check──▶ Deployments ──cut──▶ places ──workloads──▶ objects, in their order, and warnings
                  └▶ Refused: every reason at once

Source: part B of the Kubernetes notes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from infergraph.graph import resolution, spec
from infergraph.graph.placement import Asked, Given, Place, PlaceKind, cut, file_of, split_of
from infergraph.render import explainers, here, labels, names, refusals, scaling, services, traffic, warnings
from infergraph.render.findings import Findings
from infergraph.render.here import CONTAINER, FRONT_PORTS, listens
from infergraph.render.options import Options
from infergraph.render.pods import GRACE_S, PodMaker, models_of
from infergraph.render.ports import FIRST_METRICS
from infergraph.render.scene import Object, Scene
from infergraph.render.security import of_pod
from infergraph.render.workloads import Component, Workload, front_service, split_name, workloads
from infergraph.render.yaml_text import Noted, noted

CONFIG_MAP_LIMIT_BYTES = 1_048_576
_STRATEGY = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}


class Rendered(NamedTuple):
    """The objects of a file, the warnings about it, and the reasons to refuse it, a line each."""

    objects: list[Object]
    warnings: list[str]
    refusals: list[str]


def render(text: str, source: str, options: Options) -> Rendered:
    """The Kubernetes objects of a deployment file.

    Args:
        source: the name of the file, for messages.
    Raises: GraphError for a file that cannot be read, or lacks a node of the overrides.
    """
    reading = spec.survey(text, source=source)
    lines = spec.Lines(text)
    resolution.check_overrides(reading.deployments, options.overrides)
    problems = refusals.of_check(reading, lines, options.overrides)
    if problems:
        return Rendered([], [], problems)
    found: list[Object] = []
    told = [warnings.of_other(other, source, lines) for other in reading.others]
    refused: list[str] = []
    owners: refusals.Owners = {}
    for deployment in reading.deployments:
        findings = Findings(deployment)
        scene = Scene(cut(deployment, options.overrides), options, findings)
        refusals.of_document(scene)
        warnings.of_document(scene)
        objects = list(_Renderer(scene).objects())
        for each in objects:
            refusals.of_name(scene, each, owners)
        found += objects
        told += findings.lines(findings.warnings, lines, word="warning: ")
        refused += findings.lines(findings.refusals, lines)
    return Rendered([], told, refused) if refused else Rendered(found, told, [])


class _Renderer:
    """Renders one document."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._several = len(scene.cut.predictors) > 1
        self._tasks = scene.options.tasks

    def objects(self) -> Iterator[Object]:
        """Its objects: predictor by predictor, then what stands before them, then what watches them."""
        doors: dict[str, tuple[str, int]] = {}
        for index in range(len(self._scene.cut.predictors)):
            yield from self._predictor(index, doors)
        if self._scene.options.gateway:
            yield traffic.route(self._scene, doors)
        elif self._several:
            yield from self._split()
        if self._scene.options.service_monitor:
            yield from traffic.monitors(self._scene)

    def _predictor(self, index: int, doors: dict[str, tuple[str, int]]) -> Iterator[Object]:
        found = workloads(self._scene.cut, index)
        scaling.warn_of_front(self._scene, index, found)
        for workload in found:
            yield from self._workload(workload)
        explainer = explainers.explainer_of(self._scene, self._scene.cut.predictors[index])
        if explainer is not None:
            workload = explainers.workload_of(self._scene, explainer)
            doors[explainer.found.predictor.name] = workload.name, explainer.port
            number = explainers.replicas(self._scene, explainer)
            yield self._deployment(workload, explainers.pod(self._scene, explainer), number, {}, None)
            yield explainers.service_of(self._scene, explainer, workload)

    def _workload(self, workload: Workload) -> Iterator[Object]:
        scene = self._scene
        served = [place for place in workload.places if place.kind is not PlaceKind.FOREIGN]
        texts = {place.field: self._file(place) for place in served}
        files = {place.field: _file_name(scene, workload, place, served) for place in served}
        for place in served:
            yield self._config_map(workload, files[place.field], texts[place.field])
        keeps_data = bool(self._tasks) and workload.front is not None and not self._several
        pod = PodMaker(scene, workload, files, keeps_data=keeps_data).pod()
        checksums = {_checksum_key(number, place): _sha256(texts[place.field]) for number, place in enumerate(served)}
        number = scaling.replicas(scene, workload)
        if keeps_data:
            yield self._stateful_set(workload, pod.spec, number, checksums, pod.metrics_port)
        else:
            yield self._deployment(workload, pod.spec, number, checksums, pod.metrics_port)
        yield from services.of_workload(scene, workload)
        yield from scaling.objects(scene, workload, pod.spec)

    # ── graph files ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _file(self, place: Place) -> str:
        def address(called: Place) -> spec.Endpoint:
            http, grpc = listens(called)
            return spec.Endpoint(self._scene.service(called), http_port=http, grpc_port=grpc)

        folders = {node.name: folder for node, folder in self._folders(place)}
        found = file_of(
            self._scene.cut, place, address, model_uri=lambda _, node: folders.get(node.name, node.model_uri)
        )
        return spec.to_yaml(found)

    def _folders(self, place: Place) -> Iterator[tuple[spec.Node, str]]:
        nodes = self._scene.cut.predictors[place.predictor].nodes
        for field, model in models_of(self._scene, place).items():
            yield nodes[field], model.folder

    def _split_file(self) -> str:
        def address(entrance: Place) -> spec.Endpoint:
            http, grpc = listens(entrance)
            predictor = self._scene.cut.predictors[entrance.predictor].predictor
            return spec.Endpoint(front_service(self._scene.deployment.name, predictor), http_port=http, grpc_port=grpc)

        return spec.to_yaml(split_of(self._scene.cut, address))

    def _config_map(self, workload: Workload, name: str, text: str) -> Object:
        size = len(text.encode())
        if size > CONFIG_MAP_LIMIT_BYTES:
            reason = f"graph of {workload.name} has {size} bytes; a ConfigMap holds {CONFIG_MAP_LIMIT_BYTES}"
            self._scene.findings.refuse("ConfigMap", reason)
        own = labels.of_object(self._scene, workload.name, workload.component)
        document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self._scene.metadata(name, own, {}),
            "data": {here.FILE: text},
        }
        return Object(document, workload.field)

    # ── workloads ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _deployment(
        self,
        workload: Workload,
        pod: Mapping[str, Any],
        replicas: Any,
        checksums: Mapping[str, str],
        metrics_port: int | None,
    ) -> Object:
        head: dict[str, Any] = {} if replicas is None else {"replicas": replicas}
        found = workload.predictor
        deadline = None if found is None else found.predictor.progress_deadline_seconds
        if found is not None and deadline is not None:
            head["progressDeadlineSeconds"] = Noted(deadline, f"{found.path}.progressDeadlineSeconds")
        return self._of_pods(
            "Deployment", workload, pod, head | noted({"strategy": _STRATEGY}, "default"), checksums, metrics_port
        )

    def _stateful_set(
        self,
        workload: Workload,
        pod: Mapping[str, Any],
        replicas: Any,
        checksums: Mapping[str, str],
        metrics_port: int | None,
    ) -> Object:
        number = replicas.value if isinstance(replicas, Noted) else 1
        if scaling.is_autoscaled(workload.asked) or number > 1:
            count = "is autoscaled" if scaling.is_autoscaled(workload.asked) else f"would have {number} replicas"
            text = f"{workload.name} {count}: a task is known to the pod that took it in"
            self._scene.findings.refuse("--tasks", text)
        door = split_name(self._scene.cut) if workload.predictor is None else self._door(workload)
        claim = {
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": Noted(self._tasks, "--tasks")}},
            },
        }
        head = {"serviceName": door, "replicas": number if replicas is None else replicas}
        found = self._of_pods("StatefulSet", workload, pod, head, checksums, metrics_port)
        found.document["spec"]["volumeClaimTemplates"] = [claim]
        return found

    def _door(self, workload: Workload) -> str:
        assert workload.predictor is not None
        return front_service(self._scene.deployment.name, workload.predictor.predictor)

    def _of_pods(
        self,
        kind: str,
        workload: Workload,
        pod: Mapping[str, Any],
        head: dict[str, Any],
        checksums: Mapping[str, str],
        metrics_port: int | None,
    ) -> Object:
        scene = self._scene
        own = labels.of_pod(scene, workload)
        annotations = labels.annotations_of_pod(scene, workload, metrics_port)
        template = {"labels": own}
        if annotations or checksums:
            template["annotations"] = {**annotations, **checksums}
        document = {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": scene.metadata(workload.name, own, annotations),
            "spec": {
                **head,
                "selector": {"matchLabels": labels.selector(workload)},
                "template": {"metadata": template, "spec": pod},
            },
        }
        return Object(document, workload.field)

    # ── several predictors ──────────────────────────────────────────────────────────────────────────────────────────

    def _split(self) -> Iterator[Object]:
        scene = self._scene
        number = scene.deployment.replicas
        asked = Asked(replicas=None if number is None else Given(number, "spec.replicas"))
        name = split_name(scene.cut)
        workload = Workload(name=name, component=Component.SPLIT, field="spec.predictors", asked=asked)
        file, text = names.joined(name, "graph"), self._split_file()
        yield self._config_map(workload, file, text)
        http, grpc = FRONT_PORTS
        server = here.Server(
            name=CONTAINER,
            field=workload.field,
            file=file,
            http_port=http,
            grpc_port=grpc,
            metrics_port=FIRST_METRICS,
            tasks=bool(self._tasks),
            keeps_data=bool(self._tasks),
        )
        built = here.built(scene, server, frozenset())
        context = of_pod([built.container]) | ({"fsGroup": 8888} if self._tasks else {})
        pod = {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": GRACE_S,
            "enableServiceLinks": False,
            "securityContext": context,
            "containers": [built.container],
            "volumes": built.volumes,
        }
        checksums = {_CHECKSUM: _sha256(text)}
        replicas = scaling.replicas(scene, workload)
        if self._tasks:
            yield self._stateful_set(workload, pod, replicas, checksums, FIRST_METRICS)
        else:
            yield self._deployment(workload, pod, replicas, checksums, FIRST_METRICS)
        yield services.service(
            scene,
            name,
            selector=labels.selector(workload),
            ports={"http": http, "grpc": grpc, "metrics": FIRST_METRICS},
            component=Component.SPLIT,
            instance=name,
            field=workload.field,
            annotations={},
        )


_CHECKSUM = "checksum/graph"


def _checksum_key(number: int, place: Place) -> str:
    return f"{_CHECKSUM}-{names.part(place.name)}" if number else _CHECKSUM


def _file_name(scene: Scene, workload: Workload, place: Place, served: list[Place]) -> str:
    """The name of a ConfigMap: the workload's, or, where that has several, the front's or the node's."""
    raw = [scene.deployment.name, scene.cut.predictors[place.predictor].predictor.name]
    if len(served) > 1 and place.kind is not PlaceKind.FRONT:
        return names.joined(*raw, place.name, "graph")
    return names.joined(workload.name, "graph")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
