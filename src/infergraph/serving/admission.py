"""What a worker has taken on over HTTP: requests in work, bodies in memory, and the limits of both."""

from __future__ import annotations

from infergraph.errors import Overloaded


class Load:
    """Counts of one HTTP application. A limit of 0 is none."""

    __slots__ = ("_bodies_limit_bytes", "_concurrency_limit", "bodies_bytes", "in_flight", "receiving")

    def __init__(self, *, concurrency_limit: int, bodies_limit_bytes: int) -> None:
        self._concurrency_limit = concurrency_limit
        self._bodies_limit_bytes = bodies_limit_bytes
        self.in_flight = 0
        self.receiving = 0
        self.bodies_bytes = 0

    def admit(self) -> None:
        """Take one more request into work; one whose body is still coming is not yet in work.

        Raises: Overloaded if there are enough, so that slow senders keep nobody out.
        """
        limit = self._concurrency_limit
        if limit and self.in_flight - self.receiving > limit:
            raise Overloaded(f"{limit} requests are in work already (setting concurrency_limit); try again")

    def hold(self, size_bytes: int) -> None:
        """Keep that much more of a body in memory; give it back by subtracting from `bodies_bytes`.

        Raises: Overloaded if all bodies together are too much; it counts as kept all the same.
        """
        self.bodies_bytes += size_bytes
        limit = self._bodies_limit_bytes
        if limit and self.bodies_bytes > limit:
            raise Overloaded(f"the bodies in memory are over {limit} bytes (setting bodies_limit_bytes); try again")
