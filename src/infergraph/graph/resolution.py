"""Node resolution: whether a node is a local component, a packaged server, a built-in, or a remote address.

The order is that of preference: `--node`, `component`, packaged server, built-in, endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum

import msgspec

from infergraph.errors import GraphError
from infergraph.graph import servers
from infergraph.graph.routers import builtin
from infergraph.graph.spec.records import TYPES, Deployment, Endpoint, Node, Predictor
from infergraph.net.address import bracketed
from infergraph.net.discovery import split_host

_CALLING = TYPES - {"UNKNOWN_TYPE", "CHAIN"}


class Means(Enum):
    """The kind of implementation behind a node."""

    COMPONENT = "component"
    PACKAGED = "packaged"
    BUILT_IN = "built-in"
    REMOTE = "remote"
    NOTHING = "nothing"
    UNRESOLVED = "unresolved"

    @property
    def is_here(self) -> bool:
        """Whether user code or a packaged server runs in this process for it."""
        return self in (Means.COMPONENT, Means.PACKAGED)


class Resolution(msgspec.Struct, frozen=True):
    """The implementation of a node. `str()` is for display, and empty for a node that calls nothing.

    Args:
        target: a component's target, a server's or built-in's name, or addresses `http://host:port` or
            `grpc://host:port`, https or grpcs where it is called by TLS.
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

    @property
    def addresses(self) -> list[str]:
        """The addresses of a remote node, over each of its transports; none for any other node."""
        return re.split(", ?| or ", self.target) if self.means is Means.REMOTE else []


def resolve(predictor: Predictor, deployment: Deployment, overrides: Mapping[str, str]) -> dict[str, Resolution]:
    """The resolution of each node of `predictor`, by name, including fallback nodes.

    Args:
        predictor: of `deployment`, both as defaulted.
        overrides: targets or addresses by node name, from `--node`.
    """
    nodes = list(predictor.graph.walk_all())
    return {node.name: _resolve(node, deployment, overrides) for node in reversed(nodes)}


def check_overrides(deployments: Iterable[Deployment], overrides: Mapping[str, str]) -> None:
    """Raise GraphError for an override of a node that none of the deployments has."""
    names = {node.name for each in deployments for node in each.walk_all()}
    for name in overrides:
        if name not in names:
            raise GraphError(f"there is no node {name!r}; the graph has {', '.join(sorted(names))}")


def address(endpoint: Endpoint, transport: str = "") -> str:
    """The addresses of an endpoint, by its own type or else the deployment's transport; empty if it has no host.

    An endpoint with neither, but with a gRPC port, has those of both and is called by each request's own transport.
    """
    if not endpoint.has_host:
        return ""
    rest = _urls(endpoint, "http", endpoint.http_port)
    grpc = _urls(endpoint, "grpc", endpoint.grpc_port)
    kind = (endpoint.type or transport).lower()
    if kind == "grpc":
        return grpc
    return rest if kind == "rest" or not endpoint.grpc_port else f"{rest} or {grpc}"


def _urls(endpoint: Endpoint, scheme: str, port: int) -> str:
    """The URLs of an endpoint's hosts over one transport."""
    scheme, port = f"{scheme}s" if endpoint.tls else scheme, port or endpoint.service_port
    hosts = [(endpoint.service_host, 0)] if endpoint.service_host else []
    hosts += map(split_host, endpoint.service_hosts)
    urls = [f"{scheme}://{bracketed(host)}:{own or port}{endpoint.path}" for host, own in hosts]
    if endpoint.service_hosts_file:
        urls.append(f"{scheme}+file://{endpoint.service_hosts_file}")
    return ", ".join(urls)


def _is_elsewhere(node: Node) -> bool:
    """Whether a node's packaged server runs at its endpoint: we do not have it, or there is no model to load.

    Only for a bare predictor, which is used as written; in a deployment the endpoints have been filled in.
    """
    if node.endpoint is None or not node.endpoint.has_host:
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
