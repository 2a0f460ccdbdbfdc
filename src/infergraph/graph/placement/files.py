"""The graph files of places: what the infergraph of a front, of a group, or of a split serves.

A node in the place keeps what it has but for the placing members; a node that is called gets an endpoint, and another
group becomes one leaf with an endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from infergraph.graph import compose
from infergraph.graph.placement.cut import Cut, PredictorCut
from infergraph.graph.placement.places import Place
from infergraph.graph.placement.sites import Site
from infergraph.graph.spec import PLACING, UNKNOWN_IMPLEMENTATION, Deployment, Endpoint, Node, Predictor
from infergraph.protocol.annotations import NO_ENGINE

Addresses = Callable[[Place], Endpoint]
ModelUris = Callable[[Place, Node], str]

_UNPLACED: dict[str, Any] = {field: getattr(Node(), field) for field in PLACING}
_NO_CODE: dict[str, Any] = {"implementation": None, "component": "", "model_uri": "", "parameters": ()}
_NO_SECRETS: dict[str, Any] = {"service_account_name": "", "env_secret_ref_name": "", "storage_initializer_image": ""}


def _as_written(place: Place, node: Node) -> str:
    return node.model_uri


def file_of(cut: Cut, place: Place, addresses: Addresses, *, model_uri: ModelUris = _as_written) -> Deployment:
    """The deployment that the infergraph of a front or a group serves.

    Args:
        addresses: where a group or a foreign node is called.
        model_uri: where a node in `place` finds its model; as it is written by default.
    """
    found = cut.predictors[place.predictor]
    predictor = found.predictor
    graph = _Writer(cut, found, place, addresses, model_uri).graph()
    annotations = {name: text for name, text in predictor.annotations.items() if name != NO_ENGINE}
    only = Predictor(name=predictor.name, labels=predictor.labels, annotations=annotations, graph=graph)
    return replace(_head(cut.deployment), predictors=(only,))


def split_of(cut: Cut, addresses: Addresses) -> Deployment:
    """The deployment of the process that chooses among several predictors, each of which is one leaf.

    Args:
        addresses: where the entrance of a predictor is called.
    """
    deployment = cut.deployment
    predictors = []
    for found in cut.predictors:
        root = found.predictor.graph
        kind = _type_of(root) if found.front is None else ""
        endpoint = _called(addresses(found.entrance), kind, deployment)
        leaf = Node(name=root.name, type="MODEL", endpoint=endpoint)
        traffic, shadow = found.predictor.traffic, found.predictor.shadow
        predictors.append(Predictor(name=found.predictor.name, graph=leaf, traffic=traffic, shadow=shadow))
    return replace(_head(deployment), predictors=tuple(predictors))


def _head(deployment: Deployment) -> Deployment:
    return Deployment(
        name=deployment.name,
        annotations=deployment.annotations,
        protocol=deployment.protocol,
        transport=deployment.transport,
    )


def is_called_by_grpc(place: Place, deployment: Deployment) -> bool:
    """Whether a place is called over gRPC."""
    return _by_grpc(_type_of(place.node), deployment)


def _type_of(node: Node | None) -> str:
    """The type of a node's endpoint; empty where the file gives none."""
    return "" if node is None or node.endpoint is None else node.endpoint.type


def _by_grpc(kind: str, deployment: Deployment) -> bool:
    return kind == "GRPC" or deployment.transport == "grpc"


def _called(endpoint: Endpoint, kind: str, deployment: Deployment) -> Endpoint:
    """An endpoint with the type that the file gives, and the port of that type or of the transport."""
    by_grpc = _by_grpc(kind, deployment)
    port = endpoint.service_port or (endpoint.grpc_port if by_grpc else endpoint.http_port)
    return replace(endpoint, service_port=port, type=kind)


class _Writer:
    """Writes the nodes of one file."""

    def __init__(self, cut: Cut, found: PredictorCut, place: Place, addresses: Addresses, model_uri: ModelUris) -> None:
        self._cut = cut
        self._found = found
        self._place = place
        self._addresses = addresses
        self._model_uri = model_uri
        self._called = {each.field: each for each in (*found.groups, *found.foreign)}

    def graph(self) -> Node:
        """The graph of the place."""
        root = self._found.predictor.graph
        path = self._found.field("graph")
        node = self._place.node
        return self._node(root, path) if node is None else self._node(node, self._place.field)

    def _node(self, node: Node, field: str) -> Node:
        match self._found.sites[field]:
            case Site.FOREIGN:
                return self._foreign(node, field)
            case Site.OUTSIDE:
                return self._outside(node, field)
        if field != self._place.field and field in self._called:
            return self._leaf(node, field)
        return self._here(node, field)

    def _here(self, node: Node, field: str) -> Node:
        node = replace(self._with_branches(node, field), **_UNPLACED, **_NO_SECRETS)
        target = self._cut.overrides.get(node.name)
        if target is not None:
            return replace(node, component=target, implementation=None, model_uri="", endpoint=None)
        uri = self._model_uri(self._place, node) if node.model_uri else ""
        keeps = bool(node.built_in) and field not in self._called  # other phases are called there
        return replace(node, model_uri=uri, endpoint=node.endpoint if keeps else None)

    def _foreign(self, node: Node, field: str) -> Node:
        calls_nothing = node.type is None and not node.methods and node.implementation == UNKNOWN_IMPLEMENTATION
        node = replace(
            self._with_branches(node, field),
            **_UNPLACED | _NO_SECRETS | _NO_CODE,
            type="MODEL" if node.packaged else node.type,
            endpoint=self._endpoint(node, field),
        )
        return replace(node, implementation=UNKNOWN_IMPLEMENTATION) if calls_nothing else node

    def _outside(self, node: Node, field: str) -> Node:
        node = replace(self._with_branches(node, field), **_UNPLACED)
        target = self._cut.overrides.get(node.name)
        if target is None:
            return node
        kind = "MODEL" if node.packaged else node.type
        return replace(node, **_NO_CODE | _NO_SECRETS, type=kind, endpoint=compose.remote(target))

    def _leaf(self, node: Node, field: str) -> Node:
        """Another group, with the fallback for when all of it is away."""
        return Node(
            name=node.name,
            type="MODEL",
            endpoint=self._endpoint(node, field),
            shadow=node.shadow,
            fallback=self._fallback_of_group(node, field),
        )

    def _endpoint(self, node: Node, field: str) -> Endpoint:
        """Where the place of a node is called."""
        return _called(self._addresses(self._called[field]), _type_of(node), self._cut.deployment)

    def _fallback_of_group(self, node: Node, field: str) -> Node | dict[str, Any] | None:
        """The node's fallback, if it answers for all below the node, and needs no code of the caller; else None."""
        if node.children and node.type != "CHAIN":
            return None
        if not isinstance(node.fallback, Node):
            return node.fallback
        below = f"{field}.fallback"
        is_called = below in self._called or self._found.sites[below] is Site.OUTSIDE
        return self._node(node.fallback, below) if is_called else None

    def _with_branches(self, node: Node, field: str) -> Node:
        fallback = node.fallback
        if isinstance(fallback, Node):
            fallback = self._node(fallback, f"{field}.fallback")
        children = tuple(self._node(child, f"{field}[{place}]") for place, child in enumerate(node.children))
        return replace(node, fallback=fallback, children=children)
