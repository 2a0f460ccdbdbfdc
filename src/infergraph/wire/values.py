"""JSON values as `google.protobuf.Value`, and back.

Numbers are doubles there: an integer beyond 2**53 loses digits, which is the protocol's limit and not ours to hide.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np

from infergraph.errors import ComponentError
from infergraph.wire.fields import delimited, varint
from infergraph.wire.json_text import text_of

DEPTH_LIMIT = 96
"""Messages inside messages, of which a list takes two and an object three: beyond a hundred most readers refuse."""

_number = struct.Struct("<Bd").pack
_NULL = b"\x08\x00"
_TRUE, _FALSE = b"\x20\x01", b"\x20\x00"


def encode_value(value: Any, path: str, depth: int = 1) -> bytes:
    """`value` as the bytes of a Value.

    Raises: ComponentError for a type that a Value cannot hold; it names `path`.
    """
    kind = type(value)
    if kind is float or kind is int:
        try:
            return _number(0x11, value)
        except OverflowError as error:
            raise ComponentError(f"the integer at {path} is too large for a protobuf number") from error
    if kind is str:
        return delimited(b"\x1a", utf8(value))
    if value is None:
        return _NULL
    if kind is bool:
        return _TRUE if value else _FALSE
    if depth > DEPTH_LIMIT:
        raise ComponentError(f"the answer is nested too deeply for protobuf at {path[:200]}")
    if isinstance(value, Mapping):
        return delimited(b"\x2a", encode_struct(value, path, depth + 3))
    if isinstance(value, list | tuple):
        return delimited(b"\x32", encode_list(value, path, depth + 2))
    return encode_value(_plainer(value, path), path, depth)


def _plainer(value: Any, path: str) -> Any:
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
    raise ComponentError(f"the answer holds a {type(value).__name__} at {path}, which protobuf cannot express")


def utf8(text: str) -> bytes:
    """`text` in UTF-8; a lone surrogate becomes the replacement character."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text_of(text).encode()


def encode_list(values: Sequence[Any], path: str, depth: int) -> bytes:
    """`values` as the bytes of a ListValue, itself `depth` messages deep."""
    return b"".join(
        [delimited(b"\x0a", encode_value(value, f"{path}[{index}]", depth)) for index, value in enumerate(values)]
    )


def encode_struct(values: Mapping[Any, Any], path: str, depth: int) -> bytes:
    """`values` as the bytes of a Struct, itself `depth` messages deep."""
    entries = []
    for key, value in values.items():
        if not isinstance(key, str):
            key = _key(key, path)
        name = delimited(b"\x0a", utf8(key))
        entry = name + delimited(b"\x12", encode_value(value, f"{path}.{key}", depth))
        entries.append(b"\x0a" + varint(len(entry)) + entry)
    return b"".join(entries)


def _key(key: Any, path: str) -> str:
    if isinstance(key, np.generic):
        key = key.item()
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    if isinstance(key, str | int | float) and not isinstance(key, datetime):
        return str(key)
    raise ComponentError(f"the answer has a key of type {type(key).__name__} in {path}, which protobuf cannot express")


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
