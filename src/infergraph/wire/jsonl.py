"""The JSONL codec: lines to rows and back, one output line for each input line.

    block of whole lines ──split──▶ lines ──read──▶ rows (or the reason why one is bad)
    rows ──write──▶ lines (or the reason why an answer cannot be one)

Lines end only at `\\n`: the other line separators of Unicode are data. A line is read like the body of a request
(`json_text.read`): integers of any size stay integers, NaN, the infinities and lone surrogates are accepted. Whether
NaN may be written is the caller's choice.
"""

from __future__ import annotations

import math
from json import JSONDecodeError
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson

from infergraph.errors import ComponentError, PayloadError, UploadTooLarge
from infergraph.settings import NanPolicy
from infergraph.wire import error_lines, json_slices, json_text, transcoding
from infergraph.wire.bodies_memory import BodiesMemory, ValuesAccount
from infergraph.wire.json_text import JsonOptions
from infergraph.wire.json_values import fits_orjson

BOM = b"\xef\xbb\xbf"
_POLICIES = {policy: JsonOptions(nan=policy) for policy in NanPolicy}
_NAME_IT = "; name the encoding of the file if it is another (--encoding gb18030, charset=gb18030)"
_DIGITS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_WIDE = b"0" * 19
_VALUES_LIMIT_BYTES = 1 << 30
_encode_lines = msgspec.json.Encoder().encode_lines
_WRITE = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


class Bad(NamedTuple):
    """Takes the place of a row or answer that does not exist, with the reason."""

    reason: str


def split(block: bytes) -> list[bytes]:
    """The lines of a block, without their `\\n`, which is optional for the last line."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def read(block: bytes, charset: str = "") -> tuple[list[bytes], list[Any]]:
    """The raw lines of a block of complete lines, and for each the JSON value, or `Bad`.

    Args:
        charset: of the file that was transcoded to UTF-8; empty for none.
    """
    lines = split(block)
    is_usual = len(block) < json_slices.LARGE_BYTES or max(map(len, lines)) < json_slices.LARGE_BYTES
    if is_usual and _WIDE not in block.translate(_DIGITS):
        try:
            return lines, list(map(orjson.loads, lines))
        except orjson.JSONDecodeError:
            pass  # one of them is bad: find out which
    return lines, [read_line(line, charset) for line in lines]


def read_line(line: bytes, charset: str = "") -> Any:
    """The JSON value of one line, or `Bad` with the reason and the position; `charset` as in `read`."""
    if not line.strip():
        return Bad("the line is blank")
    if (unreadable := error_lines.read_bad_line(line)) is not None:
        return Bad(unreadable[0])
    if line.startswith(BOM):
        return Bad("not JSON at column 1: a byte order mark inside the file")
    try:
        line.decode()
    except UnicodeDecodeError as error:
        if charset and (place := transcoding.place_of(line, charset)):
            return Bad(f"not {charset} at byte {place} of the line")
        return Bad(f"not UTF-8 at byte {error.start + 1} of the line{_NAME_IT}")
    try:
        return json_slices.read(line, account=ValuesAccount(BodiesMemory(_VALUES_LIMIT_BYTES)))
    except PayloadError as fault:
        return Bad(_why(fault))
    except UploadTooLarge:
        return Bad(f"the line, of {len(line)} bytes, holds so many values that they would not fit into memory")


def _why(fault: PayloadError) -> str:
    """The reason of a bad line, from the reader's fault."""
    if isinstance(fault.__cause__, JSONDecodeError):
        return f"not JSON at column {fault.__cause__.colno}: {fault.__cause__.msg}"
    return f"not JSON: {fault.text.removeprefix(json_text.UNREADABLE)}"


def write(
    rows: list[Any] | np.ndarray[Any, Any], nan: NanPolicy = NanPolicy.ERROR, *, is_json: bool = False
) -> list[Any]:
    """Each row as JSON without a line end, or `Bad` with the reason why it cannot be written.

    Args:
        rows: a list, or an array, axes (row, …).
        nan: what NaN and the infinities become.
        is_json: whether the rows are a list known to contain only JSON's own types.
    """
    if isinstance(rows, np.ndarray):
        return _write_table(rows) if _is_plain(rows) else write(rows.tolist(), nan)
    try:
        lines = _lines_at_once(rows) if is_json else [orjson.dumps(row, None, _WRITE) for row in rows]
    except (TypeError, ValueError, RecursionError):
        return [write_line(row, nan) for row in rows]
    if nan is not NanPolicy.NULL and b"null" in b"".join(lines):
        for place, line in enumerate(lines):
            if b"null" in line and _has_nan(rows[place]):
                lines[place] = write_line(rows[place], nan)
    return lines


def _lines_at_once(rows: list[Any]) -> list[bytes]:
    """The lines of rows of JSON's own types, in half the time of writing them one by one."""
    lines = _encode_lines(rows).split(b"\n")
    lines.pop()
    return lines


def _is_plain(rows: np.ndarray[Any, Any]) -> bool:
    """Whether the array has one or two axes and only numbers that JSON can express, and orjson writes safely."""
    is_float = rows.dtype == np.float64 and bool(np.isfinite(rows).all()) and fits_orjson(rows)
    plain = rows.dtype.kind in "iub" or is_float
    return plain and rows.dtype.isnative and rows.ndim in (1, 2) and rows.size > 0


def _write_table(rows: np.ndarray[Any, Any]) -> list[bytes]:
    """The rows of a plain array: written in one call and split, in a fifth of the time of writing row by row."""
    text = orjson.dumps(np.ascontiguousarray(rows), None, orjson.OPT_SERIALIZE_NUMPY)
    if rows.ndim == 1:
        return text[1:-1].split(b",")
    return [b"[" + row + b"]" for row in text[2:-2].split(b"],[")]


def write_line(row: Any, nan: NanPolicy = NanPolicy.ERROR) -> Any:
    """One row as JSON without a line end, or `Bad`."""
    try:
        line = json_text.write(row)
        return json_text.write(row, _POLICIES[nan]) if b"null" in line and _has_nan(row) else line
    except ComponentError as error:
        return Bad(error.text)
    except (ValueError, RecursionError) as error:  # more digits than Python writes; a value that contains itself
        return Bad(f"the answer cannot be written as JSON: {error}")


def text_of(value: Any) -> str:
    """The value of a line, or a part of it, as JSON."""
    return json_text.write(value, json_text.LITERAL).decode()


def _has_nan(value: Any) -> bool:
    """Whether `value` contains a float that JSON cannot express, for which null was written."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind == "f" and not bool(np.isfinite(value).all())
    return False
