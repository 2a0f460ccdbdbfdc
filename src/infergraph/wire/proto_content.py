"""Converts a serialized SeldonMessage to its content, and content to the bytes of its fields.

    bytes ──scan──▶ Content                     large arrays: views of the bytes
    bytes ──read_slices──▶ Content              very large lists and jsonData: some items at a time
    bytes ──protobuf──▶ message ──▶ Content     everything else
    Content ──encode_meta, encode_content──▶ encoded fields, to be concatenated in any order

Source: the protocol's decoding table for gRPC: numbers are float64, meta is {} if there is none.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Content, Encoding, Meta
from infergraph.wire import number_lists, prediction, tensor
from infergraph.wire.arrays import AXES_LIMIT, array_of, check_empty, rows_of, shaped
from infergraph.wire.bodies_memory import ValuesAccount, too_many_values
from infergraph.wire.fields import DELIMITED, delimited, read_varint, split, utf8, varint
from infergraph.wire.json_content import as_array
from infergraph.wire.protobuf_values import (
    decode_list_bytes,
    decode_value,
    decode_value_bytes,
    encode_list,
    encode_value,
)

LARGE_BYTES = 1536
"""Minimum size of a message for which a scan is faster than protobuf."""

SLICED_BYTES = 1 << 20
"""Minimum size of a message that is read in parts."""

_ANSWER_LIMIT_BYTES = 128 << 20
_GROWTH = 10
"""How many times its size a node's answer may take in memory, if that is more than its limit."""
_ITEM_BYTES = 80
_NAMES_LIMIT = 1_000_000
_MANY_BYTES = 128
_MANY_NUMBERS = 8
_MANY_VALUES = 256
_EMPTY_META = b"\x12\x00"
_METRIC_TYPES: dict[int, str] = {0: "COUNTER", 1: "GAUGE", 2: "TIMER"}
_METRIC_NUMBERS = {name: number for number, name in _METRIC_TYPES.items()}
_STATUS_FLAGS = {"SUCCESS": 0, "FAILURE": 1}
_META, _DATA, _BIN_DATA, _STR_DATA, _JSON_DATA = 2, 3, 4, 5, 6
_NAMES, _TENSOR, _NDARRAY = 1, 2, 3
_VALUES = 2


def parse(message_class: Any, raw: bytes) -> Any:
    """Parse `raw` as a message of `message_class`.

    Raises: PayloadError if it is not valid.
    """
    try:
        return message_class.FromString(raw)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise PayloadError(f"the message is not a valid {message_class.DESCRIPTOR.full_name}: {error}") from error


def content_of(proto: Any, *, is_answer: bool = False) -> Content:
    """The content of a parsed SeldonMessage.

    Args:
        is_answer: whether its rows may have different lengths.
    Raises: PayloadError if it has no payload, or one that cannot be read.
    """
    which = proto.WhichOneof("data_oneof")
    if which is None:
        raise PayloadError("Invalid request data type: the message has none of data, jsonData, strData, binData")
    meta = meta_of(proto)
    if which == "data":
        data = proto.data
        names = data.names[:]
        kind = data.WhichOneof("data_oneof")
        if kind == "tensor":
            return Content(tensor_of(data.tensor), Encoding.TENSOR, names, meta)
        if kind == "ndarray":
            return Content(ndarray_of(data.ndarray, is_answer=is_answer), Encoding.NDARRAY, names, meta)
        if kind == "tftensor":
            return Content(tensor.decode(data.tftensor), Encoding.TFTENSOR, names, meta)
        raise PayloadError("data has none of tensor, ndarray and tftensor")
    if which == "strData":
        return Content(proto.strData, Encoding.STR, (), meta)
    if which == "binData":
        return Content(proto.binData, Encoding.BIN, (), meta)
    if which == "jsonData":
        return Content(decode_value(proto.jsonData), Encoding.JSON, (), meta)
    # As the class that user code knows: that of our own pool cannot be used in the user's own messages.
    return Content(any_pb2.Any.FromString(proto.customData.SerializeToString()), Encoding.CUSTOM, (), meta)


def tensor_of(proto: Any) -> np.ndarray:
    """The float64 array of a Tensor.

    Raises: PayloadError if the number of values does not match its shape.
    """
    listed, shape = proto.values[:_MANY_VALUES], proto.shape[:]
    values = np.array(listed, dtype=np.float64) if len(listed) < _MANY_VALUES else _packed(proto)
    try:
        if (tensor := values.reshape(shape)).size:
            return tensor
    except ValueError:
        pass  # the general decoder reports both sizes
    return shaped(values, shape, "data.tensor")


def _packed(proto: Any) -> np.ndarray:
    """The many values of a Tensor, as a view of its bytes if they are encoded like protobuf does it."""
    raw: bytes = proto.SerializeToString()
    packed = b"".join([raw[start:end] for number, _, start, end in split(raw) if number == _VALUES])
    return np.frombuffer(packed, dtype="<f8").astype(np.float64)


def ndarray_of(proto: Any, *, is_answer: bool = False) -> np.ndarray:
    """The array of a ListValue.

    Args:
        is_answer: whether its rows may have different lengths.
    Raises: PayloadError if its rows have different lengths.
    """
    if proto.ByteSize() > _MANY_BYTES:
        values = number_lists.decode(proto.SerializeToString())
        if values is not None:
            return values
    convert = rows_of if is_answer else array_of
    return check_empty(convert([decode_value(value) for value in proto.values], "data.ndarray"), "data.ndarray")


def meta_of(message: Any) -> Meta:
    """The meta of a parsed SeldonMessage in the protocol's JSON form; {} if it has none."""
    return _meta_of(message.meta) if message.HasField("meta") else {}


def meta_of_bytes(raw: bytes) -> Meta:
    """The meta of a serialized SeldonMessage, whose other fields are not read.

    Raises: PayloadError if the bytes are not a message.
    """
    try:
        parts = [raw[start:end] for number, kind, start, end in split(raw) if number == _META and kind == DELIMITED]
    except ValueError as error:
        raise PayloadError(f"the message is not a valid {prediction.PACKAGE}.SeldonMessage: {error}") from error
    return _meta_of(parse(prediction.Meta, b"".join(parts)))  # protobuf merges the occurrences of a repeated field


def _meta_of(proto: Any) -> Meta:
    meta: Meta = {}
    if not proto.ListFields():
        return meta
    if proto.puid:
        meta["puid"] = proto.puid
    if proto.tags:
        meta["tags"] = {name: decode_value(value) for name, value in proto.tags.items()}
    if proto.routing:
        meta["routing"] = dict(proto.routing)
    if proto.requestPath:
        meta["requestPath"] = dict(proto.requestPath)
    if proto.metrics:
        meta["metrics"] = [_metric_of(metric) for metric in proto.metrics]
    return meta


def _metric_of(proto: Any) -> dict[str, Any]:
    metric = {"key": proto.key, "type": _METRIC_TYPES.get(proto.type, proto.type), "value": proto.value}
    if proto.tags:
        metric["tags"] = dict(proto.tags)
    return metric


def scan(raw: bytes) -> Content | None:
    """The content of a serialized SeldonMessage with a regular array of numbers, and nothing unusual.

    Returns: None if it is, or might be, anything else: the general decoder decides.
    Raises: PayloadError if a tensor's values do not fit its shape.
    """
    view = memoryview(raw)
    try:
        members = _single_fields(view, {_META, _DATA})
        if members is None or _DATA not in members:
            return None
        data = members[_DATA]
        names: list[str] = []
        arrays: list[tuple[int, memoryview]] = []
        for number, kind, start, end in split(data):
            if number == _NAMES and kind == DELIMITED:
                names.append(_name(data[start:end], len(names)))
            elif number in (_TENSOR, _NDARRAY) and kind == DELIMITED:
                arrays.append((number, data[start:end]))
            else:
                return None
        if len(arrays) != 1:
            return None
        number, array = arrays[0]
        found = _tensor_parts(array) if number == _TENSOR else _ndarray_parts(array)
    except ValueError:
        return None
    if found is None:
        return None
    flat, shape = found
    meta = _meta_of(parse(prediction.Meta, bytes(members[_META]))) if _META in members else {}
    if number == _TENSOR:
        return Content(shaped(flat, shape, "data.tensor"), Encoding.TENSOR, names, meta)
    return Content(flat, Encoding.NDARRAY, names, meta)


def read_slices(raw: bytes, *, is_answer: bool = False) -> Content | None:
    """The content of a very large serialized SeldonMessage whose payload is a list or jsonData, read in parts.

    Args:
        is_answer: whether its rows may have different lengths.
    Returns: None if it is anything else: the general decoder decides.
    Raises: PayloadError if it cannot be read.
    """
    view = memoryview(raw)
    try:
        members = _single_fields(view, {_META, _DATA, _JSON_DATA}) or {}
        if _JSON_DATA in members and _DATA not in members:
            content = Content(decode_value_bytes(members[_JSON_DATA]), Encoding.JSON, ())
        elif _DATA in members and _JSON_DATA not in members and (found := _listed(members[_DATA])) is not None:
            names, array = found
            convert = rows_of if is_answer else array_of
            values = check_empty(convert(decode_list_bytes(array), "data.ndarray"), "data.ndarray")
            content = Content(values, Encoding.NDARRAY, names)
        else:
            return None
    except (ValueError, DecodeError):
        return None  # the general decoder finds the same fault
    meta = _meta_of(parse(prediction.Meta, bytes(members[_META]))) if _META in members else {}
    return content._replace(meta=meta)


def _listed(data: memoryview) -> tuple[list[str], memoryview] | None:
    """The names and the only ListValue of a DefaultData; None if it is anything else."""
    names: list[str] = []
    arrays: list[memoryview] = []
    for number, kind, start, end in split(data):
        if number == _NAMES and kind == DELIMITED:
            names.append(_name(data[start:end], len(names)))
        elif number == _NDARRAY and kind == DELIMITED and not arrays:
            arrays.append(data[start:end])
        else:
            return None
    return (names, arrays[0]) if arrays else None


def _name(raw: memoryview, place: int) -> str:
    if place >= _NAMES_LIMIT:
        raise PayloadError(f"data.names has more than {_NAMES_LIMIT} names")
    return str(raw, "utf-8")


def charge(raw: bytes, account: ValuesAccount | None) -> None:
    """Charge what the values of a large message or feedback will take in memory, before it is read.

    Each item of a list, each member of an object and each name begins with one byte, which is counted; an item that is
    a list has another one, and counts fourfold, as does meta, which is read at once.

    Raises: UploadTooLarge if it is more than one message may take; Overloaded if it is more than is left.
    """
    items = 0
    try:
        for number, _, start, end in split(raw):
            if number not in (_STR_DATA, _BIN_DATA):
                found = raw.count(b"\x0a", start, end) - raw.count(b"\x0a\x0a", start, end)  # a length of 10 is none
                found += 3 * min(found, raw.count(b"\x32", start, end))
                items += 4 * found if number == _META else found
    except ValueError:
        return  # it is not a message
    cost_bytes = _ITEM_BYTES * items
    limit_bytes = max(_ANSWER_LIMIT_BYTES, _GROWTH * len(raw)) if account is None else account.limit_bytes
    if 0 < limit_bytes < cost_bytes:
        raise too_many_values(len(raw), limit_bytes)
    if account is not None:
        account.charge(cost_bytes)


def _single_fields(view: memoryview, numbers: set[int]) -> dict[int, memoryview] | None:
    """The fields of a message by number; None if there is a field of another number or type, or a repeated one."""
    found: dict[int, memoryview] = {}
    for number, kind, start, end in split(view):
        if number not in numbers or kind != DELIMITED or number in found:
            return None
        found[number] = view[start:end]
    return found


def _tensor_parts(view: memoryview) -> tuple[np.ndarray, list[int]] | None:
    fields = _single_fields(view, {1, 2})
    if fields is None or len(fields) != 2 or len(fields[2]) % 8:
        return None
    shape: list[int] = []
    packed, at = fields[1], 0
    while at < len(packed):
        size, at = read_varint(packed, at)
        if size >= 2**31 or len(shape) > AXES_LIMIT:
            return None
        shape.append(size)
    return np.frombuffer(fields[2], dtype="<f8").astype(np.float64), shape


def _ndarray_parts(view: memoryview) -> tuple[np.ndarray, list[int]] | None:
    values = number_lists.decode(view)
    return None if values is None else (values, list(values.shape))


def encode_content(payload: Any, encoding: Encoding, names: Any) -> bytes:
    """The payload field.

    Raises: ComponentError if it cannot be encoded; the text names the type and its path.
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
"""The same, cached for names that are often repeated, mainly those of unnamed columns."""


def _encode_data(payload: Any, encoding: Encoding, names: bytes) -> bytes:
    if encoding is Encoding.NDARRAY and type(payload) is list:
        return delimited(b"\x1a", names + delimited(b"\x1a", encode_list(payload, "data.ndarray", 3)))
    values = payload if type(payload) is np.ndarray else as_array(payload, encoding)
    is_listed = encoding is Encoding.NDARRAY and values.ndim > 0  # a list cannot have no axes, like a single number
    if values.dtype.kind in "iuf" and not is_listed and encoding is not Encoding.TFTENSOR:
        return _encode_tensor(values, names)
    if encoding is Encoding.TFTENSOR and (values.dtype.kind in "iuf" or tensor.is_text(values)):
        return delimited(b"\x1a", names + delimited(b"\x22", tensor.encode(values).SerializeToString()))
    if values.dtype.kind in "iuf" and values.ndim and values.size > _MANY_NUMBERS:
        return delimited(b"\x1a", names + delimited(b"\x1a", number_lists.encode(values)))
    return delimited(b"\x1a", names + delimited(b"\x1a", _encode_listed(values)))


def _encode_tensor(values: np.ndarray, names: bytes) -> bytes:
    """The data field of a tensor, whose values are copied once."""
    doubles = np.ascontiguousarray(values, dtype="<f8")
    head = _kept_head if len(names) <= _KEPT_BYTES else _tensor_head
    return b"".join((head(values.shape, names), doubles.data))


def _tensor_head(sizes: tuple[int, ...], names: bytes) -> bytes:
    """The data field of a tensor up to its values."""
    shape = delimited(b"\x0a", b"".join(map(varint, sizes))) if sizes else b""
    values_bytes = 8 * math.prod(sizes)
    head = b"\x12" + varint(values_bytes)
    length = len(shape) + len(head) + values_bytes
    start = names + b"\x12" + varint(length)
    return b"".join((b"\x1a", varint(len(start) + length), start, shape, head))


_KEPT_BYTES = 1024
_kept_head = functools.lru_cache(maxsize=256)(_tensor_head)
"""The same, cached, since the answers of a model mostly have few shapes."""


def _encode_listed(values: np.ndarray) -> bytes:
    if values.dtype.kind not in "biufUOV":
        raise ComponentError(f"the answer is an array of {values.dtype}, which protobuf cannot express")
    return encode_list(values.tolist() if values.ndim else [values.item()], "data.ndarray", 3)


def encode_meta(meta: Mapping[str, Any] | None) -> bytes:
    """The meta field; always present, as clients of the protocol expect.

    Raises: ComponentError if a member does not have the protocol's type.
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
    """The status field of a message whose JSON has this `status`; empty for None.

    Raises: ComponentError if a member does not have the protocol's type.
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
