"""What each serving protocol calls a node's methods over REST, and how one answer becomes the next request.

Source: the orchestrator specification, sections 6 and 19.
"""

from __future__ import annotations

from enum import Enum
from typing import Any
from urllib.parse import quote

from infergraph.errors import PayloadError, RemoteError
from infergraph.message import Message, Method
from infergraph.wire import json_codec


class Protocol(Enum):
    """How nodes are spoken to; the value is `spec.protocol`."""

    SELDON = "seldon"
    TENSORFLOW = "tensorflow"
    V2 = "v2"

    @classmethod
    def named(cls, name: str) -> Protocol:
        """The protocol of a deployment file's `protocol`, where kfserving is v2 and nothing is seldon."""
        return cls.V2 if name == "kfserving" else cls(name or "seldon")


_SELDON_PATHS = {
    Method.PREDICT: "/predict",
    Method.TRANSFORM_INPUT: "/transform-input",
    Method.TRANSFORM_OUTPUT: "/transform-output",
    Method.ROUTE: "/route",
    Method.AGGREGATE: "/aggregate",
    Method.SEND_FEEDBACK: "/send-feedback",
}
_TENSORFLOW_VERBS = {Method.ROUTE: "route", Method.AGGREGATE: "aggregate"}
_V2_VERBS = {Method.ROUTE: "route", Method.AGGREGATE: "aggregate"}
_CHAINED = frozenset({Method.PREDICT, Method.TRANSFORM_INPUT, Method.TRANSFORM_OUTPUT})


def method_path(protocol: Protocol, method: Method, model: str) -> str:
    """The path that asks a node for `method`; `model` is the name that stands in it."""
    if protocol is Protocol.SELDON:
        return _SELDON_PATHS[method]
    model = _segment(model)
    if protocol is Protocol.TENSORFLOW:
        return f"/v1/models/{model}:{_TENSORFLOW_VERBS.get(method, 'predict')}"
    return f"/v2/models/{model}/{_V2_VERBS.get(method, 'infer')}"


def status_path(protocol: Protocol, model: str) -> str:
    """The path that asks a node for its health."""
    if protocol is Protocol.SELDON:
        return "/health/status"
    model = _segment(model)
    return f"/v1/models/{model}" if protocol is Protocol.TENSORFLOW else f"/v2/models/{model}/ready"


def metadata_path(protocol: Protocol, model: str) -> str:
    """The path that asks a node for its metadata."""
    if protocol is Protocol.SELDON:
        return "/metadata"
    model = _segment(model)
    return f"/v1/models/{model}/metadata" if protocol is Protocol.TENSORFLOW else f"/v2/models/{model}"


def probe_path(protocol: Protocol) -> str:
    """The path of a full health check; empty where a connection has to do."""
    if protocol is Protocol.SELDON:
        return "/api/v1.0/health/status"
    return "" if protocol is Protocol.TENSORFLOW else "/v2/health/ready"


def chained(protocol: Protocol, method: Method, message: Message, node: str) -> Message:
    """The message as a request of the protocol: an answer's `predictions` or `outputs` become the next inputs.

    Returns: the message itself, bytes and all, where it is a request already.
    Raises: RemoteError where it is neither.
    """
    if protocol is Protocol.SELDON or method not in _CHAINED:
        return message
    document = _document(message, node)
    accepted: tuple[str, ...]
    if protocol is Protocol.TENSORFLOW:
        accepted, given, wanted, name = ("instances", "inputs"), "predictions", "instances", "tensorflow"
    else:
        accepted, given, wanted, name = ("inputs",), "outputs", "inputs", "kfserving"
    if isinstance(document, dict):
        if any(key in document for key in accepted):
            return message
        if given in document:
            renamed = {wanted if key == given else key: value for key, value in document.items()}
            return json_codec.JsonMessage.of_document(renamed)
    raise RemoteError(f"Failed to convert {name} response so it could be chained to new input", node=node)


def _segment(model: str) -> str:
    """The name as one segment of a path: it may come from a client's address, and must not end the request line."""
    return quote(model, safe="$&+,:;=@")


def _document(message: Message, node: str) -> Any:
    try:
        return json_codec.document_of(message)
    except PayloadError as fault:
        raise RemoteError(str(fault), node=node) from fault
