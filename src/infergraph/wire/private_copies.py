"""Private copies of a message's content for user code, the same as if it had been received over the network.

    message with bytes ──decode again──▶ Content
    message made here ──as JSON would carry it──▶ Content      copied, unless nothing else refers to its objects

So a component may modify its input, and cannot tell whether the previous node runs in the same process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from infergraph.message import Content, Encoding, Message, SoleMessage
from infergraph.wire import json_slices
from infergraph.wire.arrays import rows_of
from infergraph.wire.json_values import text_of
from infergraph.wire.v2 import hook_values
from infergraph.wire.v2.hook_values import Wanted
from infergraph.wire.v2.messages import hook_meta


def own_content(message: Message, wanted: Wanted = hook_values.PLAIN) -> Content:
    """The content of `message` for one reader, which may change all of it.

    Args:
        wanted: how the reader takes named tensors.
    Returns: of named tensors what `wanted` says; else arrays of 64-bit numbers, booleans, text or objects, or JSON's
        own types; names in a list.
    Raises: PayloadError if the message cannot be read; ComponentError if it contains what no message can carry.
    """
    content = message.decode_again()
    if content is not None:
        return _of_tensors(content, wanted, is_own=True) if content.encoding is Encoding.TENSORS else content
    taken = message.take() if isinstance(message, SoleMessage) else None
    payload, encoding, names, meta = content = taken or message.content
    if encoding is Encoding.TENSORS:
        return _of_tensors(content._replace(meta=own_json(meta)), wanted, is_own=taken is not None)
    return Content(_payload(payload, encoding, taken is not None), encoding, own_names(names), own_json(meta))


def _of_tensors(content: Content, wanted: Wanted, *, is_own: bool) -> Content:
    given = content.payload
    if not is_own:
        given = given._replace(tensors=[each._replace(array=hook_values.owned(each.array)) for each in given.tensors])
    payload, names = hook_values.inputs_of(given, wanted)
    return Content(payload, Encoding.TENSORS, list(names), hook_meta(content))


def own_names(names: Any) -> Any:
    """A copy of the column names."""
    if type(names) in (list, tuple):
        return list(names)
    return names.tolist() if isinstance(names, np.ndarray) else own_json(names)


def own_json(value: Any, path: str = "") -> Any:
    """A copy of `value` in JSON's own types, as if it had been sent in a JSON body.

    Args:
        path: of the value, for the error message.
    Raises: ComponentError for what JSON cannot express; the text names the type and its path.
    """
    if type(value) in _EMPTY and not value:
        return None if value is None else type(value)()
    if type(value) is list:
        if _is_flat(value):
            return value.copy()
        if set(map(type, value)) == {list} and all(map(_is_flat, value)):
            return [row.copy() for row in value]
    return json_slices.copied(value, path)


def _is_flat(values: list[Any]) -> bool:
    """Whether a list contains only numbers and None, of JSON's own types."""
    return set(map(type, values)) <= _NUMBERS


_WIDE = frozenset({np.dtype(np.float64), np.dtype(np.int64)})
"""Types of arrays that are decoded as they are."""

_EMPTY = frozenset({dict, list, type(None)})
_NUMBERS = frozenset({int, float, bool, type(None)})


def copy_any(custom: Any) -> Any:
    """A copy of a protobuf `Any`, of the same class."""
    return type(custom).FromString(custom.SerializeToString())


def _payload(payload: Any, encoding: Encoding, is_own: bool) -> Any:
    if encoding.is_array:
        return _array(payload, encoding, is_own)
    if encoding is Encoding.JSON:
        return payload if is_own else own_json(payload, encoding.value)
    if encoding is Encoding.CUSTOM:
        return copy_any(payload)
    return text_of(payload) if isinstance(payload, str) else payload


def _array(payload: Any, encoding: Encoding, is_own: bool) -> np.ndarray:
    if is_own and type(payload) is np.ndarray and payload.dtype in _WIDE and payload.size and payload.flags.writeable:
        return payload
    if isinstance(payload, np.ndarray) and payload.dtype.kind in "biufU":
        return _values(np.asarray(payload), encoding, is_own)
    rows = payload if is_own and type(payload) is list else own_json(payload, "data.ndarray")
    return rows_of(rows, "data.ndarray")


def _values(values: np.ndarray, encoding: Encoding, is_own: bool) -> np.ndarray:
    """The array as if decoded: numbers have 64 bits, except in TensorFlow's tensors, which have a type."""
    if not values.size and encoding is not Encoding.TFTENSOR:
        return np.empty(values.shape) if encoding is Encoding.TENSOR else np.array(values.tolist())
    dtype = values.dtype if encoding is Encoding.TFTENSOR else _decoded(values)
    dtype = dtype.newbyteorder("=")
    if is_own and values.dtype == dtype and values.flags.writeable:
        return values
    return np.array(values, dtype=dtype, order="C")


def _decoded(values: np.ndarray) -> np.dtype[Any]:
    kind = values.dtype.kind
    if kind == "f":
        return np.dtype(np.float64)
    if kind == "u" and values.dtype.itemsize == 8 and values.max() > np.iinfo(np.int64).max:
        return values.dtype
    return np.dtype(np.int64) if kind in "iu" else values.dtype
