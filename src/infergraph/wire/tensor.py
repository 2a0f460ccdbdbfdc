"""TensorFlow's tensors to arrays and back, without TensorFlow.

Source: the public tensor.proto and types.proto: values are in row-major order, little-endian in `tensor_content`, or
in the list of their type, whose last value is repeated for missing ones.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import json_format

from infergraph.errors import PayloadError
from infergraph.wire import prediction
from infergraph.wire.arrays import AXES_LIMIT, check_empty

ELEMENTS_LIMIT = 2**22
"""Maximum elements of a tensor whose values are repeated: a small message must not allocate all memory."""


class _Layout(NamedTuple):
    """The field with the values of a type, and its NumPy dtype."""

    dtype: np.dtype[Any]
    field: str


def _layouts() -> dict[str, _Layout]:
    own = {
        "FLOAT": ("<f4", "float_val"),
        "DOUBLE": ("<f8", "double_val"),
        "HALF": ("<f2", "half_val"),
        "INT8": ("i1", "int_val"),
        "INT16": ("<i2", "int_val"),
        "INT32": ("<i4", "int_val"),
        "INT64": ("<i8", "int64_val"),
        "UINT8": ("u1", "int_val"),
        "UINT16": ("<u2", "int_val"),
        "UINT32": ("<u4", "uint32_val"),
        "UINT64": ("<u8", "uint64_val"),
        "BOOL": ("?", "bool_val"),
        "COMPLEX64": ("<c8", "scomplex_val"),
        "COMPLEX128": ("<c16", "dcomplex_val"),
    }
    # The quantized types are integers; their scale is sent separately.
    quantized = {f"Q{name}": own[name] for name in ("INT8", "INT16", "INT32", "UINT8", "UINT16")}
    return {f"DT_{name}": _Layout(np.dtype(dtype), field) for name, (dtype, field) in (own | quantized).items()}


_LAYOUTS = _layouts()
_BFLOAT16 = _Layout(np.dtype("<u2"), "half_val")
_TYPES = prediction.TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type
_NAMES: dict[int, str] = {number: value.name for number, value in _TYPES.values_by_number.items()}
_ENCODED: dict[tuple[str, int], str] = {
    (layout.dtype.kind, layout.dtype.itemsize): name
    for name, layout in _LAYOUTS.items()
    if not name.startswith("DT_Q") and layout.dtype.kind in "iuf"
}


def decode(tensor: Any) -> np.ndarray:
    """The array of a `tensorflow.TensorProto`.

    Returns: an array of the tensor's shape; DT_STRING gives an object array of bytes, DT_BFLOAT16 a float32 array.
    Raises: PayloadError for an unsupported type, or values that do not fit the shape.
    """
    name = _NAMES.get(tensor.dtype, str(tensor.dtype)).removesuffix("_REF")
    shape = _shape(tensor.tensor_shape)
    if name == "DT_STRING":
        texts = np.empty(len(tensor.string_val), dtype=object)
        texts[:] = list(tensor.string_val)
        return _fill(texts, shape)
    if name == "DT_BFLOAT16":
        return (_values(tensor, _BFLOAT16, shape).astype(np.uint32) << 16).view(np.float32)
    if name not in _LAYOUTS:
        raise PayloadError(f"data.tftensor has the dtype {name}, which cannot be read")
    return _values(tensor, _LAYOUTS[name], shape)


def _shape(shape: Any) -> tuple[int, ...]:
    if shape.unknown_rank:
        raise PayloadError("data.tftensor has no known shape")
    sizes = tuple(dim.size for dim in shape.dim)
    if len(sizes) > AXES_LIMIT:
        raise PayloadError(f"data.tftensor has more than {AXES_LIMIT} axes")
    if any(size < 0 for size in sizes):
        raise PayloadError(f"data.tftensor has a negative size in its shape {list(sizes)}")
    return sizes


def _values(tensor: Any, layout: _Layout, shape: tuple[int, ...]) -> np.ndarray:
    if not tensor.tensor_content:
        return _fill(_typed(getattr(tensor, layout.field), layout), shape)
    content, width = tensor.tensor_content, layout.dtype.itemsize
    if len(content) != width * math.prod(shape):
        raise PayloadError(
            f"data.tftensor.tensorContent has {len(content)} bytes, but the shape {list(shape)} "
            f"needs {width * math.prod(shape)}"
        )
    values = np.frombuffer(content, dtype=layout.dtype).reshape(shape)
    return check_empty(values.astype(layout.dtype.newbyteorder("=")), "data.tftensor")  # a writable copy


def _typed(values: Any, layout: _Layout) -> np.ndarray:
    """The values of a typed list as a flat array."""
    dtype = layout.dtype.newbyteorder("=")
    if layout.field == "half_val" and dtype.kind == "f":
        return _narrowed(values, np.dtype(np.uint16)).view(dtype)
    if dtype.kind == "c":
        if len(values) % 2:
            raise PayloadError("data.tftensor has half a complex number")
        return np.array(list(values), dtype=f"f{dtype.itemsize // 2}").view(dtype)
    return _narrowed(values, dtype) if layout.field in ("int_val", "half_val") else np.array(list(values), dtype=dtype)


def _narrowed(values: Any, dtype: np.dtype[Any]) -> np.ndarray:
    wide = np.array(list(values), dtype=np.int64)
    narrow = wide.astype(dtype)
    if not np.array_equal(narrow, wide):
        raise PayloadError(f"data.tftensor has values that do not fit its dtype ({dtype.name})")
    return narrow


def _fill(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`flat` in `shape`, with its last value repeated for missing ones."""
    size = math.prod(shape)
    if flat.size == size:
        return check_empty(flat.reshape(shape), "data.tftensor")
    if flat.size == 0 or flat.size > size:
        raise PayloadError(f"data.tftensor has {flat.size} values, which do not fit the shape {list(shape)}")
    if size > ELEMENTS_LIMIT:
        raise PayloadError(f"data.tftensor repeats a value {size} times; at most {ELEMENTS_LIMIT} are allowed")
    full = np.empty(size, dtype=flat.dtype)
    full[: flat.size] = flat
    full[flat.size :] = flat[-1]
    return full.reshape(shape)


def is_text(values: np.ndarray) -> bool:
    """Whether an array contains only bytes, like DT_STRING."""
    return values.dtype.kind == "O" and values.size > 0 and all(type(value) is bytes for value in values.flat)


def encode(values: np.ndarray) -> Any:
    """The `tensorflow.TensorProto` of an array of real numbers, or of bytes (`is_text`).

    Returns: one element in the list of its type, any other number of elements as bytes, like TensorFlow itself.
    """
    tensor = prediction.TensorProto()
    for size in values.shape:
        tensor.tensor_shape.dim.add(size=size)
    if values.dtype.kind == "O":
        tensor.dtype = _TYPES.values_by_name["DT_STRING"].number
        tensor.string_val.extend(values.ravel().tolist())
        return tensor
    name = _ENCODED.get((values.dtype.kind, values.dtype.itemsize), "DT_DOUBLE")
    layout = _LAYOUTS[name]
    tensor.dtype = _TYPES.values_by_name[name].number
    values = np.ascontiguousarray(values, dtype=layout.dtype)
    if values.size == 1:
        flat = values.view("<u2") if name == "DT_HALF" else values
        getattr(tensor, layout.field).extend(flat.ravel().tolist())
    else:
        tensor.tensor_content = values.tobytes()
    return tensor


def decode_json(document: Any) -> np.ndarray:
    """The array of a TensorProto in JSON, with proto or camel-case names.

    Raises: PayloadError if it is not valid.
    """
    if not isinstance(document, dict):
        raise PayloadError(f"data.tftensor cannot be read: it must be an object, not {type(document).__name__}")
    try:
        tensor = json_format.ParseDict(document, prediction.TensorProto())
    except (json_format.ParseError, TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
        raise PayloadError(f"data.tftensor cannot be read: {error}") from error
    return decode(tensor)


def encode_json(values: np.ndarray) -> dict[str, Any]:
    """The JSON of `encode(values)`: camel-case names, 64-bit integers as text, bytes in base64."""
    return message_json(encode(values))


def message_json(tensor: Any) -> dict[str, Any]:
    """The JSON of a `tensorflow.TensorProto`."""
    document: dict[str, Any] = json_format.MessageToDict(tensor)
    return document
