"""What the client process is told, and the few things that it and its parent share.

Standard library only: the parent must not load what the servers load (see client.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

GRPC_METHODS = {"seldon": "/seldon.protos.Model/Predict", "oip": "/inference.GRPCInferenceService/ModelInfer"}
"""The method asked, by protocol."""


class Plan(NamedTuple):
    """What to do.

    `ports` are the servers to ask in turn, each with the same body; `factor` is by how much the last one's answer
    differs from the input; `body` is the file to write for other load tools; `headers` go with each request.
    """

    row: str
    dialect: str
    path: str
    ports: list[int]
    factor: float
    body: str
    warm_s: float
    seconds: float
    requests_max: int
    headers: Mapping[str, str] = {}


def quantiles(latencies_s: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds, each a value that occurred."""
    ordered = sorted(latencies_s)
    return {f"p{share}_ms": 1000 * ordered[min(len(ordered) * share // 100, len(ordered) - 1)] for share in (50, 99)}
