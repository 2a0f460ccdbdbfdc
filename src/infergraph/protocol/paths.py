"""The REST paths of methods, readiness, health, metadata and tasks.

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
"""The internal API: paths by which an orchestrator calls a component."""

EXTERNAL: Mapping[Method, str] = {
    Method.PREDICT: f"{API}/predictions",
    Method.SEND_FEEDBACK: f"{API}/feedback",
}
"""The external API: paths by which a client calls a graph, or a component on its own."""

OLD_INTERNAL: Mapping[str, Method] = {"/combine": Method.AGGREGATE}
OLD_EXTERNAL: Mapping[str, Method] = {
    "/api/v0.1/predictions": Method.PREDICT,
    "/api/v0.1/feedback": Method.SEND_FEEDBACK,
}
"""Old paths, served for old clients and never called from here."""

LIVE = "/live"
READY = "/ready"
PING = "/health/ping"
STATUS = f"{API}/status"
HEALTH = "/health/status"
METADATA = "/metadata"
V2_SERVER = "/v2"
V2_LIVE = "/v2/health/live"
V2_READY = "/v2/health/ready"
V2_MODELS = "/v2/models"
V2_INDEX = "/v2/repository/index"
V2_GRAPH_INFER = "/v2/models/infer"
TASKS = f"{API}/tasks"
TASK_ENGINE = f"{API}/task-engine"
OPENAI_FILES = "/v1/files"
OPENAI_BATCHES = "/v1/batches"


class Protocol(Enum):
    """The protocol of a graph and its nodes; the value is `spec.protocol`."""

    SELDON = "seldon"
    TENSORFLOW = "tensorflow"
    V2 = "v2"

    @classmethod
    def named(cls, name: str) -> Protocol:
        """The protocol for a deployment file's `protocol`, where kfserving is v2 and empty is seldon."""
        return cls.V2 if name == "kfserving" else cls(name or "seldon")


class ModelPaths(NamedTuple):
    """The path templates of a protocol that names a model: `{model}` is its name, `{verb}` the verb.

    Args:
        predict: the verb of a prediction.
        probe: of a full health check; empty if there is only a connection check.
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
        probe=V2_READY,
    ),
}
_OTHER_VERBS = {Method.ROUTE: "route", Method.AGGREGATE: "aggregate"}


def method_path(protocol: Protocol, method: Method, model: str) -> str:
    """The path of a node's `method`; `model` is the name in it."""
    if protocol is Protocol.SELDON:
        return INTERNAL[method]
    paths = MODEL_PATHS[protocol]
    return paths.ask.format(model=_segment(model), verb=_OTHER_VERBS.get(method, paths.predict))


def health_path(protocol: Protocol, model: str) -> str:
    """The path of a node's health."""
    return HEALTH if protocol is Protocol.SELDON else MODEL_PATHS[protocol].health.format(model=_segment(model))


def metadata_path(protocol: Protocol, model: str) -> str:
    """The path of a node's metadata."""
    return METADATA if protocol is Protocol.SELDON else MODEL_PATHS[protocol].metadata.format(model=_segment(model))


def probe_path(protocol: Protocol) -> str:
    """The path of a full health check; empty if there is only a connection check."""
    return API + HEALTH if protocol is Protocol.SELDON else MODEL_PATHS[protocol].probe


def ready_path(protocol: Protocol) -> str:
    """The path that asks a server, whatever it serves, whether it can answer."""
    return V2_READY if protocol is Protocol.V2 else READY


def _segment(model: str) -> str:
    """A name as one path segment; it may come from a client, and must not break the request line."""
    return quote(model, safe="$&+,:;=@")
