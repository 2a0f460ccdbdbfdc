"""Metric dicts and the store that writes them out."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infergraph import compat
from infergraph.errors import MissingExtra

compat.install()

from seldon_core import metrics  # noqa: E402
from seldon_core.metrics import SeldonMetrics, create_counter, create_gauge, create_timer  # noqa: E402


@pytest.mark.parametrize(
    ("create", "kind"), [(create_counter, "COUNTER"), (create_gauge, "GAUGE"), (create_timer, "TIMER")]
)
def test_create_makes_a_valid_metric(create: Any, kind: str) -> None:
    """Each helper gives a metric dict that validates; a value that is no number is a TypeError."""
    assert create("k", 1.5) == {"key": "k", "type": kind, "value": 1.5}
    assert metrics.validate_metrics([create("k", 1.5)])
    with pytest.raises(TypeError):
        create("k", "1")


@pytest.mark.parametrize(
    ("given", "valid"),
    [
        ([], True),
        ([{"type": "COUNTER", "key": "a", "value": 1, "tags": {"x": "y"}}], True),
        (({"type": "COUNTER", "key": "a", "value": 1},), False),
        (None, False),
        ({}, False),
        ("x", False),
        (["x"], False),
        ([{"type": "OTHER", "key": "a", "value": 1}], False),
        ([{"key": "a", "value": 1}], False),
        ([{"type": "TIMER", "value": 1}], False),
        ([{"type": "GAUGE", "key": "a"}], False),
        ([{"type": "COUNTER", "key": "a", "value": "1"}], False),
        ([{"type": "COUNTER", "key": "a", "value": None}], False),
    ],
)
def test_validate_metrics(given: Any, valid: bool) -> None:
    """Valid is a list of dicts with a key, a known type and a number; nothing else, and nothing raises."""
    assert metrics.validate_metrics(given) is valid


@pytest.mark.parametrize(
    ("image", "parts"), [("a:b", ("a", "b")), ("reg:5000/a:1", ("reg:5000/a", "1")), ("x", ("", "x")), ("", ("", ""))]
)
def test_split_image_tag(image: str, parts: tuple[str, str]) -> None:
    """An image is split at its last colon; without one it is all version."""
    assert metrics.split_image_tag(image) == parts


def test_update_keeps_series_by_type_key_and_tags() -> None:
    """Counters add, gauges overwrite, timers observe milliseconds in seconds; the metric given is not changed."""
    store = SeldonMetrics(worker_id_func=lambda: "w")
    tagged = {"type": "COUNTER", "key": "c", "value": 2, "tags": {"b": "2", "a": "1"}}
    for _ in range(2):
        store.update([create_counter("c", 1), tagged, create_gauge("g", 3), create_timer("t", 20.2)], "predict")
    series = store.data["w"]
    assert series["COUNTER", "c", "method-predict"] == {"value": 2, "tags": {"method": "predict"}}
    assert series["COUNTER", "c", "a-1_b-2_method-predict"]["value"] == 4
    assert series["GAUGE", "g", "method-predict"]["value"] == 3
    counts, total = series["TIMER", "t", "method-predict"]["value"]
    assert (len(counts), sum(counts), counts.index(2.0)) == (51, 2.0, 15)
    assert total == pytest.approx(0.0404)
    assert tagged["tags"] == {"b": "2", "a": "1"}


@pytest.mark.parametrize(("seconds", "position"), [(0, 0), (0.001, 0), (0.0011, 1), (31, 50), (1e9, 50)])
def test_a_timer_falls_into_the_bin_of_its_upper_edge(seconds: float, position: int) -> None:
    """A time equal to an edge belongs below it, as `le` says; beyond the last edge is the bin of infinity."""
    store = SeldonMetrics(worker_id_func=lambda: "w")
    store.update([create_timer("t", seconds * 1000)], "p")
    counts, _ = store.data["w"]["TIMER", "t", "method-p"]["value"]
    assert counts.index(1.0) == position


def test_a_negative_time_enters_the_sum_alone() -> None:
    """A negative time is in no bin."""
    store = SeldonMetrics(worker_id_func=lambda: "w")
    store.update([create_timer("t", -1000)], "p")
    assert store.data["w"]["TIMER", "t", "method-p"]["value"] == ([0.0] * 51, -1.0)


def test_text_has_one_family_for_each_name_and_the_deployments_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text parses strictly: families are not repeated, names are legal, labels are those of the deployment."""
    monkeypatch.setenv("SELDON_DEPLOYMENT_ID", "dep1")
    monkeypatch.setenv("PREDICTIVE_UNIT_ID", "unit1")
    monkeypatch.setenv("PREDICTIVE_UNIT_IMAGE", "reg:5000/img:0.9")
    monkeypatch.setenv("PREDICTOR_ID", "pred1")
    monkeypatch.setenv("PREDICTOR_LABELS", '{"version": "v7"}')
    store = SeldonMetrics(worker_id_func=lambda: "w", extra_default_labels={"more": "m"})
    mine = {"type": "COUNTER", "key": "my-counter", "value": 1, "tags": {"t": "x", "method": "lost"}}
    store.update([create_counter("my-counter", 1), mine, create_timer("t", 1)], "predict")
    store.update([create_counter("my-counter", 5)], "feedback")
    store.update_reward(0.5)
    text, content_type = store.generate_metrics()
    assert content_type.startswith("text/plain")
    assert text.count("# TYPE my_counter_total counter") == 1
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["my_counter"].samples
    counted = {(sample.labels["method"], sample.labels.get("t"), sample.value) for sample in samples}
    assert counted == {("predict", None, 1.0), ("predict", "x", 1.0), ("feedback", None, 5.0)}
    labels = samples[0].labels
    assert labels["deployment_name"] == labels["seldon_deployment_name"] == "dep1"
    assert (labels["model_name"], labels["model_image"], labels["model_version"]) == ("unit1", "reg:5000/img", "0.9")
    assert (labels["predictor_name"], labels["predictor_version"]) == ("pred1", "v7")
    assert (labels["worker_id"], labels["more"]) == ("w", "m")
    buckets = [sample for sample in families["t"].samples if sample.name == "t_bucket"]
    assert (len(buckets), buckets[-1].labels["le"], buckets[-1].value) == (51, "+Inf", 1.0)
    assert families["seldon_api_model_feedback_reward"].samples[0].value == 0.5


def test_a_reward_of_nothing_counts_nothing() -> None:
    """A feedback without reward leaves the counters alone."""
    store = SeldonMetrics(worker_id_func=lambda: "w")
    store.update_reward(0)
    assert store.data == {}


def test_clear_forgets_this_worker_alone() -> None:
    """Each worker's series are its own."""
    worker = ["a"]
    store = SeldonMetrics(worker_id_func=lambda: worker[0])
    store.update([create_counter("c", 1)], "p")
    worker[0] = "b"
    store.update([create_counter("c", 1)], "p")
    store.clear()
    assert list(store.data) == ["a"]


def test_no_update_is_lost_between_threads() -> None:
    """Counting from many threads at once counts everything."""
    store = SeldonMetrics(worker_id_func=lambda: "w")

    def count() -> None:
        for _ in range(500):
            store.update([create_counter("c", 1)], "p")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.data["w"]["COUNTER", "c", "method-p"]["value"] == 2000


def test_module_values_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """DEFAULT_LABELS and the image's parts are read when asked for, not at import."""
    monkeypatch.setenv("PREDICTIVE_UNIT_IMAGE", "img:7")
    assert metrics.DEFAULT_LABELS["image_version"] == "7"
    assert (metrics.image, metrics.model_image, metrics.model_version) == ("img:7", "img", "7")


def test_only_the_text_needs_prometheus_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics are made and recorded without the package; writing them out says how to install it."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    recorded = metrics.SeldonMetrics()
    recorded.update([metrics.create_counter("calls", 1)], metrics.PREDICT_METRIC_METHOD_TAG)
    with pytest.raises(MissingExtra, match=r"pip install 'infergraph\[prometheus\]'"):
        recorded.generate_metrics()
