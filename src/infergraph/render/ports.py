"""Port numbers for metrics, as the operator counts them.

Source: section A4 of the Kubernetes notes. The numbers for REST and gRPC are counted by `spec.ports_of`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from infergraph.graph.spec import Deployment, Predictor, entries, member

FIRST_HTTP, FIRST_GRPC, FIRST_METRICS = 9000, 9500, 6000
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
Spot = tuple[int, int | None, str]
"""A container: its predictor, its pod (None for one that the operator would add), its name."""


def metrics_ports(deployment: Deployment) -> dict[Spot, int]:
    """The metrics port of each container that is a node: its own port of that name, else the next number."""
    numbers = count(FIRST_METRICS)
    found: dict[Spot, int] = {}
    for place, predictor in enumerate(deployment.predictors):
        nodes = {node.name for node in predictor.graph.walk_all()}
        named = set()
        for pod, container in _containers(predictor.component_specs):
            name = str(member(container, "name") or "")
            named.add(name)
            if name in nodes:
                own = port_named(container, "metrics")
                found[place, pod, name] = next(numbers) if own is None else own
        for node in predictor.graph.walk():
            if node.packaged and node.name not in named:
                named.add(node.name)
                found[place, None, node.name] = next(numbers)
    for place, predictor in enumerate(deployment.predictors):  # fallback nodes, which the operator does not have
        for node in predictor.graph.walk_all():
            if node.packaged and not any((place, pod, node.name) in found for pod in _pods(predictor)):
                found[place, None, node.name] = next(numbers)
    return found


def port_named(container: Mapping[str, Any], name: str) -> int | None:
    """The number of the first port of a name that a container declares; None if it has none."""
    for port in entries(container, "ports"):
        if member(port, "name") == name:
            number = member(port, "containerPort")
            return number if type(number) is int else None
    return None


def _pods(predictor: Predictor) -> list[int | None]:
    return [None, *range(len(predictor.component_specs))]


def _containers(pods: tuple[dict[str, Any], ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    for pod, document in enumerate(pods):
        for container in entries(member(document, "spec"), "containers"):
            yield pod, container


def counted(number: int, first: int) -> str:
    """How a number was counted: `second container`; those for metrics go by the containers that are nodes."""
    place, what = number - first, "node" if first == FIRST_METRICS else "container"
    return f"{_ORDINALS[place]} {what}" if 0 <= place < len(_ORDINALS) else f"{what} {place + 1}"
