"""Statistics of the open inference protocol, from the counters of all workers.

shared metrics ──read──▶ requests by method and code, seconds of the unit ─▶ `model_stats`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infergraph.observe.shared_metrics import SeriesReading, read

INFER_METHODS = frozenset({"infer", "infer_stream"})
"""The labels of the protocol's own requests for an inference; Seldon's are those of its methods."""

_UNKNOWN = frozenset({"404", "NOT_FOUND"})
_NS = 1e9


@dataclass
class _Duration:
    """How often something happened, and how long it took together."""

    count: float = 0.0
    seconds: float = 0.0

    def add(self, histogram: list[float]) -> None:
        """Add a histogram: counts by bucket, then the sum."""
        self.count += sum(histogram[:-1])
        self.seconds += histogram[-1]

    def document(self) -> dict[str, int]:
        return {"count": round(self.count), "ns": round(self.seconds * _NS)}


class Statistics:
    """What the counters say of one unit.

    Args:
        folder: of the shared metrics of all workers.
        unit: its label in them.
    """

    def __init__(self, folder: Path, unit: str) -> None:
        self._folder = folder
        self._unit = unit

    def of(self, name: str, version: str, method: str) -> dict[str, Any]:
        """The statistics of the model. Blocks briefly.

        Args:
            name, version: as clients know it.
            method: of the unit, that answers it.
        Returns: what is not measured is 0; the time of requests that failed is in that of `success`.
        """
        return summed(read(self._folder), self._unit, method) | {"name": name, "version": version}


def summed(readings: Iterable[SeriesReading], unit: str, method: str) -> dict[str, Any]:
    """The members of an entry of `model_stats` but name and version."""
    success, fail, infer = _Duration(), _Duration(), _Duration()
    counted = INFER_METHODS | {method}
    for reading in readings:
        labels, values = reading.series.labels, reading.values
        match reading.series.name:
            case "infergraph_requests" if labels["method"] in counted and labels["code"] not in _UNKNOWN:
                (success if _is_success(labels["code"]) else fail).count += values[0]
            case "infergraph_request_seconds" if labels["method"] in counted:
                success.seconds += values[-1]
            case "infergraph_unit_seconds" if (labels["unit"], labels["method"]) == (unit, method):
                infer.add(values)
    nothing = _Duration()
    stats: Mapping[str, _Duration] = {
        "success": success,
        "fail": fail,
        "queue": nothing,
        "compute_input": nothing,
        "compute_infer": infer,
        "compute_output": nothing,
        "cache_hit": nothing,
        "cache_miss": nothing,
    }
    return {
        "last_inference": 0,
        "inference_count": round(success.count),  # a request is one inference, as its rows are not counted
        "execution_count": round(infer.count),
        "inference_stats": {member: duration.document() for member, duration in stats.items()},
        "batch_stats": [],
    }


def _is_success(code: str) -> bool:
    return code == "OK" or (code.isdigit() and int(code) < 400)
