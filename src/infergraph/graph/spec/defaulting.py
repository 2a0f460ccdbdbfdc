"""Defaulting, as by the platform's operator: types, labels, hosts and ports.

Order matters: ports are counted through all predictors, and a container keeps the number of its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import msgspec
from msgspec.structs import replace

from infergraph.graph.spec.containers import containers
from infergraph.graph.spec.decoder import Container
from infergraph.graph.spec.records import UNKNOWN_IMPLEMENTATION, Deployment, Endpoint, Node, Predictor
from infergraph.protocol.annotations import SEPARATE_ENGINE

LOCALHOST = "localhost"
_NAME_LIMIT = 63  # of a Kubernetes service


class FirstPorts(msgspec.Struct, frozen=True):
    """The first port numbers."""

    http: int = 9000
    grpc: int = 9500


_USUAL = FirstPorts()


def default(deployment: Deployment, *, first: FirstPorts = _USUAL) -> Deployment:
    """`deployment` with everything filled in that the reference's operator fills in.

    A node whose name is that of a container gets that container's host and ports, whatever the file says; a node
    without one keeps its own endpoint. Our own members are left alone, and fallback nodes get their types only.
    """
    deployment = replace(deployment, namespace=deployment.namespace or "default")
    ports = _Ports(first)
    predictors = tuple(_predictor(deployment, predictor, ports) for predictor in deployment.predictors)
    return replace(deployment, predictors=predictors)


def default_predictor(predictor: Predictor) -> Predictor:
    """`predictor` alone, as the only one of a deployment of its name."""
    return default(Deployment(name=predictor.name, predictors=(predictor,))).predictors[0]


def ports_of(deployment: Deployment, *, first: FirstPorts = _USUAL) -> list[dict[str, tuple[int, int]]]:
    """For each predictor the HTTP and gRPC port of its containers, and of packaged servers without one, by name."""
    ports = _Ports(first)
    found: list[dict[str, tuple[int, int]]] = []
    for predictor in deployment.predictors:
        numbers: dict[str, tuple[int, int]] = {}
        for container in (each for pod in containers(predictor) for each in pod):
            listening = _listening(container, ports.of(container.name))
            numbers.setdefault(container.name, listening)
        for node in predictor.graph.walk():
            if node.packaged:
                numbers.setdefault(node.name, ports.of(node.name))
        found.append(numbers)
    for predictor, numbers in zip(deployment.predictors, found, strict=True):
        for node in predictor.graph.walk_all():  # fallback nodes, which the reference does not have
            if node.packaged:
                numbers.setdefault(node.name, ports.of(node.name))
    return found


class _Ports:
    """Port numbers by container name, assigned in order."""

    def __init__(self, first: FirstPorts) -> None:
        self._first = first
        self._names: dict[str, int] = {}

    def of(self, name: str) -> tuple[int, int]:
        place = self._names.setdefault(name, len(self._names))
        return self._first.http + place, self._first.grpc + place


def _predictor(deployment: Deployment, predictor: Predictor, ports: _Ports) -> Predictor:
    labels = dict(predictor.labels)
    labels.setdefault("version", predictor.name)
    typed = _typed(predictor.graph)
    endpoints, added = _endpoints(deployment, predictor, typed, ports)
    graph = _placed(typed, endpoints, iter(range(len(endpoints))))
    return replace(predictor, labels=labels, graph=graph, component_specs=_with(predictor.component_specs, added))


def _typed(node: Node) -> Node:
    implementation = node.implementation
    kind = node.type
    if kind is None and not node.methods and not node.methods_written and implementation is None:
        kind = "MODEL"
    if node.packaged:
        kind = "MODEL"
    fallback = _typed(node.fallback) if isinstance(node.fallback, Node) else node.fallback
    return replace(
        node,
        type=kind,
        implementation=UNKNOWN_IMPLEMENTATION if implementation is None else implementation,
        children=tuple(_typed(child) for child in node.children),
        fallback=fallback,
    )


def _endpoints(
    deployment: Deployment, predictor: Predictor, graph: Node, ports: _Ports
) -> tuple[list[Endpoint | None], list[str]]:
    """The endpoint of each node in the order of `walk`, and the names of containers that have to be added."""
    nodes = list(graph.walk())
    places: dict[str, int] = {}
    for place, node in enumerate(nodes):
        places.setdefault(node.name, place)  # of nodes with one name the first gets the container
    endpoints = [node.endpoint for node in nodes]
    pods = containers(predictor)
    known: dict[str, Container] = {}
    host = _hosts(deployment, predictor)
    for pod, members in enumerate(pods):
        for container in members:
            known.setdefault(container.name, container)
            numbers = ports.of(container.name)
            found = places.get(container.name)
            if found is not None:
                kept = endpoints[found] or Endpoint()
                endpoints[found] = _endpoint(deployment, kept, container, numbers, host(pod, container.name))
    added = []
    for place, node in enumerate(nodes):
        if node.packaged:
            if node.name not in known:
                known[node.name] = Container(name=node.name)
                added.append(node.name)
            kept = endpoints[place] or Endpoint()
            numbers = ports.of(node.name)
            endpoints[place] = _endpoint(deployment, kept, known[node.name], numbers, host(0, node.name))
    return endpoints, added


def _hosts(deployment: Deployment, predictor: Predictor) -> Callable[[int, str], str]:
    separate = deployment.annotations.get(SEPARATE_ENGINE, "").lower() == "true"

    def host(pod: int, container: str) -> str:
        if pod == 0 and not separate:
            return LOCALHOST
        service = f"{deployment.name}-{predictor.name}-{container}"
        if len(service) > _NAME_LIMIT:
            service = "seldon-" + hashlib.md5(service.encode(), usedforsecurity=False).hexdigest()
        return f"{service}.{deployment.namespace}.svc.cluster.local"

    return host


def _endpoint(
    deployment: Deployment, kept: Endpoint, container: Container, numbers: tuple[int, int], host: str
) -> Endpoint:
    http, grpc = _listening(container, numbers)
    by_grpc = kept.type == "GRPC" or deployment.transport == "grpc"
    return Endpoint(
        service_host=host,
        service_port=grpc if by_grpc else http,
        type=kept.type,
        http_port=http,
        grpc_port=grpc,
    )


def _listening(container: Container, numbers: tuple[int, int]) -> tuple[int, int]:
    """The ports of a container: those that it names itself, else its numbers."""
    http, grpc = numbers
    for port in reversed(container.ports):  # the first port of a name is used
        http = port.container_port if port.name == "http" else http
        grpc = port.container_port if port.name == "grpc" else grpc
    return http, grpc


def _placed(node: Node, endpoints: list[Endpoint | None], places: Iterator[int]) -> Node:
    endpoint = endpoints[next(places)]
    return replace(
        node, endpoint=endpoint, children=tuple(_placed(child, endpoints, places) for child in node.children)
    )


def _with(specs: tuple[dict[str, object], ...], added: list[str]) -> tuple[dict[str, object], ...]:
    """The pods with containers of the names `added` in the first one, which is made if there is none."""
    if not added:
        return specs
    first = dict(specs[0]) if specs else {}
    spec_key = next((key for key in reversed(first) if key.lower() == "spec"), "spec")
    pod = dict(first.get(spec_key) or {})  # type: ignore[call-overload]
    containers_key = next((key for key in reversed(pod) if key.lower() == "containers"), "containers")
    pod[containers_key] = [*(pod.get(containers_key) or ()), *({"name": name} for name in added)]
    first[spec_key] = pod
    return (first, *specs[1:])
