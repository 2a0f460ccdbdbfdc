"""`infergraph serve --groups`: the plan of a cut graph's servers on this machine.

    deployment.yaml ─cut─▶ places ─▶ ports of this machine ─▶ a graph file each ─▶ GroupsPlan

The graph files are those of a cluster but for the addresses. They lie in the data folder, beside `targets.json`, which
names each server's metrics in the form of Prometheus' file_sd_configs.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from infergraph.cli.shares import Shares
from infergraph.errors import GraphError, SettingsError, TargetError
from infergraph.graph import spec
from infergraph.graph.inspection import chosen, predictors
from infergraph.graph.placement import Cut, Place, PlaceKind, cut, file_of, split_of
from infergraph.process.groups import GroupsPlan, Member
from infergraph.process.sockets import hold, open_ports
from infergraph.process.supervisor import ServePlan
from infergraph.settings import ConsoleMode, Settings
from infergraph.unit_source import UnitSource, is_graph, named, read_overrides

FOLDER = "groups"
FRONT = "front"
TARGETS = "targets.json"
_FIRST_HOST = ipaddress.IPv4Address("127.0.0.1")
_REPLICAS_LIMIT = 200
_OF_THE_FRONT = (
    "tls_cert", "tls_key", "tls_client_ca", "base_path", "keys", "oidc_issuer", "oidc_audience", "gateway_paths",
)  # fmt: skip
"""Settings of how clients call; groups are called by each other, on the loopback."""


class Server(NamedTuple):
    """One replica of a place.

    Args:
        name: of the place, and which replica it is where there are several.
        file: of its graph, the same for all replicas.
    """

    place: Place
    name: str
    file: Path
    host: str
    endpoint: spec.Endpoint


def groups_plan_of(plan: ServePlan, target: str, *, nodes: Sequence[str] = (), predictor: str = "") -> GroupsPlan:
    """The plan of a graph's groups and its front.

    Args:
        plan: of the same target without groups.
        nodes: targets or addresses of nodes, NAME=TARGET.
        predictor: which predictor of the file; empty for all.
    Raises: StartupFault for what cannot be cut, or cannot run on this machine.
    Promises: the descriptors `held` hold the ports of the groups in this process, and in what replaces it.
    """
    _, target = named(target)
    if not is_graph(target):
        raise TargetError(f"--groups runs the nodes of a graph file, and {target} is none")
    file, _, wanted = target.partition("#")
    overrides = read_overrides(nodes)
    read, _ = chosen(Path(file), file, wanted, overrides)
    read = replace(read, predictors=tuple(predictors(read, predictor)))
    found = cut(read, overrides, has_images=False)
    _refuse_images(found, file)
    return _Planner(found, plan, Path(file)).plan()


def _refuse_images(found: Cut, file: str) -> None:
    """Raise GraphError for nodes with an image of their own."""
    lines = [
        f"node {place.name!r} has an image of its own ({place.image or place.node.packaged}), and --groups runs no "
        f"images: say what to run, --node {place.name}=file.py:Class, or where it is, "
        f"--node {place.name}=http://HOST:PORT"
        for predictor in found.predictors
        for place in predictor.foreign
        if place.node is not None
    ]
    if lines:
        raise GraphError(f"{file}: {'; '.join(lines)}")


class _Planner:
    """Makes the plan of one cut, whose nodes all run here or are outside."""

    def __init__(self, found: Cut, plan: ServePlan, file: Path) -> None:
        self._cut = found
        self._plan = plan
        self._source = msgspec.convert(plan.source, UnitSource)
        self._files = str((self._source.path / file).parent)
        self._settings = msgspec.convert(plan.settings, Settings)
        self._folder = Path(self._settings.data_dir).absolute() / FOLDER
        self._is_split = len(found.predictors) > 1
        self._servers: list[Server] = []
        self._endpoints: dict[str, spec.Endpoint] = {}
        self._warnings: list[str] = []
        self._held: list[int] = []

    def plan(self) -> GroupsPlan:
        """The plan; the graph files are written, and the ports held."""
        open_ports(self._settings).close()  # refuses ports that are taken before anything starts
        self._held.append(_take(self._folder))
        for found in self._cut.predictors:
            for place in found.served if self._is_split else found.groups:
                self._add(place)
        front = None if self._is_split else self._cut.predictors[0].front
        shares = Shares([*(server.place for server in self._servers), front], self._settings)
        if shares.deals_devices:
            self._settings = replace(self._settings, gpus="")
        self._write_targets()
        return GroupsPlan(
            groups=tuple(self._member(server, shares.of(server.name, server.place)) for server in self._servers),
            front=Member(plan=self._front(front), environment=shares.of(FRONT, front)),
            warnings=(*self._warnings, *shares.warnings),
            held=tuple(self._held),
        )

    def _add(self, place: Place) -> None:
        """Add the replicas of a group, each on a loopback address of its own, with the same ports."""
        title = self._title(place)
        number = _replicas(place)
        if number > _REPLICAS_LIMIT:
            raise GraphError(f"{title}: {number} replicas on one machine; at most {_REPLICAS_LIMIT}", node=place.name)
        if not number:
            self._warnings.append(f"{title} has 0 replicas: calls of it fail")
        first, *others = hosts = [str(_FIRST_HOST + place) for place in range(max(number, 1))]
        endpoint = spec.Endpoint(
            service_host=first,
            service_hosts=tuple(others),
            http_port=self._port(hosts),
            grpc_port=self._port(hosts),
        )
        self._endpoints[place.field] = endpoint
        file = self._file(title)
        for replica, host in enumerate(hosts[:number]):
            name = title if number == 1 else f"{title}.{replica}"
            self._servers.append(Server(place, name, file, host, endpoint))

    def _title(self, place: Place) -> str:
        predictor = self._cut.predictors[place.predictor].predictor.name
        if place.kind is PlaceKind.FRONT:
            return predictor
        return f"{predictor}.{place.name}" if self._is_split else place.name

    def _port(self, hosts: Sequence[str]) -> int:
        port, held = hold(hosts)
        self._held += held
        return port

    def _file(self, title: str) -> Path:
        """A file of its own; names that are no file names may come out the same."""
        base = re.sub(r"[^\w.-]+", "-", title)
        taken = {FRONT, *(server.file.stem for server in self._servers)}
        name = next(name for name in (base, *(f"{base}-{number}" for number in range(2, 10_000))) if name not in taken)
        return self._folder / f"{name}.yaml"

    # what each server runs

    def _member(self, server: Server, environment: Mapping[str, str]) -> Member:
        deployment = file_of(self._cut, server.place, self._address)
        plan = replace(
            self._plan,
            settings=msgspec.to_builtins(self._settings_of(server)),
            source=self._written(deployment, server.file),
            group=server.name,
            warnings=(),
            banner="",
            addresses={},
            owner=None,
        )
        return Member(plan=plan, environment={**environment, **self._variables(server.place)})

    def _front(self, front: Place | None) -> ServePlan:
        """The plan of what clients call: the front, or the split of several predictors."""
        if front is not None and _replicas(front) > 1:
            self._warnings.append(f"replicas of the front ({front.name}) have no effect here: give it --workers")
        if not self._servers:
            self._warnings.append("no node asks for a place of its own: all run in one process (see infergraph show)")
        address = self._address
        deployment = split_of(self._cut, address) if front is None else file_of(self._cut, front, address)
        names = ", ".join(server.name for server in self._servers) or "none"
        return replace(
            self._plan,
            settings=msgspec.to_builtins(self._settings),
            source=self._written(deployment, self._folder / f"{FRONT}.yaml"),
            banner=f"{self._plan.banner}\n  groups   {names}   (their files and metrics: {self._folder})",
            addresses={**self._plan.addresses, "groups": names},
        )

    def _address(self, place: Place) -> spec.Endpoint:
        return self._endpoints[place.field]

    def _written(self, deployment: spec.Deployment, file: Path) -> dict[str, Any]:
        """The source of a graph file, which is written."""
        _write(file, spec.to_yaml(deployment))
        called = set(self._endpoints.values())
        nodes = [node for each in deployment.predictors for node in each.graph.walk_all()]
        groups = {node.name for node in nodes if node.endpoint is not None and _bare(node.endpoint) in called}
        made = replace(
            self._source, target=str(file), nodes={}, predictor="", files=self._files, groups=tuple(sorted(groups))
        )
        document: dict[str, Any] = msgspec.to_builtins(made)
        return document

    def _settings_of(self, server: Server) -> Settings:
        defaults = Settings()
        return replace(
            self._settings,
            **{name: getattr(defaults, name) for name in _OF_THE_FRONT},
            host=server.host,
            http_port=server.endpoint.http_port,
            metrics_port=server.endpoint.http_port,
            grpc_port=server.endpoint.grpc_port,
            grpc=True,
            tasks=False,
            console=ConsoleMode.OFF,
            data_dir=str(self._folder / f"{server.file.stem}-{server.host}"),
        )

    def _variables(self, place: Place) -> dict[str, str]:
        """What the container of its name would have; none where there is none."""
        if place.pod is None or place.node is None:
            return {}
        predictor = self._cut.deployment.predictors[place.predictor]
        return spec.environment(self._cut.deployment, predictor, place.node)

    def _write_targets(self) -> None:
        path = self._settings.metrics_path
        targets = [
            {
                "targets": [f"{server.host}:{server.endpoint.http_port}"],
                "labels": {"group": server.name, "__metrics_path__": path},
            }
            for server in self._servers
        ]
        _write(self._folder / TARGETS, msgspec.json.format(msgspec.json.encode(targets), indent=2).decode() + "\n")


def _replicas(place: Place) -> int:
    """How many: as the file says, or the fewest of its autoscaler, one at least."""
    bounds = place.asked.bounds
    if bounds is not None:
        return max(bounds[0], 1)
    return 1 if place.asked.replicas is None else int(place.asked.replicas.value)


def _bare(endpoint: spec.Endpoint) -> spec.Endpoint:
    """An endpoint as this module made it, without what its graph file adds."""
    return replace(endpoint, service_port=0, type="")


def _take(folder: Path) -> int:
    """An inheritable descriptor that keeps others from `folder`, which is made, without graph files of earlier runs.

    Raises: SettingsError if another process has it, or it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        os.set_inheritable(lock, True)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for file in folder.glob("*.yaml"):
            file.unlink()
    except BlockingIOError:
        os.close(lock)
        text = f"{folder} is in use by another serve --groups; give this one another folder with --data-dir"
        raise SettingsError(text) from None
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error.strerror}") from error
    return lock


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
