"""The rows of the table: what is sent, and how much of it at once."""

from __future__ import annotations

import math
from typing import NamedTuple

SMALL_VALUES = 1000


class Row(NamedTuple):
    """One kind of request.

    `shape` is that of the array of doubles, `spelling` its field in a Seldon message; `connections` times `streams`
    requests are in flight at once.
    """

    name: str
    title: str
    transport: str
    shape: tuple[int, ...]
    spelling: str = "tensor"
    connections: int = 1
    streams: int = 1

    @property
    def small(self) -> bool:
        """Whether a request costs microseconds, so that a load generator written in C is called for."""
        return math.prod(self.shape) < SMALL_VALUES

    @property
    def in_flight(self) -> str:
        """The load in words."""
        streams = f" x {self.streams} streams" if self.streams > 1 else ""
        return f"{self.connections} connection{'s' if self.connections > 1 else ''}{streams}"


ROWS = (
    Row("rest-small", "REST, 2x2 tensor", "rest", (2, 2), connections=16),
    Row("rest-large", "REST, 1,000x784 tensor", "rest", (1000, 784)),
    Row("rest-large-ndarray", "REST, 1,000x784 ndarray", "rest", (1000, 784), spelling="ndarray"),
    Row("grpc-small", "gRPC, 2x2 tensor", "grpc", (2, 2), connections=4, streams=4),
    Row("grpc-large", "gRPC, 1,000x400 tensor (400,000 values)", "grpc", (1000, 400)),
)
START = "start"
"""The name of the row of start-up times and idle memory."""
