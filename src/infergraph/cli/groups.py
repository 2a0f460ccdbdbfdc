"""`infergraph serve --groups`: the plan of a cut graph's servers on this machine.

    deployment.yaml ─cut─▶ places ─▶ ports of this machine ─▶ a graph file each ─▶ GroupsPlan

Beside the graph files lies `targets.json`, which names each server's metrics in the form of Prometheus'
file_sd_configs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from infergraph.cli.cut_plans import FRONT, Planner, Server, cut_of, replicas, write
from infergraph.cli.shares import Shares
from infergraph.errors import GraphError
from infergraph.graph import spec
from infergraph.graph.placement import Place, file_of
from infergraph.process.groups import GroupsPlan, Member
from infergraph.process.sockets import hold
from infergraph.process.supervisor import ServePlan

TARGETS = "targets.json"
_FIRST_HOST = ipaddress.IPv4Address("127.0.0.1")
_REPLICAS_LIMIT = 200


def groups_plan_of(plan: ServePlan, target: str, *, nodes: Sequence[str] = (), predictor: str = "") -> GroupsPlan:
    """The plan of a graph's groups and its front.

    Args:
        plan: of the same target without groups.
        nodes: targets or addresses of nodes, NAME=TARGET.
        predictor: which predictor of the file; empty for all.
    Raises: StartupFault for what cannot be cut, or cannot run on this machine.
    Promises: the descriptors `held` hold the ports of the groups in this process, and in what replaces it.
    """
    found, file = cut_of("--groups", target, nodes=nodes, predictor=predictor)
    return _GroupsPlanner(found, plan, file).groups_plan()


class _GroupsPlanner(Planner):
    """Makes the plan of one cut: each replica has a loopback address of its own."""

    def groups_plan(self) -> GroupsPlan:
        """The plan; the graph files are written, and the ports held."""
        self.take()
        for place in self.places:
            self._add(place)
        front = self.front_place
        shares = Shares([*(server.place for server in self.servers), front], self.settings)
        if shares.deals_devices:
            self.settings = replace(self.settings, gpus="")
        self._write_targets()
        return GroupsPlan(
            groups=tuple(self._member(server, shares.of(server.name, server.place)) for server in self.servers),
            front=Member(plan=self.front(), environment=shares.of(FRONT, front)),
            warnings=(*self.warnings, *shares.warnings),
            held=tuple(self.held),
        )

    def _add(self, place: Place) -> None:
        """Add the replicas of a group, with the same ports."""
        title = self.title(place)
        number = replicas(place)
        if number > _REPLICAS_LIMIT:
            raise GraphError(f"{title}: {number} replicas on one machine; at most {_REPLICAS_LIMIT}", node=place.name)
        if not number:
            self.warnings.append(f"{title} has 0 replicas: calls of it fail")
        first, *others = hosts = [str(_FIRST_HOST + place) for place in range(max(number, 1))]
        endpoint = spec.Endpoint(
            service_host=first,
            service_hosts=tuple(others),
            http_port=self._port(hosts),
            grpc_port=self._port(hosts),
        )
        self.endpoints[place.field] = endpoint
        file = self.file(title)
        for replica, host in enumerate(hosts[:number]):
            name = title if number == 1 else f"{title}.{replica}"
            self.servers.append(Server(place, name, file, host, endpoint))

    def _port(self, hosts: Sequence[str]) -> int:
        port, held = hold(hosts)
        self.held += held
        return port

    def _member(self, server: Server, environment: Mapping[str, str]) -> Member:
        plan = self.server_plan(
            server,
            self.written(file_of(self.cut, server.place, self.address), server.file),
            host=server.host,
            http_port=server.endpoint.http_port,
            metrics_port=server.endpoint.http_port,
            grpc_port=server.endpoint.grpc_port,
            data_dir=str(self.folder / f"{server.file.stem}-{server.host}"),
        )
        return Member(plan=plan, environment={**environment, **self.variables(server.place)})

    def _write_targets(self) -> None:
        path = self.settings.metrics_path
        targets = [
            {
                "targets": [f"{server.host}:{server.endpoint.http_port}"],
                "labels": {"group": server.name, "__metrics_path__": path},
            }
            for server in self.servers
        ]
        write(self.folder / TARGETS, msgspec.json.format(msgspec.json.encode(targets), indent=2).decode() + "\n")
