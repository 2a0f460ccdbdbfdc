"""JSON text to Python values and back, without loss and without ever writing invalid JSON.

    bytes ──read──▶ value          orjson, or the standard library for what orjson refuses or would round
    value ──write──▶ bytes         orjson, or a recursive conversion of what orjson cannot write

The slow paths exist for integers beyond 64 bits, NaN literals, other Unicode encodings, keys that are not strings,
lone surrogates, and error messages with the path in the value.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, NoReturn

import msgspec
import orjson

from infergraph.errors import PayloadError
from infergraph.settings import NanPolicy
from infergraph.wire import charsets
from infergraph.wire.json_values import default, plain


class JsonOptions(msgspec.Struct, frozen=True):
    """Options for writing JSON answers.

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
        """Whether text that is already JSON may be sent unchanged."""
        return not (self.sort_keys or self.ascii or self.pretty)


PLAIN = JsonOptions()
LITERAL = JsonOptions(nan=NanPolicy.LITERAL)

UNREADABLE = "Can't find JSON in data: "
"""The beginning of every error message of `read`."""

READ_DEPTH_LIMIT = 1024
"""Maximum nesting depth: orjson's limit, also applied where the standard library would accept more."""

_WIDE_INTEGER = re.compile(rb"(?<![0-9.])(?:-[0-9]{19}|[0-9]{20})")
_DIGITS_TO_ZERO = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_STARTS = frozenset(b'{["0123456789-tfn \t\r\n')


def has_long_number(raw: bytes) -> bool:
    """Whether `raw` contains 19 consecutive digits; without them every integer fits in 63 bits."""
    return b"0" * 19 in raw.translate(_DIGITS_TO_ZERO)


def has_wide_integer(raw: bytes) -> bool:
    """Whether `raw` may contain an integer beyond 64 bits, which orjson would round to a float. No false negatives."""
    # Try one pass in C first: for most bodies it is ten times faster than the regular expression.
    return has_long_number(raw) and _WIDE_INTEGER.search(raw) is not None


def is_narrow(raw: bytes) -> bool:
    """Whether `raw` certainly contains neither an integer near the limits of 64 bits nor an escaped NUL."""
    return b"\\u0000" not in raw and b"0" * 19 not in raw.translate(_DIGITS_TO_ZERO)


def is_utf8_json(raw: bytes) -> bool:
    """Whether `raw` begins like JSON in UTF-8 without a byte order mark (it may still be invalid)."""
    return len(raw) > 0 and raw[0] in _STARTS and raw[1:2] != b"\0"


def is_read(raw: bytes) -> bool:
    """Whether `read` accepts a text."""
    try:
        read(raw)
    except PayloadError:
        return False
    return True


def has_literal(raw: bytes) -> bool:
    """Whether `raw` contains a NaN or Infinity literal, which is not valid JSON, or is not JSON at all."""
    if b"NaN" not in raw and b"Infinity" not in raw:
        return False
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return True
    return False


def read(raw: bytes, content_type: str = "", *, narrow: bool = False) -> Any:
    """The JSON value of `raw`.

    Accepts everything the standard library does: a byte order mark, UTF-16 and UTF-32, NaN and Infinity literals,
    numbers beyond a double (infinities), repeated keys (the last wins), lone surrogates in escapes. Integers keep all
    their digits.

    Args:
        content_type: its charset is used for bytes that are not Unicode.
        narrow: whether `is_narrow(raw)` is known to be true.
    Raises:
        PayloadError: it is not JSON, is nested too deeply, or has text after its end; the message has the position.
    """
    if narrow or not has_wide_integer(raw):
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass  # the standard library accepts more, and clients know its error messages
    try:
        value = json.loads(raw)
    except json.JSONDecodeError as error:
        raise PayloadError(f"{UNREADABLE}{error}") from error
    except UnicodeDecodeError as error:
        if label := charsets.label_of(content_type):
            return read(charsets.text_of(raw, label, "the body").encode())
        text = f"{UNREADABLE}it is not valid {error.encoding} at byte {error.start}"
        raise PayloadError(text) from error
    except RecursionError as error:
        raise PayloadError(f"{UNREADABLE}it is nested too deeply") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise PayloadError(f"{UNREADABLE}{_long_integer(raw) or error}") from error
    if is_deeper(value, READ_DEPTH_LIMIT):
        raise PayloadError(f"{UNREADABLE}it is nested too deeply")
    return value


def refuse_null() -> NoReturn:
    """The fault of a body that is null. Raises: PayloadError."""
    raise PayloadError(f"{UNREADABLE}the body is null")


def _long_integer(raw: bytes) -> str:
    """The position of the first integer with too many digits; empty if there is none."""
    limit = sys.get_int_max_str_digits()
    found = re.search(rb"[0-9]{%d,}" % (limit + 1), raw) if limit else None
    return f"an integer of {len(found[0])} digits at byte {found.start()}; {limit} are read" if found else ""


def is_deeper(value: Any, limit: int) -> bool:
    """Whether lists and objects are nested more than `limit` deep. Does not recurse."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for parent in level
            if isinstance(parent, list | dict)
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, list | dict)
        ]
        if not level:
            return False
    return True


_FAST = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def write(value: Any, options: JsonOptions = PLAIN, path: str = "") -> bytes:
    """`value` as JSON in UTF-8.

    NumPy scalars and arrays, tuples, dates (as RFC 1123), decimals, UUIDs, enums and dataclasses are supported;
    float32 is widened exactly; keys that are numbers become text like in the standard library.

    Args:
        path: of the value, for the error message.
    Raises:
        ComponentError: part of it cannot be written; the text names its type and path.
    """
    try:
        written = orjson.dumps(value, default, _orjson_option(options))
    except TypeError:
        pass  # the conversion below either succeeds or reports the type and path
    else:
        if options.nan is NanPolicy.NULL or b"null" not in written:  # orjson writes NaN as null
            return _finish(written, options)
    values = plain(value, options.nan, path)
    text = json.dumps(
        values,
        ensure_ascii=options.ascii,
        sort_keys=options.sort_keys,
        indent=2 if options.pretty else None,
        separators=(",", ": ") if options.pretty else (",", ":"),
    )
    return text.encode()


def written_exactly(value: Any) -> bytes | None:
    """`value` as JSON with NaN and the infinities as literals; None where that needs a look at each value."""
    try:
        written = orjson.dumps(value, default, _FAST)
    except TypeError:
        return None
    return None if b"null" in written else written  # orjson writes NaN as null


def fragment(value: Any, options: JsonOptions) -> orjson.Fragment:
    """Encoded JSON, as part of a value for `write_numbers`."""
    return orjson.Fragment(write(value, options))


def write_numbers(value: Any, options: JsonOptions) -> bytes | None:
    """The same JSON as `write`, without a copy of its arrays' text.

    Args:
        value: JSON's own types, fragments, and arrays from `direct`.
    Returns: None if it may contain NaN, or if orjson cannot write it.
    """
    try:
        written = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # a lone surrogate, an integer of more than 64 bits
        return None
    return written if options.nan is NanPolicy.NULL or b"null" not in written else None


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
