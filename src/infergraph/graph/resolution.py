"""What answers at each node of a graph: a component here, a packaged server, a built-in, or an address.

The order is that of preference: `--node`, `component`, packaged server, built-in, endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from infergraph.errors import GraphError
from infergraph.graph import servers
from infergraph.graph.routers import builtin
from infergraph.graph.spec.records import TYPES, Deployment, Endpoint, Node, Predictor

_CALLING = TYPES - {"UNKNOWN_TYPE", "CHAIN"}


class Means(Enum):
    """How a node answers."""

    COMPONENT = "component"
    PACKAGED = "packaged"
    BUILT_IN = "built-in"
    REMOTE = "remote"
    NOTHING = "nothing"
    UNRESOLVED = "unresolved"

    @property
    def is_here(self) -> bool:
        """Whether code runs in this process for it that is not a part of the graph itself."""
        return self in (Means.COMPONENT, Means.PACKAGED)


class Resolution(msgspec.Struct, frozen=True):
    """What answers at a node. `str()` is for people, and empty for a node that calls nothing.

    Args:
        target: a component's target, a server's or built-in's name, or an address `http://host:port` or
            `grpc://host:port`.
    """

    means: Means
    target: str = ""

    def __str__(self) -> str:
        match self.means:
            case Means.BUILT_IN:
                return "built in"
            case Means.NOTHING:
                return ""
            case Means.UNRESOLVED:
                return "nothing to call"
        return self.target


def resolve(predictor: Predictor, deployment: Deployment, overrides: Mapping[str, str]) -> dict[str, Resolution]:
    """What answers at each node of `predictor`, by name, fallback nodes too.

    Args:
        predictor: of `deployment`, both as defaulted.
        overrides: targets or addresses by node name, from `--node`.
    """
    nodes = list(predictor.graph.walk_all())
    return {node.name: _resolve(node, deployment, overrides) for node in reversed(nodes)}


def check_overrides(deployments: Iterable[Deployment], overrides: Mapping[str, str]) -> None:
    """Raise GraphError for an override of a node that none of the deployments has."""
    names = {node.name for each in deployments for one in each.predictors for node in one.graph.walk_all()}
    for name in overrides:
        if name not in names:
            raise GraphError(f"there is no node {name!r}; the graph has {', '.join(sorted(names))}")


def address(endpoint: Endpoint, transport: str = "") -> str:
    """The address of an endpoint by its own type, or else by the deployment's transport; empty if it has no host.

    An endpoint of neither that has a gRPC port is called as each request came: it has two addresses.
    """
    if not endpoint.service_host:
        return ""
    rest = f"http://{endpoint.service_host}:{endpoint.http_port or endpoint.service_port}"
    grpc = f"grpc://{endpoint.service_host}:{endpoint.grpc_port or endpoint.service_port}"
    kind = (endpoint.type or transport).lower()
    if kind == "grpc":
        return grpc
    return rest if kind == "rest" or not endpoint.grpc_port else f"{rest} or {grpc}"


def _is_elsewhere(node: Node) -> bool:
    """Whether the packaged server of a node runs at its endpoint: it is none of ours, or there is no model to load.

    Asked of a predictor alone, which is taken as it is written; a whole deployment has its endpoints filled in.
    """
    if node.endpoint is None or not node.endpoint.service_host:
        return False
    return not node.model_uri or node.packaged not in servers.PACKAGED


def _resolve(node: Node, deployment: Deployment, overrides: Mapping[str, str]) -> Resolution:
    if node.name in overrides:
        target = overrides[node.name]
        return Resolution(Means.REMOTE if "://" in target else Means.COMPONENT, target)
    if node.component:
        return Resolution(Means.COMPONENT, node.component)
    if node.packaged and not (deployment.bare and _is_elsewhere(node)):
        return Resolution(Means.PACKAGED, f"{node.packaged} {node.model_uri}".strip())
    if builtin.applies(node):
        return Resolution(Means.BUILT_IN, node.built_in)
    if not node.methods and node.type not in _CALLING:
        return Resolution(Means.NOTHING)
    found = address(node.endpoint, deployment.transport) if node.endpoint is not None else ""
    return Resolution(Means.REMOTE, found) if found else Resolution(Means.UNRESOLVED)
