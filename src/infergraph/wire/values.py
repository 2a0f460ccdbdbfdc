"""JSON values as `google.protobuf.Value`, and back.

Numbers are doubles there: an integer beyond 2**53 loses digits, which is the protocol's limit and not ours to hide.
The place of a value that does not fit is found on the way out of the nested calls, so that it costs nothing before.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np

from infergraph.errors import ComponentError
from infergraph.wire.fields import delimited, varint
from infergraph.wire.json_values import text_of

DEPTH_LIMIT = 96
"""Messages inside messages, of which a list takes two and an object three: beyond a hundred most readers refuse."""

_number = struct.Struct("<Bd").pack
_listed_number = struct.Struct("<BBBd").pack
_NULL = b"\x08\x00"
_TRUE, _FALSE = b"\x20\x01", b"\x20\x00"
_PATH_PARTS = 20


class _Unfit(Exception):
    """A value that has no place in protobuf; `steps` lead to it, the last step first."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.steps: list[str] = []

    def fault(self, path: str) -> ComponentError:
        steps = "".join(reversed(self.steps[-_PATH_PARTS:]))
        return ComponentError(f"the answer holds {self.what} at {path}{steps}, which protobuf cannot express")


def encode_value(value: Any, path: str, depth: int = 1) -> bytes:
    """`value` as the bytes of a Value that is `depth` messages deep.

    Raises: ComponentError for what a Value cannot hold; it names the type and, after `path`, the place.
    """
    try:
        return _value(value, depth)
    except _Unfit as unfit:
        raise unfit.fault(path) from unfit


def encode_list(values: Sequence[Any], path: str, depth: int) -> bytes:
    """`values` as the bytes of a ListValue that is `depth` messages deep.

    Raises: ComponentError as `encode_value` does.
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
        raise _Unfit("too many levels")
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
    """One step from a type beyond JSON's towards one of them."""
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
    """A dict's key as text, by the rule of the standard library's JSON."""
    if isinstance(key, np.generic):
        key = key.item()
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return repr(key)
    raise _Unfit(f"a key of type {type(key).__name__}")


def utf8(text: str) -> bytes:
    """`text` in UTF-8; a lone surrogate becomes the replacement character."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text_of(text).encode()


def decode_value(value: Any) -> Any:
    """The plain value of a Value message; one that holds nothing is None."""
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
