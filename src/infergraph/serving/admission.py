"""Admission control: the requests in flight, the bodies in memory, and the limits of both."""

from __future__ import annotations

from infergraph.errors import Overloaded


class Admission:
    """Concurrency and memory limits of one edge. A limit of 0 means no limit.

    A request whose body is still arriving is not in flight, so slow clients do not use up the concurrency limit.
    """

    __slots__ = ("_bodies_limit_bytes", "bodies_bytes", "concurrency_limit", "in_flight")

    def __init__(self, *, concurrency_limit: int, bodies_limit_bytes: int = 0) -> None:
        self._bodies_limit_bytes = bodies_limit_bytes
        self.concurrency_limit = concurrency_limit
        self.in_flight = 0
        self.bodies_bytes = 0

    def overloaded(self) -> Overloaded:
        """The fault for a request over the concurrency limit."""
        text = f"{self.concurrency_limit} requests are in work already (setting concurrency_limit); try again"
        return Overloaded(text)

    def hold(self, size_bytes: int) -> None:
        """Account for more bytes of a body in memory; release them by subtracting from `bodies_bytes`.

        Raises: Overloaded if all bodies together exceed the limit; the bytes are counted all the same.
        """
        self.bodies_bytes += size_bytes
        limit = self._bodies_limit_bytes
        if limit and self.bodies_bytes > limit:
            raise Overloaded(f"the bodies in memory are over {limit} bytes (setting bodies_limit_bytes); try again")
