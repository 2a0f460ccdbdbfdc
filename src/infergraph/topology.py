"""What is served, drawn for people: a tree of nodes as plain data, without the units behind them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import msgspec


class Where(Enum):
    """Where a node's answers are made."""

    HERE = "in process"
    REMOTE = "remote"
    BUILT_IN = "built-in"
    NOWHERE = "nowhere"


class Role(Enum):
    """Why a node stands below its parent."""

    CHILD = "child"
    SHADOW = "shadow"
    FALLBACK = "fallback"


class TopologyNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node.

    Args:
        name: its name, by which the ledgers count it.
        kind: MODEL, ROUTER, …, in the protocol's spelling, or what stands for it; SPLIT for a choice of predictors.
        where: where its answers are made.
        target: what answers, without credentials; empty for a node that calls nothing.
        role: why it stands below its parent.
        share: the part of the requests that it was given beforehand, in percent; None where nobody said.
        routes: it sends each request to one of its children.
        children: in order, shadows and fallbacks among them.
    """

    name: str
    kind: str
    where: Where
    target: str = ""
    role: Role = Role.CHILD
    share: int | None = None
    routes: bool = False
    children: tuple[TopologyNode, ...] = ()

    def walk(self) -> Iterator[TopologyNode]:
        """This node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def branches(self) -> list[TopologyNode]:
        """The children that a router numbers from 0."""
        return [child for child in self.children if child.role is Role.CHILD]


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """What one server serves.

    Args:
        name: of the component, or of the deployment.
        target: as the command line was given it.
        is_graph: a graph is asked at other paths than a component.
        protocol: seldon, tensorflow or v2: what the front speaks.
        root: the only node of a component; a graph's tree; a SPLIT over the trees of several predictors.
    """

    name: str
    target: str
    is_graph: bool
    root: TopologyNode
    protocol: str = "seldon"

    def node(self, name: str) -> TopologyNode | None:
        """The first node of this name."""
        return next((node for node in self.root.walk() if node.name == name), None)


def component_topology(name: str, target: str) -> Topology:
    """The scene of a component that is served alone."""
    root = TopologyNode(name=name, kind="COMPONENT", where=Where.HERE, target=target)
    return Topology(name=name, target=target, is_graph=False, root=root)
