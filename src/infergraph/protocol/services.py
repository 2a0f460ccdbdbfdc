"""The gRPC services: the seven services of the protocol, and the method of each call.

A call is named `Service/Method`; `path` returns its path on the wire.
Source: the protocol's `prediction.proto`; the orchestrator specification, section 20.
"""

from __future__ import annotations

from collections.abc import Mapping

from infergraph.message import Method

PACKAGE = "seldon.protos"

NODE_CALLS: Mapping[Method, str] = {
    Method.PREDICT: "Model/Predict",
    Method.TRANSFORM_INPUT: "Transformer/TransformInput",
    Method.TRANSFORM_OUTPUT: "OutputTransformer/TransformOutput",
    Method.ROUTE: "Router/Route",
    Method.AGGREGATE: "Combiner/Aggregate",
    Method.SEND_FEEDBACK: "Model/SendFeedback",
}
"""The calls of an orchestrator to a node."""

CLIENT_CALLS: Mapping[Method, str] = {
    Method.PREDICT: "Seldon/Predict",
    Method.SEND_FEEDBACK: "Seldon/SendFeedback",
    Method.TRANSFORM_INPUT: "Generic/TransformInput",
    Method.TRANSFORM_OUTPUT: "Generic/TransformOutput",
    Method.ROUTE: "Generic/Route",
    Method.AGGREGATE: "Generic/Aggregate",
}
"""The calls of a client, to a graph or a component."""

METHODS: Mapping[str, Method] = {
    **{call: method for calls in (NODE_CALLS, CLIENT_CALLS) for method, call in calls.items()},
    "Generic/SendFeedback": Method.SEND_FEEDBACK,
    "Router/SendFeedback": Method.SEND_FEEDBACK,
}
"""Every call of a method."""

NODE_METADATA = "Model/Metadata"
MODEL_METADATA = "Seldon/ModelMetadata"
GRAPH_METADATA = "Seldon/GraphMetadata"

HEALTH_PATH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}


INFERENCE = "inference.GRPCInferenceService"
"""The service of the open inference protocol; its calls have one path each: `/INFERENCE/Call`."""


V2_INFER = f"/{INFERENCE}/ModelInfer"
V2_METADATA = f"/{INFERENCE}/ModelMetadata"


def path(call: str) -> str:
    """The path of a call on the wire."""
    return f"/{PACKAGE}.{call}"
