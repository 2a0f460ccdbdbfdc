"""JSON values as `google.protobuf.Value`, and back.

Numbers are doubles there: an integer beyond 2**53 loses digits, which is a limit of the protocol. The path of a value
that cannot be encoded is collected while the exception unwinds, so that it costs nothing otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Any
from uuid import UUID

import numpy as np

from infergraph.errors import ComponentError, NestedTooDeeply
from infergraph.wire import number_lists, prediction
from infergraph.wire.fields import DELIMITED, delimited, split, utf8, varint

DEPTH_LIMIT = 96
"""Nesting depth of messages, of which a list takes two and an object three: most parsers refuse more than 100."""

_number = struct.Struct("<Bd").pack
_listed_number = struct.Struct("<BBBd").pack
_NULL = b"\x08\x00"
_TRUE, _FALSE = b"\x20\x01", b"\x20\x00"
_PATH_PARTS = 20
_TOO_DEEP = "too many levels"
_PART_BYTES = 1 << 16
"""Bytes parsed at a time while holding the GIL."""
_STRUCT_FIELD, _LIST_FIELD = 5, 6


class _Unfit(Exception):
    """A value that protobuf cannot represent; `steps` is the path to it, the last step first."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.steps: list[str] = []

    def fault(self, path: str) -> ComponentError:
        steps = "".join(reversed(self.steps[-_PATH_PARTS:]))
        fault = NestedTooDeeply if self.what == _TOO_DEEP else ComponentError
        return fault(f"the answer holds {self.what} at {path}{steps}, which protobuf cannot express")


def encode_value(value: Any, path: str, depth: int = 1) -> bytes:
    """`value` as the bytes of a Value at nesting depth `depth`.

    Raises: ComponentError for what a Value cannot represent; it names the type and the path, beginning with `path`.
    """
    try:
        return _value(value, depth)
    except _Unfit as unfit:
        raise unfit.fault(path) from unfit


def encode_list(values: Sequence[Any], path: str, depth: int) -> bytes:
    """`values` as the bytes of a ListValue at nesting depth `depth`.

    Raises: ComponentError like `encode_value`.
    """
    try:
        return _list(values, depth)
    except _Unfit as unfit:
        raise unfit.fault(path) from unfit


def _value(value: Any, depth: int) -> bytes:
    kind = type(value)
    if kind is float or kind is int:
        try:
            return _number(0x11, value)
        except (struct.error, OverflowError) as error:
            raise _Unfit("an integer too large for a double") from error
    if kind is str:
        return delimited(b"\x1a", utf8(value))
    if value is None:
        return _NULL
    if kind is bool:
        return _TRUE if value else _FALSE
    if depth > DEPTH_LIMIT:
        raise _Unfit(_TOO_DEEP)
    if isinstance(value, Mapping):
        return delimited(b"\x2a", _struct(value, depth + 3))
    if isinstance(value, list | tuple):
        return delimited(b"\x32", _list(value, depth + 2))
    return _value(_plainer(value), depth)


def _list(values: Sequence[Any], depth: int) -> bytes:
    parts: list[bytes] = []
    try:
        for value in values:
            if type(value) is float:
                parts.append(_listed_number(0x0A, 9, 0x11, value))
            else:
                encoded = _value(value, depth)
                parts.append(b"\x0a" + varint(len(encoded)) + encoded)
    except _Unfit as unfit:
        unfit.steps.append(f"[{len(parts)}]")
        raise
    return b"".join(parts)


def _struct(values: Mapping[Any, Any], depth: int) -> bytes:
    parts: list[bytes] = []
    for key, value in values.items():
        name = key if isinstance(key, str) else _key(key)
        try:
            entry = delimited(b"\x0a", utf8(name)) + delimited(b"\x12", _value(value, depth))
        except _Unfit as unfit:
            unfit.steps.append(f".{name[:40]}")
            raise
        parts.append(delimited(b"\x0a", entry))
    return b"".join(parts)


def _plainer(value: Any) -> Any:
    """One conversion step from another type towards JSON's own types."""
    if isinstance(value, Enum):
        return value.value
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufUO":
        return value.tolist()
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item() if value.dtype.itemsize <= 8 else float(value)
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise _Unfit(f"a {type(value).__name__}")


def _key(key: Any) -> str:
    """A dict's key as text, like in the standard library's JSON."""
    if isinstance(key, np.generic):
        key = key.item()
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return repr(key)
    raise _Unfit(f"a key of type {type(key).__name__}")


def decode_value(value: Any) -> Any:
    """The plain value of a Value message; an empty one is None."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return value.number_value
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [decode_value(item) for item in value.list_value.values]
    if kind == "struct_value":
        return {name: decode_value(item) for name, item in value.struct_value.fields.items()}
    return None


def decode_list_bytes(raw: memoryview, depth: int = 1, *, part_bytes: int = _PART_BYTES) -> list[Any]:
    """The plain values of a serialized ListValue of any size: read in parts, so that other threads can run.

    Raises: ValueError or DecodeError if it is not valid.
    """
    numbers = number_lists.decode(raw) if len(raw) > part_bytes else None
    if numbers is not None:
        listed: list[Any] = numbers.tolist()
        return listed
    values: list[Any] = []
    for part, item in _parts(raw, part_bytes):
        if item is None:
            values.extend(map(decode_value, prediction.ListValue.FromString(bytes(part)).values))
        else:
            values.append(decode_value_bytes(item, depth + 1, part_bytes=part_bytes))
    return values


def decode_value_bytes(raw: memoryview, depth: int = 1, *, part_bytes: int = _PART_BYTES) -> Any:
    """The plain value of a serialized Value of any size."""
    fields = list(islice(split(raw), 2)) if len(raw) > part_bytes and depth < DEPTH_LIMIT else []
    if len(fields) == 1:
        number, kind, start, end = fields[0]
        if (number, kind) == (_LIST_FIELD, DELIMITED):
            return decode_list_bytes(raw[start:end], depth + 1, part_bytes=part_bytes)
        if (number, kind) == (_STRUCT_FIELD, DELIMITED):
            return _decode_struct_bytes(raw[start:end], depth + 1, part_bytes)
    return decode_value(prediction.Value.FromString(bytes(raw)))


def _decode_struct_bytes(raw: memoryview, depth: int, part_bytes: int) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for part, item in _parts(raw, part_bytes):
        entry = [] if item is None else [(*field[:2], item[field[2] : field[3]]) for field in islice(split(item), 3)]
        if [field[:2] for field in entry] == [(1, DELIMITED), (2, DELIMITED)]:
            members[str(entry[0][2], "utf-8")] = decode_value_bytes(entry[1][2], depth + 1, part_bytes=part_bytes)
        else:
            fields = prediction.Struct.FromString(bytes(part)).fields
            members.update((name, decode_value(value)) for name, value in fields.items())
    return members


def _parts(raw: memoryview, part_bytes: int) -> Iterator[tuple[memoryview, memoryview | None]]:
    """The items of a list or struct: the fields of several, or the field of a single large one and its value."""
    begin = at = 0
    for number, kind, start, end in split(raw):
        if end - start > part_bytes and (number, kind) == (1, DELIMITED):
            if at > begin:
                yield raw[begin:at], None
            yield raw[at:end], raw[start:end]
            begin = end
        elif end - begin > part_bytes:
            yield raw[begin:end], None
            begin = end
        at = end
    if at > begin:
        yield raw[begin:at], None
