"""Converts values of other types to JSON's types: NumPy's, dates, decimals, identifiers, dataclasses.

value ──default──▶ a value that orjson supports, for one that it does not
value ──plain──▶ the complete value in dicts, lists, str, int, float, bool and None, or a fault with the path
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from email.utils import format_datetime
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from infergraph.errors import ComponentError, NestedTooDeeply
from infergraph.settings import NanPolicy

DEPTH_LIMIT = 300
"""Maximum nesting depth that is written: more than orjson's 254, and small enough for any thread's stack."""

_FIRST_DATE, _LAST_DATE = np.datetime64("0001-01-01", "s"), np.datetime64("9999-12-31", "s")
_SMALL_ARRAY = 64
_SHORT_BITS = 2000
"""An integer of so many bits has fewer digits than the least limit that Python can be given (640)."""
_AS_NULL = " (--nan null, and --task-nan null for tasks, write null)"
BLOCK_VALUES = 1 << 20
"""Maximum numbers that are encoded in one call."""


def plain(value: Any, nan: NanPolicy = NanPolicy.LITERAL, path: str = "") -> Any:
    """`value` in JSON's own types only: dicts with text keys, lists, str, int, float, bool and None.

    Args:
        nan: LITERAL keeps NaN and the infinities, NULL makes them None, ERROR refuses them.
        path: of the value, for the error message.
    Raises:
        ComponentError: part of it cannot be written; the text names its type and path.
    """
    try:
        return _Walk(nan).plain(value, path, 0)
    except RecursionError as error:  # the caller's own stack was deep already
        raise NestedTooDeeply("the answer is nested too deeply") from error


def default(value: Any) -> Any:
    """The `default` function for orjson."""
    if isinstance(value, np.ndarray):
        return array_value(value)
    if isinstance(value, np.generic):
        if value.dtype.kind in "biuf":
            return value.item() if value.dtype.itemsize <= 8 else float(value)
        if value.dtype.kind == "M":
            return _dated(value)
    if is_missing(value):
        return None
    if isinstance(value, datetime):
        return _http_date(value)
    raise TypeError(type(value).__name__)


def is_missing(value: Any) -> bool:
    """Whether a value is pandas' NA, or its NaT, which is a datetime that cannot be formatted."""
    return type(value).__name__ in _MISSING and type(value).__module__.startswith("pandas")


_MISSING = frozenset({"NAType", "NaTType"})


def array_value(values: np.ndarray) -> Any:
    """An array in the form that orjson writes fastest: encoded text if it is large and numeric, otherwise lists."""
    kind = values.dtype.kind
    if kind in "iuf" and values.size > _SMALL_ARRAY:
        return orjson.Fragment(numbers_text(values))
    if kind == "M":
        return _dated(values)
    if kind == "f" and values.dtype.itemsize > 8:
        return values.astype(np.float64).tolist()
    return values.tolist()


def numbers_text(values: np.ndarray, *, block_values: int = BLOCK_VALUES) -> bytes:
    """The JSON of an array of numbers; a large one is encoded in blocks, so that other threads can run."""
    if values.size <= block_values:
        return orjson.dumps(direct(values), option=orjson.OPT_SERIALIZE_NUMPY)
    step = len(values) * block_values // values.size
    if step:
        rows = [values[start : start + step] for start in range(0, len(values), step)]
        blocks = [numbers_text(block, block_values=block_values)[1:-1] for block in rows]
    else:
        blocks = [numbers_text(row, block_values=block_values) for row in values]
    return b"[" + b",".join(blocks) + b"]"


_FEW_VALUES = 64
"""So few numbers are written sooner from a list."""


def flat_elements(values: np.ndarray) -> Any:
    """All numbers of an array in one list, each in its own width, for `json_text.write_numbers`.

    Returns: an array, or a list where orjson's NumPy option is not safe; text, written in blocks between which other
        threads run, if they are very many and none is NaN.
    """
    flat = values.ravel() if values.dtype.isnative else values.ravel().astype(values.dtype.newbyteorder("="))
    if flat.size <= _FEW_VALUES and flat.dtype != np.float32:
        return flat.tolist()
    if flat.size <= BLOCK_VALUES:
        return _as_orjson_takes(flat)
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        return _as_orjson_takes(flat)
    starts = range(0, flat.size, BLOCK_VALUES)
    blocks = (_as_orjson_takes(flat[start : start + BLOCK_VALUES]) for start in starts)
    return orjson.Fragment(b"[%b]" % b",".join([orjson.dumps(block, option=_NUMPY)[1:-1] for block in blocks]))


def _as_orjson_takes(flat: np.ndarray) -> Any:
    return flat if flat.dtype != np.float64 or fits_orjson(flat) else flat.tolist()


_NUMPY = orjson.OPT_SERIALIZE_NUMPY


def direct(values: np.ndarray) -> Any:
    """Numbers for orjson's NumPy option: in C order and native byte order, floats with 64 bits.

    A narrower float would be written with the fewest digits of its own width, and so be read back as another double.

    Returns: an array, or lists if the option is not safe.
    """
    if values.dtype.kind != "f":
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    doubles = np.ascontiguousarray(values, dtype=np.float64)
    return doubles if fits_orjson(doubles) else doubles.tolist()


def fits_orjson(doubles: np.ndarray) -> bool:
    """Whether orjson 3.13.0 writes an array without a buffer overflow.

    For each row it reserves 24 bytes per number without the comma, so that a row of only negative numbers with 24
    characters (-1.2345678901234567e-05) exceeds the buffer, which crashes the process sooner or later. Numbers that are
    not negative have at most 23 characters, and those of medium magnitude at most 22: half a row of them compensates
    for the others. test_json_codec.py writes such rows under a checking allocator, and shows when this can be removed.
    """
    if doubles.size == 0 or doubles.min() >= 0:
        return True
    sizes = np.abs(doubles)
    middling = ((sizes >= 1e-3) & (sizes < 1e16)) | (sizes == 0)
    counts = np.count_nonzero(middling, axis=-1)
    return bool(np.all(2 * counts >= doubles.shape[-1]))


def _dated(values: Any) -> Any:
    """Dates of NumPy as (nested lists of) datetimes; NaT as None.

    Years beyond 9999 or before 1, which datetime does not support, are written as NumPy's own text.
    """
    seconds = values.astype("datetime64[s]")
    if np.any(seconds > _LAST_DATE) or np.any(seconds < _FIRST_DATE):
        return np.datetime_as_string(values).tolist()
    return values.astype("datetime64[us]").tolist()


def _http_date(value: date) -> str:
    """A date as RFC 1123 text; one without a time zone is taken as UTC.

    If its time zone leads out of the years 1 to 9999, in ISO 8601 with its time zone.
    """
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return value.isoformat()
    return format_datetime(moment, usegmt=True)


class _Walk:
    """The slow conversion of any value to JSON's own types, or a fault with the path."""

    def __init__(self, nan: NanPolicy) -> None:
        self.nan = nan

    def plain(self, value: Any, path: str, depth: int) -> Any:
        """`value` in dicts, lists, str, int, float, bool and None."""
        if value is None or value is True or value is False:
            return value
        if isinstance(value, Enum):
            return self.plain(value.value, path, depth)
        if isinstance(value, str):
            return text_of(value)
        if isinstance(value, int):
            return self.integer(int(value), path)
        if isinstance(value, float):
            return self.number(float(value), path)
        if depth > DEPTH_LIMIT:
            raise NestedTooDeeply(f"the answer is nested too deeply at {path}")
        if isinstance(value, Mapping):
            return {self.key(key, path): self.plain(item, _member(path, key), depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(item, _element(path, index), depth + 1) for index, item in enumerate(value)]
        if isinstance(value, np.ndarray) and value.dtype.kind != "O":
            return self.array(value, path, depth)
        return self.plain(self.simpler(value, path), path, depth)

    def integer(self, value: int, path: str) -> int:
        """An integer, unless it has more digits than Python converts."""
        if value.bit_length() > _SHORT_BITS:
            try:
                str(value)
            except ValueError as error:
                text = f"the answer holds an integer of too many digits at {path}, which JSON is not written with"
                raise ComponentError(text) from error
        return value

    def number(self, value: float, path: str) -> Any:
        """A float; NaN and the infinities are treated as configured."""
        if math.isfinite(value) or self.nan is NanPolicy.LITERAL:
            return value
        if self.nan is NanPolicy.ERROR:
            raise ComponentError(f"the answer holds {value} at {path}, which JSON cannot express{_AS_NULL}")
        return None

    def array(self, values: np.ndarray, path: str, depth: int) -> Any:
        """An array as nested lists, converted at once if no value needs a check."""
        kind = values.dtype.kind
        if kind in "biu" or (kind == "f" and (self.nan is NanPolicy.LITERAL or np.isfinite(values).all())):
            return values.astype(np.float64).tolist() if kind == "f" else values.tolist()
        return self.plain(_dated(values) if kind == "M" else values.tolist(), path, depth)

    def key(self, key: Any, path: str) -> str:
        """A dict's key as text, like in the standard library."""
        if isinstance(key, str):
            return text_of(key)
        if isinstance(key, np.generic):
            key = key.item()
        if key is None or isinstance(key, bool | int | float):
            return json.dumps(key)
        raise ComponentError(f"the answer has a key of type {type(key).__name__} at {path}, which JSON cannot express")

    def simpler(self, value: Any, path: str) -> Any:
        """One conversion step from another type towards JSON's own types."""
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, np.generic):
            if value.dtype.kind in "biuf":
                return value.item() if value.dtype.itemsize <= 8 else float(value)
            if value.dtype.kind == "M":
                return _dated(value)
        if is_missing(value):
            return None
        if isinstance(value, date):
            return _http_date(value)
        if isinstance(value, Decimal | UUID):
            return str(value)
        if is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in fields(value)}
        place = f" at {path}" if path else ""
        raise ComponentError(f"the answer holds a {type(value).__name__}{place}, which JSON cannot express")


_PATH_LENGTH = 200


def _member(path: str, key: Any) -> str:
    if not path:
        return str(key)
    return f"{path}.{key}" if len(path) < _PATH_LENGTH else path


def _element(path: str, index: int) -> str:
    return f"{path}[{index}]" if len(path) < _PATH_LENGTH else path


def text_of(value: str) -> str:
    """`value` as valid Unicode: lone surrogates, which UTF-8 cannot encode, become replacement characters."""
    try:
        for at in range(0, len(value), _CHARACTERS):  # in parts, so that other threads are let in between
            value[at : at + _CHARACTERS].encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(value)


_CHARACTERS = 1 << 22
"""Characters of a text that are checked at once."""
