"""Where the nodes of a deployment run: the one cut of a graph into groups, for processes, Kubernetes and Ray alike.

    Deployment, overrides ──cut──▶ Cut: a PredictorCut each ─▶ the front, groups and foreign nodes, each a Place
    Place, addresses ──file_of──▶ the Deployment that the infergraph of this place serves
    Cut, addresses ──split_of──▶ the Deployment of the process that chooses among several predictors
    Deployment, overrides ──problems──▶ what is wrong with its placing members

    found = cut(deployment, overrides)              # as it was read, not as defaulted
    for predictor in found.predictors:
        for place in predictor.served:              # the front, if there is one, and the groups in pre-order
            text = spec.to_yaml(file_of(found, place, addresses))

Addresses are a function from a place to its `Endpoint`, since only the caller knows them: a Service's name and
`place.http_port` on Kubernetes, 127.0.0.1 and free ports on one machine. Its `type` and, where it is 0, its
`service_port` are filled in here.

Source: section B1 of the Kubernetes notes; where numbers and resources come from, B3 and B4.
"""

from infergraph.graph.placement.cut import Cut, PredictorCut, cut
from infergraph.graph.placement.effects import effects, placing_of, summaries
from infergraph.graph.placement.files import file_of, is_called_by_grpc, split_of
from infergraph.graph.placement.places import Asked, Given, Place, PlaceKind, asked_of_pod, with_defaults
from infergraph.graph.placement.problems import problems
from infergraph.graph.placement.quantities import amount
from infergraph.graph.placement.sites import Site

__all__ = [
    "Asked",
    "Cut",
    "Given",
    "Place",
    "PlaceKind",
    "PredictorCut",
    "Site",
    "amount",
    "asked_of_pod",
    "cut",
    "effects",
    "file_of",
    "is_called_by_grpc",
    "placing_of",
    "problems",
    "split_of",
    "summaries",
    "with_defaults",
]
