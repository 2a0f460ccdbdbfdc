"""Large JSON bodies of numbers to arrays, without a Python object for each number.

    bytes ──simdjson──▶ flat buffer of 64-bit numbers ──▶ array in its shape

simdjson gives the numbers of nested lists as one flat buffer. That the lists are regular is read from the text: with
the characters of numbers deleted, a regular array is one row of brackets and commas repeated. Whatever is unusual here
is left to the general way, which gives the same result or the right fault.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from infergraph.message import Content, Encoding
from infergraph.wire.arrays import AXES_LIMIT, shaped

simdjson: Any
try:
    import simdjson
except ImportError:  # the newest Python has no wheel of it yet; then everything goes the general way
    simdjson = None

LARGE_BYTES = 4096
"""From this size on a body is worth the set-up."""

_KEPT_BYTES = 32 * 1024 * 1024
"""Largest body whose parser is kept: it holds about as much memory again."""
_idle_parsers: list[Any] = []
"""Parsers for the next bodies; at most as many as were at work at once. A new one spends two fifths of its time on
memory that it has not touched before."""

_NUMBER_BYTES = b"0123456789+-.eE \t\r\n"
_KEY = b'"ndarray":['


def read_numbers(raw: bytes) -> Content | None:
    """The content of a message whose payload is a tensor or an array of numbers.

    Args:
        raw: JSON in UTF-8.
    Returns: None where it is anything else or might be; then nothing has been decided.
    Raises: PayloadError if a tensor's values do not fit its shape.
    """
    if simdjson is None:
        return None
    parser = _idle_parsers.pop() if _idle_parsers else simdjson.Parser()
    try:
        found = _find(parser.parse(raw), raw)
    except (ValueError, TypeError, KeyError, RuntimeError, UnicodeError):
        return None
    if len(raw) <= _KEPT_BYTES:
        _idle_parsers.append(parser)
    if found is None:
        return None
    flat, shape, names, meta, encoding = found
    return Content(shaped(flat, shape, f"data.{encoding.value}"), encoding, names, meta)


def _find(root: Any, raw: bytes) -> tuple[np.ndarray, list[int], Any, Any, Encoding] | None:
    if not _has_only(root, {"data", "meta"}):
        return None
    data, meta = root["data"], _value(root.get("meta"))
    if meta is not None and not isinstance(meta, dict):
        return None
    if _has_only(data, {"names", "tensor"}):
        found, encoding = _find_tensor(data["tensor"]), Encoding.TENSOR
    elif _has_only(data, {"names", "ndarray"}):
        found, encoding = _find_ndarray(data["ndarray"], raw), Encoding.NDARRAY
    else:
        return None
    names = _value(data["names"]) if len(data) == 2 else []
    return None if found is None else (*found, names, meta, encoding)


def _find_ndarray(array: Any, raw: bytes) -> tuple[np.ndarray, list[int]] | None:
    if not isinstance(array, simdjson.Array):
        return None
    flat = _numbers(array)
    shape = _shape(raw) if flat is not None else None
    if flat is None or shape is None or math.prod(shape) != flat.size:
        return None
    return flat, shape


def _find_tensor(tensor: Any) -> tuple[np.ndarray, list[int]] | None:
    if not _has_only(tensor, {"shape", "values"}):
        return None
    shape, values = _value(tensor["shape"]), tensor["values"]
    if not isinstance(values, simdjson.Array) or not isinstance(shape, list) or len(shape) > AXES_LIMIT:
        return None
    if not all(type(size) is int for size in shape):
        return None
    flat = _numbers(values)
    if flat is None or flat.size != len(values):  # lists among the values
        return None
    return flat, shape


def _has_only(value: Any, names: set[str]) -> bool:
    """Whether it is an object of some of these members, none of them twice: of two simdjson would take the first."""
    if not isinstance(value, simdjson.Object) or len(value) > len(names):
        return False
    keys = list(value.keys())
    return len(set(keys)) == len(keys) and names.issuperset(keys)


def _value(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value


def _numbers(values: Any) -> np.ndarray | None:
    """All numbers inside `values`, flat, writable: int64 or uint64 if all are integers, else float64."""
    for kind, dtype in (("i", np.int64), ("u", np.uint64)):
        try:
            return _buffer(values, kind, dtype)
        except TypeError:
            break  # one of them is no integer
        except ValueError:
            continue  # one of them is out of range
    else:
        return None
    return _buffer(values, "d", np.float64)


def _buffer(values: Any, kind: str, dtype: Any) -> np.ndarray | None:
    buffer = values.as_buffer(of_type=kind)
    if memoryview(buffer).nbytes == 0:
        return None
    flat = np.frombuffer(buffer, dtype=dtype)
    return flat if flat.flags.writeable else flat.copy()


def _shape(raw: bytes) -> list[int] | None:
    """The shape of the one `ndarray` in `raw`, whose values are known to be numbers; None if it is not regular."""
    frame = raw.translate(None, _NUMBER_BYTES)
    start = frame.find(_KEY) + len(_KEY) - 1
    if start < len(_KEY) - 1 or frame.find(_KEY, start) >= 0:
        return None
    axes = 1
    while frame[start + axes : start + axes + 1] == b"[":
        axes += 1
    if axes > AXES_LIMIT:
        return None
    shape: list[int] = []
    unit = b""
    for depth in range(1, axes + 1):
        # The first block of this depth ends at the first so many closing brackets in a row.
        begin, end = start + axes - depth, frame.find(b"]" * depth, start) + depth
        size, rest = divmod(end - begin - 1, len(unit) + 1)
        if end < begin or rest or size == 0:
            return None
        unit = b"[" + unit + (b"," + unit) * (size - 1) + b"]"
        shape.append(size)
    return shape[::-1] if frame.startswith(unit, start) else None
