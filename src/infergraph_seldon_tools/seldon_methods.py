"""One call of a component's method, without a server: for user code and its tests.

    request (document or protobuf) ─▶ deprecated hook | raw hook | plain hook ─▶ answer in the request's own form

The serving path of infergraph is elsewhere; both use the same codecs and the same rules for answers.
"""

from __future__ import annotations

import json
import logging
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from seldon_core import user_model as hooks
from seldon_core.env_utils import ENV_MODEL_IMAGE
from seldon_core.flask_utils import SeldonMicroserviceException
from seldon_core.metrics import (
    AGGREGATE_METRIC_METHOD_TAG,
    COUNTER,
    FEEDBACK_METRIC_METHOD_TAG,
    HEALTH_METRIC_METHOD_TAG,
    INPUT_TRANSFORM_METRIC_METHOD_TAG,
    OUTPUT_TRANSFORM_METRIC_METHOD_TAG,
    PREDICT_METRIC_METHOD_TAG,
    ROUTER_METRIC_METHOD_TAG,
    SeldonMetrics,
)
from seldon_core.proto import prediction_pb2
from seldon_core.user_model import (
    SeldonNotImplementedError,
    SeldonResponse,
    client_aggregate,
    client_custom_metrics,
    client_health_status,
    client_predict,
    client_route,
    client_send_feedback,
    client_transform_input,
    client_transform_output,
)
from seldon_core.utils import (
    construct_response,
    construct_response_json,
    extract_feedback_request_parts,
    extract_request_parts,
    extract_request_parts_json,
    feedback_to_json,
    json_to_seldon_message,
)

from infergraph.component import metadata as model_metadata
from infergraph.errors import BadMetadata

_log = logging.getLogger(__name__)


def predict(user_model: Any, request: Any, seldon_metrics: SeldonMetrics) -> Any:
    """The component's prediction for a SeldonMessage or its document."""
    return _answer(user_model, request, seldon_metrics, "predict", PREDICT_METRIC_METHOD_TAG, client_predict)


def transform_input(user_model: Any, request: Any, seldon_metrics: SeldonMetrics) -> Any:
    """The component's transformed input for a SeldonMessage or its document."""
    return _answer(
        user_model,
        request,
        seldon_metrics,
        "transform_input",
        INPUT_TRANSFORM_METRIC_METHOD_TAG,
        client_transform_input,
    )


def transform_output(user_model: Any, request: Any, seldon_metrics: SeldonMetrics) -> Any:
    """The component's transformed output for a SeldonMessage or its document."""
    return _answer(
        user_model,
        request,
        seldon_metrics,
        "transform_output",
        OUTPUT_TRANSFORM_METRIC_METHOD_TAG,
        client_transform_output,
    )


def route(user_model: Any, request: Any, seldon_metrics: SeldonMetrics) -> Any:
    """The component's route as a 1x1 array, for a SeldonMessage or its document.

    Raises:
        SeldonNotImplementedError: the component does not route.
        SeldonMicroserviceException: it named no integer.
    """
    return _answer(user_model, request, seldon_metrics, "route", ROUTER_METRIC_METHOD_TAG, _routed, carries_meta=False)


def aggregate(user_model: Any, request: Any, seldon_metrics: SeldonMetrics) -> Any:
    """The component's one answer of several, for a SeldonMessageList, its document, or a bare list of documents.

    Raises:
        SeldonNotImplementedError: the component does not aggregate.
        SeldonMicroserviceException: the request holds no messages.
    """
    is_proto = _is_proto(request)
    raw = _raw_answer(user_model, request, "aggregate", is_proto)
    if raw is not None:
        handle_raw_custom_metrics(raw, seldon_metrics, is_proto, AGGREGATE_METRIC_METHOD_TAG)
        return raw
    messages = request.seldonMessages if is_proto else _documents(request)
    if not messages:
        raise SeldonMicroserviceException("an aggregate request needs at least one message in seldonMessages")
    parts = [_parts(message) for message in messages]
    response = client_aggregate(user_model, [features for features, *_ in parts], [names for _, names, _ in parts])
    metas = [meta or {} for *_, meta in parts]
    merged = {
        "tags": _union(meta.get("tags") for meta in metas),
        "metrics": [metric for meta in metas for metric in meta.get("metrics") or ()],
        "requestPath": _union(meta.get("requestPath") for meta in metas),
    }
    metrics = client_custom_metrics(user_model, seldon_metrics, AGGREGATE_METRIC_METHOD_TAG, response.metrics)
    construct = construct_response if is_proto else construct_response_json
    return construct(user_model, False, messages[0], response.data, merged, metrics, response.tags)


def send_feedback(user_model: Any, request: Any, predictive_unit_id: str, seldon_metrics: SeldonMetrics) -> Any:
    """The SeldonMessage that the component answers a Feedback with; the reward is counted first.

    Args:
        predictive_unit_id: under which the answer's meta records the route taken.
    """
    seldon_metrics.update_reward(request.reward)
    if hasattr(user_model, "send_feedback_rest"):
        return json_to_seldon_message(user_model.send_feedback_rest(json.dumps(feedback_to_json(request))))
    raw = _raw_answer(user_model, request, "send_feedback", True)
    if raw is not None:
        return raw
    _, features, truth, reward = extract_feedback_request_parts(request)
    routing = request.response.meta.routing
    chosen = routing.get(predictive_unit_id)
    names = list(request.request.data.names)
    response = client_send_feedback(user_model, features, names, reward, truth, chosen)
    data = np.array([]) if response.data is None else response.data
    metrics = client_custom_metrics(user_model, seldon_metrics, FEEDBACK_METRIC_METHOD_TAG, response.metrics)
    return construct_response(user_model, False, request.request, data, None, metrics, response.tags)


def health_status(user_model: Any, seldon_metrics: SeldonMetrics) -> Any:
    """The document of the component's health."""
    if hasattr(user_model, "health_status_raw"):
        try:
            return user_model.health_status_raw()
        except SeldonNotImplementedError:
            pass
    response = SeldonResponse.create(client_health_status(user_model))
    metrics = client_custom_metrics(user_model, seldon_metrics, HEALTH_METRIC_METHOD_TAG, response.metrics)
    return construct_response_json(user_model, False, {}, response.data, None, metrics, response.tags)


def init_metadata(user_model: Any) -> dict[str, Any] | None:
    """The component's metadata: defaults, then `init_metadata()`, then MODEL_METADATA.

    Returns: None if it breaks the protocol's schema; the log says how.
    """
    own: Any = {}
    if hasattr(user_model, "init_metadata"):
        try:
            own = user_model.init_metadata()
        except SeldonNotImplementedError:
            own = {}
    image, override = os.environ.get(ENV_MODEL_IMAGE, ""), os.environ.get("MODEL_METADATA", "{}")
    metadata = model_metadata.assemble(image, own, override)
    try:
        model_metadata.check(metadata)
    except BadMetadata as error:
        _log.error("the metadata is not valid: %s", error)
        return None
    return metadata


def handle_raw_custom_metrics(msg: Any, seldon_metrics: SeldonMetrics, is_proto: bool, method: str) -> None:
    """Record the metrics in the meta of a raw hook's answer, and take them out if answers are to have none."""
    if is_proto:
        metrics = [_metric_document(metric) for metric in msg.meta.metrics]
        if not hooks.INCLUDE_METRICS_IN_CLIENT_RESPONSE:
            del msg.meta.metrics[:]
    else:
        meta = msg.get("meta") if isinstance(msg, Mapping) else None
        metrics = list((meta or {}).get("metrics") or ())
        if meta and not hooks.INCLUDE_METRICS_IN_CLIENT_RESPONSE:
            meta.pop("metrics", None)
    seldon_metrics.update(metrics, method)


def _answer(
    user_model: Any,
    request: Any,
    seldon_metrics: SeldonMetrics,
    hook: str,
    method: str,
    call: Callable[..., SeldonResponse],
    *,
    carries_meta: bool = True,
) -> Any:
    """One answer to one message; `carries_meta`: whether the request's tags, metrics and path travel on."""
    is_proto = _is_proto(request)
    deprecated = getattr(user_model, f"{hook}_{'grpc' if is_proto else 'rest'}", None)
    if deprecated is not None:
        return deprecated(request)
    raw = _raw_answer(user_model, request, hook, is_proto)
    if raw is not None:
        handle_raw_custom_metrics(raw, seldon_metrics, is_proto, method)
        return raw
    features, names, meta = _parts(request)
    response = call(user_model, features, names, meta=meta)
    metrics = client_custom_metrics(user_model, seldon_metrics, method, response.metrics)
    construct = construct_response if is_proto else construct_response_json
    travelling = meta if carries_meta else None
    return construct(user_model, False, request, response.data, travelling, metrics, response.tags)


def _routed(user_model: Any, features: Any, names: Any, **keywords: Any) -> SeldonResponse:
    response = client_route(user_model, features, names, **keywords)
    chosen = response.data
    if not isinstance(chosen, numbers.Integral) or isinstance(chosen, bool):
        raise SeldonMicroserviceException(f"Routing response must be int but got {chosen}")
    return SeldonResponse(np.array([[int(chosen)]]), response.tags, response.metrics)


def _raw_answer(user_model: Any, request: Any, hook: str, is_proto: bool) -> Any:
    raw = getattr(user_model, f"{hook}_raw", None)
    if raw is None:
        return None
    try:
        return raw(request)
    except SeldonNotImplementedError:
        return None


def _parts(request: Any) -> tuple[Any, Any, dict[str, Any] | None]:
    """Features, names and meta of a message."""
    if _is_proto(request):
        features, meta, datadef, _ = extract_request_parts(request)
        return features, list(datadef.names), meta
    features, own_meta, datadef, _ = extract_request_parts_json(request)
    names = datadef.get("names", []) if isinstance(datadef, Mapping) else []
    return features, names, own_meta


def _documents(request: Any) -> Sequence[Any]:
    messages = request.get("seldonMessages") if isinstance(request, Mapping) else request
    if not isinstance(messages, list):
        raise SeldonMicroserviceException(f"Invalid request data type: {request}")
    return messages


def _metric_document(metric: Any) -> dict[str, Any]:
    kind = prediction_pb2.Metric.MetricType.Name(metric.type)
    return {"type": kind or COUNTER, "key": metric.key, "value": metric.value, "tags": dict(metric.tags)}


def _is_proto(request: Any) -> bool:
    return hasattr(request, "DESCRIPTOR")


def _union(mappings: Any) -> dict[str, Any]:
    union: dict[str, Any] = {}
    for mapping in mappings:
        union.update(mapping or {})
    return union
