"""JSON lists to NumPy arrays, without loss of digits and without more memory than the values need.

NumPy's own conversion is right for almost all lists. It loses digits where 64-bit integers of both signs meet, drops
NUL characters at the end of text, and pads every text to the longest, so that a small body could claim all memory.

    list ──one pass: types and lengths──▶ numpy.array, or an object array if that would lose information
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from infergraph.errors import PayloadError

AXES_LIMIT = 31
"""Maximum axes of an array: NumPy 1 has 32, and would keep deeper lists as objects."""

EMPTY_LIMIT = 1_000_000
"""Maximum rows of an array without elements: they cost the sender nothing, but us a name or a list each."""

TEXT_LIMIT_BYTES = 64 * 1024 * 1024
"""Above this size an array of text has dtype object, unless its texts have similar lengths."""


def array_of(value: Any, field: str) -> np.ndarray:
    """The array of a JSON value.

    Args:
        value: a list, or anything else for an array without axes.
        field: its name, for error messages.
    Returns: int64, uint64, float64, bool, text or object, as the values need: numbers beside text become text, like in
        NumPy, but NaN, which marks a missing value there, becomes None among objects; integers that no single 64-bit
        type can represent stay Python integers in an object array.
    Raises: PayloadError if its rows have different lengths, or there are too many axes.
    """
    try:
        return _array_of(value, field)
    except _Uneven as uneven:
        raise PayloadError(f"{field} is not a regular array: {uneven}") from uneven


def rows_of(value: Any, field: str) -> np.ndarray:
    """The array of a JSON value in a node's answer; rows of different lengths become an array of lists.

    Raises: PayloadError if there are too many axes.
    """
    try:
        return _array_of(value, field)
    except _Uneven:
        rows = np.empty(len(value), dtype=object)
        for place, row in enumerate(value):
            rows[place] = row
        return rows


class _Uneven(Exception):
    """Rows of different lengths, or values beside rows."""


def _array_of(value: Any, field: str) -> np.ndarray:
    found = _Leaves()
    if isinstance(value, list):
        found.visit(value, field, 1)
    else:
        found.take(value)
    has_missing = found.kinds >= _TEXT_AND_FLOAT and has_nan(value)
    keeps_objects = has_missing or (str in found.kinds and found.needs_objects)
    if found.count > _MANY:
        values = _in_parts(value, field, found, np.dtype(object) if keeps_objects else _known_type(found))
        return _without_nan(values) if has_missing else values
    if keeps_objects:
        return _without_nan(_objects(value, field))
    values = _convert(value, field)
    if found.count and found.kinds <= _INTEGERS and values.dtype.kind == "f":
        return _wide_integers(np.array(value, dtype=object))
    return values


def numbers_of(value: list[Any]) -> np.ndarray | None:
    """The float64 array of nested lists of finite numbers; None for anything else."""
    found = _Leaves()
    try:
        found.visit(value, "", 1)
        values = np.array(value, dtype=np.float64) if found.count and found.kinds <= {int, float} else None
    except (PayloadError, _Uneven, ValueError, OverflowError):
        return None
    return values if values is not None and np.isfinite(values).all() else None


def shaped(values: np.ndarray, shape: Sequence[int], field: str) -> np.ndarray:
    """`values` in `shape`, where one size may be -1.

    Raises: PayloadError if they do not fit, naming both sizes.
    """
    try:
        tensor = values.reshape(shape)
    except (ValueError, OverflowError, TypeError) as error:
        text = f"{field} has {values.size} values, which do not fit the shape {_brief(list(shape))}"
        raise PayloadError(text) from error
    return tensor if tensor.size else check_empty(tensor, field)


def check_empty(values: np.ndarray, field: str) -> np.ndarray:
    """Check that an array without elements does not have too many rows, and return it.

    Raises: PayloadError if it does.
    """
    if values.size == 0 and math.prod(size for size in values.shape if size) > EMPTY_LIMIT:
        raise PayloadError(f"{field} has no values but the shape {list(values.shape)}")
    return values


def _brief(shape: list[int]) -> str:
    text = str(shape)
    return text if len(text) <= 200 else f"{text[:200]}…"


_INTEGERS = frozenset({int, bool})
_TEXT_AND_FLOAT = frozenset({str, float})
_TEXT_LENGTHS = {bool: 5, int: 21, float: 32, str: 1}
"""The text length that NumPy reserves for values of other types in an array of text."""
_PLAIN = _TEXT_LENGTHS.keys()
_LONG_TEXT = 1 << 20
"""Above this length a text stays Python's: NumPy's takes four bytes for each character, and is converted at once."""
_MANY = 1 << 16
"""Values processed at a time while holding the GIL."""


class _Leaves:
    """The types and lengths of the values in nested lists."""

    def __init__(self) -> None:
        self.kinds: set[type] = set()
        self.axes = self.count = self.longest = self.text_bytes = 0
        self.ends_in_nul = False

    @property
    def needs_objects(self) -> bool:
        """Whether an array of text would lose characters, or take far more memory or time than the texts alone."""
        padded_bytes = 4 * self.count * self.longest
        return (
            self.ends_in_nul or self.longest > _LONG_TEXT or padded_bytes > max(TEXT_LIMIT_BYTES, 4 * self.text_bytes)
        )

    def visit(self, values: list[Any], field: str, axis: int) -> None:
        if len(values) > _MANY and list not in _kinds(values):
            for start in range(0, len(values), _MANY):
                self.visit(values[start : start + _MANY], field, axis)
            return
        kinds = set(map(type, values))
        if list in kinds:
            if axis >= AXES_LIMIT:
                raise PayloadError(f"{field} has more than {AXES_LIMIT} axes")
            if len(kinds) > 1:
                raise _Uneven("lists beside single values")
            for row in values:
                self.visit(row, field, axis + 1)
            return
        if axis > self.axes:
            self.axes = axis
        self.count += len(values)
        self.kinds |= kinds
        if str in kinds:
            self._measure([value for value in values if type(value) is str])

    def take(self, value: Any) -> None:
        self.kinds.add(type(value))
        self.count += 1
        if type(value) is str:
            self._measure([value])

    def _measure(self, texts: list[str]) -> None:
        lengths = list(map(len, texts))
        self.longest = max(self.longest, max(lengths))
        self.text_bytes += 4 * sum(lengths)
        self.ends_in_nul = self.ends_in_nul or any(text.endswith("\0") for text in texts)


def _kinds(values: list[Any]) -> set[type]:
    """The types of many values, determined in parts, so that other threads can run."""
    kinds: set[type] = set()
    for start in range(0, len(values), _MANY):
        kinds.update(map(type, values[start : start + _MANY]))
    return kinds


def _known_type(found: _Leaves) -> np.dtype[Any] | None:
    """The type that NumPy would choose for many values, if that is certain without inspecting them."""
    if not found.kinds <= _PLAIN:
        return np.dtype(object)
    if str not in found.kinds:
        return None
    return np.dtype(f"<U{max(1, found.longest, *(_TEXT_LENGTHS[kind] for kind in found.kinds))}")


def _in_parts(value: list[Any], field: str, found: _Leaves, dtype: np.dtype[Any] | None) -> np.ndarray:
    """The array of a list of very many values, joined from parts, so that other threads can run."""
    parts = _parts(value, field, found.count, dtype)
    types = {part.dtype.str[1:] for part in parts}
    is_wide = "O" in types or (found.kinds <= _INTEGERS and ("f8" in types or {"i8", "u8"} <= types))
    if is_wide and dtype is None:
        parts = _parts(value, field, found.count, np.dtype(object))
    if any(part.ndim != found.axes or part.shape[1:] != parts[0].shape[1:] for part in parts):
        raise _Uneven("its rows have different lengths")
    values = np.concatenate(parts)
    return _wide_integers(values) if is_wide and found.kinds <= _INTEGERS else values


def _parts(value: list[Any], field: str, count: int, dtype: np.dtype[Any] | None) -> list[np.ndarray]:
    """The arrays of parts of nested lists; `count` is the number of values in all of them."""
    step = max(1, len(value) * _MANY // max(1, count))
    if step > 1 or count <= _MANY or not isinstance(value[0], list):
        return [_convert(value[start : start + step], field, dtype) for start in range(0, len(value), step)]
    return [_row(row, field, count // len(value), dtype) for row in value]


def _row(row: list[Any], field: str, count: int, dtype: np.dtype[Any] | None) -> np.ndarray:
    """The array of a single, long row."""
    parts = _parts(row, field, count, dtype)
    try:
        return np.concatenate(parts)[None]
    except ValueError as error:
        raise _Uneven("its rows have different lengths") from error


def _convert(value: Any, field: str, dtype: np.dtype[Any] | None = None) -> np.ndarray:
    try:
        return np.array(value, dtype)
    except ValueError as error:
        raise _Uneven(str(error)) from error
    except (OverflowError, TypeError, RecursionError, MemoryError) as error:
        raise PayloadError(f"{field} is not a regular array: {error}") from error


def _objects(value: Any, field: str) -> np.ndarray:
    values = np.array(value, dtype=object)
    if any(type(item) is list for item in values.flat):
        raise _Uneven("its rows have different lengths")
    return values


def has_nan(values: list[Any]) -> bool:
    """Whether a NaN is in nested lists."""
    return any(has_nan(value) if type(value) is list else _is_nan(value) for value in values)


def _without_nan(values: np.ndarray) -> np.ndarray:
    """An object array with None in the place of NaN."""
    values[np.array([_is_nan(value) for value in values.flat], dtype=bool).reshape(values.shape)] = None
    return values


def _is_nan(value: Any) -> bool:
    return type(value) is float and math.isnan(value)


def _wide_integers(values: np.ndarray) -> np.ndarray:
    """Integers that NumPy would convert to floats: unsigned if none is negative, otherwise unchanged."""
    if values.size and min(values.flat) >= 0 and max(values.flat) < 2**64:
        return values.astype(np.uint64)
    return values


def is_square(values: np.ndarray | Sequence[Any]) -> bool:
    """Whether each item has as many items as there are items, so that counting cannot show which axis is the row."""
    count = len(values)
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        return values.ndim > 1 and values.shape[1] == count
    return count > 0 and all(_length(item) == count for item in values)


def _length(item: Any) -> int:
    """The number of items of a list or array; -1 for anything else."""
    if isinstance(item, list | tuple) or (isinstance(item, np.ndarray) and item.ndim):
        return len(item)
    return -1
