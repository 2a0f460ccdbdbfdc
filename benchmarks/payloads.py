"""Request bodies by protocol and row, and the check that an answer is the doubled input."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from benchmarks.rows import Row
from benchmarks.schema import ModelInferRequest, ModelInferResponse, SeldonMessage


def values(row: Row) -> np.ndarray:
    """The array that a row sends: random doubles of full length, the same in every run."""
    return np.random.default_rng(7).random(row.shape)


def request(row: Row, dialect: str) -> bytes:
    """The body of a request."""
    x = values(row)
    return _proto_request(x, dialect) if row.transport == "grpc" else _json_request(x, row, dialect)


def check(row: Row, dialect: str, answer: bytes, factor: float) -> None:
    """Nothing if `answer` holds `factor` times the input in the right shape.

    Raises: ValueError that says what it holds.
    """
    got = _proto_array(answer, dialect) if row.transport == "grpc" else _json_array(answer, row, dialect)
    expected = values(row) * factor
    if got.shape != expected.shape or not np.array_equal(got, expected):
        raise ValueError(f"wrong answer of shape {got.shape}: {answer[:200]!r}")


def _json_request(x: np.ndarray, row: Row, dialect: str) -> bytes:
    flat = x.ravel()
    document: dict[str, Any]
    if dialect == "oip":
        document = {"inputs": [{"name": "x", "shape": x.shape, "datatype": "FP64", "data": flat}]}
    elif row.spelling == "tensor":
        document = {"data": {"tensor": {"shape": x.shape, "values": flat}}}
    else:
        document = {"data": {"ndarray": x}}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _json_array(answer: bytes, row: Row, dialect: str) -> np.ndarray:
    document = orjson.loads(answer)
    if dialect == "oip":
        output = document["outputs"][0]
        return np.array(output["data"], dtype=float).reshape(output["shape"])
    if row.spelling == "ndarray":
        return np.array(document["data"]["ndarray"], dtype=float)
    tensor = document["data"]["tensor"]
    return np.array(tensor["values"], dtype=float).reshape(tensor["shape"])


def _proto_request(x: np.ndarray, dialect: str) -> bytes:
    if dialect == "oip":
        message = ModelInferRequest(model_name="doubler")
        tensor = message.inputs.add(name="x", datatype="FP64")
        tensor.contents.fp64_contents.extend(x.ravel().tolist())
    else:
        message = SeldonMessage()
        tensor = message.data.tensor
        tensor.values.extend(x.ravel().tolist())
    tensor.shape.extend(x.shape)
    encoded: bytes = message.SerializeToString()
    return encoded


def _proto_array(answer: bytes, dialect: str) -> np.ndarray:
    if dialect == "oip":
        tensor = ModelInferResponse.FromString(answer).outputs[0]
        flat = tensor.contents.fp64_contents
    else:
        tensor = SeldonMessage.FromString(answer).data.tensor
        flat = tensor.values
    return np.asarray(flat, dtype=float).reshape(tuple(tensor.shape))
