"""Protobuf messages to `Message` and back.

    bytes ──ProtoMessage──▶ Content         only when somebody asks for it
    Message ──encode──▶ bytes               a message that still has its bytes gives them back

Bytes are assembled by hand: a tensor's values are its array's own bytes behind a length.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Content, Encoding, Feedback, FeedbackContent, Message, Meta
from infergraph.wire import prediction, tensor
from infergraph.wire.fields import DELIMITED, delimited, split, varint
from infergraph.wire.proto_metadata import (
    decode_graph_metadata,
    decode_metadata,
    decode_metadata_request,
    encode_graph_metadata,
    encode_metadata,
)
from infergraph.wire.values import decode_value, encode_list, encode_value
from infergraph.wire.wire_message import WireMessage

__all__ = [
    "ProtoFeedback",
    "ProtoMessage",
    "decode_graph_metadata",
    "decode_messages",
    "decode_metadata",
    "decode_metadata_request",
    "encode",
    "encode_feedback",
    "encode_graph_metadata",
    "encode_messages",
    "encode_metadata",
]

_METRIC_TYPES: dict[int, str] = {0: "COUNTER", 1: "GAUGE", 2: "TIMER"}
_METRIC_NUMBERS = {name: number for number, name in _METRIC_TYPES.items()}
_STATUS_FLAGS = {"SUCCESS": 0, "FAILURE": 1}


class ProtoMessage(WireMessage):
    """A `seldon.protos.SeldonMessage`, parsed when its content is first asked for.

    Args:
        raw: the serialized message.
    """

    __slots__ = ("_proto", "raw")

    def __init__(self, raw: bytes) -> None:
        self._content = None
        self._proto = None
        self.raw = raw

    @classmethod
    def of_proto(cls, message: Any) -> ProtoMessage:
        """The message of any protobuf object of this type, from whichever pool, by its bytes."""
        return cls(message.SerializeToString())

    @property
    def proto(self) -> Any:
        """The parsed `prediction.SeldonMessage`.

        Raises: PayloadError if the bytes are none.
        """
        if self._proto is None:
            self._proto = _parse(prediction.SeldonMessage, self.raw)
        return self._proto

    @property
    def meta(self) -> Meta | None:
        """The protocol's meta; {} where the message had none. Needs no payload."""
        return self._content.meta if self._content is not None else _decode_meta(self.proto)

    @property
    def document(self) -> Any:
        """The JSON view: numbers are floats, members without a value are left out."""
        return _document(self)

    def _decode(self) -> Content:
        return _decode(self.proto)


class ProtoFeedback(Feedback):
    """A `seldon.protos.Feedback`, parsed when its content is first asked for."""

    __slots__ = ("_proto", "raw")

    def __init__(self, raw: bytes) -> None:
        self._content = None
        self._proto = None
        self.raw = raw

    @classmethod
    def of_proto(cls, feedback: Any) -> ProtoFeedback:
        """The feedback of any protobuf object of this type, from whichever pool, by its bytes."""
        return cls(feedback.SerializeToString())

    @property
    def proto(self) -> Any:
        """The parsed `prediction.Feedback`.

        Raises: PayloadError if the bytes are none.
        """
        if self._proto is None:
            self._proto = _parse(prediction.Feedback, self.raw)
        return self._proto

    def _decode(self) -> FeedbackContent:
        proto = self.proto
        request, response, truth = (
            ProtoMessage.of_proto(getattr(proto, name)) if proto.HasField(name) else None
            for name in ("request", "response", "truth")
        )
        return FeedbackContent(request, response, proto.reward, truth)


def _parse(message_class: Any, raw: bytes) -> Any:
    try:
        return message_class.FromString(raw)
    except (DecodeError, ValueError) as error:
        raise PayloadError(f"the message is not a valid {message_class.DESCRIPTOR.full_name}: {error}") from error


def _decode(proto: Any) -> Content:
    which = proto.WhichOneof("data_oneof")
    meta = _decode_meta(proto)
    if which == "data":
        data = proto.data
        kind = data.WhichOneof("data_oneof")
        if kind is None:
            raise PayloadError("data has none of tensor, ndarray and tftensor")
        names = list(data.names)
        if kind == "tensor":
            return Content(_decode_tensor(data.tensor), Encoding.TENSOR, names, meta)
        if kind == "ndarray":
            return Content(_decode_ndarray(data.ndarray), Encoding.NDARRAY, names, meta)
        return Content(tensor.decode(data.tftensor), Encoding.TFTENSOR, names, meta)
    if which == "strData":
        return Content(proto.strData, Encoding.STR, (), meta)
    if which == "binData":
        return Content(proto.binData, Encoding.BIN, (), meta)
    if which == "jsonData":
        return Content(decode_value(proto.jsonData), Encoding.JSON, (), meta)
    if which == "customData":
        return Content(proto.customData, Encoding.CUSTOM, (), meta)
    raise PayloadError(
        "Invalid request data type: the message has none of data, jsonData, strData, binData, customData"
    )


def _decode_tensor(proto: Any) -> np.ndarray:
    values = np.asarray(proto.values, dtype=np.float64)
    shape = list(proto.shape)
    try:
        return values.reshape(shape)
    except (ValueError, OverflowError) as error:
        raise PayloadError(f"data.tensor has {values.size} values, which do not fit the shape {shape}") from error


def _decode_ndarray(proto: Any) -> np.ndarray:
    try:
        return np.array([decode_value(value) for value in proto.values])
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise PayloadError(f"data.ndarray is not a regular array: {error}") from error


def _decode_meta(message: Any) -> Meta:
    if not message.HasField("meta"):
        return {}
    proto = message.meta
    meta: Meta = {}
    if proto.puid:
        meta["puid"] = proto.puid
    if proto.tags:
        meta["tags"] = {name: decode_value(value) for name, value in proto.tags.items()}
    if proto.routing:
        meta["routing"] = dict(proto.routing)
    if proto.requestPath:
        meta["requestPath"] = dict(proto.requestPath)
    if proto.metrics:
        meta["metrics"] = [_decode_metric(metric) for metric in proto.metrics]
    return meta


def _decode_metric(proto: Any) -> dict[str, Any]:
    metric = {"key": proto.key, "type": _METRIC_TYPES.get(proto.type, proto.type), "value": proto.value}
    if proto.tags:
        metric["tags"] = dict(proto.tags)
    return metric


def _document(message: ProtoMessage) -> dict[str, Any]:
    proto = message.proto
    document: dict[str, Any] = {}
    if proto.HasField("status"):
        document["status"] = _status_document(proto.status)
    which = proto.WhichOneof("data_oneof")
    if which == "data":
        kind = proto.data.WhichOneof("data_oneof")
        data: dict[str, Any] = {"names": list(proto.data.names)}
        if kind == "tensor":
            data["tensor"] = {
                "shape": list(proto.data.tensor.shape),
                "values": np.asarray(proto.data.tensor.values, dtype=np.float64),
            }
        elif kind == "ndarray":
            data["ndarray"] = [decode_value(value) for value in proto.data.ndarray.values]
        elif kind == "tftensor":
            data["tftensor"] = tensor.message_json(proto.data.tftensor)
        document["data"] = data
    elif which == "binData":
        document["binData"] = base64.b64encode(proto.binData).decode()
    elif which == "strData":
        document["strData"] = proto.strData
    elif which == "jsonData":
        document["jsonData"] = decode_value(proto.jsonData)
    elif which == "customData":
        custom = proto.customData
        document["customData"] = {"@type": custom.type_url, "value": base64.b64encode(custom.value).decode()}
    document["meta"] = message.meta
    return document


def _status_document(proto: Any) -> dict[str, Any]:
    return {"code": proto.code, "info": proto.info, "reason": proto.reason, "status": proto.status}


def encode(message: Message) -> bytes:
    """`message` as a serialized SeldonMessage.

    Promises: one that came as protobuf gives its very bytes back.
    Raises:
        ComponentError: its payload cannot be written; the text names the type and the place.
        PayloadError: it came off the wire and cannot be read.
    """
    if isinstance(message, ProtoMessage):
        return message.raw
    if isinstance(message, WireMessage):
        return _encode_document(message)
    return _encode_content(message.content, b"")


def _encode_document(message: WireMessage) -> bytes:
    document = message.document
    status = b""
    if isinstance(document, dict) and document.get("status") is not None:
        status = _encode_status(document["status"])
        if not any(key in document for key in ("data", "jsonData", "strData", "binData")):
            return status + _encode_meta(message.meta)
    return _encode_content(message.content, status)


def _encode_content(content: Content, status: bytes) -> bytes:
    payload, encoding, names, meta = content
    head = status + _encode_meta(meta)
    if encoding.is_array:
        return head + delimited(b"\x1a", _encode_data(payload, encoding, names))
    if encoding is Encoding.STR:
        text = payload if isinstance(payload, str) else str(payload)
        return head + delimited(b"\x2a", text.encode("utf-8", "replace"))
    if encoding is Encoding.BIN:
        return head + delimited(b"\x22", bytes(payload))
    if encoding is Encoding.JSON:
        return head + delimited(b"\x32", encode_value(payload, "jsonData"))
    return head + delimited(b"\x3a", payload.SerializeToString())


def _encode_data(payload: Any, encoding: Encoding, names: Any) -> bytes:
    head = b"".join([delimited(b"\x0a", str(name).encode("utf-8", "replace")) for name in names or ()])
    if isinstance(payload, list) and encoding is Encoding.NDARRAY:
        return head + delimited(b"\x1a", encode_list(payload, "data.ndarray"))
    values = np.asarray(payload)
    if values.dtype.kind in "iuf" and encoding is Encoding.TENSOR:
        return head + delimited(b"\x12", _encode_tensor(values))
    if values.dtype.kind in "iuf" and encoding is Encoding.TFTENSOR and tensor.encodable(values):
        return head + delimited(b"\x22", tensor.encode(values).SerializeToString())
    if values.dtype.kind not in "iufbUO":
        raise ComponentError(f"the answer is an array of {values.dtype}, which protobuf cannot express")
    listed = values.tolist()
    return head + delimited(b"\x1a", encode_list(listed if values.ndim else [listed], "data.ndarray"))


def _encode_tensor(values: np.ndarray) -> bytes:
    shape = b"".join([varint(size) for size in values.shape])
    packed = np.ascontiguousarray(values, dtype="<f8").tobytes()
    return delimited(b"\x0a", shape) + delimited(b"\x12", packed)


def _encode_meta(meta: Meta | None) -> bytes:
    """The meta field of a message; always there, as clients of the protocol expect."""
    if not meta:
        return b"\x12\x00"
    try:
        return delimited(b"\x12", _meta_proto(meta).SerializeToString())
    except (TypeError, ValueError, AttributeError, OverflowError, KeyError) as error:
        raise ComponentError(f"meta cannot be written: {error!r}") from error


def _meta_proto(meta: Mapping[str, Any]) -> Any:
    proto = prediction.Meta()
    if meta.get("puid"):
        proto.puid = str(meta["puid"])
    for name, value in (meta.get("tags") or {}).items():
        proto.tags[str(name)].MergeFromString(encode_value(value, f"meta.tags.{name}"))
    for name, branch in (meta.get("routing") or {}).items():
        proto.routing[name] = branch
    for name, image in (meta.get("requestPath") or {}).items():
        proto.requestPath[name] = str(image)
    for metric in meta.get("metrics") or ():
        kind = metric.get("type", "COUNTER")
        proto.metrics.add(
            key=metric["key"],
            type=_METRIC_NUMBERS[kind] if isinstance(kind, str) else kind,
            value=float(metric["value"]),
            tags={str(name): str(value) for name, value in (metric.get("tags") or {}).items()},
        )
    return proto


def _encode_status(status: Any) -> bytes:
    try:
        flag = status.get("status", 0)
        proto = prediction.Status(
            code=int(status.get("code") or 0),
            info=str(status.get("info") or ""),
            reason=str(status.get("reason") or ""),
            status=_STATUS_FLAGS[flag] if isinstance(flag, str) else int(flag),
        )
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise PayloadError(f"status cannot be read: {error!r}") from error
    return delimited(b"\x0a", proto.SerializeToString())


def encode_messages(messages: Iterable[Message]) -> bytes:
    """A serialized SeldonMessageList of any messages; those with bytes of their own go in verbatim."""
    return b"".join([delimited(b"\x0a", encode(message)) for message in messages])


def decode_messages(raw: bytes) -> list[Message]:
    """The messages of a SeldonMessageList; each stays bytes until asked.

    Raises: PayloadError if `raw` is no such list.
    """
    try:
        return [
            ProtoMessage(raw[start:end]) for number, kind, start, end in split(raw) if number == 1 and kind == DELIMITED
        ]
    except ValueError as error:
        raise PayloadError(f"the message is not a valid {prediction.PACKAGE}.SeldonMessageList: {error}") from error


def encode_feedback(feedback: Feedback) -> bytes:
    """A serialized Feedback; one that came as protobuf gives its very bytes back."""
    if isinstance(feedback, ProtoFeedback):
        return feedback.raw
    request, response, reward, truth = feedback.content
    parts = [
        delimited(tag, encode(message))
        for tag, message in ((b"\x0a", request), (b"\x12", response), (b"\x22", truth))
        if message is not None
    ]
    if reward:
        parts.append(struct.pack("<Bf", 0x1D, reward))
    return b"".join(parts)
