"""Problems of the members that say where a node runs: their shapes, and places where they cannot hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from infergraph.graph.placement.cut import OWN, PARENT, Seat, seats
from infergraph.graph.placement.places import hpa_bounds, keda_bounds
from infergraph.graph.placement.quantities import amount
from infergraph.graph.placement.sites import Site
from infergraph.graph.spec import Deployment, Problem, member
from infergraph.graph.spec.decoder import PdbSpec, Reader, Resources, called

_RESOURCES = ("requests", "limits", "claims")


def problems(deployment: Deployment, overrides: Mapping[str, str]) -> list[Problem]:
    """The problems of the placing members of all nodes, in document order; empty where none has such.

    Args:
        deployment: as it was read.
        overrides: targets or addresses by node name.
    """
    found: list[Problem] = []
    for place in range(len(deployment.predictors)):
        taken = seats(deployment, place, overrides)
        sharing = Counter(seat.pod for seat in taken.values() if seat.pod is not None)
        crowded = {pod for pod, nodes in sharing.items() if nodes > 1}
        for seat in taken.values():
            if seat.node.placing:
                found += [*_of_site(seat, crowded), *_of_shapes(seat)]
    return found


def _of_site(seat: Seat, crowded: Collection[int | None]) -> Iterator[Problem]:
    node, asked = seat.node, [name for name in seat.node.placing if name != "place"]
    if node.place not in ("", OWN, PARENT):
        yield Problem(f"{seat.field}.place", f"{node.place!r} is no place", f"use {OWN} or {PARENT}")
    if seat.site is Site.OUTSIDE:
        for member in node.placing:
            yield Problem(seat.field, f"{member} is asked for a node at an address: scale it where it runs")
    elif node.place == PARENT and seat.site is Site.FOREIGN:
        text = "place: parent is asked for a node with an image of its own"
        yield Problem(seat.field, text, f"say what to run: --node {node.name}=file.py:Class")
    elif node.place == PARENT:
        for member in asked:
            yield Problem(seat.field, f"{member} is asked for a node in its parent's process", "drop place: parent")
    elif seat.pod in crowded:
        for member in asked:
            where = f"write it at componentSpecs[{seat.pod}]"
            yield Problem(seat.field, f"{member} is asked for one of several nodes of a pod: {where}")


def _of_shapes(seat: Seat) -> Iterator[Problem]:
    node, field = seat.node, seat.field
    yield from _of_resources(node.resources, f"{field}.resources")
    if node.hpa_spec:
        yield from _of_bounds(f"{field}.hpaSpec", ("minReplicas", "maxReplicas"), hpa_bounds(node.hpa_spec))
    if node.keda_spec:
        names = "minReplicaCount", "maxReplicaCount"
        yield from _of_bounds(f"{field}.kedaSpec", names, keda_bounds(node.keda_spec))
        if not member(node.keda_spec, "triggers"):
            yield Problem(f"{field}.kedaSpec", "has no triggers", "add what it scales by")
    budget: PdbSpec = Reader().struct(PdbSpec, node.pdb_spec, ())
    if budget.min_available is not None and budget.max_unavailable is not None:
        yield Problem(f"{field}.pdbSpec", "minAvailable and maxUnavailable exclude each other", "keep one")


def _of_bounds(field: str, names: tuple[str, str], bounds: tuple[int, int]) -> Iterator[Problem]:
    least, most = bounds
    if most < 1:
        yield Problem(f"{field}.{names[1]}", f"must be 1 or more, not {most}", "it is the most replicas there may be")
    elif not 0 <= least <= most:
        yield Problem(f"{field}.{names[0]}", f"{least} is not from 0 to {names[1]}, which is {most}")


def _of_resources(resources: Mapping[str, Any], field: str) -> Iterator[Problem]:
    for name in resources:
        if name.lower() not in _RESOURCES:
            hint = f"write it under requests or limits: {{requests: {{{name}: …}}}}"
            yield Problem(f"{field}.{name}", f"resources have {' and '.join(_RESOURCES[:2])}, and no {name}", hint)
    read: Resources = Reader().struct(Resources, dict(resources), ())
    for kind, quantities in (("requests", read.requests), ("limits", read.limits)):
        for name, quantity in quantities.items():
            if amount(quantity) is None:
                text = f"expected a quantity such as 500m, 2 or 4Gi, found {called(quantity)}"
                yield Problem(f"{field}.{kind}.{name}", text)
