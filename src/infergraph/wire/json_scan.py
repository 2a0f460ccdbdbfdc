"""Fast path for large JSON arrays of numbers, without a Python object for each number.

    bytes ──simdjson──▶ flat buffer of 64-bit numbers ──▶ array in its shape

simdjson returns the numbers of nested lists as one flat buffer. The shape is derived from the text: with the characters
of numbers deleted, a regular array is one row of brackets and commas repeated. Anything unusual is left to the general
decoder, which returns the same result or the right fault.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from infergraph.errors import PayloadError
from infergraph.message import Content, Encoding
from infergraph.wire import json_text
from infergraph.wire.arrays import AXES_LIMIT, shaped
from infergraph.wire.bodies_memory import ValuesAccount

simdjson: Any
try:
    import simdjson
except ImportError:  # the newest Python may have no wheel of it yet; then the general decoder does everything
    simdjson = None

LARGE_BYTES = 4096
"""Minimum size of a body that is worth the set-up."""

_KEPT_BYTES = 32 * 1024 * 1024
"""Maximum size of a body whose parser is reused: it holds about the same amount of memory."""
_idle_parsers: list[Any] = []
"""Parsers to be reused, at most as many as were in use at the same time. A new one spends two fifths of its time on
page faults."""

SLICED_BYTES = 8 << 20
"""Minimum size of a body that is read in slices."""

_SLICE_BYTES = 1 << 20
_CHARGED_BYTES = 1 << 20
_NUMBER_BYTES_IN_WORK = 16
_T = TypeVar("_T")
_HEAD_BYTES = 1 << 16
_SLICED_INPUTS = 1000
_REQUEST_KEYS = {"id", "parameters", "inputs", "outputs", "model_name"}
_INPUT_KEYS = {"name", "shape", "datatype", "parameters", "data"}
_DATA_KEY = re.compile(rb'"data"\s*:\s*\[')
_NUMBERS_KEY = re.compile(rb'"(?:ndarray|values)"\s*:\s*\[')
_NUMBER_BYTES = b"0123456789+-.eE \t\r\n"
_KEY = b'"ndarray":['


def charged(account: ValuesAccount | None, raw: bytes, read: Callable[[bytes], _T | None]) -> _T | None:
    """The result of `read`, having charged for the memory of the numbers of a large text; if it is None, for nothing.

    Raises: Overloaded if the numbers would take more memory than is left; what `read` raises.
    """
    if account is None or len(raw) < _CHARGED_BYTES:
        return read(raw)
    numbers = sum(raw.count(b",", at, at + _SLICE_BYTES) for at in range(0, len(raw), _SLICE_BYTES))
    account.charge(_NUMBER_BYTES_IN_WORK * numbers)
    found = read(raw)
    if found is None:
        account.charge(-_NUMBER_BYTES_IN_WORK * numbers)
    return found


def read_numbers(raw: bytes) -> Content | None:
    """The content of a message whose payload is a tensor or an array of numbers.

    Args:
        raw: JSON in UTF-8.
    Returns: None if it is, or might be, anything else: the general decoder decides.
    Raises: PayloadError if a tensor's values do not fit its shape.
    """
    if simdjson is None:
        return None
    if len(raw) >= SLICED_BYTES:
        return read_slices(raw)
    found = _parsed(raw, lambda root: _find(root, raw))
    if found is None:
        return None
    flat, shape, names, meta, encoding = found
    return Content(shaped(flat, shape, f"data.{encoding.value}"), encoding, names, meta)


def read_tensors(raw: bytes) -> tuple[dict[str, Any], list[np.ndarray]] | None:
    """A request of the open inference protocol, and the `data` of its inputs, which are not in it, as flat arrays.

    Args:
        raw: JSON in UTF-8.
    Returns: None where an input has no numbers, or anything is unusual; then nothing has been decided.
    """
    if simdjson is None:
        return None
    return _parsed(raw, _find_tensors) if len(raw) < SLICED_BYTES else read_tensor_slices(raw)


def read_tensor_slices(raw: bytes, slice_bytes: int = _SLICE_BYTES) -> tuple[dict[str, Any], list[np.ndarray]] | None:
    """The same for a very large request, slice by slice: other threads run between two slices."""
    word = secrets.token_hex(16)
    parts: list[bytes] = []
    arrays: list[np.ndarray] = []
    at = 0
    try:
        while (key := _DATA_KEY.search(raw, at)) is not None and len(arrays) < _SLICED_INPUTS:
            numbers = _Numbers(raw, key.end() - 1, slice_bytes)
            parts += [raw[at : key.end() - 1], b'"%b"' % word.encode()]
            arrays.append(numbers.flat)
            at = numbers.end
        rest = b"".join([*parts, raw[at:]])
        document = json_text.read(rest) if len(rest) < _CHARGED_BYTES else None
    except (PayloadError, ValueError, TypeError, KeyError, RuntimeError):
        return None
    if not isinstance(document, dict) or not document.keys() <= _REQUEST_KEYS:
        return None
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not all(map(_is_input, inputs)):
        return None
    return (document, arrays) if [entry.pop("data", None) for entry in inputs] == [word] * len(arrays) else None


def _is_input(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.keys() <= _INPUT_KEYS


def _parsed(raw: bytes, find: Callable[[Any], _T | None]) -> _T | None:
    """What `find` finds in a parsed text, of which it keeps nothing."""
    parser = _idle_parsers.pop() if _idle_parsers else simdjson.Parser()
    try:
        found = find(parser.parse(raw))
    except (ValueError, TypeError, KeyError, RuntimeError, UnicodeError):
        return None
    if len(raw) <= _KEPT_BYTES:
        _idle_parsers.append(parser)
    return found


def _find_tensors(root: Any) -> tuple[dict[str, Any], list[np.ndarray]] | None:
    if not _has_only(root, _REQUEST_KEYS):
        return None
    arrays = []
    inputs = []
    for entry in root["inputs"]:
        if not _has_only(entry, _INPUT_KEYS):
            return None
        flat = _numbers(entry["data"]) if isinstance(entry["data"], simdjson.Array) else None
        if flat is None:
            return None
        arrays.append(flat)
        inputs.append({key: _value(entry[key]) for key in entry if key != "data"})
    return {"inputs": inputs} | {key: _value(root[key]) for key in root if key != "inputs"}, arrays


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
    """Whether it is an object with only these members and no duplicates, of which simdjson would use the first."""
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
    """All numbers in `values`, flat and writable: int64 or uint64 if all are integers, otherwise float64."""
    for kind, dtype in (("i", np.int64), ("u", np.uint64)):
        try:
            return _buffer(values, kind, dtype)
        except TypeError:
            break  # one of them is not an integer
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
    return _shape_of(frame, start)


def _shape_of(frame: bytes, start: int) -> list[int] | None:
    """The shape of the lists at `start`, of which only brackets and commas remain; None if they are not regular."""
    axes = 1
    while frame[start + axes : start + axes + 1] == b"[":
        axes += 1
    if axes > AXES_LIMIT:
        return None
    shape: list[int] = []
    unit = b""
    for depth in range(1, axes + 1):
        # The first block of this depth ends at the first run of `depth` closing brackets.
        begin, end = start + axes - depth, frame.find(b"]" * depth, start) + depth
        size, rest = divmod(end - begin - 1, len(unit) + 1)
        if end < begin or rest or size == 0:
            return None
        unit = b"[" + unit + (b"," + unit) * (size - 1) + b"]"
        shape.append(size)
    return shape[::-1] if frame.startswith(unit, start) else None


def read_slices(raw: bytes, slice_bytes: int = _SLICE_BYTES) -> Content | None:
    """The same for a very large body, slice by slice: other threads run between two slices.

    The rest of the body is parsed with a placeholder for the numbers.
    """
    key = _NUMBERS_KEY.search(raw, 0, _HEAD_BYTES)
    if key is None:
        return None
    start, word = key.end() - 1, secrets.token_hex(16)
    try:
        numbers = _Numbers(raw, start, slice_bytes)
        found = _placed(json_text.read(b'%b"%b"%b' % (raw[:start], word.encode(), raw[numbers.end :])), word)
        flat = numbers.flat
    except (PayloadError, ValueError, TypeError, KeyError, RuntimeError):
        return None
    if found is None:
        return None
    names, meta, shape, encoding = found
    if shape is None:
        shape = _shape_of(numbers.frame(), 0)
        if shape is None or math.prod(shape) != flat.size:
            return None
    elif numbers.lists > 1:  # lists among the values
        return None
    return Content(shaped(flat, shape, f"data.{encoding.value}"), encoding, names, meta)


def _placed(document: Any, word: str) -> tuple[Any, Any, list[int] | None, Encoding] | None:
    """Names, meta, shape and encoding of a message with a placeholder for its numbers; None if it is unusual."""
    if not isinstance(document, dict) or not document.keys() <= {"data", "meta"}:
        return None
    data, meta = document.get("data"), document.get("meta")
    if not isinstance(data, dict) or not isinstance(meta, dict | None):
        return None
    names = data.get("names", [])
    if data.get("ndarray") == word and data.keys() <= {"names", "ndarray"}:
        return names, meta, None, Encoding.NDARRAY
    tensor = data.get("tensor")
    if not isinstance(tensor, dict) or tensor.keys() != {"shape", "values"} or not data.keys() <= {"names", "tensor"}:
        return None
    shape = tensor["shape"]
    if tensor["values"] != word or not isinstance(shape, list) or not all(type(size) is int for size in shape):
        return None
    return (names, meta, shape, Encoding.TENSOR) if len(shape) <= AXES_LIMIT else None


class _Numbers:
    """The numbers of nested lists within a text.

    Args:
        raw: the text.
        start: where the outermost list begins.
        slice_bytes: bytes parsed at a time.
    Raises: ValueError or TypeError if they are not all numbers.
    """

    def __init__(self, raw: bytes, start: int, slice_bytes: int) -> None:
        self._raw = raw
        self._parser = simdjson.Parser()
        self._parts: list[np.ndarray] = []
        self._slices: list[slice] = []
        self.lists = 0  # opened within the text, including the outermost one
        signs, view = np.frombuffer(raw, np.uint8), memoryview(raw)
        depth, is_last = 0, False
        while not is_last:
            comma = raw.find(b",", start + slice_bytes)
            end = comma if comma >= 0 else len(raw)
            opened, closed = _brackets(signs[start:end])
            after = depth + opened - closed
            is_last = comma < 0 or after <= 0 or raw.find(b'"', start, end) >= 0
            if is_last:
                end, after = start + _end(signs[start:end], depth), 0
                opened, _ = _brackets(signs[start:end])
            self._add(b"".join((b"[" * depth, view[start:end], b"]" * after)))
            self.lists += opened
            self.end = end
            self._slices.append(slice(start, end))
            start, depth = end + 1, after

    @property
    def flat(self) -> np.ndarray:
        """All numbers, like `_numbers`. Raises: ValueError if no 64-bit type can represent all of them."""
        kinds = {part.dtype.kind for part in self._parts}
        if len(kinds) > 1 and "f" not in kinds:
            raise ValueError("integers of both signs, beyond 63 bits")
        return np.concatenate(self._parts)

    def frame(self) -> bytes:
        """The brackets and commas between them, by another pass over the text, which a single list does not need."""
        return b",".join(self._raw[place].translate(None, _NUMBER_BYTES) for place in self._slices)

    def _add(self, text: bytes) -> None:
        flat = _numbers(self._parser.parse(text))
        if flat is None:
            raise ValueError("no numbers")
        self._parts.append(flat)


def _brackets(signs: np.ndarray) -> tuple[int, int]:
    """How many brackets open and close in a text: NumPy counts a byte several times faster than `bytes.count`."""
    return int(np.count_nonzero(signs == ord("["))), int(np.count_nonzero(signs == ord("]")))


def _end(signs: np.ndarray, depth: int) -> int:
    """The end of the lists, of which `depth` are open at the start. Raises: ValueError if they do not end."""
    brackets = np.flatnonzero((signs == ord("[")) | (signs == ord("]")))
    depths = np.cumsum(np.where(signs[brackets] == ord("["), 1, -1)) + depth
    ends = np.flatnonzero(depths == 0)
    if not ends.size:
        raise ValueError("lists without an end")
    return int(brackets[ends[0]]) + 1
