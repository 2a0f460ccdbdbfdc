"""A component's own metrics: validated, recorded in the worker's shared metrics, limited in number.

    component.metrics() ─▶ validate ─▶ [{"type", "key", "value", "tags"}] ─▶ record(…, method) ─▶ shared metrics

Label names, metric names and buckets are those of Seldon's wrapper, without its `worker_id`. A counter never decreases:
a negative or non-numeric increment is dropped, and the sum of negative rewards has its own counter.
"""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import msgspec

from infergraph.errors import BadMetric, SettingsError
from infergraph.observe.shared_metrics import Bounds, Cells, Histogram, SharedMetrics
from infergraph.protocol.images import split_tag

UNSET = "NOT_IMPLEMENTED"
OWN_PREFIX = "infergraph_"
FEEDBACK = "feedback"
TYPES = frozenset({"COUNTER", "GAUGE", "TIMER"})
WARNINGS_LIMIT = 100
MS_PER_S = 1000.0
_not_in_names = re.compile(r"[^a-zA-Z0-9_:]")
_not_in_labels = re.compile(r"[^a-zA-Z0-9_]")
log = logging.getLogger(__name__)


def labels_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The labels that identify a component within a deployment.

    Args:
        environment: the protocol's variables; unset ones become NOT_IMPLEMENTED.
    Raises:
        SettingsError: PREDICTOR_LABELS is not a JSON object.
    """
    deployment = environment.get("SELDON_DEPLOYMENT_ID", UNSET)
    image, version = split_tag(environment.get("PREDICTIVE_UNIT_IMAGE", f"{UNSET}:{UNSET}"))
    try:
        predictor = msgspec.json.decode(environment.get("PREDICTOR_LABELS", "{}") or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise SettingsError(f"PREDICTOR_LABELS: not a JSON object: {error}") from None
    return {
        "deployment_name": deployment,
        "model_name": environment.get("PREDICTIVE_UNIT_ID", UNSET),
        "model_image": image,
        "model_version": version,
        "predictor_name": environment.get("PREDICTOR_ID", UNSET),
        "predictor_version": str(predictor.get("version", UNSET)),
        "seldon_deployment_name": deployment,
        "image_name": image,
        "image_version": version,
    }


class UserMetrics:
    """The metrics of one component in one worker. Thread-safe.

    Args:
        shared_metrics: where they are recorded.
        environment: the protocol's variables (see `labels_of`).
        series_limit: maximum combinations of type, key, tags and method; further ones are dropped with one warning.
    """

    def __init__(self, shared_metrics: SharedMetrics, environment: Mapping[str, str], series_limit: int) -> None:
        self._shared_metrics = shared_metrics
        self._labels = labels_of(environment)
        self._limit = series_limit
        self._lock = threading.Lock()
        self._series: dict[tuple[Any, ...], Cells | Histogram] = {}
        self._warned: set[str] = set()

    def validate(self, metrics: object) -> list[dict[str, Any]]:
        """The metrics as new dicts with plain numbers for JSON; the originals are not changed.

        Raises:
            BadMetric: not a list of dicts with a known type, a key, a number and, optionally, tags of text.
        """
        if not isinstance(metrics, list):
            raise bad(metrics)
        return [self._plain(metric, metrics) for metric in metrics]

    def _plain(self, metric: object, metrics: object) -> dict[str, Any]:
        if not isinstance(metric, Mapping) or metric.get("type") not in TYPES or not isinstance(metric.get("key"), str):
            raise bad(metrics)
        tags = metric.get("tags")
        if tags is not None and not (
            isinstance(tags, Mapping) and all(isinstance(text, str) for item in tags.items() for text in item)
        ):
            raise bad(metrics)
        plain = {**metric, "value": plain_number(metric.get("value"), metrics)}
        if isinstance(tags, Mapping):
            plain["tags"] = dict(tags)
        return plain

    def record(self, metrics: list[dict[str, Any]], method: str) -> None:
        """Record validated metrics. TIMER values are milliseconds.

        Args:
            metrics: the result of `validate`.
            method: the protocol's label: predict, inputtransform, outputtransform, router, aggregate, feedback, health.
        """
        with self._lock:
            for metric in metrics:
                self._record(metric["type"], metric["key"], float(metric["value"]), metric.get("tags") or {}, method)

    def record_feedback(self, reward: float) -> None:
        """Count one feedback and its reward; a negative one as a penalty, so that no counter decreases."""
        with self._lock:
            self._record("COUNTER", "seldon_api_model_feedback", 1.0, {}, FEEDBACK)
            if reward < 0:
                self._record("COUNTER", "seldon_api_model_feedback_penalty", -reward, {}, FEEDBACK)
            else:
                self._record("COUNTER", "seldon_api_model_feedback_reward", reward, {}, FEEDBACK)

    def _record(self, kind: str, key: str, value: float, tags: Mapping[str, str], method: str) -> None:
        if kind != "GAUGE" and not 0.0 <= value < math.inf:
            self._drop("value", f"{kind} {key!r}: a negative or non-numeric value was dropped")
            return
        known = (kind, key, method, *sorted(tags.items())) if tags else (kind, key, method)
        series = self._series.get(known)
        if series is None:
            if len(self._series) >= self._limit:
                self._drop("limit", f"user_metrics_series_limit {self._limit} is reached; further series are dropped")
                return
            series = self._series[known] = self._open(kind, key, {**tags, "method": method})
        if isinstance(series, Histogram):
            series.observe(value / MS_PER_S)
        elif kind == "COUNTER":
            series[0] += value
        else:
            series[0] = value
            series[1] = time.time()

    def _open(self, kind: str, key: str, tags: Mapping[str, str]) -> Cells | Histogram:
        name = metric_name(key)
        labels = {label_name(tag): value for tag, value in tags.items()} | self._labels
        if kind == "COUNTER":
            return self._shared_metrics.counter(name.removesuffix("_total"), "", labels)
        if kind == "GAUGE":
            return self._shared_metrics.gauge(name, "", labels)
        return self._shared_metrics.histogram(name, "", labels, Bounds.TIMER)

    def _drop(self, why: str, text: str) -> None:
        dropped = self._shared_metrics.counter(
            "infergraph_user_metrics_dropped", "Values of components' metrics that were dropped.", {"why": why}
        )
        dropped[0] += 1.0
        if text not in self._warned and len(self._warned) < WARNINGS_LIMIT:
            self._warned.add(text)
            log.warning("a component's metric: %s", text)


def plain_number(value: object, metrics: object) -> int | float:
    """A plain number for any numeric scalar (NumPy's, Decimal).

    Raises: BadMetric with the complete list.
    """
    if type(value) in (int, float, bool):
        return value  # type: ignore[return-value]  # mypy does not narrow by type()
    if value is None or isinstance(value, str | bytes) or getattr(value, "shape", ()) != ():
        raise bad(metrics)
    try:
        return int(value) if isinstance(value, Integral) else float(value)  # type: ignore[arg-type]  # checked here
    except (TypeError, ValueError, OverflowError) as error:
        raise bad(metrics) from error


def bad(metrics: object) -> BadMetric:
    """The protocol's fault for a list of metrics."""
    return BadMetric(f"Bad metric created during request: {json.dumps(metrics, default=str, skipkeys=True)}")


def metric_name(key: str) -> str:
    """A key as a valid Prometheus name that is not one of ours."""
    name = _not_in_names.sub("_", key) or "_"
    if name[0].isdigit():
        name = "_" + name
    return "user_" + name if name.startswith(OWN_PREFIX) else name


def label_name(tag: str) -> str:
    """A tag as a valid Prometheus label name other than `le`, which histograms use."""
    name = _not_in_labels.sub("_", tag) or "_"
    if name[0].isdigit() or name == "le":
        name = "tag_" + name
    return "tag" + name if name.startswith("__") else name
