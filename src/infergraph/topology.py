"""The topology of what is served: a tree of nodes as plain data, without the units behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TypeVar

import msgspec

_T = TypeVar("_T")


class Where(Enum):
    """Where a node runs."""

    HERE = "in process"
    REMOTE = "remote"
    BUILT_IN = "built-in"
    NOWHERE = "nowhere"


class Role(Enum):
    """The role of a node for its parent."""

    CHILD = "child"
    SHADOW = "shadow"
    FALLBACK = "fallback"


class TopologyNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node.

    Args:
        name: its name, as in the metrics.
        kind: MODEL, ROUTER, …, in the protocol's spelling, or a substitute; SPLIT for a choice of predictors.
        where: where it runs.
        target: what it calls, without credentials; empty for a node that calls nothing.
        role: its role for its parent.
        share: its configured share of the requests, in percent; None if none is configured.
        routes: it sends each request to one of its children.
        children: in order, including shadows and fallbacks.
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
        protocol: seldon, tensorflow or v2.
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


def rows_of(root: _T, children: Callable[[_T], Sequence[_T]]) -> tuple[dict[int, float], float]:
    """The layout of a tree drawn from left to right, one column for each depth.

    Returns: the row of each node by its `id`, a parent midway between its first and its last child; how many rows.
    """
    rows: dict[int, float] = {}

    def place(node: _T, row: float) -> float:
        first, below = row, children(node)
        for child in below:
            row = place(child, row)
        rows[id(node)] = (rows[id(below[0])] + rows[id(below[-1])]) / 2 if below else first
        return max(row, first + 1)

    return rows, place(root, 0.0)


def curve(x0: float, y0: float, x1: float, y1: float) -> str:
    """The SVG path of an edge: a curve that is horizontal at both ends."""
    middle = (x0 + x1) / 2
    return f"M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"


def component_topology(name: str, target: str) -> Topology:
    """The topology of a component served on its own."""
    root = TopologyNode(name=name, kind="COMPONENT", where=Where.HERE, target=target)
    return Topology(name=name, target=target, is_graph=False, root=root)
