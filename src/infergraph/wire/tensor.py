"""TensorFlow's tensors to arrays and back, without TensorFlow.

Source: the public tensor.proto and types.proto; values lie in row-major order, little-endian in `tensor_content`, or
in the list of their type, whose last value stands for all that are missing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from google.protobuf import json_format

from infergraph.errors import PayloadError
from infergraph.wire.prediction import TensorProto

ELEMENTS_LIMIT = 2**26
"""Most elements of a tensor whose values are repeated rather than sent: a few bytes must not claim all memory."""

_NUMERIC: dict[str, tuple[str, str]] = {
    "DT_FLOAT": ("<f4", "float_val"),
    "DT_DOUBLE": ("<f8", "double_val"),
    "DT_HALF": ("<f2", "half_val"),
    "DT_INT8": ("<i1", "int_val"),
    "DT_INT16": ("<i2", "int_val"),
    "DT_INT32": ("<i4", "int_val"),
    "DT_INT64": ("<i8", "int64_val"),
    "DT_UINT8": ("<u1", "int_val"),
    "DT_UINT16": ("<u2", "int_val"),
    "DT_UINT32": ("<u4", "uint32_val"),
    "DT_UINT64": ("<u8", "uint64_val"),
    "DT_BOOL": ("<?", "bool_val"),
    "DT_COMPLEX64": ("<c8", "scomplex_val"),
    "DT_COMPLEX128": ("<c16", "dcomplex_val"),
}
_DTYPE_ENUM = TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type
_NAMES: dict[int, str] = {number: value.name for number, value in _DTYPE_ENUM.values_by_number.items()}
_BY_NUMPY: dict[np.dtype[Any], str] = {np.dtype(dtype): name for name, (dtype, _) in _NUMERIC.items()}


def encodable(values: np.ndarray) -> bool:
    """Whether `values` have a type that a TensorFlow tensor can carry."""
    return values.dtype.newbyteorder("<") in _BY_NUMPY


def decode(tensor: Any) -> np.ndarray:
    """The array of a `tensorflow.TensorProto`.

    Returns: an array of the tensor's shape; DT_STRING gives an object array of bytes.
    Raises: PayloadError for another type, or values that do not fit the shape.
    """
    name = _NAMES.get(tensor.dtype, str(tensor.dtype)).removesuffix("_REF")
    if tensor.tensor_shape.unknown_rank:
        raise PayloadError("data.tftensor has no known shape")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise PayloadError(f"data.tftensor has a negative size in its shape {list(shape)}")
    if name == "DT_STRING":
        flat = np.empty(len(tensor.string_val), dtype=object)
        flat[:] = list(tensor.string_val)
        return _shaped(flat, shape)
    if name not in _NUMERIC:
        raise PayloadError(f"data.tftensor has the dtype {name}, which cannot be read")
    dtype = np.dtype(_NUMERIC[name][0])
    if tensor.tensor_content:
        if len(tensor.tensor_content) % dtype.itemsize:
            raise PayloadError(f"data.tftensor.tensorContent has {len(tensor.tensor_content)} bytes, not whole {name}s")
        flat = np.frombuffer(tensor.tensor_content, dtype=dtype).copy()
        if flat.size != math.prod(shape):
            raise PayloadError(_mismatch(flat.size, shape))
        return flat.reshape(shape)
    return _shaped(_typed(tensor, name, dtype), shape)


def _typed(tensor: Any, name: str, dtype: np.dtype[Any]) -> np.ndarray:
    values = getattr(tensor, _NUMERIC[name][1])
    if name == "DT_HALF":
        return np.asarray(values, dtype=np.int64).astype(np.uint16).view(np.float16)
    if dtype.kind == "c":
        part = np.float32 if dtype.itemsize == 8 else np.float64
        if len(values) % 2:
            raise PayloadError("data.tftensor has half a complex number")
        return np.asarray(values, dtype=part).view(dtype)
    return np.asarray(values).astype(dtype) if len(values) else np.empty(0, dtype)


def _shaped(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`flat` in `shape`, its last value repeated for those that are missing."""
    size = math.prod(shape)
    if flat.size == size:
        return flat.reshape(shape)
    if flat.size == 0 or flat.size > size:
        raise PayloadError(_mismatch(flat.size, shape))
    if size > ELEMENTS_LIMIT:
        raise PayloadError(f"data.tftensor repeats a value {size} times; at most {ELEMENTS_LIMIT} are allowed")
    full = np.full(size, flat[-1], dtype=flat.dtype)
    full[: flat.size] = flat
    return full.reshape(shape)


def _mismatch(count: int, shape: tuple[int, ...]) -> str:
    return f"data.tftensor has {count} values, which do not fit the shape {list(shape)}"


def encode(values: np.ndarray) -> Any:
    """The `tensorflow.TensorProto` of `values`, whose dtype must be `encodable`.

    Returns: one element in the list of its type, any other number as bytes, as TensorFlow itself does.
    """
    name = _BY_NUMPY[values.dtype.newbyteorder("<")]
    tensor = TensorProto(dtype=_DTYPE_ENUM.values_by_name[name].number)
    for size in values.shape:
        tensor.tensor_shape.dim.add(size=size)
    if values.size == 1:
        dtype, field = _NUMERIC[name]
        flat = values.reshape(1)
        if dtype[1] == "c":
            flat = flat.view(flat.real.dtype)
        elif name == "DT_HALF":
            flat = flat.view(np.uint16)
        getattr(tensor, field).extend(flat.tolist())
    else:
        tensor.tensor_content = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    return tensor


def decode_json(document: Any) -> np.ndarray:
    """The array of a TensorProto in JSON, in proto or camel-case names.

    Raises: PayloadError if it is none.
    """
    try:
        return decode(json_format.ParseDict(document, TensorProto()))
    except (json_format.ParseError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise PayloadError(f"data.tftensor cannot be read: {error}") from error


def encode_json(values: np.ndarray) -> dict[str, Any]:
    """The JSON of `encode(values)`: camel-case names, 64-bit integers as text, bytes in base64."""
    return message_json(encode(values))


def message_json(tensor: Any) -> dict[str, Any]:
    """The JSON of a `tensorflow.TensorProto`."""
    document: dict[str, Any] = json_format.MessageToDict(tensor)
    return document
