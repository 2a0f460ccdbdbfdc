"""What each placing member has as effect, by where the graph runs."""

from __future__ import annotations

from collections.abc import Iterable

from infergraph.graph.placement.cut import PredictorCut
from infergraph.graph.placement.places import Place, PlaceKind

_ANYWHERE = "with serve --groups, on Ray, on Kubernetes"
_FEWEST = "with serve --groups (its fewest replicas), on Ray, on Kubernetes"
_EFFECTS = {
    "place": _ANYWHERE,
    "replicas": _ANYWHERE,
    "resources": "with serve --groups (GPUs and threads), on Ray, on Kubernetes",
    "hpaSpec": _FEWEST,
    "kedaSpec": _FEWEST,
    "pdbSpec": "on Kubernetes",
}


def effects(members: Iterable[str]) -> str:
    """Where each of these placing members has an effect: `place, replicas with serve --groups, …; pdbSpec on …`."""
    named: dict[str, list[str]] = {}
    for member in members:
        named.setdefault(_EFFECTS[member], []).append(member)
    return "; ".join(f"{', '.join(names)} {where}" for where, names in named.items())


def placing_of(found: PredictorCut) -> list[str]:
    """The placing members that any of a predictor's nodes has, each once."""
    nodes = found.predictor.graph.walk_all()
    return list(dict.fromkeys(name for node in nodes for name in node.placing))


def summaries(found: PredictorCut) -> dict[str, str]:
    """What a place is, and what it asks for, by the name of its node: `group: 2 replicas, 1 cpu (requests)`."""
    places = (*found.groups, *found.foreign)
    return {place.name: ": ".join(filter(None, (_kind(place), _asked(place)))) for place in places}


def _kind(place: Place) -> str:
    return "an image of its own" if place.kind is PlaceKind.FOREIGN else "group"


def _asked(place: Place) -> str:
    resources = {} if place.asked.resources is None else place.asked.resources.value
    quantities = [
        f"{quantity} {name} ({kind})"
        for kind in ("requests", "limits")
        for name, quantity in (resources.get(kind) or {}).items()
    ]
    return ", ".join([*_numbers(place), *quantities])


def _numbers(place: Place) -> list[str]:
    bounds = place.asked.bounds
    if bounds is not None:
        return [f"{bounds[0]} to {bounds[1]} replicas"]
    if place.asked.replicas is None:
        return []
    number = place.asked.replicas.value
    return ["1 replica" if number == 1 else f"{number} replicas"]
