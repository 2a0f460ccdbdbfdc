"""How long each node of a graph took for one request, for its access line.

    edge ─▶ graph: collect_node_times() ─▶ TimedNode ─▶ unit
     └── node_times() afterwards

None of it runs unless access lines are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from time import perf_counter

from infergraph.message import Around, Context, Message, Method, Request
from infergraph.runner import Runner

_seconds: ContextVar[dict[str, float] | None] = ContextVar("infergraph_node_seconds", default=None)


def node_times() -> Mapping[str, float]:
    """Milliseconds by node of the request that this task has answered, in the order of their first answers."""
    return {name: round(seconds * 1000, 3) for name, seconds in (_seconds.get() or {}).items()}


def collect_node_times() -> None:
    """Add up the times of the nodes of the request that is answered here, unless that has begun."""
    if _seconds.get() is None:
        _seconds.set({})


class TimedNode(Around):
    """A node's unit that adds the time of each answer to its request's."""

    def runner(self, method: Method) -> Runner | None:
        """The unit's."""
        return self.unit.runner(method)

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """What the unit answers."""
        begin = perf_counter()
        try:
            return await self.unit.answer(method, request, context)
        finally:
            times = _seconds.get()
            if times is not None:
                times[self.name] = times.get(self.name, 0.0) + perf_counter() - begin
