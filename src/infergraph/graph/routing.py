"""Which child a router chose, and which way a feedback goes.

Source: the orchestrator specification, sections 8 and 9; what crashes the reference is a RoutingError here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from infergraph.errors import PayloadError, RoutingError
from infergraph.message import Encoding, Feedback, Message
from infergraph.wire import json_codec, proto_codec

ALL = -1
NONE = -2


def route_value(answer: Message, node: str) -> int:
    """The child that a router's answer names: its first number.

    Args:
        answer: a message with an array, or bare JSON: a list of integers.
        node: the router's name, for the fault.
    Returns: n for child n, -1 for all children (also when `data` is there but empty), -2 for none of them.
    Raises: RoutingError where there is no number, or one that is not whole.
    """
    if isinstance(answer, json_codec.JsonMessage):
        return _of_document(_document(answer, node), node)
    if isinstance(answer, proto_codec.ProtoMessage) and _is_without_array(answer):
        return ALL
    try:
        content = answer.content
    except PayloadError as fault:
        raise RoutingError(f"router {node} gave no readable answer: {fault}", node=node) from fault
    if not content.encoding.is_array:
        raise RoutingError(f"router {node} answered {content.encoding.value}, not an array with a number", node=node)
    return _whole(_first(content.payload, node), node)


def check_route(route: int, children: int, node: str) -> int:
    """The same route, if it is one of a node with so many children.

    Raises: RoutingError if not.
    """
    if NONE <= route < children:
        return route
    raise RoutingError(f"route {route} of node {node} names no child: it has {children}", node=node)


def feedback_route(feedback: Feedback, node: str) -> int:
    """The child that answered the request of a feedback, -1 where the feedback does not say.

    Raises:
        RoutingError: the recorded route is no whole number.
        PayloadError: the feedback cannot be read.
    """
    recorded = _recorded(feedback).get(node, ALL)
    if isinstance(recorded, str):
        try:
            return int(recorded)
        except ValueError:
            raise RoutingError(f"the recorded route {recorded!r:.100} of node {node} is no number", node=node) from None
    return _whole(recorded, node)


def _recorded(feedback: Feedback) -> Mapping[str, Any]:
    if not isinstance(feedback, json_codec.JsonFeedback):
        return feedback.routing
    # The payloads are the nodes' business: a field unknown here must not send the reward astray.
    found = feedback.document
    if not isinstance(found, dict):
        raise PayloadError("a feedback is an object with request, response, reward or truth")
    for key in ("response", "meta", "routing"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _document(answer: json_codec.JsonMessage, node: str) -> Any:
    try:
        return answer.document
    except PayloadError as fault:
        raise RoutingError(f"router {node} gave no readable answer: {fault}", node=node) from fault


def _of_document(document: Any, node: str) -> int:
    if isinstance(document, list):
        if document and isinstance(document[0], int) and not isinstance(document[0], bool):
            return document[0]
        raise RoutingError(f"router {node} answered a list that does not begin with an integer", node=node)
    if not isinstance(document, dict) or not isinstance(document.get("data"), dict):
        raise RoutingError(f"router {node} answered no data with a number", node=node)
    data: Mapping[str, Any] = document["data"]
    if Encoding.NDARRAY.value in data:
        return _whole(_first(data[Encoding.NDARRAY.value], node), node)
    if isinstance(tensor := data.get(Encoding.TENSOR.value), dict):
        return _whole(_first(tensor.get("values"), node), node)
    if isinstance(tensor := data.get(Encoding.TFTENSOR.value), dict):
        return _whole(_first(tensor.get("intVal") or tensor.get("int_val"), node), node)
    return ALL


def _first(payload: Any, node: str) -> Any:
    if isinstance(payload, np.ndarray) and payload.size:
        return payload.flat[0]
    depth = 0
    while isinstance(payload, list | tuple) and payload and depth < 2:
        payload, depth = payload[0], depth + 1
    if depth or isinstance(payload, int | float | np.number):
        return payload
    raise RoutingError(f"router {node} answered an empty array", node=node)


def _is_without_array(answer: proto_codec.ProtoMessage) -> bool:
    """Whether `data` is there and holds nothing."""
    try:
        proto = answer.proto
    except PayloadError:
        return False
    return proto.WhichOneof("data_oneof") == "data" and proto.data.WhichOneof("data_oneof") is None


def _whole(number: Any, node: str) -> int:
    number = number.item() if isinstance(number, np.generic) else number
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise RoutingError(f"the route of node {node} is {number!r:.100}, not a number", node=node)
    if not math.isfinite(number) or number != int(number):
        raise RoutingError(f"the route of node {node} is {number!r:.100}, not a whole number", node=node)
    return int(number)
