"""Admission control: the requests in flight and their limit."""

from __future__ import annotations

from infergraph.errors import Overloaded


class Admission:
    """The concurrency limit of one edge; 0 for no limit.

    A request whose body is still arriving is not in flight, so slow clients do not use up the limit.
    """

    __slots__ = ("concurrency_limit", "in_flight")

    def __init__(self, *, concurrency_limit: int) -> None:
        self.concurrency_limit = concurrency_limit
        self.in_flight = 0

    def overloaded(self) -> Overloaded:
        """The fault for a request over the concurrency limit."""
        text = f"{self.concurrency_limit} requests are in work already (setting concurrency_limit); try again"
        return Overloaded(text)
