"""What is said between the process that serves, the controller of replicas, and a replica on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from infergraph.process.ray.scaling import Scaling
from infergraph.process.supervisor import ServePlan

REPLICA_FOLDER = "//replica-folder//"
"""Stands in a graph file for the folder of a replica, which only its machine knows."""


class Asks(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica asks the cluster for.

    Args:
        resources: further ones of Ray's, by name.
    """

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory_bytes: int = 0
    resources: dict[str, float] = {}

    @property
    def options(self) -> dict[str, Any]:
        """The same as options of an actor."""
        return {
            "num_cpus": self.num_cpus,
            "num_gpus": self.num_gpus,
            "memory": self.memory_bytes or None,
            "resources": self.resources or None,
        }


class RayGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group, and its replicas.

    Args:
        name: of the group.
        plan: of a replica's server; its host, ports and folders are chosen where it runs.
        graph: the text of its graph file.
        by_grpc: whether it is called over gRPC.
        calls: names of the groups that it calls.
        environment: variables of the container of its name.
    """

    name: str
    plan: ServePlan
    graph: str
    asks: Asks = Asks()
    scaling: Scaling = Scaling()
    by_grpc: bool = False
    calls: tuple[str, ...] = ()
    environment: dict[str, str] = {}


class RayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The groups of a graph on a Ray cluster.

    Args:
        address: of the cluster, as Ray takes it.
        ships: folder that is sent to the cluster: the code of the groups.
        excludes: what of it is not sent, as in a .gitignore file.
        hosts: folder of the files that list the addresses of each group, `NAME.hosts`.
        notice_s: how long before its end a replica is no longer listed.
        parent_pid, ready_fd: as in a ServePlan; it is ready once each group has a replica.
    """

    address: str
    ships: str
    groups: tuple[RayGroup, ...]
    hosts: str
    settings: dict[str, Any]
    excludes: tuple[str, ...] = ()
    notice_s: float = 7.0
    parent_pid: int = 0
    ready_fd: int = -1

    @property
    def name(self) -> str:
        """Its name in the log."""
        return "ray"

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the controller: none of its own."""
        return {}

    @property
    def module(self) -> str:
        """What runs it."""
        return "infergraph.process.ray.controller"

    def told(self, parent_pid: int, ready_fd: int) -> bytes:
        """The plan, for a child of the process that serves."""
        return msgspec.json.encode(msgspec.structs.replace(self, parent_pid=parent_pid, ready_fd=ready_fd))


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica is started with.

    Args:
        version: of infergraph here.
        hosts: the addresses of the groups that it calls, as text of their files by group.
    """

    version: str
    group: RayGroup
    hosts: dict[str, str]


class CannotStart(Exception):
    """The server of a replica ended before it was ready.

    Args:
        exit_code: of the server.
        text: why, by its last line.
    """

    def __init__(self, exit_code: int, text: str) -> None:
        super().__init__(exit_code, text)
        self.exit_code = exit_code
        self.text = text

    def __str__(self) -> str:
        return self.text


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replica listens."""

    host: str
    http_port: int
    grpc_port: int

    def address(self, *, by_grpc: bool) -> str:
        """Where it is called, as files of addresses have it."""
        port = self.grpc_port if by_grpc else self.http_port
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def hosts_file(group: str) -> str:
    """The name of the file that lists the addresses of a group."""
    return f"{group}.hosts"


def hosts_file_there(group: str) -> str:
    """The path of that file on the machine of a replica, as a graph file has it."""
    return f"{REPLICA_FOLDER}/{hosts_file(group)}"


def write_hosts(folder: Path, group: str, text: str) -> None:
    """Write that file, in place of the one before; whoever reads meanwhile sees one of them whole."""
    file = folder / hosts_file(group)
    fresh = file.with_suffix(".new")
    fresh.write_text(text, "utf-8")
    fresh.replace(file)
