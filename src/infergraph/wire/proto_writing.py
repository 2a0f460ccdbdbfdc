"""The fields of a SeldonMessage as bytes: its status, its meta, its payload.

Source: the field numbers of prediction.proto; each function gives whole fields, which stand side by side in any order.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from google.protobuf.message import Message as ProtobufMessage

from infergraph.errors import ComponentError
from infergraph.message import Encoding
from infergraph.wire import number_lists, prediction, tensor
from infergraph.wire.fields import delimited, varint
from infergraph.wire.json_content import as_array
from infergraph.wire.values import encode_list, encode_value, utf8

_EMPTY_META = b"\x12\x00"
_METRIC_NUMBERS = {"COUNTER": 0, "GAUGE": 1, "TIMER": 2}
_STATUS_FLAGS = {"SUCCESS": 0, "FAILURE": 1}
_MANY_NUMBERS = 8


def encode_content(payload: Any, encoding: Encoding, names: Any) -> bytes:
    """The payload field.

    Raises: ComponentError if it cannot be written; the text names the type and the place.
    """
    if encoding is Encoding.TENSOR or encoding is Encoding.NDARRAY or encoding is Encoding.TFTENSOR:
        return _encode_data(payload, encoding, _encode_names(names) if names else b"")
    if encoding is Encoding.STR:
        return delimited(b"\x2a", utf8(payload if isinstance(payload, str) else str(payload)))
    if encoding is Encoding.JSON:
        return delimited(b"\x32", encode_value(payload, "jsonData"))
    if encoding is Encoding.BIN and isinstance(payload, bytes | bytearray | memoryview):
        return delimited(b"\x22", bytes(payload))
    if encoding is Encoding.CUSTOM and isinstance(payload, ProtobufMessage):
        return delimited(b"\x3a", payload.SerializeToString())
    raise ComponentError(f"{encoding.value} cannot hold a {type(payload).__name__}")


def _encode_names(names: Iterable[Any]) -> bytes:
    if type(names) is tuple and len(names) <= _KEPT_NAMES and set(map(type, names)) <= {str}:
        return _kept_names(names)
    return _joined_names(names)


def _joined_names(names: Iterable[Any]) -> bytes:
    return b"".join([delimited(b"\x0a", utf8(name if isinstance(name, str) else str(name))) for name in names])


_KEPT_NAMES = 4096
_kept_names = functools.lru_cache(maxsize=16)(_joined_names)
"""The same for names that come again and again, those of unnamed columns above all."""


def _encode_data(payload: Any, encoding: Encoding, names: bytes) -> bytes:
    if encoding is Encoding.NDARRAY and type(payload) is list:
        return delimited(b"\x1a", names + delimited(b"\x1a", encode_list(payload, "data.ndarray", 3)))
    values = payload if type(payload) is np.ndarray else as_array(payload, encoding)
    is_listed = encoding is Encoding.NDARRAY and values.ndim > 0  # a list cannot be without axes, as one number is
    if values.dtype.kind in "iuf" and not is_listed and encoding is not Encoding.TFTENSOR:
        return _encode_tensor(values, names)
    if encoding is Encoding.TFTENSOR and (values.dtype.kind in "iuf" or tensor.is_text(values)):
        return delimited(b"\x1a", names + delimited(b"\x22", tensor.encode(values).SerializeToString()))
    if values.dtype.kind in "iuf" and values.ndim and values.size > _MANY_NUMBERS:
        return delimited(b"\x1a", names + delimited(b"\x1a", number_lists.encode(values)))
    return delimited(b"\x1a", names + delimited(b"\x1a", _encode_listed(values)))


def _encode_tensor(values: np.ndarray, names: bytes) -> bytes:
    """The data field of a tensor, joined in one step, so that the values are copied once."""
    doubles = np.ascontiguousarray(values, dtype="<f8")
    shape = _shape(values.shape)
    head = b"\x12" + varint(doubles.nbytes)
    length = len(shape) + len(head) + doubles.nbytes
    start = names + b"\x12" + varint(length)
    return b"".join([b"\x1a", varint(len(start) + length), start, shape, head, doubles.data])


@functools.lru_cache(maxsize=1024)
def _shape(sizes: tuple[int, ...]) -> bytes:
    """The shape field of a tensor; nothing for one without axes."""
    return delimited(b"\x0a", b"".join([varint(size) for size in sizes])) if sizes else b""


def _encode_listed(values: np.ndarray) -> bytes:
    if values.dtype.kind not in "biufUOV":
        raise ComponentError(f"the answer is an array of {values.dtype}, which protobuf cannot express")
    return encode_list(values.tolist() if values.ndim else [values.item()], "data.ndarray", 3)


def encode_meta(meta: Mapping[str, Any] | None) -> bytes:
    """The meta field; always there, as clients of the protocol expect.

    Raises: ComponentError if a member has another type than the protocol's.
    """
    if not meta:
        return _EMPTY_META
    try:
        return delimited(b"\x12", _meta(meta))
    except (TypeError, ValueError, AttributeError, OverflowError, KeyError) as error:
        raise ComponentError(f"meta cannot be written as protobuf: {error!r}") from error


def _meta(meta: Mapping[str, Any]) -> bytes:
    parts = []
    if meta.get("puid"):
        parts.append(delimited(b"\x0a", utf8(str(meta["puid"]))))
    for name, value in (meta.get("tags") or {}).items():
        key = name if isinstance(name, str) else str(name)
        entry = delimited(b"\x0a", utf8(key)) + delimited(b"\x12", encode_value(value, f"meta.tags.{key}", 3))
        parts.append(delimited(b"\x12", entry))
    for name, branch in (meta.get("routing") or {}).items():
        if not -(2**31) <= branch < 2**31:
            raise ValueError(f"routing.{name} is {branch}, beyond 32 bits")
        parts.append(delimited(b"\x1a", delimited(b"\x0a", utf8(name)) + b"\x10" + varint(_whole(branch))))
    for name, image in (meta.get("requestPath") or {}).items():
        parts.append(delimited(b"\x22", delimited(b"\x0a", utf8(name)) + delimited(b"\x12", utf8(str(image)))))
    parts.extend(delimited(b"\x2a", _metric(metric)) for metric in meta.get("metrics") or ())
    return b"".join(parts)


def _whole(number: Any) -> int:
    whole = int(number)
    if whole != number:
        raise ValueError(f"{number!r} is not a whole number")
    return whole


def _metric(metric: Mapping[str, Any]) -> bytes:
    kind = metric.get("type", "COUNTER")
    proto = prediction.Metric(
        key=metric["key"],
        type=_METRIC_NUMBERS[kind] if isinstance(kind, str) else kind,
        value=float(metric["value"]),
        tags={str(name): str(value) for name, value in (metric.get("tags") or {}).items()},
    )
    serialized: bytes = proto.SerializeToString()
    return serialized


def encode_status(status: Any) -> bytes:
    """The status field of a message whose JSON has this `status`; nothing for None.

    Raises: ComponentError if a member has another type than the protocol's.
    """
    if status is None:
        return b""
    try:
        flag = status.get("status") or 0
        proto = prediction.Status(
            code=_whole(status.get("code") or 0),
            info=str(status.get("info") or ""),
            reason=str(status.get("reason") or ""),
            status=_STATUS_FLAGS[flag] if isinstance(flag, str) else _whole(flag),
        )
    except (AttributeError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise ComponentError(f"status cannot be written as protobuf: {error!r}") from error
    return delimited(b"\x0a", proto.SerializeToString())
