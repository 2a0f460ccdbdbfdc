"""A place: what has an address of its own, and what the file asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from infergraph.graph.placement.quantities import amount
from infergraph.graph.spec import PLACING, Node, Predictor, entries, member
from infergraph.graph.spec.decoder import HpaSpec, KedaSpec, Reader

_KEDA_MOST = 100


class Given(NamedTuple):
    """A value, and where in the file it stands: `spec.predictors[0].graph[1].replicas`."""

    value: Any
    field: str


class PlaceKind(Enum):
    """What a place is."""

    FRONT = "front"
    GROUP = "group"
    FOREIGN = "foreign"


class Asked(msgspec.Struct, frozen=True):
    """What the file asks for a place; None where it says nothing.

    Args:
        replicas: a whole number; 0 is one.
        resources: of its container, in the shape of Kubernetes.
        hpa_spec, keda_spec, pdb_spec: as they were written.
    """

    replicas: Given | None = None
    resources: Given | None = None
    hpa_spec: Given | None = None
    keda_spec: Given | None = None
    pdb_spec: Given | None = None

    def limit(self, name: str) -> float:
        """How much of a resource its container may have, else asks for; 0 where the file says nothing."""
        resources = None if self.resources is None else self.resources.value
        kinds = (member(resources, "limits"), member(resources, "requests"))
        found = (amount(kind[name]) for kind in kinds if isinstance(kind, dict) and name in kind)
        return next(found, None) or 0.0

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The least and the most replicas that an autoscaler may choose; None without one. KEDA's comes first."""
        if self.keda_spec is not None:
            return keda_bounds(self.keda_spec.value)
        return None if self.hpa_spec is None else hpa_bounds(self.hpa_spec.value)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A front, a group, or a foreign node.

    Args:
        predictor: index of its predictor.
        node: that it starts with, as it was read; None for a front whose root is called.
        field: path of that node in the document; of the predictor for a front without one.
        nodes: names of the nodes that run in it, parents first.
        pod: index of the componentSpec with the container of its name; None where it has none.
        image: of that container; empty where it has none.
        http_port, grpc_port: where it listens on a cluster.
    """

    kind: PlaceKind
    predictor: int
    node: Node | None
    field: str
    nodes: tuple[str, ...] = ()
    pod: int | None = None
    image: str = ""
    http_port: int = 0
    grpc_port: int = 0
    asked: Asked = Asked()

    @property
    def ports(self) -> tuple[int, int]:
        """Its HTTP and its gRPC port."""
        return self.http_port, self.grpc_port

    @property
    def name(self) -> str:
        """The name of that node; empty for a front without one."""
        return "" if self.node is None else self.node.name


def hpa_bounds(document: dict[str, Any]) -> tuple[int, int]:
    """The least and the most replicas of an hpaSpec; 1 is Kubernetes' default of the least."""
    spec: HpaSpec = Reader().struct(HpaSpec, document, ())
    return 1 if spec.min_replicas is None else spec.min_replicas, spec.max_replicas


def keda_bounds(document: dict[str, Any]) -> tuple[int, int]:
    """The least and the most replicas of a kedaSpec; 0 and 100 are KEDA's defaults."""
    spec: KedaSpec = Reader().struct(KedaSpec, document, ())
    return spec.min_replica_count or 0, _KEDA_MOST if spec.max_replica_count is None else spec.max_replica_count


def asked_for(node: Node, field: str, predictor: Predictor, path: str, pod: int | None) -> Asked:
    """What the file asks for a place that starts with `node`.

    Args:
        field: path of the node.
        path: path of the predictor.
        pod: index of the componentSpec with its container.
    """
    members: dict[str, Any] = {name: getattr(node, field) for field, name in PLACING.items()}
    pods, resources = [(members, field)], [(members, field)]
    if pod is not None:
        pods.append((predictor.component_specs[pod], _joined(path, f"componentSpecs[{pod}]")))
        resources += _container(predictor, node.name, pod, path)
    return Asked(
        replicas=_first(pods, "replicas"),
        resources=_first(resources, "resources"),
        hpa_spec=_first(pods, "hpaSpec"),
        keda_spec=_first(pods, "kedaSpec"),
        pdb_spec=_first(pods, "pdbSpec"),
    )


def asked_of_pod(pod: dict[str, Any], field: str) -> Asked:
    """What the file asks for a pod without a node that a place starts with."""
    sources = [(pod, field)]
    return Asked(
        replicas=_first(sources, "replicas"),
        hpa_spec=_first(sources, "hpaSpec"),
        keda_spec=_first(sources, "kedaSpec"),
        pdb_spec=_first(sources, "pdbSpec"),
    )


def with_defaults(asked: Asked, defaults: Iterable[tuple[Any, str]]) -> Asked:
    """`asked` with replicas, and resources, from the first of `defaults` that has them, where the file asks for none.

    Args:
        defaults: plain documents and their paths: of the orchestrator, the predictor, the deployment.
    """
    sources = list(defaults)
    return msgspec.structs.replace(
        asked,
        replicas=asked.replicas or _first(sources, "replicas"),
        resources=asked.resources or _first(sources, "resources"),
    )


def _container(predictor: Predictor, name: str, pod: int, path: str) -> Iterator[tuple[Any, str]]:
    spec = member(predictor.component_specs[pod], "spec")
    for place, container in enumerate(entries(spec, "containers")):
        if member(container, "name") == name:
            yield container, _joined(path, f"componentSpecs[{pod}].spec.containers[{place}]")
            return


def _first(sources: Iterable[tuple[Any, str]], name: str) -> Given | None:
    for document, field in sources:
        value = member(document, name)
        if value not in (None, {}):
            return Given(value, _joined(field, name))
    return None


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}".removeprefix(".")
