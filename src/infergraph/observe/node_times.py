"""The node times of a request: how long each node of a graph took, for the access log and for clients that ask for it.

    edge ─▶ collect_node_times() ─▶ Measured ─▶ record_node_time()
     └── node_times() afterwards

Nothing is collected unless requested.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from urllib.parse import quote

_seconds: ContextVar[dict[str, float] | None] = ContextVar("infergraph_node_seconds", default=None)


def node_times() -> Mapping[str, float]:
    """Milliseconds by node for the request of this task, in the order of their first answers."""
    return {name: round(seconds * 1000, 3) for name, seconds in (_seconds.get() or {}).items()}


def collect_node_times() -> None:
    """Start to collect the node times of the current request, unless started already."""
    if _seconds.get() is None:
        _seconds.set({})


def record_node_time(name: str, seconds: float) -> None:
    """Add the time of one answer of a node to those of its request, if they are collected."""
    times = _seconds.get()
    if times is not None:
        times[name] = times.get(name, 0.0) + seconds


def server_timing() -> bytes:
    """The `Server-Timing` header: milliseconds by node. A name is percent-encoded: a header has ASCII alone.

    Source: Server Timing, section 3.1.
    """
    rows = (f'n{place};desc="{quote(name)}";dur={ms:g}' for place, (name, ms) in enumerate(node_times().items()))
    return ", ".join(rows).encode()
