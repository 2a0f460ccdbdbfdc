"""The least a uvicorn server can do for a REST prediction: read, orjson, numpy, orjson, answer; nothing is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson


def answer(body: bytes) -> bytes:
    """The doubled message of `body`, in its own spelling."""
    data = orjson.loads(body)["data"]
    if "tensor" in data:
        tensor = data["tensor"]
        y = np.array(tensor["values"], dtype=np.float64).reshape(tensor["shape"]) * 2
        doubled: dict[str, Any] = {"names": [], "tensor": {"shape": y.shape, "values": y.ravel()}}
    else:
        doubled = {"names": [], "ndarray": np.array(data["ndarray"], dtype=np.float64) * 2}
    return orjson.dumps({"data": doubled, "meta": {}}, option=orjson.OPT_SERIALIZE_NUMPY)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI callable; a GET gets an empty 200."""
    await _answered(scope, receive, send, answer)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI callable that sends back the bytes it gets."""
    await _answered(scope, receive, send, bytes)


async def _answered(scope: Any, receive: Any, send: Any, make: Callable[[bytes], bytes]) -> None:
    raw = b""
    if scope["method"] == "POST":
        event = await receive()
        raw = event["body"]
        if event.get("more_body"):
            parts = [raw]
            while event.get("more_body"):
                event = await receive()
                parts.append(event["body"])
            raw = b"".join(parts)
        raw = make(raw)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(raw))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": raw})
