"""The rows of the table: what is sent, and how much of it at once."""

from __future__ import annotations

import math
from typing import NamedTuple

SMALL_VALUES = 1000


class Row(NamedTuple):
    """One kind of request.

    `shape` is that of the array, `dtype` its elements; `spelling` its field in a Seldon message, or how tensors of the
    open inference protocol travel: `json` and `binary` over REST, `typed` and `raw` over gRPC. `connections` times
    `streams` requests are in flight at once. `protocol` is the one in which all are asked, or each its own if empty;
    `servers` are the names of those that can be, or all if empty.
    """

    name: str
    title: str
    transport: str
    shape: tuple[int, ...]
    spelling: str = "tensor"
    connections: int = 1
    streams: int = 1
    dtype: str = "float64"
    protocol: str = ""
    servers: tuple[str, ...] = ()

    @property
    def small(self) -> bool:
        """Whether a request costs microseconds, so that a load generator written in C is called for."""
        return math.prod(self.shape) < SMALL_VALUES

    @property
    def in_flight(self) -> str:
        """The load in words."""
        streams = f" x {self.streams} streams" if self.streams > 1 else ""
        return f"{self.connections} connection{'s' if self.connections > 1 else ''}{streams}"


_V2 = ("ours", "mlserver")
_LARGE = (1000, 784)
ROWS = (
    Row("rest-small", "REST, 2x2 tensor", "rest", (2, 2), connections=16),
    Row("rest-large", "REST, 1,000x784 tensor", "rest", (1000, 784)),
    Row("rest-large-ndarray", "REST, 1,000x784 ndarray", "rest", (1000, 784), spelling="ndarray"),
    Row("grpc-small", "gRPC, 2x2 tensor", "grpc", (2, 2), connections=4, streams=4),
    Row("grpc-large", "gRPC, 1,000x400 tensor (400,000 values)", "grpc", (1000, 400)),
    Row("v2-rest-small", "V2 over REST, 2x2 FP64", "rest", (2, 2), "json", 16, protocol="oip", servers=_V2),
    Row(
        "v2-rest-large",
        "V2 over REST, 1,000x784 FP32 in JSON",
        "rest",
        _LARGE,
        "json",
        dtype="float32",
        protocol="oip",
        servers=_V2,
    ),
    Row(
        "v2-rest-binary",
        "V2 over REST, 1,000x784 FP32, binary",
        "rest",
        _LARGE,
        "binary",
        dtype="float32",
        protocol="oip",
        servers=("ours", "floor-echo"),
    ),
    Row("v2-grpc-small", "V2 over gRPC, 2x2 FP64", "grpc", (2, 2), "typed", 4, 4, protocol="oip", servers=_V2),
    Row(
        "v2-grpc-raw",
        "V2 over gRPC, 1,000x784 FP32, raw",
        "grpc",
        _LARGE,
        "raw",
        dtype="float32",
        protocol="oip",
        servers=_V2,
    ),
)
START = "start"
"""The name of the row of start-up times and idle memory."""
