"""A component behind a Flask application or a plain gRPC server: for user code's own tests.

These serve one process and one thread at a time; `infergraph serve` is what serves for real.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent import futures
from functools import cached_property
from types import ModuleType
from typing import Any

import grpc
from seldon_core.env_utils import ENV_MODEL_NAME
from seldon_core.flask_utils import ANNOTATION_GRPC_MAX_MSG_SIZE, SeldonMicroserviceException, get_request, jsonify
from seldon_core.metrics import SeldonMetrics
from seldon_core.proto import prediction_pb2_grpc
from seldon_core.utils import json_to_feedback, json_to_seldon_model_metadata, seldon_message_to_json

from infergraph.errors import MissingExtra
from infergraph.message import Method
from infergraph.protocol.paths import API, EXTERNAL, HEALTH, INTERNAL, METADATA, OLD_EXTERNAL, OLD_INTERNAL, PING
from infergraph_seldon_tools import seldon_methods

_METHOD_OF_PATH: Mapping[str, Method] = {
    **{path: method for paths in (INTERNAL, EXTERNAL) for method, path in paths.items()},
    **OLD_INTERNAL,
    **OLD_EXTERNAL,
}


def get_rest_microservice(user_model: Any, seldon_metrics: SeldonMetrics) -> Any:
    """A Flask application that answers the protocol's REST paths with `user_model`.

    Raises: MissingExtra without Flask.
    """
    flask = _flask()
    app = flask.Flask("seldon_core.wrapper")
    _handle_errors(app)
    if hasattr(user_model, "model_error_handler"):
        app.register_blueprint(user_model.model_error_handler)
    for path, method in _METHOD_OF_PATH.items():
        app.add_url_rule(path, path, _view(method, user_model, seldon_metrics), methods=["GET", "POST"])
    _add_state_paths(app, user_model, seldon_metrics)
    return app


def get_metrics_microservice(seldon_metrics: SeldonMetrics) -> Any:
    """A Flask application that answers `PREDICTIVE_UNIT_METRICS_ENDPOINT` with the Prometheus text of the metrics.

    Raises: MissingExtra without Flask.
    """
    flask = _flask()
    app = flask.Flask("seldon_core.wrapper.metrics")

    def metrics() -> Any:
        text, content_type = seldon_metrics.generate_metrics()
        return flask.Response(text, content_type=content_type)

    app.add_url_rule(os.environ.get("PREDICTIVE_UNIT_METRICS_ENDPOINT", "/metrics"), "metrics", metrics)
    return app


class SeldonModelGRPC:
    """Answers all services of the protocol with `user_model`."""

    def __init__(self, user_model: Any, seldon_metrics: SeldonMetrics) -> None:
        self.user_model = user_model
        self.seldon_metrics = seldon_metrics

    @cached_property
    def metadata_data(self) -> dict[str, Any] | None:
        """The component's metadata; None if it is not valid."""
        return seldon_methods.init_metadata(self.user_model)

    def Predict(self, request_grpc: Any, context: Any) -> Any:
        """The component's prediction."""
        return seldon_methods.predict(self.user_model, request_grpc, self.seldon_metrics)

    def SendFeedback(self, feedback_grpc: Any, context: Any) -> Any:
        """The component's answer to a feedback."""
        return seldon_methods.send_feedback(self.user_model, feedback_grpc, _unit_id(), self.seldon_metrics)

    def TransformInput(self, request_grpc: Any, context: Any) -> Any:
        """The component's transformed input."""
        return seldon_methods.transform_input(self.user_model, request_grpc, self.seldon_metrics)

    def TransformOutput(self, request_grpc: Any, context: Any) -> Any:
        """The component's transformed output."""
        return seldon_methods.transform_output(self.user_model, request_grpc, self.seldon_metrics)

    def Route(self, request_grpc: Any, context: Any) -> Any:
        """The component's route."""
        return seldon_methods.route(self.user_model, request_grpc, self.seldon_metrics)

    def Aggregate(self, request_grpc: Any, context: Any) -> Any:
        """The component's one answer of several."""
        return seldon_methods.aggregate(self.user_model, request_grpc, self.seldon_metrics)

    def Metadata(self, request_grpc: Any, context: Any) -> Any:
        """The model's metadata. Raises: SeldonMicroserviceException if it is not valid."""
        return json_to_seldon_model_metadata(_metadata(self.metadata_data))

    def ModelMetadata(self, request_grpc: Any, context: Any) -> Any:
        """The model's metadata; the name asked for is not looked at."""
        return self.Metadata(request_grpc, context)

    def GraphMetadata(self, request_grpc: Any, context: Any) -> Any:
        """Nothing: a single component is no graph."""
        raise NotImplementedError("GraphMetadata not available on the Model level.")


def get_grpc_server(
    user_model: Any,
    seldon_metrics: SeldonMetrics,
    annotations: Mapping[str, str] | None = None,
    trace_interceptor: Any = None,
    num_threads: int = 1,
) -> grpc.Server:
    """A gRPC server, neither bound nor started, that answers all services with `user_model`.

    Args:
        annotations: `seldon.io/grpc-max-message-size` sets the largest message, in bytes.
        trace_interceptor: an interceptor for every call.
        num_threads: how many calls may be in work at once.
    """
    size = (annotations or {}).get(ANNOTATION_GRPC_MAX_MSG_SIZE)
    limits = ("grpc.max_message_length", "grpc.max_send_message_length", "grpc.max_receive_message_length")
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=num_threads),
        options=[(limit, int(size)) for limit in limits] if size else None,
        interceptors=(trace_interceptor,) if trace_interceptor is not None else None,
    )
    servicer = SeldonModelGRPC(user_model, seldon_metrics)
    for service in ("Generic", "Model", "Router", "Transformer", "OutputTransformer", "Combiner", "Seldon"):
        getattr(prediction_pb2_grpc, f"add_{service}Servicer_to_server")(servicer, server)
    return server


def _view(method: Method, user_model: Any, seldon_metrics: SeldonMetrics) -> Callable[[], Any]:
    def feedback() -> Any:
        request = json_to_feedback(get_request())
        answer = seldon_methods.send_feedback(user_model, request, _unit_id(), seldon_metrics)
        return jsonify(seldon_message_to_json(answer))

    if method is Method.SEND_FEEDBACK:
        return feedback
    ask = getattr(seldon_methods, method.value)
    return lambda: jsonify(ask(user_model, get_request(), seldon_metrics))


def _add_state_paths(app: Any, user_model: Any, seldon_metrics: SeldonMetrics) -> None:
    metadata = seldon_methods.init_metadata(user_model)

    def status() -> Any:
        return jsonify(seldon_methods.health_status(user_model, seldon_metrics))

    for prefix in ("", API):
        app.add_url_rule(prefix + HEALTH, f"{prefix} status", status)
        app.add_url_rule(prefix + METADATA, f"{prefix} metadata", lambda: jsonify(_metadata(metadata)))
    app.add_url_rule(PING, "ping", lambda: "pong")


def _handle_errors(app: Any) -> None:
    def refuse(error: Exception) -> Any:
        """Answer with the protocol's error document; the status is the exception's own, if it has one."""
        known = error if isinstance(error, SeldonMicroserviceException) else _as_seldon(error)
        response = jsonify(known.to_dict())
        response.status_code = known.status_code
        return response

    app.register_error_handler(SeldonMicroserviceException, refuse)
    app.register_error_handler(Exception, refuse)


def _as_seldon(error: Exception) -> SeldonMicroserviceException:
    code = getattr(error, "code", None)  # of werkzeug's 404, 405 …
    status = code if isinstance(code, int) else 500
    return SeldonMicroserviceException(str(error), status_code=status, reason="MICROSERVICE_INTERNAL_ERROR")


def _metadata(metadata: dict[str, Any] | None) -> dict[str, Any]:
    if metadata is None:
        raise SeldonMicroserviceException(
            "Model metadata unavailable", status_code=500, reason="MICROSERVICE_BAD_METADATA"
        )
    return metadata


def _unit_id() -> str:
    return os.environ.get(ENV_MODEL_NAME, "0")


def _flask() -> ModuleType:
    try:
        import flask
    except ImportError as error:
        raise MissingExtra.of("flask", "flask", "seldon_core.wrapper's REST application") from error
    return flask
