"""The REST paths: where each method is asked, and where readiness, health, metadata and tasks are.

Source: the microservice specification, section 5; the orchestrator's, sections 6, 17 and 19.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple
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


class ModelPaths(NamedTuple):
    """The paths of a protocol that names a model; `{model}` stands for its name, `{verb}` for what it is asked.

    Args:
        predict: the verb of a prediction.
        probe: of a full health check; empty where a connection has to do.
    """

    ask: str
    predict: str
    health: str
    metadata: str
    probe: str = ""


MODEL_PATHS: Mapping[Protocol, ModelPaths] = {
    Protocol.TENSORFLOW: ModelPaths(
        ask="/v1/models/{model}:{verb}",
        predict="predict",
        health="/v1/models/{model}",
        metadata="/v1/models/{model}/metadata",
    ),
    Protocol.V2: ModelPaths(
        ask="/v2/models/{model}/{verb}",
        predict="infer",
        health="/v2/models/{model}/ready",
        metadata="/v2/models/{model}",
        probe="/v2/health/ready",
    ),
}
_OTHER_VERBS = {Method.ROUTE: "route", Method.AGGREGATE: "aggregate"}


def method_path(protocol: Protocol, method: Method, model: str) -> str:
    """The path that asks a node for `method`; `model` is the name that stands in it."""
    if protocol is Protocol.SELDON:
        return INTERNAL[method]
    paths = MODEL_PATHS[protocol]
    return paths.ask.format(model=_segment(model), verb=_OTHER_VERBS.get(method, paths.predict))


def health_path(protocol: Protocol, model: str) -> str:
    """The path that asks a node for its health."""
    return HEALTH if protocol is Protocol.SELDON else MODEL_PATHS[protocol].health.format(model=_segment(model))


def metadata_path(protocol: Protocol, model: str) -> str:
    """The path that asks a node for its metadata."""
    return METADATA if protocol is Protocol.SELDON else MODEL_PATHS[protocol].metadata.format(model=_segment(model))


def probe_path(protocol: Protocol) -> str:
    """The path of a full health check; empty where a connection has to do."""
    return API + HEALTH if protocol is Protocol.SELDON else MODEL_PATHS[protocol].probe


def _segment(model: str) -> str:
    """The name as one segment of a path: it may come from a client's address, and must not end the request line."""
    return quote(model, safe="$&+,:;=@")
