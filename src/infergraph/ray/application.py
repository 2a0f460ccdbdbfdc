"""The application of a graph: its deployments as `infergraph render ray` names them, and the table of addresses.

args ─▶ Deployment ─cut─▶ the front and groups ─▶ an Order each ─▶ `front`, `PREDICTOR.NODE` …, `addresses`
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec.structs import replace

from infergraph.errors import GraphError, MissingExtra, SettingsError
from infergraph.graph import spec
from infergraph.graph.placement import Cut, Place, cut, file_of, is_called_by_grpc
from infergraph.net import ray_cluster
from infergraph.process.ray.plan import Order, RayGroup, hosts_file_there
from infergraph.process.supervisor import ServePlan
from infergraph.ray.addresses import Addresses
from infergraph.ray.replicas import FrontReplica, GroupReplica
from infergraph.render.ray import FRONT
from infergraph.settings import describe, load
from infergraph.unit_source import UnitSource

ADDRESSES = "addresses"
_REQUESTS_LIMIT = 1000
_HEALTH_EVERY_S = 2.0


def app(args: dict[str, Any]) -> Any:
    """The application of a graph, for Ray Serve.

    Args:
        args: `graph`, a SeldonDeployment as a plain document, and `settings` by name.
    Raises: StartupFault for what cannot be read or cut; MissingExtra where Ray is not installed.
    """
    given = args.get("settings") or {}
    if unknown := given.keys() - {row.name for row in describe()}:
        raise SettingsError(f"settings: {', '.join(sorted(unknown))}: no such setting (see `infergraph settings`)")
    load({}, given)
    orders = _Orders(_cut_of(args.get("graph")))
    serve = _serve()
    table = serve.deployment(Addresses, name=ADDRESSES, ray_actor_options={"num_cpus": 0}).bind()
    options = {"max_ongoing_requests": _REQUESTS_LIMIT, "health_check_period_s": _HEALTH_EVERY_S}
    groups = [
        serve.deployment(GroupReplica, name=name, **options).bind(orders.of_group(place), given, key, table)
        for name, (key, place) in orders.groups.items()
    ]
    return serve.deployment(FrontReplica, name=FRONT, **options).bind(orders.of_front(), given, table, *groups)


def _serve() -> Any:
    """The package `ray.serve`. Raises: MissingExtra where it is not installed."""
    ray_cluster.package("infergraph.ray")
    try:
        return import_module("ray.serve")
    except ImportError as error:
        raise MissingExtra.of("ray[serve]", "ray", "infergraph.ray") from error


def _cut_of(graph: Any) -> Cut:
    """The cut of a document. Raises: GraphError for none, and for one with nodes in images of their own."""
    if not isinstance(graph, dict):
        raise GraphError("args.graph: a SeldonDeployment as an object, as `infergraph render ray` writes it")
    read = spec.read(json.dumps(graph), source="args.graph")
    if len(read) != 1:
        raise GraphError(f"args.graph: one SeldonDeployment, not {len(read)}")
    found = cut(read[0], {})
    foreign = [place.name for predictor in found.predictors for place in predictor.foreign]
    if foreign:
        raise GraphError(f"args.graph: Ray runs code, and these nodes have images of their own: {', '.join(foreign)}")
    return found


class _Orders:
    """What the replicas of each deployment are started with.

    groups: a key of the group's addresses, and its place, by the name of its deployment.
    """

    def __init__(self, found: Cut) -> None:
        self._cut = found
        places = [(each.predictor.name, place) for each in found.predictors for place in each.groups]
        self.groups = {
            f"{name}.{place.name}": (f"group-{number}", place) for number, (name, place) in enumerate(places)
        }
        self._keys = {place.field: key for key, place in self.groups.values()}

    def of_group(self, place: Place) -> bytes:
        """Of a group."""
        by_grpc = is_called_by_grpc(place, self._cut.deployment)
        return self._order(place.name, file_of(self._cut, place, self._address), by_grpc=by_grpc)

    def of_front(self) -> bytes:
        """Of the front: what all predictors do outside groups."""
        fronts = [(each.predictor, each.front) for each in self._cut.predictors if each.front is not None]
        files = [file_of(self._cut, front, self._address) for _, front in fronts]
        predictors = tuple(
            replace(file.predictors[0], traffic=predictor.traffic, shadow=predictor.shadow)
            for file, (predictor, _) in zip(files, fronts, strict=True)
        )
        return self._order(FRONT, replace(files[0], predictors=predictors), by_grpc=False, is_front=True)

    def _address(self, place: Place) -> spec.Endpoint:
        return spec.Endpoint(service_hosts_file=hosts_file_there(self._keys[place.field]))

    def _order(self, name: str, deployment: spec.Deployment, *, by_grpc: bool, is_front: bool = False) -> bytes:
        files = {
            node.name: node.endpoint.service_hosts_file for node in deployment.walk_all() if node.endpoint is not None
        }
        keys = [key for key in self._keys.values() if hosts_file_there(key) in files.values()]
        called = tuple(sorted(name for name, file in files.items() if file in map(hosts_file_there, keys)))
        source = UnitSource(target="", groups=called if is_front else ())  # else Serve would replace callers with it
        group = RayGroup(
            name=name,
            plan=ServePlan(settings={}, source=msgspec.to_builtins(source), group=name),
            graph=spec.to_yaml(deployment),
            by_grpc=by_grpc,
            calls=tuple(keys),
        )
        return msgspec.msgpack.encode(Order(version=version("infergraph"), group=group, hosts={}))
