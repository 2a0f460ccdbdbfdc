"""`infergraph serve --on ray`: the plan of a cut graph whose groups run on a Ray cluster, and whose front runs here.

    deployment.yaml ─cut─▶ places ─▶ a graph file each ─▶ GroupsPlan: the front here, a RayPlan for all others

Groups are called at the addresses in `NAME.hosts`, which the controller of replicas writes: here for the front, and
where a replica calls another group for that.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from infergraph.cli.cut_plans import Planner, Server, cut_of, replicas
from infergraph.errors import GraphError, SettingsError
from infergraph.graph import spec
from infergraph.graph.placement import Place, file_of, is_called_by_grpc
from infergraph.graph.placement.ray_options import actor_options, asks_for_cpus, in_flight_target
from infergraph.graph.spec import entries
from infergraph.net import ray_cluster
from infergraph.process.groups import GroupsPlan, Member
from infergraph.process.ray.plan import Asks, RayGroup, RayPlan, hosts_file, hosts_file_there
from infergraph.process.ray.scaling import Scaling
from infergraph.process.supervisor import ServePlan

RAY = "ray"
_NOT_SHIPPED = (".git", ".venv", "__pycache__", "node_modules", "*.log")


def address_of(on: str) -> str:
    """The address of the cluster that `--on` names: `ray`, `ray://HOST:PORT`, or HOST:PORT.

    Without one it is RAY_ADDRESS, else a cluster that is started here.

    Raises: SettingsError for anything else, and for a cluster that cannot be joined now; MissingExtra without Ray.
    """
    if on == RAY:
        address = os.environ.get("RAY_ADDRESS") or ray_cluster.LOCAL
    elif ray_cluster.is_address(on):
        address = on
    else:
        raise SettingsError(f"--on {on!r}: write ray, ray://HOST:PORT or HOST:PORT")
    ray_cluster.package("serve --on ray")
    if trouble := ray_cluster.trouble(address):
        raise SettingsError(f"the Ray cluster at {address} cannot be reached: {trouble}")
    return address


def ray_plan_of(
    plan: ServePlan, target: str, address: str, *, nodes: Sequence[str] = (), predictor: str = ""
) -> GroupsPlan:
    """The plan of a graph whose groups run on a cluster.

    Args:
        plan: of the same target without groups.
        address: of the cluster.
        nodes: targets or addresses of nodes, NAME=TARGET.
        predictor: which predictor of the file; empty for all.
    Raises: StartupFault for what cannot be cut.
    """
    found, file = cut_of("--on", target, nodes=nodes, predictor=predictor)
    return _RayPlanner(found, plan, file).ray_plan(address)


class _RayPlanner(Planner):
    """Makes the plan of one cut: where a group's replicas listen is known once they do."""

    def ray_plan(self, address: str) -> GroupsPlan:
        """The plan; the graph file of the front is written."""
        self.take()
        for place in self.places:
            self._add(place)
        ray = RayPlan(
            address=address,
            ships=self.files,
            excludes=(*_NOT_SHIPPED, *self._data_folder()),
            groups=tuple(map(self._group, self.servers)),
            hosts=str(self.folder),
            settings=self.plan.settings,
        )
        return GroupsPlan(
            groups=(),
            front=Member(plan=self.front()),
            ray=ray if self.servers else None,
            warnings=tuple(self.warnings),
            held=tuple(self.held),
        )

    def _add(self, place: Place) -> None:
        title = self.title(place)
        file = self.file(title)
        endpoint = spec.Endpoint(service_hosts_file=str(self.folder / hosts_file(file.stem)))
        self.endpoints[place.field] = endpoint
        self.servers.append(Server(place, title, file, "", endpoint))

    def _data_folder(self) -> list[str]:
        """The data folder, as what is not shipped, where it lies in what is."""
        folder, ships = self.folder.parent, Path(self.files).absolute()
        return [f"/{folder.relative_to(ships)}/"] if folder.is_relative_to(ships) and folder != ships else []

    def _group(self, server: Server) -> RayGroup:
        place = server.place
        deployment = file_of(self.cut, place, self._there)
        source = self.sourced(deployment, server.file.name, self._there)
        called = {node.endpoint.service_hosts_file for node in deployment.walk_all() if node.endpoint is not None}
        return RayGroup(
            name=server.file.stem,
            plan=self.server_plan(server, msgspec.to_builtins(source), gpus="", drain_delay_s=0.0),
            graph=spec.to_yaml(deployment),
            asks=_asks(place),
            scaling=self._scaling(server),
            by_grpc=is_called_by_grpc(place, self.cut.deployment),
            calls=tuple(sorted(each.file.stem for each in self.servers if hosts_file_there(each.file.stem) in called)),
            environment=self.variables(place),
        )

    def _there(self, place: Place) -> spec.Endpoint:
        """Where a group is called by another one, on a machine of the cluster."""
        return spec.Endpoint(service_hosts_file=hosts_file_there(Path(self.address(place).service_hosts_file).stem))

    def _scaling(self, server: Server) -> Scaling:
        """The bounds of a group, and the load that a replica shall have."""
        asked, number = server.place.asked, replicas(server.place)
        if not number:
            raise GraphError(
                f"{server.name}: 0 replicas on Ray: leave the node out, or give it 1", node=server.place.name
            )
        if asked.bounds is None:
            return Scaling(least=number, most=number)
        least, most = asked.bounds
        if least == 0:
            self.warnings.append(f"{server.name}: 0 replicas at least are 1 on Ray, as nothing would start the first")
        return Scaling(least=max(least, 1), most=max(most, 1), **self._target(server))

    def _target(self, server: Server) -> dict[str, float]:
        asked = server.place.asked
        hpa = None if asked.hpa_spec is None or asked.keda_spec is not None else asked.hpa_spec.value
        metrics = [metric for kind in ("metrics", "metricsv2") for metric in entries(hpa, kind)]
        found = [target for metric in metrics if (target := in_flight_target(metric))]
        if found:
            return {"target": float(found[-1])}
        usual = Scaling().target
        self.warnings.append(f"{server.name} is scaled by its requests in flight, {usual:g} for each replica")
        return {}


def _asks(place: Place) -> Asks:
    """What a replica reserves: what its resources say, one CPU where they say nothing of CPUs."""
    resources = {} if place.asked.resources is None else dict(place.asked.resources.value)
    options = actor_options(resources)
    return Asks(
        num_cpus=options["num_cpus"] if asks_for_cpus(resources) else 1.0,
        num_gpus=options.get("num_gpus", 0.0),
        memory_bytes=options.get("memory", 0),
        resources=options.get("resources", {}),
    )
