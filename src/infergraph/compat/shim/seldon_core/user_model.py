"""The optional base class of components, their per-call response, and functions that call a component's hooks.

    client_predict(component, X, names, meta=…) ─▶ component.predict ─▶ SeldonResponse

Every hook of the base class raises SeldonNotImplementedError, which callers treat as "the component has no such hook".
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ._environment import includes_metrics
from .flask_utils import SeldonMicroserviceException
from .metrics import SeldonMetrics, validate_metrics

_log = logging.getLogger(__name__)


def __getattr__(name: str) -> Any:
    if name == "INCLUDE_METRICS_IN_CLIENT_RESPONSE":
        return includes_metrics()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class SeldonNotImplementedError(SeldonMicroserviceException):
    """The component has no such hook."""

    status_code = 400

    def __init__(self, message: Any) -> None:
        super().__init__(message)


class SeldonResponse:
    """A result with the tags and metrics of this call alone.

    Args:
        data: what the hook would have returned.
        tags: for `meta.tags`.
        metrics: a list of metric dicts.
    """

    def __init__(
        self, data: Any, tags: dict[str, Any] | None = None, metrics: list[dict[str, Any]] | None = None
    ) -> None:
        self.data = data
        self.tags = tags if tags is not None else {}
        self.metrics = metrics if metrics is not None else []

    @classmethod
    def create(cls, data: Any) -> SeldonResponse:
        """`data` itself if it is a response already, else a response of it."""
        return data if isinstance(data, SeldonResponse) else cls(data)

    def __repr__(self) -> str:
        return f"SeldonResponse(data={self.data!r}, tags={self.tags!r}, metrics={self.metrics!r})"


def _missing(hook: str) -> SeldonNotImplementedError:
    return SeldonNotImplementedError(f"{hook} is not implemented")


class SeldonComponent:
    """A base class that names every hook; deriving from it is a choice, not a need."""

    def __init__(self, **kwargs: Any) -> None:
        pass

    def load(self) -> None:
        """Load the model; called once in each worker."""

    def predict(self, X: Any, names: Iterable[str], meta: dict[str, Any] | None = None) -> Any:
        """The model's answer to the rows of `X`."""
        raise _missing("predict")

    def predict_raw(self, msg: Any) -> Any:
        """The answer to a whole message."""
        raise _missing("predict_raw")

    def transform_input(self, X: Any, names: Iterable[str], meta: dict[str, Any] | None = None) -> Any:
        """The input of the next node."""
        raise _missing("transform_input")

    def transform_input_raw(self, msg: Any) -> Any:
        """The input of the next node, as a whole message."""
        raise _missing("transform_input_raw")

    def transform_output(self, X: Any, names: Iterable[str], meta: dict[str, Any] | None = None) -> Any:
        """The output of this node."""
        raise _missing("transform_output")

    def transform_output_raw(self, msg: Any) -> Any:
        """The output of this node, as a whole message."""
        raise _missing("transform_output_raw")

    def route(self, features: Any, feature_names: Iterable[str]) -> Any:
        """The child to ask: n, -1 for all, -2 for none."""
        raise _missing("route")

    def route_raw(self, msg: Any) -> Any:
        """The child to ask, as a message."""
        raise _missing("route_raw")

    def aggregate(self, features_list: list[Any], feature_names_list: list[Any]) -> Any:
        """One answer of several."""
        raise _missing("aggregate")

    def aggregate_raw(self, msgs: Any) -> Any:
        """One message of several."""
        raise _missing("aggregate_raw")

    def send_feedback(
        self, features: Any, feature_names: Iterable[str], reward: float, truth: Any, routing: int | None
    ) -> Any:
        """Learn from a reward."""
        raise _missing("send_feedback")

    def send_feedback_raw(self, feedback: Any) -> Any:
        """Learn from a whole feedback message."""
        raise _missing("send_feedback_raw")

    def health_status(self) -> Any:
        """The component's health; raise an exception if it is unhealthy."""
        raise _missing("health")

    def health_status_raw(self) -> Any:
        """The component's health as a message."""
        raise _missing("health_raw")

    def class_names(self) -> Iterable[str]:
        """Column names of the answer."""
        raise _missing("class_names")

    def feature_names(self) -> Iterable[str]:
        """Column names of the input."""
        raise _missing("feature_names")

    def tags(self) -> dict[str, Any]:
        """Tags for `meta.tags`."""
        raise _missing("tags")

    def metrics(self) -> list[dict[str, Any]]:
        """Metric dicts to record and to put into `meta.metrics`."""
        raise _missing("metrics")

    def metadata(self) -> dict[str, Any]:
        """The model's metadata (an older name of `init_metadata`)."""
        raise _missing("metadata")

    def init_metadata(self) -> dict[str, Any]:
        """The model's metadata, asked for once at start."""
        raise _missing("init_metadata")


def client_predict(user_model: Any, features: Any, feature_names: Iterable[str], **kwargs: Any) -> SeldonResponse:
    """What `predict` gives; an empty list if the component cannot predict."""
    return _response(user_model, "predict", lambda: [], features, feature_names, **kwargs)


def client_transform_input(
    user_model: Any, features: Any, feature_names: Iterable[str], **kwargs: Any
) -> SeldonResponse:
    """What `transform_input` gives; the features themselves if the component has none."""
    return _response(user_model, "transform_input", lambda: features, features, feature_names, **kwargs)


def client_transform_output(
    user_model: Any, features: Any, feature_names: Iterable[str], **kwargs: Any
) -> SeldonResponse:
    """What `transform_output` gives; the features themselves if the component has none."""
    return _response(user_model, "transform_output", lambda: features, features, feature_names, **kwargs)


def client_send_feedback(
    user_model: Any, features: Any, feature_names: Iterable[str], reward: float, truth: Any, routing: int | None
) -> SeldonResponse:
    """What `send_feedback` gives; None if the component has none."""
    return _response(user_model, "send_feedback", lambda: None, features, feature_names, reward, truth, routing=routing)


def client_route(user_model: Any, features: Any, feature_names: Iterable[str], **kwargs: Any) -> SeldonResponse:
    """What `route` gives. Raises: SeldonNotImplementedError if the component does not route."""
    if not hasattr(user_model, "route"):
        raise SeldonNotImplementedError("Route not defined")
    return SeldonResponse.create(_call(user_model.route, features, feature_names, **kwargs))


def client_aggregate(user_model: Any, features_list: list[Any], feature_names_list: list[Any]) -> SeldonResponse:
    """What `aggregate` gives. Raises: SeldonNotImplementedError if the component does not aggregate."""
    if not hasattr(user_model, "aggregate"):
        raise SeldonNotImplementedError("Aggregate not defined")
    return SeldonResponse.create(user_model.aggregate(features_list, feature_names_list))


def client_health_status(user_model: Any) -> Any:
    """What `health_status` gives; a word if the component has none."""
    if not hasattr(user_model, "health_status"):
        return "healthy"
    try:
        return user_model.health_status()
    except SeldonNotImplementedError:
        return "not implemented - assuming healthy"


def client_class_names(user_model: Any, predictions: Any) -> Sequence[str] | None:
    """Column names for `predictions`: the component's own, or `t:0`, `t:1`, …; nothing below two axes."""
    shape = np.shape(predictions)
    if len(shape) < 2:
        return []
    return _names(user_model, "class_names", [f"t:{column}" for column in range(shape[1])])


def client_feature_names(user_model: Any, original: Sequence[str]) -> Sequence[str] | None:
    """The component's `feature_names`, or `original` if it has none."""
    return _names(user_model, "feature_names", original)


def client_custom_tags(user_model: Any) -> dict[str, Any]:
    """What `tags` gives; empty if the component has none."""
    if not hasattr(user_model, "tags"):
        return {}
    try:
        return user_model.tags() or {}
    except SeldonNotImplementedError:
        return {}


def client_custom_metrics(
    user_model: Any,
    seldon_metrics: SeldonMetrics,
    method: str,
    runtime_metrics: Sequence[dict[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Record what `metrics` gives and `runtime_metrics`.

    Returns: all of them for the answer's meta; nothing if INCLUDE_METRICS_IN_CLIENT_RESPONSE is not true.
    Raises: SeldonMicroserviceException of reason MICROSERVICE_BAD_METRIC (500) if they are not a list of metric dicts.
    """
    own: Any = []
    if hasattr(user_model, "metrics"):
        try:
            own = user_model.metrics()
        except SeldonNotImplementedError:
            own = []
    recorded = [*_checked(own), *_checked(list(runtime_metrics))]
    seldon_metrics.update(recorded, method)
    return recorded if includes_metrics() else []


def _checked(metrics: Any) -> list[dict[str, Any]]:
    if validate_metrics(metrics):
        return metrics  # type: ignore[no-any-return]
    raise SeldonMicroserviceException(
        f"Bad metric created during request: {json.dumps(metrics, default=repr)}",
        status_code=500,
        reason="MICROSERVICE_BAD_METRIC",
    )


def _response(
    user_model: Any, hook: str, default: Callable[[], Any], *arguments: Any, **keywords: Any
) -> SeldonResponse:
    if not hasattr(user_model, hook):
        return SeldonResponse.create(default())
    try:
        return SeldonResponse.create(_call(getattr(user_model, hook), *arguments, **keywords))
    except SeldonNotImplementedError:
        return SeldonResponse.create(default())


def _call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Call with the keywords that the signature takes. User code is called once, even if it raises TypeError."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return function(*arguments)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        taken = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
        keywords = {name: value for name, value in keywords.items() if name in taken}
    return function(*arguments, **keywords)


def _names(user_model: Any, hook: str, default: Sequence[str]) -> Sequence[str] | None:
    found = getattr(user_model, hook, None)
    if found is None:
        return default
    if not callable(found):
        _log.warning("%s attribute is deprecated. Please define a %s method", hook, hook)
    else:
        try:
            found = found()
        except SeldonNotImplementedError:
            return default
    names: Sequence[str] | None = found.tolist() if isinstance(found, np.ndarray) else found
    return names
