"""The graph as a live picture: where each card and edge stands, with the figures on it. A template draws it.

Scene ──lay out──▶ places ──with View and health──▶ Picture
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from infergraph.serving.console.live_figures import LiveFigures, View
from infergraph.topology import Role, Topology, TopologyNode, Where

WIDTH, HEIGHT = 240.0, 104.0
_ROW_GAP, _COLUMN_GAP, _MARGIN = 24.0, 92.0, 12.0
_THINNEST, _THICKEST = 1.25, 5.0


class Health(Enum):
    """How a node does."""

    OK = "ok"
    FAULTY = "faulty"
    UNKNOWN = "unknown"
    NONE = "none"


_UNASKED = {Where.BUILT_IN: Health.OK, Where.NOWHERE: Health.NONE}


class Card(NamedTuple):
    """A node in the picture.

    Args:
        left, top: pixels.
        figures: of its own answers; all zero for a node that is not counted.
        visits: requests that came to it, also where it is not counted itself; None where nobody can tell.
        why: what is wrong with its health.
    """

    node: TopologyNode
    left: float
    top: float
    figures: LiveFigures
    visits: float | None
    health: Health
    why: str


class Edge(NamedTuple):
    """A line from a node to one below it.

    Args:
        path: of the line, as SVG writes it.
        tip: of the arrow.
        share: the part of the parent's requests that went this way, 0 to 1; None where nobody can tell.
        is_given: the share is what the graph's file says, not what was counted.
        label: where the label stands: its right end.
        thickness: of the line, in pixels.
        is_side: a shadow or a fallback.
        mark: what it is then; else empty.
        child: `id` of the node that it leads to.
    """

    path: str
    tip: str
    share: float | None
    is_given: bool
    label: tuple[float, float]
    thickness: float
    is_side: bool
    mark: str
    child: int


class Picture(NamedTuple):
    """The whole: its size in pixels, and what to draw."""

    width: float
    height: float
    cards: tuple[Card, ...]
    edges: tuple[Edge, ...]


def draw(scene: Topology, view: View, health: Mapping[str, tuple[Health, str]]) -> Picture:
    """The picture of `scene`.

    Args:
        health: of the nodes that can be asked, by name, with what is wrong. What is built in is well.
    """
    tops: dict[int, float] = {}
    rows = _place(scene.root, 0.0, tops)
    cards: list[Card] = []
    edges: list[Edge] = []
    _draw(scene.root, 0, tops, view, health, cards, edges)
    right = max(card.left for card in cards) + WIDTH + _MARGIN
    return Picture(right, _MARGIN * 2 + rows * (HEIGHT + _ROW_GAP) - _ROW_GAP, tuple(cards), tuple(edges))


def _place(node: TopologyNode, row: float, tops: dict[int, float]) -> float:
    """Give `node` and all below it their rows; the answer is the first row that is free."""
    first = row
    for child in node.children:
        row = _place(child, row, tops)
    if node.children:
        tops[id(node)] = (tops[id(node.children[0])] + tops[id(node.children[-1])]) / 2
    else:
        tops[id(node)] = first
    return max(row, first + 1)


def _draw(
    node: TopologyNode,
    depth: int,
    tops: Mapping[int, float],
    view: View,
    health: Mapping[str, tuple[Health, str]],
    cards: list[Card],
    edges: list[Edge],
) -> None:
    state, why = health.get(node.name, (_UNASKED.get(node.where, Health.UNKNOWN), ""))
    left, top = _corner(node, depth, tops)
    cards.append(Card(node, left, top, view.of_node(node.name), _visits(node, view), state, why))
    shares = shares_of(node, view)
    for child, share in zip(node.children, shares, strict=True):
        edges.append(_edge(node, child, depth, tops, share))
        _draw(child, depth + 1, tops, view, health, cards, edges)


def _corner(node: TopologyNode, depth: int, tops: Mapping[int, float]) -> tuple[float, float]:
    return _MARGIN + depth * (WIDTH + _COLUMN_GAP), _MARGIN + tops[id(node)] * (HEIGHT + _ROW_GAP)


def _edge(node: TopologyNode, child: TopologyNode, depth: int, tops: Mapping[int, float], share: float | None) -> Edge:
    (left, top), (child_left, child_top) = _corner(node, depth, tops), _corner(child, depth + 1, tops)
    x0, y0, x1, y1 = left + WIDTH, top + HEIGHT / 2, child_left - 8, child_top + HEIGHT / 2
    middle = (x0 + x1) / 2
    is_given = share is None and child.share is not None
    shown = child.share / 100 if is_given and child.share is not None else share
    weight = 0.0 if shown is None else min(shown, 1.0)
    above = y1 <= y0
    return Edge(
        path=f"M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}",
        tip=f"M{x1 + 7:.1f} {y1:.1f}l-9 -4.5v9z",
        share=shown,
        is_given=is_given,
        label=(x1 - 4, y1 - 8 if above else y1 + 17),
        thickness=_THINNEST + (_THICKEST - _THINNEST) * weight if node.routes else 1.5,
        is_side=child.role is not Role.CHILD,
        mark="" if child.role is Role.CHILD else child.role.value,
        child=id(child),
    )


def shares_of(node: TopologyNode, view: View) -> list[float | None]:
    """For each child the part of the node's requests that went to it since the start; None where nobody can tell."""
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
    """Whether two predictors have nodes of one name, which are counted together."""
    names = [{node.name for node in child.walk()} for child in split.children]
    return sum(map(len, names)) != len(set().union(*names))


def _visits(node: TopologyNode, view: View) -> float | None:
    """How many requests came to a node; for one that is not counted, what came to those below it, if any are."""
    own = view.visits(node.name)
    if own:
        return own
    below = [_visits(child, view) for child in node.children if child.role is Role.CHILD]
    known = [count for count in below if count is not None]
    if not known:
        return None if node.where in (Where.BUILT_IN, Where.NOWHERE) else 0.0
    return sum(known) if node.routes else max(known)
