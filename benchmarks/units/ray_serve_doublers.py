"""A Ray Serve application of three models, the middle one with three replicas; run as a program, it serves them.

    python ray_serve_doublers.py PORT

It speaks Seldon's message, as far as the benchmark's small request goes. Each model is a deployment, called by handle.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request

SMALL = {"num_cpus": 0.1}


@serve.deployment(ray_actor_options=SMALL, max_ongoing_requests=100)
class Last:
    """The last model."""

    async def double(self, X: Any) -> Any:
        """`X` times two."""
        return X * 2


@serve.deployment(num_replicas=3, ray_actor_options=SMALL, max_ongoing_requests=100)
class Middle:
    """The model with replicas."""

    def __init__(self, child: Any) -> None:
        self._child = child

    async def double(self, X: Any) -> Any:
        """`X` times two, by way of the last one."""
        return await self._child.double.remote(X * 2)


@serve.deployment(ray_actor_options=SMALL, max_ongoing_requests=100)
class First:
    """The first model, which clients ask."""

    def __init__(self, child: Any) -> None:
        self._child = child

    async def __call__(self, request: Request) -> Any:
        """`X` times two, by way of the others."""
        data = (await request.json())["data"]
        tensor = data["tensor"]
        X = np.asarray(tensor["values"], dtype=float).reshape(tensor["shape"])
        found = await self._child.double.remote(X * 2)
        answer = {"shape": list(found.shape), "values": found.ravel().tolist()}
        return {"data": {"names": data.get("names", []), "tensor": answer}, "meta": {}}


def main(port: int) -> None:
    """Serve until told to stop."""
    stop = threading.Event()
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(First.bind(Middle.bind(Last.bind())), route_prefix="/")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(1.0):
        pass
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
