"""The table that the executor runs over: what each node does, found out once from its type, methods and unit.

    Node tree + units by name ──plan──▶ Place tree

Source: the orchestrator specification, section 6.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from infergraph.errors import Fault, GraphError, RoutingError
from infergraph.graph import routing
from infergraph.graph.resilience import guarded
from infergraph.graph.spec import Node
from infergraph.graph.taps import Tap, filtered
from infergraph.message import Message, Method, PredictiveUnit
from infergraph.wire import json_codec

_log = logging.getLogger("infergraph.graph")

_INPUT_OF_BUILT_IN = {"SIMPLE_MODEL": Method.PREDICT}
_ROUTING_BUILT_INS = frozenset({"SIMPLE_ROUTER", "RANDOM_ABTEST"})
_COMBINING_BUILT_INS = frozenset({"AVERAGE_COMBINER"})


class PlannedNode(msgspec.Struct, kw_only=True, eq=False):
    """One node as the executor sees it.

    Args:
        unit: what it calls; None for a node that only joins others.
        input: the method of its input phase, if it has one.
        routes, combines, output, feedback: whether it has that phase.
        chain: its children run one after the other.
        children: those that count; `shadows` are called beside them.
        label: what answers there, for `meta.requestPath`; empty to leave it out.
        tap: is shown its own calls; `group_tap` what goes into its children and what comes out.
        stand_in: answers where its own call fails.
        guarded: for a place that only watches over another one: that one; `stand_in` answers where it fails.
    """

    name: str
    node: Node
    unit: PredictiveUnit | None = None
    input: Method | None = None
    routes: bool = False
    combines: bool = False
    output: bool = False
    feedback: bool = False
    chain: bool = False
    children: tuple[PlannedNode, ...] = ()
    shadows: tuple[PlannedNode, ...] = ()
    label: str = ""
    tap: Tap | None = None
    group_tap: Tap | None = None
    stand_in: PlannedNode | Message | None = None
    guarded: PlannedNode | None = None

    @property
    def calls(self) -> bool:
        """Whether the node asks a unit anything."""
        return self.input is not None or self.routes or self.combines or self.output or self.feedback

    @property
    def is_read_twice(self) -> bool:
        """Whether more than one reads what goes to its children: several of them, its router, a shadow, a tap."""
        return self.routes or len(self.children) > 1 or bool(self.shadows) or self.group_tap is not None

    def walk(self) -> list[PlannedNode]:
        """This place and all below it, parents first; shadows and stand-ins are left out."""
        inner = self.guarded or self
        return [inner, *(place for child in inner.children for place in child.walk())]

    def log_fallback(self, fault: Fault) -> None:
        """Leave word that the stand-in answers."""
        _log.warning("node %s failed, its fallback answers: %s", self.name, fault)


Call: TypeAlias = tuple[PlannedNode, Method]
"""What one place asks its unit."""


class Parts(msgspec.Struct, frozen=True):
    """What places are made of: units and taps by node name, and the random numbers of their guards."""

    units: Mapping[str, PredictiveUnit]
    taps: Mapping[str, Tap]
    rng: random.Random


def plan(node: Node, parts: Parts) -> PlannedNode:
    """The table for a tree.

    Raises: GraphError for a node without its unit, or a tree that cannot run.
    """
    _check_names(node)
    if node.shadow:
        raise GraphError(f"the root {node.name!r} cannot be a shadow: there is nothing beside it", node=node.name)
    return _place(node, parts)


def calls_in_turn(root: PlannedNode) -> Sequence[Call] | None:
    """The calls that a prediction makes, where they are made one after the other whatever is asked and answered.

    Returns: None where nodes route, combine, have shadows or fallbacks, or watch over their children.
    """
    before: list[Call] = []
    after: list[Call] = []
    if root.routes or root.combines or root.shadows or root.stand_in is not None or root.group_tap is not None:
        return None
    if len(root.children) > 1 and not root.chain:
        return None
    if root.input is not None:
        before.append((root, root.input))
    if root.output:
        after.append((root, Method.TRANSFORM_OUTPUT))
    for child in root.children:
        calls = calls_in_turn(child)
        if calls is None:
            return None
        before.extend(calls)
    return before + after


def _place(node: Node, parts: Parts) -> PlannedNode:
    built_in = node.built_in
    methods = frozenset(node.methods)
    has_children = any(not child.shadow for child in node.children)
    place = PlannedNode(
        name=node.name,
        node=node,
        input=_input(node, methods),
        routes=has_children and (node.type == "ROUTER" or "ROUTE" in methods or built_in in _ROUTING_BUILT_INS),
        combines=has_children
        and (node.type == "COMBINER" or "AGGREGATE" in methods or built_in in _COMBINING_BUILT_INS),
        output=node.type == "OUTPUT_TRANSFORMER" or "TRANSFORM_OUTPUT" in methods,
        feedback=node.type in ("MODEL", "ROUTER") or "SEND_FEEDBACK" in methods,
        chain=node.type == "CHAIN",
        label=node.component or node.packaged or built_in,
    )
    if place.calls:
        unit = parts.units.get(node.name)
        if unit is None:
            raise GraphError(
                f"node {node.name!r} has nothing to call: give it a component, an endpoint or an implementation",
                node=node.name,
            )
        place.unit = guarded(unit, node, parts.rng)
    _check_shadows(place, has_children)
    _tap(place, parts.taps.get(node.name))
    places = [(_place(child, parts), child.shadow) for child in node.children]
    place.children = tuple(child for child, shadow in places if not shadow)
    place.shadows = tuple(child for child, shadow in places if shadow)
    return _with_stand_in(place, parts)


def _check_shadows(place: PlannedNode, has_children: bool) -> None:
    shadows = [child.name for child in place.node.children if child.shadow]
    if not shadows:
        return
    name = place.name
    if place.chain:
        text = f"node {name!r}: a shadow cannot stand in a CHAIN; put it beside the node that it shadows"
        raise GraphError(text, node=name)
    if not has_children:
        text = f"node {name!r} has no child beside its shadow {shadows[0]!r}: there is nothing to compare it with"
        raise GraphError(text, node=name)


def _input(node: Node, methods: frozenset[str]) -> Method | None:
    if node.type == "TRANSFORMER" or "TRANSFORM_INPUT" in methods:
        return Method.TRANSFORM_INPUT
    return Method.PREDICT if node.type == "MODEL" else _INPUT_OF_BUILT_IN.get(node.built_in)


def _tap(place: PlannedNode, tap: Tap | None) -> None:
    # The reference records a combiner's children and its own call alike; here each pair is recorded once.
    if tap is None or place.node.logger is None:
        return
    place.tap = filtered(tap, place.node.logger.mode)
    if place.node.children and place.input is None and not place.output:
        place.group_tap = place.tap


def _with_stand_in(place: PlannedNode, parts: Parts) -> PlannedNode:
    fallback = place.node.fallback
    if fallback is None:
        return place
    stand_in: PlannedNode | Message
    if isinstance(fallback, dict):
        stand_in = json_codec.of_document(fallback)
        _check_constant(place, stand_in)
    else:
        stand_in = _place(fallback, parts)
    if place.calls:
        place.stand_in = stand_in
        return place
    return PlannedNode(name=place.name, node=place.node, guarded=place, stand_in=stand_in)


def _check_constant(place: PlannedNode, answer: Message) -> None:
    """Raise GraphError where a router's constant answer names no child of it."""
    if not place.routes:
        return
    try:
        routing.check_route(routing.route_value(answer, place.name), len(place.children), place.name)
    except RoutingError as fault:
        raise GraphError(f"fallback of node {place.name!r} is no route: {fault}", node=place.name) from fault


def _check_names(root: Node) -> None:
    """Nodes may share a name only if they are the same thing, since units are found by it."""
    seen: dict[str, Any] = {}
    for node in _all(root):
        what = (node.component, node.implementation, node.endpoint, node.parameters, node.model_uri)
        if seen.setdefault(node.name, what) != what:
            raise GraphError(f"two nodes are named {node.name!r} but are not the same", node=node.name)


def _all(root: Node) -> list[Node]:
    nodes = list(root.walk())
    stand_ins = [node.fallback for node in nodes if isinstance(node.fallback, Node)]
    return [*nodes, *(node for stand_in in stand_ins for node in _all(stand_in))]
