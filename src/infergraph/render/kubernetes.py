"""`infergraph render kubernetes`: from deployments to plain Kubernetes objects.

    text ──check──▶ Deployments ──cut──▶ places ──workloads──▶ objects, in their order, and warnings
                  └▶ Refused: every reason at once

Source: part B of the Kubernetes notes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from infergraph.graph.placement import cut
from infergraph.render import explainers, refusals, scaling, services, traffic, warnings
from infergraph.render.deployment_file import DeploymentFile
from infergraph.render.deployments import deployment, stateful_set
from infergraph.render.findings import Findings
from infergraph.render.graph_files import config_map, graph_files
from infergraph.render.options import Options
from infergraph.render.pods import Pod, PodMaker
from infergraph.render.scene import Object, Scene
from infergraph.render.workloads import Component, Workload, split_of, workloads


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
    file = DeploymentFile(text, source, options.overrides)
    found: list[Object] = []
    owners: refusals.Owners = {}
    for each in file.deployments:
        findings = Findings(each)
        scene = Scene(cut(each, options.overrides), options, findings)
        refusals.of_document(scene)
        warnings.of_document(scene)
        objects = list(_Renderer(scene).objects())
        for made in objects:
            refusals.of_name(scene, made, owners)
        found += objects
        file.add(findings)
    return Rendered([] if file.refusals else found, file.warnings, file.refusals)


class _Renderer:
    """Renders one document."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._several = len(scene.cut.predictors) > 1

    def objects(self) -> Iterator[Object]:
        """Its objects: predictor by predictor, then what stands before them, then what watches them."""
        explained: dict[str, tuple[str, int]] = {}
        for index in range(len(self._scene.cut.predictors)):
            yield from self._predictor(index)
            yield from self._explainer(index, explained)
        if self._scene.options.gateway:
            yield traffic.route(self._scene, explained)
        elif self._several:
            yield from self._workload(split_of(self._scene.cut))
        if self._scene.options.service_monitor:
            yield from traffic.monitors(self._scene)

    def _predictor(self, index: int) -> Iterator[Object]:
        found = workloads(self._scene.cut, index)
        scaling.warn_of_front(self._scene, index, found)
        for workload in found:
            yield from self._workload(workload)

    def _workload(self, workload: Workload) -> Iterator[Object]:
        scene = self._scene
        files = graph_files(scene, workload)
        for file in files:
            yield config_map(scene, workload, file)
        keeps_data = self._takes_tasks(workload)
        pod = PodMaker(scene, workload, {file.field: file.name for file in files}, keeps_data=keeps_data).pod()
        checksums = {file.checksum: file.sha256 for file in files}
        number = scaling.replicas(scene, workload)
        sent = services.of_workload(scene, workload)
        if keeps_data:
            yield stateful_set(scene, workload, pod, replicas=number, checksums=checksums, service=sent[0].name)
        else:
            yield deployment(scene, workload, pod, replicas=number, checksums=checksums)
        yield from sent
        yield from scaling.objects(scene, workload, pod.spec)

    def _takes_tasks(self, workload: Workload) -> bool:
        """Whether it is the door: the split, or the only front."""
        is_door = workload.component is Component.SPLIT if self._several else workload.front is not None
        return bool(self._scene.options.tasks) and is_door

    def _explainer(self, index: int, explained: dict[str, tuple[str, int]]) -> Iterator[Object]:
        scene = self._scene
        explainer = explainers.explainer_of(scene, scene.cut.predictors[index])
        if explainer is None:
            return
        workload = explainers.workload_of(scene, explainer)
        explained[explainer.found.predictor.name] = workload.name, explainer.port
        pod = Pod(explainers.pod(scene, explainer), None)
        yield deployment(scene, workload, pod, replicas=explainers.replicas(scene, explainer))
        yield explainers.service_of(scene, explainer, workload)
