"""The live picture of a graph: position and figures of each card and edge, for a template.

Topology ──lay out──▶ positions ──with View and health──▶ Picture
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from infergraph.serving.console.live_figures import LiveFigures, View
from infergraph.topology import Role, Topology, TopologyNode, Where, curve, rows_of

WIDTH, HEIGHT = 240.0, 104.0
_ROW_GAP, _COLUMN_GAP, _MARGIN, _INDENT = 24.0, 116.0, 12.0, 20.0
_THINNEST, _THICKEST = 1.25, 5.0


class Health(Enum):
    """The health of a node."""

    OK = "ok"
    FAULTY = "faulty"
    UNKNOWN = "unknown"
    NONE = "none"


_UNASKED = {Where.BUILT_IN: Health.OK, Where.NOWHERE: Health.NONE}


class Card(NamedTuple):
    """A node in the picture.

    Args:
        left, top: pixels.
        figures: of its own answers; all zero for a node without a call of its own.
        visits: requests that passed it, also if it has no call of its own; None if unknown.
        why: why it is unhealthy.
    """

    node: TopologyNode
    left: float
    top: float
    figures: LiveFigures
    visits: float | None
    health: Health
    why: str


class Edge(NamedTuple):
    """A line from a node to one of its children.

    Args:
        path: SVG path of the line.
        tip: SVG path of the arrow head.
        rate: requests per second along it; None if unknown.
        share: the part of the parent's requests that took it, 0 to 1; None if unknown.
        is_given: whether the share comes from the graph's file, and was not counted.
        label: position of the label's right end.
        thickness: of the line, in pixels.
        is_side: whether it leads to a shadow or a fallback.
        mark: the name of that; otherwise empty.
        child: `id` of the node that it leads to.
    """

    path: str
    tip: str
    rate: float | None
    share: float | None
    is_given: bool
    label: tuple[float, float]
    thickness: float
    is_side: bool
    mark: str
    child: int


class Picture(NamedTuple):
    """The picture: its size in pixels, and its elements."""

    width: float
    height: float
    cards: tuple[Card, ...]
    edges: tuple[Edge, ...]


def draw(
    topology: Topology, view: View, health: Mapping[str, tuple[Health, str]], *, is_narrow: bool = False
) -> Picture:
    """The picture of `topology`: from left to right or, if it has to be narrow, each node below its parent.

    Args:
        health: of the nodes that can be checked, by name, with the reason. Built-in nodes are always healthy.
    """
    corners: dict[int, tuple[float, float]] = {}
    if is_narrow:
        _stack(topology.root, 0, corners)
    else:
        rows, _ = rows_of(topology.root, lambda node: node.children)
        _spread(topology.root, 0, rows, corners)
    cards: list[Card] = []
    edges: list[Edge] = []
    line = _elbow if is_narrow else _curve
    for node in topology.root.walk():
        state, why = health.get(node.name, (_UNASKED.get(node.where, Health.UNKNOWN), ""))
        cards.append(Card(node, *corners[id(node)], view.of_node(node.name), _visits(node, view), state, why))
        for child, share in zip(node.children, shares_of(node, view), strict=True):
            way = line(corners[id(node)], corners[id(child)])
            edges.append(_edge(node, child, way, share, _visit_rate(child, view)))
    right = max(card.left for card in cards) + WIDTH + _MARGIN
    bottom = max(card.top for card in cards) + HEIGHT + _MARGIN
    return Picture(right, bottom, tuple(cards), tuple(edges))


def _stack(node: TopologyNode, depth: int, corners: dict[int, tuple[float, float]]) -> None:
    """Give `node` and each of its descendants a row, indented by depth."""
    corners[id(node)] = _MARGIN + depth * _INDENT, _MARGIN + len(corners) * (HEIGHT + _ROW_GAP)
    for child in node.children:
        _stack(child, depth + 1, corners)


def _spread(node: TopologyNode, depth: int, rows: Mapping[int, float], corners: dict[int, tuple[float, float]]) -> None:
    """Place `node` and its descendants in columns by depth."""
    corners[id(node)] = _MARGIN + depth * (WIDTH + _COLUMN_GAP), _MARGIN + rows[id(node)] * (HEIGHT + _ROW_GAP)
    for child in node.children:
        _spread(child, depth + 1, rows, corners)


class _Line(NamedTuple):
    """The path of an edge."""

    path: str
    tip: str
    label: tuple[float, float]


def _curve(parent: tuple[float, float], child: tuple[float, float]) -> _Line:
    """From the right side of a card to the left side of one further right."""
    x0, y0, x1, y1 = parent[0] + WIDTH, parent[1] + HEIGHT / 2, child[0] - 8, child[1] + HEIGHT / 2
    return _Line(curve(x0, y0, x1, y1), f"M{x1 + 7:.1f} {y1:.1f}l-9 -4.5v9z", (x1 - 4, y1 - 8 if y1 <= y0 else y1 + 17))


def _elbow(parent: tuple[float, float], child: tuple[float, float]) -> _Line:
    """From the bottom of a card down to the left side of one further below."""
    x0, y0, x1, y1 = parent[0] + _INDENT / 2, parent[1] + HEIGHT, child[0] - 3, child[1] + HEIGHT / 2
    path = f"M{x0:.1f} {y0:.1f}V{y1:.1f}H{x1:.1f}"
    return _Line(path, f"M{x1 + 3:.1f} {y1:.1f}l-7 -4v8z", (child[0] + WIDTH, child[1] - 6))


def _edge(node: TopologyNode, child: TopologyNode, line: _Line, share: float | None, rate: float | None) -> Edge:
    is_given = share is None and child.share is not None
    shown = child.share / 100 if is_given and child.share is not None else share
    weight = 0.0 if shown is None else min(shown, 1.0)
    return Edge(
        path=line.path,
        tip=line.tip,
        rate=rate,
        share=shown,
        is_given=is_given,
        label=line.label,
        thickness=_THINNEST + (_THICKEST - _THINNEST) * weight if node.routes else 1.5,
        is_side=child.role is not Role.CHILD,
        mark="" if child.role is Role.CHILD else child.role.value,
        child=id(child),
    )


def shares_of(node: TopologyNode, view: View) -> list[float | None]:
    """For each child its share of the node's requests since the start; None if unknown."""
    if node.kind == "SPLIT" and _names_twice(node):
        return [None] * len(node.children)
    visits = [_visits(child, view) for child in node.children]
    live = [count for child, count in zip(node.children, visits, strict=True) if child.role is Role.CHILD]
    if node.routes:
        own = None if None in live else sum(count or 0.0 for count in live)
    else:
        own = view.visits(node.name) or max((count or 0.0 for count in live), default=0.0)
    return [min(count / own, 1.0) if own and count is not None else None for count in visits]


def _names_twice(split: TopologyNode) -> bool:
    """Whether two predictors have nodes of the same name, which share their counts."""
    names = [{node.name for node in child.walk()} for child in split.children]
    return sum(map(len, names)) != len(set().union(*names))


def _visits(node: TopologyNode, view: View) -> float | None:
    """The number of requests to a node; for one without a call of its own, those to its children, if it has any."""
    own = view.visits(node.name)
    if own or node.where is not Where.NOWHERE:
        return own
    return _from_below(node, [_visits(child, view) for child in node.branches()])


def _visit_rate(node: TopologyNode, view: View) -> float | None:
    """The requests per second to a node, found in the same way."""
    if node.where is not Where.NOWHERE:
        return view.visit_rate(node.name)
    return _from_below(node, [_visit_rate(child, view) for child in node.branches()])


def _from_below(node: TopologyNode, counts: list[float | None]) -> float | None:
    known = [count for count in counts if count is not None]
    if not known:
        return None
    return sum(known) if node.routes else max(known)
