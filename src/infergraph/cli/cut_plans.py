"""What the plans of a cut graph's servers have in common, wherever these run.

    target ──cut_of──▶ Cut ──Planner──▶ a server of each place: its name, graph file, settings, variables; and the front

The graph files are those of a cluster but for the addresses. They lie in the data folder.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from infergraph.errors import GraphError, SettingsError, TargetError
from infergraph.graph import spec
from infergraph.graph.inspection import chosen, predictors
from infergraph.graph.placement import Cut, Place, PlaceKind, cut, file_of, split_of
from infergraph.graph.placement.files import Addresses
from infergraph.process.sockets import open_ports
from infergraph.process.supervisor import ServePlan
from infergraph.settings import Settings, of_group
from infergraph.unit_source import UnitSource, is_graph, named, read_overrides

FOLDER = "groups"
FRONT = "front"


class Server(NamedTuple):
    """One server of a place, or one replica of it.

    Args:
        name: of the place, and which replica it is where there are several.
        file: of its graph, the same for all replicas.
        host: where it listens; empty where that is found out later.
        endpoint: where it is called.
    """

    place: Place
    name: str
    file: Path
    host: str
    endpoint: spec.Endpoint


def cut_of(option: str, target: str, *, nodes: Sequence[str], predictor: str) -> tuple[Cut, Path]:
    """The cut of a graph file, and the file.

    Args:
        option: of `serve`, for messages.
        nodes: targets or addresses of nodes, NAME=TARGET.
        predictor: which predictor of the file; empty for all.
    Raises: StartupFault for what cannot be cut, or has nodes in images of their own.
    """
    _, target = named(target)
    if not is_graph(target):
        raise TargetError(f"{option} runs the nodes of a graph file, and {target} is none")
    file, _, wanted = target.partition("#")
    overrides = read_overrides(nodes)
    read, _ = chosen(Path(file), file, wanted, overrides)
    read = replace(read, predictors=tuple(predictors(read, predictor)))
    found = cut(read, overrides, has_images=False)
    _refuse_images(found, file, option)
    return found, Path(file)


def _refuse_images(found: Cut, file: str, option: str) -> None:
    """Raise GraphError for nodes with an image of their own."""
    lines = [
        f"node {place.name!r} has an image of its own ({place.image or place.node.packaged}), and {option} runs no "
        f"images: say what to run, --node {place.name}=file.py:Class, or where it is, "
        f"--node {place.name}=http://HOST:PORT"
        for predictor in found.predictors
        for place in predictor.foreign
        if place.node is not None
    ]
    if lines:
        raise GraphError(f"{file}: {'; '.join(lines)}")


class Planner:
    """What is known of one cut, whose nodes are all run or outside.

    Args:
        plan: of the same target without groups.
        file: of the graph.
    """

    def __init__(self, found: Cut, plan: ServePlan, file: Path) -> None:
        self.cut = found
        self.plan = plan
        self.source = msgspec.convert(plan.source, UnitSource)
        self.files = str((self.source.path / file).parent)
        self.settings = msgspec.convert(plan.settings, Settings)
        self.folder = Path(self.settings.data_dir).absolute() / FOLDER
        self.is_split = len(found.predictors) > 1
        self.servers: list[Server] = []
        self.endpoints: dict[str, spec.Endpoint] = {}
        self.warnings: list[str] = []
        self.held: list[int] = []

    def take(self) -> None:
        """Take the folder for this run; refuse ports that are taken, before anything starts."""
        open_ports(self.settings).close()
        self.held.append(_take(self.folder))

    @property
    def places(self) -> list[Place]:
        """The places that run beside the process that clients call."""
        return [place for found in self.cut.predictors for place in (found.served if self.is_split else found.groups)]

    @property
    def front_place(self) -> Place | None:
        """The place of the process that clients call; None where that only chooses among predictors."""
        return None if self.is_split else self.cut.predictors[0].front

    def title(self, place: Place) -> str:
        """The name of a place."""
        predictor = self.cut.predictors[place.predictor].predictor.name
        if place.kind is PlaceKind.FRONT:
            return predictor
        return f"{predictor}.{place.name}" if self.is_split else place.name

    def file(self, title: str) -> Path:
        """A file of its own; names that are no file names may come out the same."""
        base = re.sub(r"[^\w.-]+", "-", title)
        taken = {FRONT, *(server.file.stem for server in self.servers)}
        name = next(name for name in (base, *(f"{base}-{number}" for number in range(2, 10_000))) if name not in taken)
        return self.folder / f"{name}.yaml"

    def front(self) -> ServePlan:
        """The plan of what clients call: the front, or the split of several predictors."""
        front = self.front_place
        if front is not None and replicas(front) > 1:
            self.warnings.append(f"replicas of the front ({front.name}) have no effect here: give it --workers")
        if not self.servers:
            self.warnings.append("no node asks for a place of its own: all run in one process (see infergraph show)")
        deployment = split_of(self.cut, self.address) if front is None else file_of(self.cut, front, self.address)
        names = ", ".join(server.name for server in self.servers) or "none"
        return replace(
            self.plan,
            settings=msgspec.to_builtins(self.settings),
            source=self.written(deployment, self.folder / f"{FRONT}.yaml"),
            banner=f"{self.plan.banner}\n  groups   {names}   (their files and metrics: {self.folder})",
            addresses={**self.plan.addresses, "groups": names},
        )

    def address(self, place: Place) -> spec.Endpoint:
        """Where a place is called."""
        return self.endpoints[place.field]

    def written(self, deployment: spec.Deployment, file: Path) -> dict[str, Any]:
        """The source of a graph file, which is written."""
        write(file, spec.to_yaml(deployment))
        document: dict[str, Any] = msgspec.to_builtins(self.sourced(deployment, str(file), self.address))
        return document

    def sourced(self, deployment: spec.Deployment, file: str, addresses: Addresses) -> UnitSource:
        """The source of a graph file, in which places are called at `addresses`."""
        called = set(map(addresses, self.places))
        nodes = deployment.walk_all()
        groups = {node.name for node in nodes if node.endpoint is not None and _bare(node.endpoint) in called}
        return replace(self.source, target=file, nodes={}, predictor="", files=self.files, groups=tuple(sorted(groups)))

    def server_plan(self, server: Server, source: dict[str, Any], **settings: Any) -> ServePlan:
        """The plan of a server of a place.

        Args:
            settings: those that are its own.
        """
        own = replace(of_group(self.settings), **settings)
        return replace(
            self.plan,
            settings=msgspec.to_builtins(own),
            source=source,
            group=server.name,
            warnings=(),
            banner="",
            addresses={},
            owner=None,
        )

    def variables(self, place: Place) -> dict[str, str]:
        """What the container of its name would have; none where there is none."""
        if place.pod is None or place.node is None:
            return {}
        predictor = self.cut.deployment.predictors[place.predictor]
        return spec.environment(self.cut.deployment, predictor, place.node)


def replicas(place: Place) -> int:
    """How many: as the file says, or the fewest of its autoscaler, one at least."""
    bounds = place.asked.bounds
    if bounds is not None:
        return max(bounds[0], 1)
    return 1 if place.asked.replicas is None else int(place.asked.replicas.value)


def write(path: Path, text: str) -> None:
    """Write a file of the folder. Raises: SettingsError."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def _bare(endpoint: spec.Endpoint) -> spec.Endpoint:
    """An endpoint as a planner made it, without what its graph file adds."""
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
        for file in (*folder.glob("*.yaml"), *folder.glob("*.hosts")):
            file.unlink()
    except BlockingIOError:
        os.close(lock)
        text = f"{folder} is in use by another serve --groups or --on; give this one another folder with --data-dir"
        raise SettingsError(text) from None
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error.strerror}") from error
    return lock
