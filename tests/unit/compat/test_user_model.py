"""The base class, the response and the functions that call a component's hooks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from infergraph import compat

compat.install()

from seldon_core.flask_utils import SeldonMicroserviceException  # noqa: E402
from seldon_core.metrics import SeldonMetrics, create_counter  # noqa: E402
from seldon_core.user_model import (  # noqa: E402
    SeldonComponent,
    SeldonNotImplementedError,
    SeldonResponse,
    client_aggregate,
    client_class_names,
    client_custom_metrics,
    client_custom_tags,
    client_feature_names,
    client_health_status,
    client_predict,
    client_route,
    client_send_feedback,
    client_transform_input,
    client_transform_output,
)

HOOKS: dict[str, tuple[Any, ...]] = {
    "predict": (1, []),
    "predict_raw": (1,),
    "transform_input": (1, []),
    "transform_input_raw": (1,),
    "transform_output": (1, []),
    "transform_output_raw": (1,),
    "route": (1, []),
    "route_raw": (1,),
    "aggregate": ([], []),
    "aggregate_raw": (1,),
    "send_feedback": (1, [], 1.0, 1, 1),
    "send_feedback_raw": (1,),
    "health_status": (),
    "health_status_raw": (),
    "class_names": (),
    "feature_names": (),
    "tags": (),
    "metrics": (),
    "metadata": (),
    "init_metadata": (),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_of_the_base_class_says_not_implemented(hook: str) -> None:
    """A hook that a derived class does not override raises the exception that counts as missing."""
    with pytest.raises(SeldonNotImplementedError, match="is not implemented") as caught:
        getattr(SeldonComponent(any_argument=1), hook)(*HOOKS[hook])
    assert caught.value.status_code == 400


def test_load_of_the_base_class_does_nothing() -> None:
    """A component without load() of its own loads."""
    assert SeldonComponent().load() is None


def test_hooks_of_the_base_class_are_told_apart_by_their_module() -> None:
    """What is inherited from the base class shows its module, by which a unit knows that the hook is missing."""
    assert {getattr(SeldonComponent, hook).__module__ for hook in (*HOOKS, "load")} == {"seldon_core.user_model"}


def test_response_of_a_response_is_itself() -> None:
    """SeldonResponse.create wraps data once; tags and metrics default to empty."""
    response = SeldonResponse("x", {"a": 1}, [create_counter("c", 1)])
    assert SeldonResponse.create(response) is response
    made = SeldonResponse.create([1])
    assert (made.data, made.tags, made.metrics) == ([1], {}, [])


class Bare:
    """No hooks at all."""


@pytest.mark.parametrize("component", [Bare(), SeldonComponent()])
def test_missing_hooks_get_the_protocols_defaults(component: Any) -> None:
    """Predict gives an empty list, the transforms what they got, feedback None; no tags, no metrics, t:n for names."""
    assert client_predict(component, 1, []).data == []
    assert client_transform_input(component, "x", []).data == "x"
    assert client_transform_output(component, "x", []).data == "x"
    assert client_send_feedback(component, 1, [], 1.0, 1, None).data is None
    assert client_custom_tags(component) == {}
    assert client_custom_metrics(component, SeldonMetrics(), "predict") == []
    assert client_class_names(component, np.zeros((1, 2))) == ["t:0", "t:1"]
    assert client_feature_names(component, ["own"]) == ["own"]
    assert "healthy" in client_health_status(component)


@pytest.mark.parametrize(("component", "text"), [(Bare(), "not defined"), (SeldonComponent(), "is not implemented")])
def test_routing_and_aggregating_have_no_default(component: Any, text: str) -> None:
    """A component that cannot route or aggregate refuses, with a text and status 400."""
    for call in (lambda: client_route(component, 1, []), lambda: client_aggregate(component, [], [])):
        with pytest.raises(SeldonNotImplementedError, match=text):
            call()


def test_a_type_error_of_user_code_is_raised_once() -> None:
    """The signature is read, not tried: the model runs once, and its TypeError is its own."""
    calls = []

    class Model:
        def predict(self, X: Any, names: Any, meta: Any = None) -> Any:
            calls.append(X)
            raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        client_predict(Model(), 1, [], meta={})
    assert calls == [1]


def test_keywords_go_to_those_who_take_them() -> None:
    """meta and routing reach a hook that names them or takes **kwargs, and no other."""

    class Without:
        def predict(self, X: Any, names: Any) -> Any:
            return [X, names]

        def send_feedback(self, features: Any, names: Any, reward: float, truth: Any) -> Any:
            return [reward]

    class With:
        def predict(self, X: Any, names: Any, **kwargs: Any) -> Any:
            return kwargs

        def send_feedback(self, features: Any, names: Any, reward: float, truth: Any, routing: Any = None) -> Any:
            return [routing]

    assert client_predict(Without(), 1, ["n"], meta={"m": 1}).data == [1, ["n"]]
    assert client_predict(With(), 1, ["n"], meta={"m": 1}).data == {"meta": {"m": 1}}
    assert client_send_feedback(Without(), 1, [], 0.5, 1, 2).data == [0.5]
    assert client_send_feedback(With(), 1, [], 0.5, 1, 2).data == [2]


def test_class_names_of_every_kind(caplog: pytest.LogCaptureFixture) -> None:
    """A method, a static method, an attribute, a property and an array name the columns; an attribute is warned of."""

    class Method:
        def class_names(self) -> list[str]:
            return ["a"]

    class Static:
        @staticmethod
        def class_names() -> list[str]:
            return ["a"]

    class Property:
        @property
        def class_names(self) -> list[str]:
            return ["a"]

    class Array:
        def class_names(self) -> Any:
            return np.array(["a"])

    for component in (Method(), Static(), Array()):
        assert client_class_names(component, np.zeros((1, 1))) == ["a"]
    assert not caplog.records
    assert client_class_names(Property(), np.zeros((1, 1))) == ["a"]
    assert "deprecated" in caplog.text
    assert client_class_names(Method(), np.zeros(1)) == []


def test_own_and_runtime_metrics_are_recorded_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of metrics are counted; the environment's switch only keeps them out of the answer."""

    class Model:
        def metrics(self) -> Any:
            return [create_counter("own", 1)]

    store = SeldonMetrics(worker_id_func=lambda: "w")
    shown = client_custom_metrics(Model(), store, "predict", [create_counter("runtime", 2)])
    assert [metric["key"] for metric in shown] == ["own", "runtime"]
    monkeypatch.setenv("INCLUDE_METRICS_IN_CLIENT_RESPONSE", "False")
    assert client_custom_metrics(Model(), store, "predict") == []
    assert store.data["w"]["COUNTER", "own", "method-predict"]["value"] == 2


@pytest.mark.parametrize("metrics", [None, ({"type": "COUNTER", "key": "a", "value": 1},), [{"key": "a"}], "x"])
def test_bad_metrics_are_refused(metrics: Any) -> None:
    """Anything but a list of metric dicts is a MICROSERVICE_BAD_METRIC with status 500, and the text shows it."""

    class Model:
        def metrics(self) -> Any:
            return metrics

    with pytest.raises(SeldonMicroserviceException, match="Bad metric created during request") as caught:
        client_custom_metrics(Model(), SeldonMetrics(), "predict")
    assert (caught.value.status_code, caught.value.reason) == (500, "MICROSERVICE_BAD_METRIC")


def test_the_switch_for_metrics_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """INCLUDE_METRICS_IN_CLIENT_RESPONSE follows the environment, true unless it says otherwise."""
    from seldon_core import user_model

    monkeypatch.delenv("INCLUDE_METRICS_IN_CLIENT_RESPONSE", raising=False)
    assert user_model.INCLUDE_METRICS_IN_CLIENT_RESPONSE is True
    monkeypatch.setenv("INCLUDE_METRICS_IN_CLIENT_RESPONSE", "no")
    assert user_model.INCLUDE_METRICS_IN_CLIENT_RESPONSE is False
