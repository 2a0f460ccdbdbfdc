from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from infergraph.errors import BadMetric, SettingsError
from infergraph.observe.metrics import exposition
from infergraph.observe.shared_metrics import SharedMetrics
from infergraph.observe.user_metrics import UserMetrics, label_name, labels_of, metric_name

ENVIRONMENT = {
    "PREDICTIVE_UNIT_ID": "unit1",
    "PREDICTIVE_UNIT_IMAGE": "reg:5000/org/img:0.9",
    "SELDON_DEPLOYMENT_ID": "dep1",
    "PREDICTOR_ID": "pred1",
    "PREDICTOR_LABELS": '{"version": "v7"}',
}
LABELS = {
    "deployment_name": "dep1",
    "image_name": "reg:5000/org/img",
    "image_version": "0.9",
    "model_image": "reg:5000/org/img",
    "model_name": "unit1",
    "model_version": "0.9",
    "predictor_name": "pred1",
    "predictor_version": "v7",
    "seldon_deployment_name": "dep1",
}


def metrics_in(folder: Path, limit: int = 100) -> UserMetrics:
    return UserMetrics(SharedMetrics(folder, "worker-0"), ENVIRONMENT, limit)


def samples(folder: Path) -> list[tuple[str, dict[str, str], float]]:
    text, _ = exposition(folder)
    families = text_string_to_metric_families(text.decode())
    return [(one.name, one.labels, one.value) for family in families for one in family.samples]


def sample(folder: Path, name: str, **labels: str) -> float:
    (value,) = [value for found, given, value in samples(folder) if found == name and given == {**LABELS, **labels}]
    return value


def record(user: UserMetrics, *metrics: dict[str, Any], method: str = "predict") -> None:
    user.record(user.validate(list(metrics)), method)


def test_the_labels_are_the_wrappers_without_its_worker_id() -> None:
    """Label names and values are those of the protocol, from its environment names."""
    assert labels_of(ENVIRONMENT) == LABELS


def test_unset_places_are_called_not_implemented() -> None:
    """Every label is there also where nothing is set, and an image without a colon is all version."""
    assert set(labels_of({}).values()) == {"NOT_IMPLEMENTED"}
    assert labels_of({}).keys() == LABELS.keys()
    one_word = labels_of({"PREDICTIVE_UNIT_IMAGE": "img"})
    assert (one_word["model_image"], one_word["model_version"]) == ("", "img")


def test_unreadable_predictor_labels_are_a_fault_at_the_start() -> None:
    """PREDICTOR_LABELS that is no JSON object names itself in the fault."""
    with pytest.raises(SettingsError, match="PREDICTOR_LABELS"):
        labels_of({"PREDICTOR_LABELS": "version=1"})


def test_the_three_types_mean_what_the_protocol_says(tmp_path: Path) -> None:
    """COUNTER adds, GAUGE overwrites, TIMER observes milliseconds as seconds in the protocol's buckets."""
    user = metrics_in(tmp_path)
    for _ in range(2):
        record(
            user,
            {"type": "COUNTER", "key": "mycounter", "value": 1},
            {"type": "GAUGE", "key": "mygauge", "value": 100},
            {"type": "TIMER", "key": "mytimer", "value": 20.2, "tags": {"t": "x"}},
        )
    record(user, {"type": "GAUGE", "key": "mygauge", "value": 50})
    assert sample(tmp_path, "mycounter_total", method="predict") == 2
    assert sample(tmp_path, "mygauge", method="predict") == 50
    timer = {"method": "predict", "t": "x"}
    assert sample(tmp_path, "mytimer_count", **timer) == 2
    assert sample(tmp_path, "mytimer_sum", **timer) == pytest.approx(0.0404)
    assert sample(tmp_path, "mytimer_bucket", le="0.02347185009632733", **timer) == 2
    buckets = [(given["le"], value) for name, given, value in samples(tmp_path) if name == "mytimer_bucket"]
    assert len(buckets) == 51
    assert [buckets[0][0], buckets[1][0], buckets[49][0], buckets[50][0]] == [
        "0.001",
        "0.0012341553253454693",
        "29.999999999999996",
        "+Inf",
    ]
    assert sum(value for _, value in buckets[:14]) == 0


def test_a_key_that_ends_in_total_is_not_doubled(tmp_path: Path) -> None:
    """`requests_total` stays `requests_total`."""
    record(metrics_in(tmp_path), {"type": "COUNTER", "key": "done_total", "value": 3})
    assert sample(tmp_path, "done_total", method="predict") == 3


def test_one_key_as_counter_and_gauge_gives_both(tmp_path: Path) -> None:
    """The same key in two types is two families."""
    record(
        metrics_in(tmp_path),
        {"type": "COUNTER", "key": "x", "value": 3},
        {"type": "GAUGE", "key": "x", "value": 4},
    )
    assert sample(tmp_path, "x_total", method="predict") == 3
    assert sample(tmp_path, "x", method="predict") == 4


def test_different_tags_of_one_key_share_a_family(tmp_path: Path) -> None:
    """Series of one key with other tag names stand together under one TYPE line."""
    user = metrics_in(tmp_path)
    record(user, {"type": "COUNTER", "key": "x", "value": 1, "tags": {"a": "1"}}, method="predict")
    record(user, {"type": "GAUGE", "key": "between", "value": 1})
    record(user, {"type": "COUNTER", "key": "x", "value": 1, "tags": {"b": "1", "a": "1"}}, method="router")
    text = exposition(tmp_path)[0].decode()
    assert text.count("# TYPE x_total counter") == 1
    kinds = [line.split("{")[0] for line in text.splitlines() if not line.startswith("#")]
    assert kinds == ["between", "x_total", "x_total"]


def test_tags_do_not_override_the_fixed_labels(tmp_path: Path) -> None:
    """A tag called method or model_name loses against the label of that name."""
    record(
        metrics_in(tmp_path),
        {"type": "COUNTER", "key": "x", "value": 1, "tags": {"method": "mine", "model_name": "mine"}},
    )
    assert sample(tmp_path, "x_total", method="predict") == 1


def test_the_given_metrics_are_not_changed(tmp_path: Path) -> None:
    """Neither validation nor recording writes into the component's own dicts."""
    given_metrics = [{"type": "COUNTER", "key": "x", "value": np.int64(2), "tags": {"a": "b"}}]
    user = metrics_in(tmp_path)
    answer = user.validate(given_metrics)
    user.record(answer, "predict")
    assert given_metrics == [{"type": "COUNTER", "key": "x", "value": np.int64(2), "tags": {"a": "b"}}]
    assert type(given_metrics[0]["value"]) is np.int64
    assert answer == [{"type": "COUNTER", "key": "x", "value": 2, "tags": {"a": "b"}}]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (1, 1),
        (1.5, 1.5),
        (True, True),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array(4), 4.0),
        (Decimal("2"), 2.0),
    ],
)
def test_any_scalar_number_becomes_a_plain_one(value: object, plain: float, tmp_path: Path) -> None:
    """Values that JSON has no place for become numbers that it has."""
    (metric,) = metrics_in(tmp_path).validate([{"type": "GAUGE", "key": "x", "value": value}])
    assert metric["value"] == plain
    assert type(metric["value"]) is type(plain)


@pytest.mark.parametrize(
    "metrics",
    [
        None,
        ({"type": "COUNTER", "key": "x", "value": 1},),
        {"type": "COUNTER", "key": "x", "value": 1},
        "x",
        ["x"],
        [{"type": "COUNTER", "key": "x"}],
        [{"type": "COUNTER", "value": 1}],
        [{"key": "x", "value": 1}],
        [{"type": "SUMMARY", "key": "x", "value": 1}],
        [{"type": "COUNTER", "key": 7, "value": 1}],
        [{"type": "COUNTER", "key": "x", "value": "1"}],
        [{"type": "COUNTER", "key": "x", "value": None}],
        [{"type": "COUNTER", "key": "x", "value": [1]}],
        [{"type": "COUNTER", "key": "x", "value": np.array([1.0, 2.0])}],
        [{"type": "COUNTER", "key": "x", "value": 1 + 2j}],
        [{"type": "COUNTER", "key": "x", "value": 1, "tags": {"a": 1}}],
        [{"type": "COUNTER", "key": "x", "value": 1, "tags": ["a"]}],
        [{"type": "COUNTER", "key": "good", "value": 1}, {"type": "COUNTER"}],
    ],
)
def test_what_is_no_list_of_metrics_is_a_bad_metric(metrics: object, tmp_path: Path) -> None:
    """Each malformed list is a BadMetric with the protocol's sentence."""
    with pytest.raises(BadMetric, match=r"^Bad metric created during request: ") as caught:
        metrics_in(tmp_path).validate(metrics)
    assert caught.value.reason == "MICROSERVICE_BAD_METRIC"


def test_the_sentence_shows_the_metrics_as_json(tmp_path: Path) -> None:
    """The text ends with the whole list."""
    with pytest.raises(BadMetric) as caught:
        metrics_in(tmp_path).validate([{"key": "x"}])
    assert str(caught.value) == 'Bad metric created during request: [{"key": "x"}]'


def test_counters_never_fall(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A negative or void increment changes nothing, is counted as dropped, and is warned of once per key."""
    user = metrics_in(tmp_path)
    record(user, {"type": "COUNTER", "key": "x", "value": 5})
    for value in (-1, float("nan"), float("inf"), -2):
        record(user, {"type": "COUNTER", "key": "x", "value": value})
    record(user, {"type": "GAUGE", "key": "g", "value": -1})
    assert sample(tmp_path, "x_total", method="predict") == 5
    assert sample(tmp_path, "g", method="predict") == -1
    assert ("infergraph_user_metrics_dropped_total", {"why": "value"}, 4.0) in samples(tmp_path)
    assert len([one for one in caplog.records if one.levelno == logging.WARNING]) == 1


def test_rewards_are_counted_and_penalties_apart(tmp_path: Path) -> None:
    """A negative reward counts as feedback and adds to the penalty; the reward counter only grows."""
    user = metrics_in(tmp_path)
    for reward in (1.0, 0.5, -0.25):
        user.record_feedback(reward)
    assert sample(tmp_path, "seldon_api_model_feedback_total", method="feedback") == 3
    assert sample(tmp_path, "seldon_api_model_feedback_reward_total", method="feedback") == 1.5
    assert sample(tmp_path, "seldon_api_model_feedback_penalty_total", method="feedback") == 0.25


def test_the_number_of_series_is_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Past the limit new series are dropped with one warning, and the old ones still count."""
    user = metrics_in(tmp_path, limit=3)
    for number in range(10):
        record(user, {"type": "COUNTER", "key": "x", "value": 1, "tags": {"user": str(number)}})
    record(user, {"type": "COUNTER", "key": "x", "value": 1, "tags": {"user": "0"}})
    assert len([name for name, _, _ in samples(tmp_path) if name == "x_total"]) == 3
    assert sample(tmp_path, "x_total", method="predict", user="0") == 2
    assert len([one for one in caplog.records if "series" in one.getMessage()]) == 1


def test_counts_go_on_after_a_restart(tmp_path: Path) -> None:
    """The next worker on the seat adds to what the last one counted."""
    for _ in range(2):
        record(metrics_in(tmp_path), {"type": "COUNTER", "key": "x", "value": 2})
    assert sample(tmp_path, "x_total", method="predict") == 4


@given(key=st.text(), tag=st.text())
def test_any_key_and_tag_become_valid_names(key: str, tag: str) -> None:
    """Whatever a component calls its metric, the names satisfy Prometheus' own rules."""
    assert metric_name(key).isascii()
    assert label_name(tag).isascii()
    (family,) = text_string_to_metric_families(f'{metric_name(key)}{{{label_name(tag)}="1"}} 1.0\n')
    assert family.samples[0].labels == {label_name(tag): "1"}


def test_names_of_ours_are_left_to_us() -> None:
    """A component cannot write into the runtime's own families, nor into a histogram's `le`."""
    assert metric_name("infergraph_requests") == "user_infergraph_requests"
    assert label_name("le") == "tag_le"
    assert label_name("__name__") == "tag__name__"
