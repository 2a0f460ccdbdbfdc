"""The execution plan: the phases of each node, derived once from its type, methods and unit.

    Node tree + units by name ──plan──▶ PlannedNode tree

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
from infergraph.graph.resilience import resilient
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
        unit: what it calls; None for a node that only combines others.
        input: the method of its input phase, if it has one.
        routes, combines, output, feedback: whether it has that phase.
        chain: its children run in sequence.
        children: the live ones; `shadows` are called in addition.
        label: its image or target, for `meta.requestPath`; empty to omit it.
        tap: observes its own calls; `group_tap` the requests and answers of its children.
        stand_in: the fallback if its own call fails.
        primary: for a node that only adds a fallback to another one: that one; `stand_in` answers if it fails.
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
    primary: PlannedNode | None = None

    @property
    def calls(self) -> bool:
        """Whether the node calls a unit."""
        return self.input is not None or self.routes or self.combines or self.output or self.feedback

    @property
    def is_read_twice(self) -> bool:
        """Whether the children's request has several readers: several children, a router, a shadow, a tap."""
        return self.routes or len(self.children) > 1 or bool(self.shadows) or self.group_tap is not None

    def walk(self) -> list[PlannedNode]:
        """This node and its descendants, parents first; without shadows and fallbacks."""
        inner = self.primary or self
        return [inner, *(planned for child in inner.children for planned in child.walk())]

    def log_fallback(self, fault: Fault) -> None:
        """Log that the fallback answers."""
        _log.warning("node %s failed, its fallback answers: %s", self.name, fault)


Call: TypeAlias = tuple[PlannedNode, Method]
"""One call of a node's unit."""


class Parts(msgspec.Struct, frozen=True):
    """Units and taps by node name, and the random numbers for retries."""

    units: Mapping[str, PredictiveUnit]
    taps: Mapping[str, Tap]
    rng: random.Random


def plan(node: Node, parts: Parts) -> PlannedNode:
    """The execution plan for a tree.

    Raises: GraphError for a node without its unit, or a tree that cannot run.
    """
    _check_names(node)
    if node.shadow:
        raise GraphError(f"the root {node.name!r} cannot be a shadow: there is nothing beside it", node=node.name)
    return _plan_node(node, parts)


def calls_in_turn(root: PlannedNode) -> Sequence[Call] | None:
    """The calls of a prediction, if they are made in sequence whatever the request and the answers are.

    Returns: None if nodes route, combine, or have shadows or fallbacks.
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


def last_calls(node: Node) -> dict[str, set[Method]]:
    """By node, the methods whose answer is that of the graph below `node`."""
    found = _last_of(node)
    if isinstance(node.fallback, Node) and (node.name in found or not node.methods):
        found |= {name: found.get(name, set()) | more for name, more in last_calls(node.fallback).items()}
    return found


def _last_of(node: Node) -> dict[str, set[Method]]:
    children = [child for child in node.children if not child.shadow]
    if _transforms_output(node):
        return {node.name: {Method.TRANSFORM_OUTPUT}}
    if children and _combines(node):
        return {node.name: {Method.AGGREGATE}}
    if not children:
        own = _input(node)
        return {node.name: {own}} if own is not None else {}
    first = children[-1:] if node.type == "CHAIN" else children[:1]
    found: dict[str, set[Method]] = {}
    for child in children if routes(node) else first:
        for name, last in last_calls(child).items():
            found.setdefault(name, set()).update(last)
    return found


def routes(node: Node) -> bool:
    """Whether a node chooses among its children."""
    return node.type == "ROUTER" or "ROUTE" in node.methods or node.built_in in _ROUTING_BUILT_INS


def _combines(node: Node) -> bool:
    return node.type == "COMBINER" or "AGGREGATE" in node.methods or node.built_in in _COMBINING_BUILT_INS


def _transforms_output(node: Node) -> bool:
    return node.type == "OUTPUT_TRANSFORMER" or "TRANSFORM_OUTPUT" in node.methods


def _plan_node(node: Node, parts: Parts) -> PlannedNode:
    has_children = any(not child.shadow for child in node.children)
    planned = PlannedNode(
        name=node.name,
        node=node,
        input=_input(node),
        routes=has_children and routes(node),
        combines=has_children and _combines(node),
        output=_transforms_output(node),
        feedback=node.type in ("MODEL", "ROUTER") or "SEND_FEEDBACK" in node.methods,
        chain=node.type == "CHAIN",
        label=node.component or node.packaged or node.built_in,
    )
    if planned.calls:
        unit = parts.units.get(node.name)
        if unit is None:
            raise GraphError(
                f"node {node.name!r} has nothing to call: give it a component, an endpoint or an implementation",
                node=node.name,
            )
        planned.unit = resilient(unit, node, parts.rng)
    _check_shadows(planned, has_children)
    _tap(planned, parts.taps.get(node.name))
    children = [(_plan_node(child, parts), child.shadow) for child in node.children]
    planned.children = tuple(child for child, shadow in children if not shadow)
    planned.shadows = tuple(child for child, shadow in children if shadow)
    return _with_stand_in(planned, parts)


def _check_shadows(planned: PlannedNode, has_children: bool) -> None:
    shadows = [child.name for child in planned.node.children if child.shadow]
    if not shadows:
        return
    name = planned.name
    if planned.chain:
        text = f"node {name!r}: a shadow cannot stand in a CHAIN; put it beside the node that it shadows"
        raise GraphError(text, node=name)
    if not has_children:
        text = f"node {name!r} has no child beside its shadow {shadows[0]!r}: there is nothing to compare it with"
        raise GraphError(text, node=name)


def _input(node: Node) -> Method | None:
    if node.type == "TRANSFORMER" or "TRANSFORM_INPUT" in node.methods:
        return Method.TRANSFORM_INPUT
    return Method.PREDICT if node.type == "MODEL" else _INPUT_OF_BUILT_IN.get(node.built_in)


def _tap(planned: PlannedNode, tap: Tap | None) -> None:
    # The reference records a combiner's children and its own call alike; here each pair is recorded once.
    if tap is None or planned.node.logger is None:
        return
    planned.tap = filtered(tap, planned.node.logger.mode)
    if planned.node.children and planned.input is None and not planned.output:
        planned.group_tap = planned.tap


def _with_stand_in(planned: PlannedNode, parts: Parts) -> PlannedNode:
    fallback = planned.node.fallback
    if fallback is None:
        return planned
    stand_in: PlannedNode | Message
    if isinstance(fallback, dict):
        stand_in = json_codec.of_document(fallback)
        _check_constant(planned, stand_in)
    else:
        stand_in = _plan_node(fallback, parts)
    if planned.calls:
        planned.stand_in = stand_in
        return planned
    return PlannedNode(name=planned.name, node=planned.node, primary=planned, stand_in=stand_in)


def _check_constant(planned: PlannedNode, answer: Message) -> None:
    """Raise GraphError if a router's constant fallback is not one of its children."""
    if not planned.routes:
        return
    try:
        routing.check_route(routing.route_value(answer, planned.name), len(planned.children), planned.name)
    except RoutingError as fault:
        raise GraphError(f"fallback of node {planned.name!r} is not a route: {fault}", node=planned.name) from fault


def _check_names(root: Node) -> None:
    """Raise GraphError for different nodes of the same name: units are looked up by name."""
    seen: dict[str, Any] = {}
    for node in _all(root):
        what = (node.component, node.implementation, node.endpoint, node.parameters, node.model_uri)
        if seen.setdefault(node.name, what) != what:
            raise GraphError(f"two nodes are named {node.name!r} but are not the same", node=node.name)


def _all(root: Node) -> list[Node]:
    nodes = list(root.walk())
    stand_ins = [node.fallback for node in nodes if isinstance(node.fallback, Node)]
    return [*nodes, *(node for stand_in in stand_ins for node in _all(stand_in))]
