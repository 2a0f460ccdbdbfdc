"""Metric dicts that components return, and a store that records them and writes them out for Prometheus.

[{"type", "key", "value", "tags"}] ─update─▶ SeldonMetrics ─collect─▶ families ─generate_metrics─▶ text
"""

from __future__ import annotations

import bisect
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from infergraph.errors import MissingExtra
from infergraph.protocol.images import split_tag as split_image_tag

from . import env_utils

if TYPE_CHECKING:
    from types import ModuleType

    from prometheus_client import Metric

COUNTER = "COUNTER"
GAUGE = "GAUGE"
TIMER = "TIMER"

FEEDBACK_KEY = "seldon_api_model_feedback"
FEEDBACK_REWARD_KEY = "seldon_api_model_feedback_reward"

PREDICT_METRIC_METHOD_TAG = "predict"
INPUT_TRANSFORM_METRIC_METHOD_TAG = "inputtransform"
OUTPUT_TRANSFORM_METRIC_METHOD_TAG = "outputtransform"
ROUTER_METRIC_METHOD_TAG = "router"
AGGREGATE_METRIC_METHOD_TAG = "aggregate"
FEEDBACK_METRIC_METHOD_TAG = "feedback"
HEALTH_METRIC_METHOD_TAG = "health"

_BOUNDS = 50
BINS: list[float] = [
    0,
    *(10 ** (-3 + step * (math.log10(30) + 3) / (_BOUNDS - 1)) for step in range(_BOUNDS)),
    math.inf,
]
"""Edges of the timer's histogram, in seconds: 51 bins from 0 to infinity."""

_Key = tuple[str, str, str]
_TYPES = frozenset({COUNTER, GAUGE, TIMER})
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_:]")
_FAMILY_TYPES = {COUNTER: "counter", GAUGE: "gauge", TIMER: "histogram"}


def __getattr__(name: str) -> Any:
    if name == "DEFAULT_LABELS":
        return _default_labels()
    if name == "image":
        return env_utils.get_image_name()
    if name in ("model_image", "model_version"):
        return split_image_tag(env_utils.get_image_name())[name == "model_version"]
    if name == "predictor_version":
        return env_utils.get_predictor_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _default_labels() -> dict[str, str]:
    image, version = split_image_tag(env_utils.get_image_name())
    return {
        "deployment_name": env_utils.get_deployment_name(),
        "model_name": env_utils.get_model_name(),
        "model_image": image,
        "model_version": version,
        "predictor_name": env_utils.get_predictor_name(),
        "predictor_version": env_utils.get_predictor_version(),
        "seldon_deployment_name": env_utils.get_deployment_name(),
        "image_name": image,
        "image_version": version,
    }


def create_counter(key: str, value: float) -> dict[str, Any]:
    """A metric dict that adds `value`. Raises: TypeError if that is not a number."""
    return _metric(COUNTER, key, value)


def create_gauge(key: str, value: float) -> dict[str, Any]:
    """A metric dict that sets `value`. Raises: TypeError if that is not a number."""
    return _metric(GAUGE, key, value)


def create_timer(key: str, value: float) -> dict[str, Any]:
    """A metric dict that observes `value` milliseconds. Raises: TypeError if that is not a number."""
    return _metric(TIMER, key, value)


def _metric(kind: str, key: str, value: float) -> dict[str, Any]:
    value + 1  # a TypeError here is the promised one
    return {"key": key, "type": kind, "value": value}


def validate_metrics(metrics: Any) -> bool:
    """Whether `metrics` is a list of dicts with a key, a known type and a number as value."""
    return isinstance(metrics, list) and all(_is_metric(metric) for metric in metrics)


def _is_metric(metric: Any) -> bool:
    if not isinstance(metric, Mapping) or "key" not in metric or metric.get("type") not in _TYPES:
        return False
    try:
        metric["value"] + 1
    except (KeyError, TypeError):
        return False
    return True


class SeldonMetrics:
    """Metrics by worker, type, key and tags; safe to use from many threads.

    Args:
        worker_id_func: names the worker that an update belongs to.
        extra_default_labels: labels beside those of the deployment.
    """

    def __init__(
        self,
        worker_id_func: Callable[[], Any] = os.getpid,
        extra_default_labels: Mapping[str, str] | None = None,
    ) -> None:
        self.data: dict[str, dict[_Key, dict[str, Any]]] = {}
        self.worker_id_func = worker_id_func
        self._extra_labels = dict(extra_default_labels or {})
        self._lock = threading.Lock()

    def update_reward(self, reward: float) -> None:
        """Count one feedback and its reward; a reward of 0 counts nothing."""
        if not reward:
            return
        self.update(
            [create_counter(FEEDBACK_KEY, 1), create_counter(FEEDBACK_REWARD_KEY, reward)],
            FEEDBACK_METRIC_METHOD_TAG,
        )

    def update(self, custom_metrics: Iterable[Mapping[str, Any]], method: str) -> None:
        """Record metric dicts under the method `method`; they are not changed. A missing type means COUNTER.

        Raises: TypeError for tags that are not strings; KeyError for a dict without key or value.
        """
        with self._lock:
            entries = self.data.setdefault(str(self.worker_id_func()), {})
            for metric in custom_metrics:
                kind = metric.get("type", COUNTER)
                if kind in _TYPES:
                    _record(entries, kind, metric, dict(metric.get("tags") or {}) | {"method": method})

    def collect(self) -> Iterator[Metric]:
        """One family for each metric name, as a collector of `prometheus_client` gives them."""
        make = _prometheus_client().Metric
        defaults = _default_labels() | self._extra_labels
        families: dict[tuple[str, str], Metric] = {}
        with self._lock:
            for worker, entries in self.data.items():
                for (kind, key, _), entry in entries.items():
                    name = _family_name(kind, key)
                    family = families.setdefault((kind, name), make(name, "", _FAMILY_TYPES[kind]))
                    labels = entry["tags"] | defaults | {"method": entry["tags"]["method"], "worker_id": worker}
                    _add_samples(family, kind, entry["value"], labels)
        yield from families.values()

    def generate_metrics(self) -> tuple[str, str]:
        """The Prometheus text of all metrics, and its content type."""
        prometheus_client = _prometheus_client()
        registry = prometheus_client.CollectorRegistry(auto_describe=False)
        registry.register(self)
        return prometheus_client.generate_latest(registry).decode(), prometheus_client.CONTENT_TYPE_LATEST

    def describe(self) -> Sequence[Metric]:
        """Nothing is known before it is recorded."""
        return ()

    def clear(self) -> None:
        """Forget what this worker recorded."""
        with self._lock:
            self.data.pop(str(self.worker_id_func()), None)


def _prometheus_client() -> ModuleType:
    try:
        import prometheus_client
    except ImportError as error:
        raise MissingExtra.of("prometheus-client", "prometheus", "the text of seldon_core.metrics") from error
    return prometheus_client


def _record(entries: dict[_Key, dict[str, Any]], kind: str, metric: Mapping[str, Any], tags: dict[str, str]) -> None:
    tag_key = "_".join(f"{name}-" + tags[name] for name in sorted(tags))
    key = (kind, metric["key"], tag_key)
    known = entries.get(key)
    value = metric["value"]
    if kind == COUNTER:
        value = value + (known["value"] if known else 0)
    elif kind == TIMER:
        value = _observe(known["value"] if known else ([0.0] * (len(BINS) - 1), 0.0), value / 1000)
    entries[key] = {"value": value, "tags": tags}


def _observe(histogram: tuple[list[float], float], seconds: float) -> tuple[list[float], float]:
    counts, total = list(histogram[0]), histogram[1]
    if seconds >= 0:  # a negative time enters the sum and no bin
        counts[max(bisect.bisect_left(BINS, seconds) - 1, 0)] += 1
    return counts, total + seconds


def _family_name(kind: str, key: Any) -> str:
    name = _ILLEGAL.sub("_", str(key)) or "_"
    if name[0].isdigit():
        name = "_" + name
    return name.removesuffix("_total") if kind == COUNTER else name


def _add_samples(family: Metric, kind: str, value: Any, labels: dict[str, str]) -> None:
    if kind == COUNTER:
        family.add_sample(f"{family.name}_total", labels, value)
    elif kind == GAUGE:
        family.add_sample(family.name, labels, value)
    else:
        counts, total = value
        running = 0.0
        for edge, count in zip(BINS[1:], counts, strict=True):
            running += count
            bound = "+Inf" if math.isinf(edge) else repr(edge)
            family.add_sample(f"{family.name}_bucket", labels | {"le": bound}, running)
        family.add_sample(f"{family.name}_count", labels, running)
        family.add_sample(f"{family.name}_sum", labels, total)
