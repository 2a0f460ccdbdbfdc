"""The workloads of a deployment: what becomes a Deployment or a StatefulSet, with its name and its Services.

    Cut ──workloads──▶ front, pods, groups and nodes without a pod, explainer, split: a Workload each

Source: sections A2 and B2 of the Kubernetes notes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec

from infergraph.graph.placement import Asked, Cut, Place, PlaceKind, PredictorCut, asked_of_pod, with_defaults
from infergraph.graph.spec import Predictor, entries, member
from infergraph.protocol.annotations import SERVICE_NAME
from infergraph.render import names


class Component(Enum):
    """What a workload is: the value of the label app.kubernetes.io/component."""

    FRONT = "front"
    GROUP = "group"
    NODE = "node"
    SPLIT = "split"
    EXPLAINER = "explainer"


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One Deployment or StatefulSet.

    Args:
        name: of the object, and the value of the label that all selectors go by.
        field: what it comes from, a path in the document.
        predictor: None for the split.
        places: what runs in it, in the order of the graph.
        pod: index of the componentSpec; None for a pod of ours.
        template: that componentSpec as it was written, without the containers that something else runs.
    """

    name: str
    component: Component
    field: str
    predictor: PredictorCut | None = None
    places: tuple[Place, ...] = ()
    pod: int | None = None
    template: Mapping[str, Any] = {}
    asked: Asked = Asked()

    @property
    def front(self) -> Place | None:
        """The front among its places, if it is one of them."""
        return next((place for place in self.places if place.kind is PlaceKind.FRONT), None)

    def place(self, container: str) -> Place | None:
        """The place that runs in a container of a name."""
        return next((place for place in self.places if place.name == container), None)


def front_service(deployment: str, predictor: Predictor) -> str:
    """The name of a predictor's Service."""
    given = predictor.annotations.get(SERVICE_NAME)
    return names.joined(given) if given else names.joined(deployment, predictor.name)


def node_service(deployment: str, predictor: Predictor, node: str) -> str:
    """The name of the Service of a node's container, or of a group."""
    return names.joined(deployment, predictor.name, node)


def split_of(cut: Cut) -> Workload:
    """The workload that chooses among several predictors; its Service has the same name."""
    deployment = cut.deployment
    taken = {front_service(deployment.name, found.predictor) for found in cut.predictors}
    name = names.joined(deployment.name)
    if name in taken:
        name = names.joined(deployment.name, "split")
    asked = with_defaults(Asked(), [({"replicas": deployment.replicas}, "spec")])
    return Workload(name=name, component=Component.SPLIT, field="spec.predictors", asked=asked)


def workloads(cut: Cut, index: int) -> list[Workload]:
    """The workloads of a predictor: the front, nodes and groups in the order of the graph, pods without a node."""
    found = cut.predictors[index]
    order = {field: number for number, field in enumerate(found.sites)}
    places = sorted((*found.groups, *_distinct(found.foreign)), key=lambda place: order[place.field])
    if found.front is not None:
        places.insert(0, found.front)
    made = list(_Maker(cut, index, tuple(places)).workloads())
    return sorted(made, key=lambda workload: _first(workload, places))


def _distinct(foreign: Iterable[Place]) -> list[Place]:
    """Without nodes of a name that another node of the same container has."""
    found: dict[object, Place] = {}
    for place in foreign:
        found.setdefault(place.field if place.pod is None else (place.pod, place.name), place)
    return list(found.values())


def _first(workload: Workload, places: list[Place]) -> int:
    return min((places.index(place) for place in workload.places), default=len(places))


class _Maker:
    """Makes the workloads of one predictor."""

    def __init__(self, cut: Cut, index: int, places: tuple[Place, ...]) -> None:
        self._cut = cut
        self._found = cut.predictors[index]
        self._places = places
        self._base = cut.deployment.name, self._found.predictor.name

    def workloads(self) -> Iterator[Workload]:
        """First those without a pod of the file, since their names are fixed."""
        taken = {names.joined(*self._base, "explainer")} if self._found.predictor.explainer.get("type") else set()
        for place in self._places:
            if place.pod is None:
                workload = self._of_place(place)
                taken.add(workload.name)
                yield workload
        for pod, document in enumerate(self._found.predictor.component_specs):
            template = without(document, self._found.dropped)
            if _contained(template):
                workload = self._of_pod(pod, template, taken)
                taken.add(workload.name)
                yield workload

    def _of_place(self, place: Place) -> Workload:
        if place.kind is PlaceKind.FRONT:
            name, component = names.joined(*self._base), Component.FRONT
        else:
            name = names.joined(*self._base, place.name)
            component = Component.GROUP if place.kind is PlaceKind.GROUP else Component.NODE
        field = self._found.field("graph") if place.node is None else place.field
        return self._workload(name, component, field, (place,), place.asked)

    def _of_pod(self, pod: int, template: dict[str, Any], taken: set[str]) -> Workload:
        contained = _contained(template)
        places = tuple(place for place in self._places if place.pod is not None and place.name in contained)
        front = next((place for place in places if place.kind is PlaceKind.FRONT and place.pod == pod), None)
        field = self._found.field(f"componentSpecs[{pod}]")
        component = Component.NODE
        if all(place.kind is not PlaceKind.FOREIGN for place in places) and places:
            component = Component.GROUP if front is None else Component.FRONT
        if front is not None:
            name = names.joined(*self._base)
        else:
            given = member(member(template, "metadata"), "name")
            name = _free((*self._base, str(given) if given else "-".join(contained)), pod, taken)
        first = front or next((place for place in places if place.pod == pod), None)
        asked = self._asked(pod, field) if first is None else first.asked
        made = self._workload(name, component, field, places, asked)
        return msgspec.structs.replace(made, pod=pod, template=template)

    def _asked(self, pod: int, field: str) -> Asked:
        """What the file asks for a pod whose nodes, if it has any, stand in another pod as well."""
        predictor, deployment = self._found.predictor, self._cut.deployment
        numbers = [({"replicas": predictor.replicas}, self._found.path), ({"replicas": deployment.replicas}, "spec")]
        return with_defaults(asked_of_pod(predictor.component_specs[pod], field), numbers)

    def _workload(
        self, name: str, component: Component, field: str, places: tuple[Place, ...], asked: Asked
    ) -> Workload:
        return Workload(
            name=name,
            component=component,
            field=field,
            predictor=self._found,
            places=places,
            asked=asked,
        )


def _free(parts: tuple[str, ...], pod: int, taken: set[str]) -> str:
    name = names.joined(*parts)
    return names.joined(*parts, str(pod)) if name in taken else name


def without(pod: Mapping[str, Any], dropped: tuple[str, ...]) -> dict[str, Any]:
    """A pod without the containers of the names `dropped`."""
    if not dropped:
        return dict(pod)
    return {key: _less(value, dropped) if key.lower() == "spec" else value for key, value in pod.items()}


def _less(spec: Any, dropped: tuple[str, ...]) -> Any:
    if not isinstance(spec, dict):
        return spec
    return {
        key: [each for each in value if member(each, "name") not in dropped] if key.lower() == "containers" else value
        for key, value in spec.items()
    }


def repeated(found: PredictorCut) -> tuple[str, ...]:
    """The names of containers that stand in several pods of a predictor, in order."""
    counts: Counter[str] = Counter()
    for pod in found.predictor.component_specs:
        counts.update(dict.fromkeys(_contained(pod), 1))
    return tuple(name for name, times in counts.items() if times > 1)


def _contained(pod: Mapping[str, Any]) -> list[str]:
    return [str(member(each, "name") or "") for each in entries(member(pod, "spec"), "containers")]
