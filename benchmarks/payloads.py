"""Request bodies by protocol and row, and the check that an answer is the doubled input."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from benchmarks.rows import Row
from benchmarks.schema import ModelInferRequest, ModelInferResponse, SeldonMessage


def values(row: Row) -> np.ndarray:
    """The array that a row sends: random numbers of full length, the same in every run."""
    return np.random.default_rng(7).random(row.shape).astype(row.dtype)


def request(row: Row, dialect: str) -> bytes:
    """The body of a request."""
    x = values(row)
    if row.spelling == "binary":
        return _binary_head(x) + x.tobytes()
    return _proto_request(x, row, dialect) if row.transport == "grpc" else _json_request(x, row, dialect)


def header_length(row: Row) -> int | None:
    """The length of the JSON of a binary request; None for any other."""
    return len(_binary_head(values(row))) if row.spelling == "binary" else None


def check(row: Row, dialect: str, answer: bytes, factor: float) -> None:
    """Nothing if `answer` holds `factor` times the input in the right shape.

    Raises: ValueError that says what it holds.
    """
    if row.spelling == "binary":
        size = values(row).nbytes
        got = np.frombuffer(answer[-size:], dtype=row.dtype).reshape(row.shape)
    else:
        got = _proto_array(answer, row, dialect) if row.transport == "grpc" else _json_array(answer, row, dialect)
    expected = values(row) * factor
    if got.shape != expected.shape or not np.array_equal(got, expected):
        raise ValueError(f"wrong answer of shape {got.shape}: {answer[:200]!r}")


_DATATYPES = {"float32": "FP32", "float64": "FP64"}


def _binary_head(x: np.ndarray) -> bytes:
    tensor = {"name": "x", "shape": x.shape, "datatype": _DATATYPES[x.dtype.name]}
    parameters = {"binary_data_size": x.nbytes}
    head = orjson.dumps({"inputs": [{**tensor, "parameters": parameters}], "parameters": {"binary_data_output": True}})
    return head + b" " * (-len(head) % 8)


def _json_request(x: np.ndarray, row: Row, dialect: str) -> bytes:
    flat = x.ravel()
    document: dict[str, Any]
    if dialect == "oip":
        document = {"inputs": [{"name": "x", "shape": x.shape, "datatype": _DATATYPES[row.dtype], "data": flat}]}
    elif row.spelling == "tensor":
        document = {"data": {"tensor": {"shape": x.shape, "values": flat}}}
    else:
        document = {"data": {"ndarray": x}}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _json_array(answer: bytes, row: Row, dialect: str) -> np.ndarray:
    document = orjson.loads(answer)
    if dialect == "oip":
        output = document["outputs"][0]
        return np.array(output["data"], dtype=row.dtype).reshape(output["shape"])
    if row.spelling == "ndarray":
        return np.array(document["data"]["ndarray"], dtype=float)
    tensor = document["data"]["tensor"]
    return np.array(tensor["values"], dtype=float).reshape(tensor["shape"])


def _proto_request(x: np.ndarray, row: Row, dialect: str) -> bytes:
    if dialect == "oip":
        message = ModelInferRequest(model_name="Doubler")
        tensor = message.inputs.add(name="x", datatype=_DATATYPES[row.dtype])
        if row.spelling == "raw":
            message.raw_input_contents.append(x.tobytes())
        else:
            tensor.contents.fp64_contents.extend(x.ravel().tolist())
    else:
        message = SeldonMessage()
        tensor = message.data.tensor
        tensor.values.extend(x.ravel().tolist())
    tensor.shape.extend(x.shape)
    encoded: bytes = message.SerializeToString()
    return encoded


def _proto_array(answer: bytes, row: Row, dialect: str) -> np.ndarray:
    if dialect == "oip":
        message = ModelInferResponse.FromString(answer)
        tensor = message.outputs[0]
        if message.raw_output_contents:
            return np.frombuffer(message.raw_output_contents[0], dtype=row.dtype).reshape(tuple(tensor.shape))
        if row.dtype == "float32":
            return np.asarray(tensor.contents.fp32_contents, dtype=row.dtype).reshape(tuple(tensor.shape))
        flat = tensor.contents.fp64_contents
    else:
        tensor = SeldonMessage.FromString(answer).data.tensor
        flat = tensor.values
    return np.asarray(flat, dtype=float).reshape(tuple(tensor.shape))
