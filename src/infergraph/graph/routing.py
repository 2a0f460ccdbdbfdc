"""Routing: the child that a router chose, and the children that a feedback is sent to.

Source: the orchestrator specification, sections 8 and 9; what crashes the reference is a RoutingError here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from infergraph.errors import PayloadError, RoutingError
from infergraph.message import Feedback, Message

ALL = -1
NONE = -2


def route_value(answer: Message, node: str) -> int:
    """The route in a router's answer: its first number.

    Args:
        answer: a message with an array, or bare JSON: a list of integers.
        node: the router's name, for the fault.
    Returns: n for child n, -1 for all children (also if `data` is present but empty), -2 for none of them.
    Raises: RoutingError if there is no number, or it is not an integer.
    """
    try:
        chosen = answer.chosen()
    except PayloadError as fault:
        raise RoutingError(f"router {node} gave no readable answer: {fault}", node=node) from fault
    return ALL if chosen is None else _whole(_first(chosen, node), node)


def check_route(route: int, children: int, node: str) -> int:
    """Check that a route is valid for a node with this number of children, and return it.

    Raises: RoutingError if not.
    """
    if NONE <= route < children:
        return route
    raise RoutingError(f"route {route} of node {node} names no child: it has {children}", node=node)


def feedback_route(feedback: Feedback, node: str) -> int:
    """The child that answered the request of a feedback; -1 if the feedback does not say.

    Raises:
        RoutingError: the recorded route is not an integer.
        PayloadError: the feedback cannot be read.
    """
    recorded = feedback.recorded().get(node, ALL)
    if isinstance(recorded, str):
        try:
            return int(recorded)
        except ValueError:
            raise RoutingError(f"the recorded route {recorded!r:.100} of {node} is not a number", node=node) from None
    return _whole(recorded, node)


def _first(payload: Any, node: str) -> Any:
    if isinstance(payload, np.ndarray) and payload.size:
        return payload.flat[0]
    depth = 0
    while isinstance(payload, list | tuple) and payload and depth < 2:
        payload, depth = payload[0], depth + 1
    if depth or isinstance(payload, int | float | np.number):
        return payload
    raise RoutingError(f"router {node} answered an empty array", node=node)


def _whole(number: Any, node: str) -> int:
    number = number.item() if isinstance(number, np.generic) else number
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise RoutingError(f"the route of node {node} is {number!r:.100}, not a number", node=node)
    if not math.isfinite(number) or number != int(number):
        raise RoutingError(f"the route of node {node} is {number!r:.100}, not a whole number", node=node)
    return int(number)
