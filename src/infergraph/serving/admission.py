"""Who may be worked on: requests in work, bodies in memory, and the limits of both."""

from __future__ import annotations

from infergraph.errors import Overloaded


class Admission:
    """Counts of one edge. A limit of 0 is none.

    A request whose body is still coming is not in work, so that slow senders keep nobody out.
    """

    __slots__ = ("_bodies_limit_bytes", "bodies_bytes", "concurrency_limit", "in_flight")

    def __init__(self, *, concurrency_limit: int, bodies_limit_bytes: int = 0) -> None:
        self._bodies_limit_bytes = bodies_limit_bytes
        self.concurrency_limit = concurrency_limit
        self.in_flight = 0
        self.bodies_bytes = 0

    def overloaded(self) -> Overloaded:
        """The fault of a request that is one too many."""
        text = f"{self.concurrency_limit} requests are in work already (setting concurrency_limit); try again"
        return Overloaded(text)

    def hold(self, size_bytes: int) -> None:
        """Keep that much more of a body in memory; give it back by subtracting from `bodies_bytes`.

        Raises: Overloaded if all bodies together are too much; it counts as kept all the same.
        """
        self.bodies_bytes += size_bytes
        limit = self._bodies_limit_bytes
        if limit and self.bodies_bytes > limit:
            raise Overloaded(f"the bodies in memory are over {limit} bytes (setting bodies_limit_bytes); try again")
