"""The least a Python gRPC server can do for a prediction: pygrpc-native's low-level API, answering in its own thread.

Run: python -m benchmarks.floor.native_grpc PORT
"""

from __future__ import annotations

import sys

import numpy as np
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from benchmarks.schema import SeldonMessage

SMALL = 64
"""Values up to which building numbers one by one beats copying a buffer."""


def answer(raw: bytes) -> bytes:
    """The doubled tensor message of `raw`."""
    tensor = SeldonMessage.FromString(raw).data.tensor
    count = len(tensor.values)
    values = np.fromiter(tensor.values, np.float64, count) if count <= SMALL else np.asarray(tensor.values, np.float64)
    y = values.reshape(tensor.shape) * 2
    message = SeldonMessage()
    doubled = message.data.tensor
    doubled.shape.extend(y.shape)
    if count <= SMALL:
        doubled.values.extend(y.ravel().tolist())
    else:  # a packed field straight from the array's bytes: field 2, length-delimited
        flat = y.astype("<f8", copy=False).tobytes()
        doubled.MergeFromString(b"\x12" + _varint(len(flat)) + flat)
    encoded: bytes = message.SerializeToString()
    return encoded


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def serve(port: int) -> None:
    """Answer until the process is ended."""
    front = NativeGrpcFront(f"127.0.0.1:{port}", [("/seldon.protos.Model/Predict", False)], io_threads=1)
    front.start()
    while (events := front.recv_batch(64)) is not None:
        for kind, call_id, _, payload, _ in events:
            if kind == EVENT_CALL and payload is not None:
                front.respond(call_id, answer(payload))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
