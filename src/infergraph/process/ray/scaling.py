"""Autoscaling: how many replicas a group shall have, by its requests in flight.

requests in flight ÷ target ─▶ recommendation ─▶ up: the least of the last seconds ┊ down: the most of the last minute
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress

import msgspec

IN_FLIGHT = "infergraph_requests_in_flight"
"""The metric of a server that its replicas are scaled by."""
_METRIC = IN_FLIGHT.encode()


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a group's replicas, and how fast their number follows the load.

    Args:
        least, most: the bounds; equal for a fixed number.
        target: requests in flight that a replica shall have.
        up_s, down_s: how long the load must have been higher, or lower, before replicas are added, or removed.
    """

    least: int = 1
    most: int = 1
    target: float = 2.0
    up_s: float = 3.0
    down_s: float = 60.0

    @property
    def is_fixed(self) -> bool:
        """Whether the number never changes."""
        return self.least == self.most


class Scaler:
    """The number of replicas over time; the recommendations of the last minute are kept."""

    def __init__(self, scaling: Scaling) -> None:
        self.wanted = scaling.least
        self._scaling = scaling
        self._recommended: deque[tuple[float, int]] = deque()

    def observe(self, in_flight: float, now: float) -> int:
        """How many replicas there shall be.

        Args:
            in_flight: requests in flight in all replicas together.
            now: monotonic seconds.
        """
        scaling = self._scaling
        number = min(max(math.ceil(in_flight / scaling.target), scaling.least), scaling.most)
        self._recommended.append((now, number))
        self._forget_before(now - max(scaling.up_s, scaling.down_s))
        up, down = self._since(now - scaling.up_s), self._since(now - scaling.down_s)
        if up is not None:
            self.wanted = max(self.wanted, min(up))
        if down is not None:
            self.wanted = min(self.wanted, max(down))
        return self.wanted

    def _forget_before(self, begin: float) -> None:
        """Drop the recommendations before the one that held at `begin`."""
        recommended = self._recommended
        while len(recommended) > 1 and recommended[1][0] <= begin:
            recommended.popleft()

    def _since(self, begin: float) -> list[int] | None:
        """The recommendations from `begin` on, with the one that held then; None if none goes back so far."""
        recommended = self._recommended
        if recommended[0][0] > begin:
            return None
        held = [number for at, number in recommended if at > begin]
        before = [number for at, number in recommended if at <= begin]
        return [before[-1], *held]


def in_flight(metrics: bytes) -> float:
    """The requests in flight that a server's metrics tell of, the one that asks for them included."""
    found = 0.0
    for line in metrics.splitlines():
        if line.startswith(_METRIC):
            with suppress(ValueError):
                found += float(line.rpartition(b" ")[2])
    return found
