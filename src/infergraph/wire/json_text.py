"""JSON text to Python values and back, losing nothing and never writing what is not JSON.

    bytes ──read──▶ value          orjson, or the standard library for what orjson refuses or would round
    value ──write──▶ bytes         orjson, or a walk over the value for what orjson cannot write

The slow ways exist for integers beyond 64 bits, NaN literals, other Unicode encodings, keys that are not strings,
lone surrogates, and faults that must name the place in the value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from email.utils import format_datetime
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import orjson

from infergraph.errors import ComponentError, PayloadError
from infergraph.settings import NanPolicy


class JsonOptions(msgspec.Struct, frozen=True):
    """How JSON answers are written.

    Args:
        nan: what NaN and the infinities become.
        sort_keys: keys in alphabetical order at every level.
        ascii: non-ASCII text as escapes.
        pretty: indented by two.
    """

    nan: NanPolicy = NanPolicy.NULL
    sort_keys: bool = False
    ascii: bool = False
    pretty: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether text that is already JSON may go out as it is."""
        return not (self.sort_keys or self.ascii or self.pretty)


PLAIN = JsonOptions()

DEPTH_LIMIT = 300
"""Levels of nesting that are written: more than orjson's 254, and few enough for any thread's stack."""

_WIDE_INTEGER = re.compile(rb"(?<![0-9.])(?:-[0-9]{19}|[0-9]{20})")
_DIGITS_TO_ZERO = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_STARTS = frozenset(b'{["0123456789-tfn \t\r\n')


def has_long_number(raw: bytes) -> bool:
    """Whether 19 digits stand in a row somewhere in `raw`; without them every integer fits in 63 bits."""
    return b"0" * 19 in raw.translate(_DIGITS_TO_ZERO)


def has_wide_integer(raw: bytes) -> bool:
    """Whether `raw` may hold an integer beyond 64 bits, which orjson would round to a float. Never a false no."""
    # One pass in C comes first: on most bodies it is ten times faster than the expression.
    return has_long_number(raw) and _WIDE_INTEGER.search(raw) is not None


def is_narrow(raw: bytes) -> bool:
    """Whether `raw` surely holds neither an integer near the end of 64 bits nor an escaped NUL."""
    return b"\\u0000" not in raw and not has_long_number(raw)


def is_utf8_json(raw: bytes) -> bool:
    """Whether `raw` begins as JSON in UTF-8 without a byte order mark does (it may still be invalid)."""
    return len(raw) > 0 and raw[0] in _STARTS and raw[1:2] != b"\0"


def has_literal(raw: bytes) -> bool:
    """Whether `raw` holds a NaN or Infinity literal, which is not JSON, or is no JSON at all."""
    if b"NaN" not in raw and b"Infinity" not in raw:
        return False
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return True
    return False


def read(raw: bytes, *, narrow: bool = False) -> Any:
    """The JSON value of `raw`.

    Accepts what the standard library does: a byte order mark, UTF-16 and UTF-32, NaN and Infinity literals, repeated
    keys (the last wins), lone surrogates in escapes. Integers keep all their digits.

    Args:
        narrow: `is_narrow(raw)` is known to hold.
    Raises:
        PayloadError: it is not JSON, is nested too deeply, or has text after its end; the position is in the text.
    """
    if narrow or not has_wide_integer(raw):
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass  # the standard library reads more, and words its errors as clients know them
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        raise PayloadError(f"Can't find JSON in data: {error}") from error
    except UnicodeDecodeError as error:
        raise PayloadError(
            f"Can't find JSON in data: it is not valid {error.encoding} at byte {error.start}"
        ) from error
    except RecursionError as error:
        raise PayloadError("Can't find JSON in data: it is nested too deeply") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise PayloadError(f"Can't find JSON in data: {error}") from error


_FIRST_DATE, _LAST_DATE = np.datetime64("0001-01-01", "s"), np.datetime64("9999-12-31", "s")
_SMALL_ARRAY = 64
_FAST = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def write(value: Any, options: JsonOptions = PLAIN) -> bytes:
    """`value` as JSON in UTF-8.

    NumPy scalars and arrays, tuples, dates (as RFC 1123), decimals, UUIDs, enums and dataclasses are written too;
    float32 is widened exactly; keys that are numbers become text as the standard library makes it.

    Raises:
        ComponentError: something in it cannot be written; the text names its type and place.
    """
    try:
        written = orjson.dumps(value, _default, _orjson_option(options))
    except TypeError:
        pass  # the walk below either writes it or says what is wrong where
    else:
        if options.nan is NanPolicy.NULL or b"null" not in written:  # orjson writes NaN as null
            return _finish(written, options)
    plain = _walked(value, options.nan)
    text = json.dumps(
        plain,
        ensure_ascii=options.ascii,
        sort_keys=options.sort_keys,
        indent=2 if options.pretty else None,
        separators=(",", ": ") if options.pretty else (",", ":"),
    )
    return text.encode()


def fragment(value: Any, options: JsonOptions) -> orjson.Fragment:
    """`value` written already, as part of a value for `write_numbers`."""
    return orjson.Fragment(write(value, options))


def write_numbers(value: Any, options: JsonOptions) -> bytes | None:
    """`value` as `write` gives it, without a copy of its arrays' text.

    Args:
        value: JSON's own types, fragments, and arrays that `direct` gave.
    Returns: None where a NaN needs a look.
    """
    written = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return written if options.nan is NanPolicy.NULL or b"null" not in written else None


def plain(value: Any) -> Any:
    """`value` in JSON's own types only: dicts with text keys, lists, str, int, float (also NaN), bool and None.

    Raises: ComponentError as `write` does.
    """
    return _walked(value, NanPolicy.LITERAL)


def _walked(value: Any, nan: NanPolicy) -> Any:
    try:
        return _Walk(nan).plain(value, "", 0)
    except RecursionError as error:  # the caller's own stack was deep already
        raise ComponentError("the answer is nested too deeply") from error


def _orjson_option(options: JsonOptions) -> int:
    option = _FAST
    if options.sort_keys:
        option |= orjson.OPT_SORT_KEYS
    if options.pretty:
        option |= orjson.OPT_INDENT_2
    return option


def _finish(written: bytes, options: JsonOptions) -> bytes:
    if not options.ascii or written.isascii():
        return written
    return _NON_ASCII.sub(_escape, written.decode()).encode("ascii")


_NON_ASCII = re.compile(r"[^\x00-\x7f]")


def _escape(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def _default(value: Any) -> Any:
    """What orjson asks for values that it does not know."""
    if isinstance(value, np.ndarray):
        return array_value(value)
    if isinstance(value, np.generic):
        if value.dtype.kind in "biuf":
            return value.item() if value.dtype.itemsize <= 8 else float(value)
        if value.dtype.kind == "M":
            return _dated(value)
    if isinstance(value, datetime):
        return _http_date(value)
    raise TypeError(type(value).__name__)


def array_value(values: np.ndarray) -> Any:
    """An array as what orjson writes best: text already where it is large and numeric, else lists."""
    kind = values.dtype.kind
    if kind in "iuf" and values.size > _SMALL_ARRAY:
        return orjson.Fragment(orjson.dumps(direct(values), option=orjson.OPT_SERIALIZE_NUMPY))
    if kind == "M":
        return _dated(values)
    if kind == "f" and values.dtype.itemsize > 8:
        return values.astype(np.float64).tolist()
    return values.tolist()


def direct(values: np.ndarray) -> Any:
    """Numbers as orjson's NumPy option takes them: C order, native bytes, no float narrower than 64 bits.

    A narrower float would be written with the fewest digits of its own width, and so read back as another double.

    Returns: an array, or lists where the option is not safe.
    """
    if values.dtype.kind != "f":
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    doubles = np.ascontiguousarray(values, dtype=np.float64)
    return doubles if _fits_orjson(doubles) else doubles.tolist()


def _fits_orjson(doubles: np.ndarray) -> bool:
    """Whether orjson 3.13.0 writes an array within its memory.

    For each row it reserves 24 bytes a number and forgets the comma, so that a row of nothing but negative numbers of
    24 characters (-1.2345678901234567e-05) runs over the end and ends the process sooner or later. Numbers that are
    not negative have at most 23 characters, and those of middling size at most 22: half a row of them makes up for any
    others. test_json_codec.py writes such rows under a checking allocator; it tells when this can go.
    """
    if doubles.size == 0 or doubles.min() >= 0:
        return True
    sizes = np.abs(doubles)
    middling = ((sizes >= 1e-3) & (sizes < 1e16)) | (sizes == 0)
    counts = np.count_nonzero(middling, axis=-1)
    return bool(np.all(2 * counts >= doubles.shape[-1]))


def _dated(values: Any) -> Any:
    """Dates of NumPy as (nested lists of) datetimes; NaT as None.

    Where a year is beyond 9999 or before 1, which datetimes cannot be, as NumPy's own text.
    """
    seconds = values.astype("datetime64[s]")
    if np.any(seconds > _LAST_DATE) or np.any(seconds < _FIRST_DATE):
        return np.datetime_as_string(values).tolist()
    return values.astype("datetime64[us]").tolist()


def _http_date(value: date) -> str:
    """A date as RFC 1123 text; one without a zone is taken as UTC."""
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return format_datetime(moment, usegmt=True)


class _Walk:
    """The slow conversion of any value to what the standard library writes, or the fault that names the place."""

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
            return int(value)
        if isinstance(value, float):
            return self.number(float(value), path)
        if depth > DEPTH_LIMIT:
            raise ComponentError(f"the answer is nested too deeply at {path}")
        if isinstance(value, Mapping):
            return {self.key(key, path): self.plain(item, _member(path, key), depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(item, _element(path, index), depth + 1) for index, item in enumerate(value)]
        if isinstance(value, np.ndarray) and value.dtype.kind != "O":
            return self.array(value, path, depth)
        return self.plain(self.simpler(value, path), path, depth)

    def number(self, value: float, path: str) -> Any:
        """A float, where NaN and the infinities follow the policy."""
        if math.isfinite(value) or self.nan is NanPolicy.LITERAL:
            return value
        if self.nan is NanPolicy.ERROR:
            raise ComponentError(f"the answer holds {value} at {path}, which JSON cannot express")
        return None

    def array(self, values: np.ndarray, path: str, depth: int) -> Any:
        """An array as nested lists, by the short way where nothing in it needs a look."""
        kind = values.dtype.kind
        if kind in "biu" or (kind == "f" and (self.nan is NanPolicy.LITERAL or np.isfinite(values).all())):
            return values.astype(np.float64).tolist() if kind == "f" else values.tolist()
        return self.plain(_dated(values) if kind == "M" else values.tolist(), path, depth)

    def key(self, key: Any, path: str) -> str:
        """A dict's key as text, by the standard library's rule."""
        if isinstance(key, str):
            return text_of(key)
        if isinstance(key, np.generic):
            key = key.item()
        if key is None or isinstance(key, bool | int | float):
            return json.dumps(key)
        raise ComponentError(f"the answer has a key of type {type(key).__name__} at {path}, which JSON cannot express")

    def simpler(self, value: Any, path: str) -> Any:
        """One step from a type beyond JSON's own towards one of them."""
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, np.generic):
            if value.dtype.kind in "biuf":
                return value.item() if value.dtype.itemsize <= 8 else float(value)
            if value.dtype.kind == "M":
                return _dated(value)
        if isinstance(value, date):
            return _http_date(value)
        if isinstance(value, Decimal | UUID):
            return str(value)
        if is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in fields(value)}
        raise ComponentError(f"the answer holds a {type(value).__name__} at {path}, which JSON cannot express")


_PATH_LENGTH = 200


def _member(path: str, key: Any) -> str:
    if not path:
        return str(key)
    return f"{path}.{key}" if len(path) < _PATH_LENGTH else path


def _element(path: str, index: int) -> str:
    return f"{path}[{index}]" if len(path) < _PATH_LENGTH else path


def text_of(value: str) -> str:
    """`value` as valid Unicode: a lone surrogate, which UTF-8 cannot carry, becomes the replacement character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(value)
