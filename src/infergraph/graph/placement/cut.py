"""The cut: which node runs in which group.

A node here that asks for nothing stays with its parent; one that asks starts a group. Foreign nodes and nodes outside
are called; their children stay with the process that calls them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from infergraph.graph.placement.places import Asked, Place, PlaceKind, asked_for, with_defaults
from infergraph.graph.placement.sites import Site, site_of
from infergraph.graph.spec import Deployment, Node, Predictor, containers, ports_of
from infergraph.graph.spec.decoder import Container
from infergraph.protocol.annotations import NO_ENGINE

OWN, PARENT = "own", "parent"

_FRONT_PORTS = 8000, 5001
_GROUP_PORTS = 9000, 9500


class PredictorCut(msgspec.Struct, frozen=True, kw_only=True):
    """The places of one predictor. Nodes are named by their path in the document, `spec.predictors[0].graph[1]`.

    Args:
        predictor: as it was read.
        front: None where the predictor is its only node's own image (annotation no-engine).
        groups: without the front; parents first.
        foreign: nodes with an image of their own, parents first.
        nodes: by their paths, parents first.
        sites: of each node.
        homes: path of the place that each node runs in, or is called from.
        dropped: names of the containers that are not needed, since something else runs their node.
    """

    predictor: Predictor
    path: str
    front: Place | None
    groups: tuple[Place, ...]
    foreign: tuple[Place, ...]
    nodes: Mapping[str, Node]
    sites: Mapping[str, Site]
    homes: Mapping[str, str]
    dropped: tuple[str, ...] = ()

    @property
    def served(self) -> tuple[Place, ...]:
        """The places that run infergraph: the front, and the groups."""
        return self.groups if self.front is None else (self.front, *self.groups)

    @property
    def entrance(self) -> Place:
        """The place that requests for the predictor go to."""
        return self.foreign[0] if self.front is None else self.front

    def field(self, name: str) -> str:
        """The path of a member of the predictor."""
        return f"{self.path}.{name}".removeprefix(".")


class Cut(msgspec.Struct, frozen=True):
    """The cut of a deployment.

    Args:
        deployment: as it was read.
    """

    deployment: Deployment
    overrides: Mapping[str, str]
    predictors: tuple[PredictorCut, ...]


class Seat(msgspec.Struct, frozen=True):
    """A node, and what decides where it runs.

    Args:
        pod: index of the componentSpec with the container of its name; None where it has none, or needs none.
        replaced: it has one, and something else runs the node.
    """

    node: Node
    field: str
    site: Site
    container: Container | None = None
    pod: int | None = None
    replaced: bool = False

    @property
    def asks(self) -> bool:
        """Whether it asks for a place of its own."""
        return self.node.place != PARENT and (self.pod is not None or bool(self.node.placing))


def cut(deployment: Deployment, overrides: Mapping[str, str], *, has_images: bool = True) -> Cut:
    """The cut of a deployment.

    Args:
        deployment: as it was read, and known to be valid.
        overrides: targets or addresses by node name, from `--node`.
        has_images: whether packaged servers may come as images, as on Kubernetes (see `site_of`).
    """
    found = [
        _cut_predictor(deployment, number, seats(deployment, number, overrides, has_images=has_images), ports)
        for number, ports in enumerate(ports_of(deployment))
    ]
    return Cut(deployment, overrides, tuple(found))


def path_of(deployment: Deployment, place: int) -> str:
    """The path of a predictor in the document; empty where the document is the predictor."""
    return "" if deployment.bare else f"spec.predictors[{place}]"


def children_of(node: Node, field: str) -> Iterator[tuple[Node, str]]:
    """The nodes below a node, its fallback first, with their paths."""
    if isinstance(node.fallback, Node):
        yield node.fallback, f"{field}.fallback"
    for place, child in enumerate(node.children):
        yield child, f"{field}[{place}]"


def seats(
    deployment: Deployment, place: int, overrides: Mapping[str, str], *, has_images: bool = True
) -> dict[str, Seat]:
    """The nodes of a predictor by their paths, parents first."""
    make = functools.partial(_seat, deployment=deployment, overrides=overrides, has_images=has_images)
    predictor = deployment.predictors[place]
    known: dict[str, tuple[int, Container]] = {}
    for pod, members in enumerate(containers(predictor)):
        for each in members:
            known.setdefault(each.name, (pod, each))
    found: dict[str, Seat] = {}
    waiting = [(predictor.graph, f"{path_of(deployment, place)}.graph".removeprefix("."))]
    while waiting:
        node, field = waiting.pop()
        found[field] = make(node, field, known.get(node.name))
        waiting.extend(reversed(list(children_of(node, field))))
    return found


def _seat(
    node: Node,
    field: str,
    contained: tuple[int, Container] | None,
    *,
    deployment: Deployment,
    overrides: Mapping[str, str],
    has_images: bool,
) -> Seat:
    pod, container = (None, None) if contained is None else contained
    site = site_of(node, container, deployment, overrides, has_images=has_images)
    if container is None:
        return Seat(node, field, site)
    replaced = node.name in overrides or (site is Site.HERE and node.place == PARENT)
    return Seat(node, field, site, container, None if replaced else pod, replaced)


def _cut_predictor(
    deployment: Deployment, number: int, found: Mapping[str, Seat], ports: Mapping[str, tuple[int, int]]
) -> PredictorCut:
    predictor, path = deployment.predictors[number], path_of(deployment, number)
    root = next(iter(found.values()))
    homes = _homes(root, found, root.field if root.site is Site.HERE else path)
    places = _Places(deployment, number, found, homes, ports)
    no_engine = predictor.annotations.get(NO_ENGINE) == "true" and root.site is Site.FOREIGN
    groups = [seat for seat in found.values() if homes[seat.field] == seat.field and seat is not root]
    return PredictorCut(
        predictor=predictor,
        path=path,
        front=None if no_engine else places.front(root),
        groups=tuple(places.group(seat) for seat in groups),
        foreign=tuple(places.foreign(seat) for seat in found.values() if seat.site is Site.FOREIGN),
        nodes={field: seat.node for field, seat in found.items()},
        sites={field: seat.site for field, seat in found.items()},
        homes=homes,
        dropped=tuple(dict.fromkeys(seat.node.name for seat in found.values() if seat.replaced)),
    )


class _Places:
    """Makes the places of one predictor."""

    def __init__(
        self,
        deployment: Deployment,
        number: int,
        found: Mapping[str, Seat],
        homes: Mapping[str, str],
        ports: Mapping[str, tuple[int, int]],
    ) -> None:
        self._number = number
        self._predictor = deployment.predictors[number]
        self._path = path_of(deployment, number)
        self._found = found
        self._homes = homes
        self._ports = ports
        self._defaults: list[tuple[Any, str]] = [
            ({"replicas": self._predictor.replicas}, self._path),
            ({"replicas": deployment.replicas}, "spec"),
        ]

    def front(self, root: Seat) -> Place:
        """The group of the root; an empty one where the root is called."""
        defaults = [(self._predictor.svc_orch_spec, f"{self._path}.svcOrchSpec".removeprefix(".")), *self._defaults]
        if root.site is Site.HERE:
            return self._place(PlaceKind.FRONT, root, _FRONT_PORTS, defaults)
        http_port, grpc_port = _FRONT_PORTS
        return Place(
            kind=PlaceKind.FRONT,
            predictor=self._number,
            node=None,
            field=self._path,
            nodes=self._nodes(self._path),
            http_port=http_port,
            grpc_port=grpc_port,
            asked=with_defaults(Asked(), defaults),
        )

    def group(self, seat: Seat) -> Place:
        """The group of a node that asks for a place."""
        ports = _GROUP_PORTS if seat.pod is None else self._ports[seat.node.name]
        return self._place(PlaceKind.GROUP, seat, ports, self._defaults)

    def foreign(self, seat: Seat) -> Place:
        """The place of a node with an image of its own."""
        return self._place(PlaceKind.FOREIGN, seat, self._ports[seat.node.name], self._defaults)

    def _place(self, kind: PlaceKind, seat: Seat, ports: tuple[int, int], defaults: list[tuple[Any, str]]) -> Place:
        asked = asked_for(seat.node, seat.field, self._predictor, self._path, seat.pod)
        return Place(
            kind=kind,
            predictor=self._number,
            node=seat.node,
            field=seat.field,
            nodes=() if kind is PlaceKind.FOREIGN else self._nodes(seat.field),
            pod=seat.pod,
            image="" if seat.pod is None or seat.container is None else seat.container.image,
            http_port=ports[0],
            grpc_port=ports[1],
            asked=with_defaults(asked, defaults),
        )

    def _nodes(self, field: str) -> tuple[str, ...]:
        here = (seat for seat in self._found.values() if seat.site is Site.HERE)
        return tuple(seat.node.name for seat in here if self._homes[seat.field] == field)


def _homes(root: Seat, found: Mapping[str, Seat], front: str) -> dict[str, str]:
    """The path of the place that each node runs in, or is called from."""
    homes = {root.field: front}
    for field, seat in found.items():  # parents first
        for _, below in children_of(seat.node, field):
            starts = found[below].site is Site.HERE and found[below].asks
            homes[below] = below if starts else homes[field]
    return homes
