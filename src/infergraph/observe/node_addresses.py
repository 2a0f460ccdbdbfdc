"""The addresses of a remote node, by state, as the worker that looked last sees them."""

from __future__ import annotations

import time
from collections.abc import Mapping

from infergraph.observe.shared_metrics import SharedMetrics


class NodeAddressMetrics:
    """The gauge of one node's addresses: a value for each state, which exists from the first `record` on.

    A gauge of the latest value, not a sum: each worker keeps addresses of its own, and all see the same servers.
    """

    def __init__(self, shared_metrics: SharedMetrics, node: str) -> None:
        self._shared_metrics = shared_metrics
        self._node = node

    def record(self, states: Mapping[str, int]) -> None:
        """Record how many addresses are in each state."""
        now = time.time()
        for state, count in states.items():
            labels = {"node": self._node, "state": state}
            gauge = self._shared_metrics.gauge(
                "infergraph_node_addresses", "Addresses of a remote node by state: up, ejected, draining.", labels
            )
            gauge[0], gauge[1] = count, now
