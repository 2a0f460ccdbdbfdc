"""Serve's autoscaling by the requests in flight in the servers of groups, of which Serve's own count knows nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from infergraph.process.ray.scaling import IN_FLIGHT


def by_requests_in_flight(contexts: Mapping[Any, Any]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
    """The policy of an application: how many replicas each deployment shall have, one at least.

    Args:
        contexts: Serve's AutoscalingContext by deployment; the bounds and delays are Serve's to apply.
    """
    return {deployment: _wanted(context) for deployment, context in contexts.items()}, {}


def _wanted(context: Any) -> int:
    told = context.aggregated_metrics.get(IN_FLIGHT)
    in_flight: float = sum(told.values()) if told else context.total_num_requests
    target: float = context.config.get_target_ongoing_requests()
    return max(math.ceil(in_flight / target), 1)
