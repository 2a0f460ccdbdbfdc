"""The graph files of fronts, groups and splits, each in a ConfigMap of its own.

Source: sections B1 and B7 of the Kubernetes notes.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from infergraph.graph import spec
from infergraph.graph.placement import Place, PlaceKind, file_of, split_of
from infergraph.render import labels, names
from infergraph.render.here import FILE
from infergraph.render.pods import models_of
from infergraph.render.scene import Object, Scene
from infergraph.render.workloads import Component, Workload, front_service

LIMIT_BYTES = 1_048_576
_CHECKSUM = "checksum/"


class GraphFile(NamedTuple):
    """A graph file.

    Args:
        field: path of the place that serves it, or of the predictors of a split.
        name: of its ConfigMap.
        checksum: name of the annotation of the pods with the hash of the text.
    """

    field: str
    name: str
    checksum: str
    text: str

    @property
    def sha256(self) -> str:
        """The hash of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def graph_files(scene: Scene, workload: Workload) -> list[GraphFile]:
    """The graph files of a workload, in the order of its places."""
    if workload.component is Component.SPLIT:
        name = names.joined(workload.name, "graph")
        return [GraphFile(workload.field, name, f"{_CHECKSUM}graph", _split_text(scene))]
    served = [place for place in workload.places if place.kind is not PlaceKind.FOREIGN]
    found = []
    for number, place in enumerate(served):
        checksum = _CHECKSUM + (names.part(f"graph-{place.name}") if number else "graph")
        name = _name(scene, workload, place, is_one=len(served) == 1)
        found.append(GraphFile(place.field, name, checksum, _text(scene, place)))
    return found


def config_map(scene: Scene, workload: Workload, file: GraphFile) -> Object:
    """The ConfigMap of a graph file."""
    size = len(file.text.encode())
    if size > LIMIT_BYTES:
        reason = f"graph of {workload.name} has {size} bytes; a ConfigMap holds {LIMIT_BYTES}"
        scene.findings.refuse("ConfigMap", reason)
    own = labels.of_object(scene, workload.name, workload.component)
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": scene.metadata(file.name, own, {}),
        "data": {FILE: file.text},
    }
    return Object(document, workload.field)


def _name(scene: Scene, workload: Workload, place: Place, *, is_one: bool) -> str:
    """The workload's name, or, where that has several files, the node's for all but the front's."""
    if is_one or place.kind is PlaceKind.FRONT:
        return names.joined(workload.name, "graph")
    predictor = scene.cut.predictors[place.predictor].predictor
    return names.joined(scene.deployment.name, predictor.name, place.name, "graph")


def _text(scene: Scene, place: Place) -> str:
    def address(called: Place) -> spec.Endpoint:
        http, grpc = called.ports
        return spec.Endpoint(scene.service(called), http_port=http, grpc_port=grpc)

    nodes = scene.cut.predictors[place.predictor].nodes
    folders = {nodes[field].name: model.folder for field, model in models_of(scene, place).items()}
    found = file_of(scene.cut, place, address, model_uri=lambda _, node: folders.get(node.name, node.model_uri))
    return spec.to_yaml(found)


def _split_text(scene: Scene) -> str:
    def address(entrance: Place) -> spec.Endpoint:
        http, grpc = entrance.ports
        predictor = scene.cut.predictors[entrance.predictor].predictor
        return spec.Endpoint(front_service(scene.deployment.name, predictor), http_port=http, grpc_port=grpc)

    return spec.to_yaml(split_of(scene.cut, address))
