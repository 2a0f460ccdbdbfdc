"""The numbers that Serve's autoscaler is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from infergraph.ray.scaling import IN_FLIGHT, by_requests_in_flight


def context(told: dict[str, float] | None, counted: float = 0.0) -> Any:
    """What Serve tells of a deployment that shall have two requests in flight in each replica."""
    metrics = {} if told is None else {IN_FLIGHT: told}
    config = SimpleNamespace(get_target_ongoing_requests=lambda: 2)
    return SimpleNamespace(aggregated_metrics=metrics, total_num_requests=counted, config=config)


@pytest.mark.parametrize(
    ("told", "counted", "wanted"),
    [({"a": 3.0, "b": 2.0}, 0, 3), ({"a": 0.0}, 50, 1), (None, 7, 4), ({}, 3, 2), (None, 0, 1)],
)
def test_the_number_follows_the_requests_in_flight(told: dict[str, float] | None, counted: float, wanted: int) -> None:
    """All replicas' requests count, Serve's own count where none has told, and one replica stays."""
    assert by_requests_in_flight({"group": context(told, counted)}) == ({"group": wanted}, {})
