"""How long each node of a graph took for one request: for its access line, and for a caller who asks for it.

    edge ─▶ collect_node_times() ─▶ Measured ─▶ note_node_time()
     └── node_times() afterwards

Nothing is collected unless requested.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

_seconds: ContextVar[dict[str, float] | None] = ContextVar("infergraph_node_seconds", default=None)


def node_times() -> Mapping[str, float]:
    """Milliseconds by node of the request that this task has answered, in the order of their first answers."""
    return {name: round(seconds * 1000, 3) for name, seconds in (_seconds.get() or {}).items()}


def collect_node_times() -> None:
    """Add up the times of the nodes of the request that is answered here, unless that has begun."""
    if _seconds.get() is None:
        _seconds.set({})


def note_node_time(name: str, seconds: float) -> None:
    """Add the time of one answer of a node to its request's, where that is collected."""
    times = _seconds.get()
    if times is not None:
        times[name] = times.get(name, 0.0) + seconds
