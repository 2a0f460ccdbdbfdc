"""Time the wire codecs beside plain json and orjson: `python benchmarks/codec.py` (one core, best of several runs)."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from infergraph.message import Encoding, Message
from infergraph.wire import json_codec, proto_codec

SHAPES = ((2, 2), (1000, 784), (1000, 1000))
SMALL_VALUES = 1000


def best_s(work: Callable[[], Any], *, small: bool) -> float:
    """The best time of one call, in seconds."""
    repeats, calls = (7, 5000) if small else (5, 1)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - start) / calls)
    return min(times)


def works(values: np.ndarray, encoding: Encoding) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """For each way, how it reads a message and how it writes one; all give and take a float64 array."""
    message = Message.of(values, encoding, names=["a", "b"], meta={})
    body = json_codec.encode(message)
    serialized = proto_codec.encode(message)

    def array_of(document: Any) -> np.ndarray:
        data = document["data"]
        if encoding is Encoding.NDARRAY:
            return np.array(data["ndarray"])
        return np.array(data["tensor"]["values"]).reshape(data["tensor"]["shape"])

    def document_of(flat: Any) -> Any:
        payload = (
            flat(values) if encoding is Encoding.NDARRAY else {"shape": values.shape, "values": flat(values.ravel())}
        )
        return {"data": {"names": ["a", "b"], encoding.value: payload}, "meta": {}}

    return {
        "infergraph JSON": (lambda: json_codec.JsonMessage(body).content, lambda: json_codec.encode(message)),
        "orjson + numpy": (
            lambda: array_of(orjson.loads(body)),
            lambda: orjson.dumps(document_of(lambda array: array), option=orjson.OPT_SERIALIZE_NUMPY),
        ),
        "standard json": (
            lambda: array_of(json.loads(body)),
            lambda: json.dumps(document_of(lambda array: array.tolist())).encode(),
        ),
        "infergraph protobuf": (
            lambda: proto_codec.ProtoMessage(serialized).content,
            lambda: proto_codec.encode(message),
        ),
    }


def main() -> None:
    """Print one table row for each shape, payload and way."""
    print(f"Python {platform.python_version()}, {platform.machine()}; times in microseconds")
    print(f"{'payload':<24}{'way':<22}{'in':>12}{'out':>12}")
    random = np.random.default_rng(0)
    for shape in SHAPES:
        values = random.standard_normal(shape)
        for encoding in (Encoding.TENSOR, Encoding.NDARRAY):
            name = f"{encoding.value} {'x'.join(map(str, shape))}"
            for way, (read, write) in works(values, encoding).items():
                times = [best_s(work, small=values.size <= SMALL_VALUES) * 1e6 for work in (read, write)]
                print(f"{name:<24}{way:<22}{times[0]:>12,.1f}{times[1]:>12,.1f}")


if __name__ == "__main__":
    sys.exit(main())
