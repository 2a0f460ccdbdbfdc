"""The REST paths: where each method is asked, and where readiness, health, metadata and tasks are.

Source: the microservice specification, section 5; the orchestrator's, sections 6, 17 and 19.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from urllib.parse import quote

from infergraph.message import Method

API = "/api/v1.0"

INTERNAL: Mapping[Method, str] = {
    Method.PREDICT: "/predict",
    Method.TRANSFORM_INPUT: "/transform-input",
    Method.TRANSFORM_OUTPUT: "/transform-output",
    Method.ROUTE: "/route",
    Method.AGGREGATE: "/aggregate",
    Method.SEND_FEEDBACK: "/send-feedback",
}
"""The internal API: where an orchestrator asks a component."""

EXTERNAL: Mapping[Method, str] = {
    Method.PREDICT: f"{API}/predictions",
    Method.SEND_FEEDBACK: f"{API}/feedback",
}
"""The external API: where a caller asks a graph, or a component that stands alone."""

OLD_INTERNAL: Mapping[str, Method] = {"/combine": Method.AGGREGATE}
OLD_EXTERNAL: Mapping[str, Method] = {
    "/api/v0.1/predictions": Method.PREDICT,
    "/api/v0.1/feedback": Method.SEND_FEEDBACK,
}
"""Older spellings, served for old callers and called by nobody here."""

LIVE = "/live"
READY = "/ready"
PING = "/health/ping"
STATUS = f"{API}/status"
HEALTH = "/health/status"
METADATA = "/metadata"
TASKS = f"{API}/tasks"
TASK_ENGINE = f"{API}/task-engine"


class Protocol(Enum):
    """How a graph and its nodes are spoken to; the value is `spec.protocol`."""

    SELDON = "seldon"
    TENSORFLOW = "tensorflow"
    V2 = "v2"

    @classmethod
    def named(cls, name: str) -> Protocol:
        """The protocol of a deployment file's `protocol`, where kfserving is v2 and nothing is seldon."""
        return cls.V2 if name == "kfserving" else cls(name or "seldon")


_MODEL_VERBS = {Method.ROUTE: "route", Method.AGGREGATE: "aggregate"}


def method_path(protocol: Protocol, method: Method, model: str) -> str:
    """The path that asks a node for `method`; `model` is the name that stands in it."""
    if protocol is Protocol.SELDON:
        return INTERNAL[method]
    if protocol is Protocol.TENSORFLOW:
        return f"/v1/models/{_segment(model)}:{_MODEL_VERBS.get(method, 'predict')}"
    return f"/v2/models/{_segment(model)}/{_MODEL_VERBS.get(method, 'infer')}"


def health_path(protocol: Protocol, model: str) -> str:
    """The path that asks a node for its health."""
    if protocol is Protocol.SELDON:
        return HEALTH
    model = _segment(model)
    return f"/v1/models/{model}" if protocol is Protocol.TENSORFLOW else f"/v2/models/{model}/ready"


def metadata_path(protocol: Protocol, model: str) -> str:
    """The path that asks a node for its metadata."""
    if protocol is Protocol.SELDON:
        return METADATA
    model = _segment(model)
    return f"/v1/models/{model}/metadata" if protocol is Protocol.TENSORFLOW else f"/v2/models/{model}"


def probe_path(protocol: Protocol) -> str:
    """The path of a full health check; empty where a connection has to do."""
    if protocol is Protocol.SELDON:
        return API + HEALTH
    return "" if protocol is Protocol.TENSORFLOW else "/v2/health/ready"


def _segment(model: str) -> str:
    """The name as one segment of a path: it may come from a client's address, and must not end the request line."""
    return quote(model, safe="$&+,:;=@")
