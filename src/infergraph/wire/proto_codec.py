"""Protobuf messages to `Message` and back.

    bytes ──ProtoMessage──▶ Content         decoded lazily
    Message ──encode──▶ bytes               a received message is returned byte for byte

Bytes are assembled directly: a tensor's values are its array's own bytes after a length prefix.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format

from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Content, Encoding, Feedback, FeedbackContent, Message, Meta
from infergraph.wire import json_content, number_lists, prediction, proto_content, tensor
from infergraph.wire.bodies_memory import ValuesAccount
from infergraph.wire.fields import DELIMITED, delimited, split
from infergraph.wire.json_values import plain
from infergraph.wire.private_copies import copy_any
from infergraph.wire.proto_content import encode_content, encode_meta, encode_status
from infergraph.wire.proto_metadata import (
    decode_graph_metadata,
    decode_metadata,
    decode_metadata_request,
    encode_graph_metadata,
    encode_metadata,
)
from infergraph.wire.protobuf_values import decode_value
from infergraph.wire.v2.messages import seldon_content
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
    "of_document",
    "of_proto",
    "proto3_document",
    "received",
    "received_feedback",
]

_META_FIELD = 2


class ProtoMessage(WireMessage):
    """A `seldon.protos.SeldonMessage`, decoded when its content is first accessed.

    Args:
        raw: the serialized message.
        is_answer: whether it is a node's answer, whose rows may have different lengths.
        account: is charged for the memory of a large message's values; None for no limit.
    """

    __slots__ = ("_proto", "account", "is_answer", "raw")

    raw: bytes
    lists_are_arrays = True

    def __init__(self, raw: bytes, *, is_answer: bool = False, account: ValuesAccount | None = None) -> None:
        self._content = None
        self._proto = None
        self.raw = raw
        self.is_answer = is_answer
        self.account = account

    @classmethod
    def of_proto(cls, message: Any) -> ProtoMessage:
        """The message of a protobuf object of this type, from any descriptor pool."""
        return cls(message.SerializeToString())

    @property
    def proto(self) -> Any:
        """The parsed `prediction.SeldonMessage`; not to be changed.

        Raises: PayloadError if the bytes are not valid.
        """
        if self._proto is None:
            self._proto = proto_content.parse(prediction.SeldonMessage, self.raw)
        return self._proto

    @property
    def is_bare(self) -> bool:
        """Whether it has no payload.

        Raises: PayloadError if the bytes are not a message.
        """
        return self.proto.WhichOneof("data_oneof") is None

    @property
    def meta(self) -> Meta | None:
        """The protocol's meta; {} if the message has none. Needs no payload.

        Raises: PayloadError if the bytes are not a message.
        """
        if self._content is not None:
            return self._content.meta
        if self._proto is None and len(self.raw) >= proto_content.LARGE_BYTES:
            return proto_content.meta_of_bytes(self.raw)
        return proto_content.meta_of(self.proto)

    @property
    def document(self) -> Any:
        """The JSON view in plain types: numbers are floats, members without a value are omitted."""
        return plain(self.written)

    @property
    def written(self) -> Any:
        """The JSON view, with NumPy arrays of numbers."""
        if self._proto is None and len(self.raw) >= proto_content.LARGE_BYTES:
            content = self.content
            says_all = content.encoding is Encoding.JSON or content.payload.dtype.kind == "f"
            if self._proto is None and says_all:
                return json_content.document_of(content)
        return _written(self)

    def _decode(self) -> Content:
        if self._proto is None and len(self.raw) >= proto_content.LARGE_BYTES:
            content = proto_content.scan(self.raw)
            if content is None and len(self.raw) >= proto_content.SLICED_BYTES:
                proto_content.charge(self.raw, self.account)
                content = proto_content.read_slices(self.raw, is_answer=self.is_answer)
            if content is not None:
                return content
        return proto_content.content_of(self.proto, is_answer=self.is_answer)

    def decode_again(self) -> Content | None:
        """A new copy of the content, for a reader that may change it.

        Raises: PayloadError like `content`.
        """
        content = self._decode()
        return content._replace(payload=copy_any(content.payload)) if content.encoding is Encoding.CUSTOM else content

    def with_meta(self, meta: Meta) -> Message:
        """The same message with another meta; all other fields keep their bytes, including unknown ones.

        Raises: PayloadError if the bytes are not a message; ComponentError if the meta cannot be encoded.
        """
        raw, parts, kept = self.raw, [encode_meta(meta)], 0
        try:
            for number, _, _start, end in split(raw):
                if number != _META_FIELD:
                    parts.append(raw[kept:end])
                kept = end
        except ValueError as error:
            raise PayloadError(f"the message is not a valid {prediction.PACKAGE}.SeldonMessage: {error}") from error
        return ProtoMessage(b"".join(parts), is_answer=self.is_answer)

    def chosen(self) -> Any:
        """The route in a router's answer.

        Raises: PayloadError if it contains no array, or cannot be read.
        """
        proto = self.proto
        if proto.WhichOneof("data_oneof") == "data" and proto.data.WhichOneof("data_oneof") is None:
            return None
        return super().chosen()


class ProtoFeedback(Feedback):
    """A `seldon.protos.Feedback`, decoded when its content is first accessed.

    Args:
        raw: the serialized feedback.
        account: as `ProtoMessage` takes it.
    """

    __slots__ = ("_proto", "account", "raw")

    raw: bytes

    def __init__(self, raw: bytes, *, account: ValuesAccount | None = None) -> None:
        self._content = None
        self._proto = None
        self.raw = raw
        self.account = account

    @classmethod
    def of_proto(cls, feedback: Any) -> ProtoFeedback:
        """The feedback of a protobuf object of this type, from any descriptor pool."""
        return cls(feedback.SerializeToString())

    @property
    def proto(self) -> Any:
        """The parsed `prediction.Feedback`; not to be changed.

        Raises: PayloadError if the bytes are not valid.
        """
        if self._proto is None:
            if len(self.raw) >= proto_content.SLICED_BYTES:
                proto_content.charge(self.raw, self.account)
            self._proto = proto_content.parse(prediction.Feedback, self.raw)
        return self._proto

    def _decode(self) -> FeedbackContent:
        proto = self.proto
        request, response, truth = (
            ProtoMessage(getattr(proto, name).SerializeToString(), account=self.account)
            if proto.HasField(name)
            else None
            for name in ("request", "response", "truth")
        )
        return FeedbackContent(request, response, proto.reward, truth)


def _written(message: ProtoMessage) -> dict[str, Any]:
    proto = message.proto
    document: dict[str, Any] = {}
    if proto.HasField("status"):
        document["status"] = _status_document(proto.status)
    which = proto.WhichOneof("data_oneof")
    if which == "data":
        document["data"] = _data_document(proto.data)
    elif which == "jsonData":
        document["jsonData"] = decode_value(proto.jsonData)
    elif which is not None:
        document.update(json_content.document_of(message.content))
    document["meta"] = message.meta
    return document


def _data_document(proto: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"names": list(proto.names)}
    kind = proto.WhichOneof("data_oneof")
    if kind == "tensor":
        data["tensor"] = {"shape": list(proto.tensor.shape), "values": proto_content.tensor_of(proto.tensor).ravel()}
    elif kind == "ndarray":
        numbers = number_lists.decode(proto.ndarray.SerializeToString())
        data["ndarray"] = numbers if numbers is not None else [decode_value(value) for value in proto.ndarray.values]
    elif kind == "tftensor":
        data["tftensor"] = tensor.message_json(proto.tftensor)
    return data


def _status_document(proto: Any) -> dict[str, Any]:
    document: dict[str, Any] = {name: getattr(proto, name) for name in ("code", "info", "reason")}
    document["status"] = {0: "SUCCESS", 1: "FAILURE"}.get(proto.status, proto.status)
    return document


def received(raw: bytes, *, is_answer: bool = False, account: ValuesAccount | None = None) -> Message:
    """The message of a call's or a reply's bytes; the arguments of `ProtoMessage`."""
    return ProtoMessage(raw, is_answer=is_answer, account=account)


def received_feedback(raw: bytes, *, account: ValuesAccount | None = None) -> Feedback:
    """The feedback of a call's bytes; the arguments of `ProtoFeedback`."""
    return ProtoFeedback(raw, account=account)


def of_proto(message: Any) -> Message:
    """The message of a protobuf object of this type, from any descriptor pool."""
    return ProtoMessage.of_proto(message)


def encode(message: Message) -> bytes:
    """`message` as a serialized SeldonMessage.

    Promises: one received as protobuf is returned byte for byte; any other has a meta, even if empty.
    Raises:
        ComponentError: its payload cannot be encoded; the text names the type and its path.
        PayloadError: it was received and cannot be decoded, or contains what protobuf cannot express.
    """
    if isinstance(message, ProtoMessage):
        return message.raw
    if isinstance(message, WireMessage):
        try:
            return _encode_document(message)
        except ComponentError as error:
            if getattr(message, "raw", None) is None:
                raise
            raise PayloadError(error.text) from error  # unchanged from its sender
    payload, encoding, names, meta = content = message.content
    if encoding is Encoding.TENSORS:
        payload, encoding, names, meta = seldon_content(content)
    return encode_meta(meta) + encode_content(payload, encoding, names)


def _encode_document(message: WireMessage) -> bytes:
    """A message made of a JSON document, with its status and with mixed lists unchanged."""
    try:
        payload, encoding, names, meta = message.content
    except PayloadError:
        document = message.document
        if not isinstance(document, dict) or any(key in document for key in json_content.PAYLOAD_KEYS):
            raise
        if document.get("status") is None and not document.keys() <= {"meta", "status"}:
            raise
        return encode_status(document.get("status")) + encode_meta(message.meta)
    document = message.known_document
    if document is None:
        return encode_meta(meta) + encode_content(payload, encoding, names)
    if encoding.is_array and payload.dtype.kind in "UO" and type(listed := document["data"].get("ndarray")) is list:
        payload = listed
    return encode_status(document.get("status")) + encode_meta(meta) + encode_content(payload, encoding, names)


def proto3_document(message: Message) -> dict[str, Any]:
    """`message` in protobuf's own JSON mapping: integers are doubles, defaults and empty lists are omitted.

    Seldon's wrapper answers feedback over REST in this form.

    Raises: like `encode`.
    """
    proto = proto_content.parse(prediction.SeldonMessage, encode(message))
    try:
        document: dict[str, Any] = json_format.MessageToDict(proto, descriptor_pool=prediction.POOL)
    except (json_format.Error, TypeError, ValueError, KeyError, RecursionError) as error:
        raise ComponentError(f"the answer cannot be written in protobuf's JSON: {error}") from error
    return document


def of_document(document: Any) -> ProtoMessage:
    """The message of a `document` in protobuf's JSON mapping. Raises: PayloadError, also for unknown fields."""
    try:
        return ProtoMessage.of_proto(json_format.ParseDict(document, prediction.SeldonMessage()))
    except (json_format.ParseError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise PayloadError(f"not a SeldonMessage: {error}") from error


def encode_messages(messages: Iterable[Message]) -> bytes:
    """A serialized SeldonMessageList of any messages; received ones are included byte for byte."""
    return b"".join([delimited(b"\x0a", encode(message)) for message in messages])


def decode_messages(raw: bytes, *, is_answer: bool = False, account: ValuesAccount | None = None) -> list[Message]:
    """The messages of a serialized SeldonMessageList, decoded lazily; the arguments of `ProtoMessage`.

    Raises: PayloadError if `raw` is not such a list.
    """
    try:
        return [
            ProtoMessage(raw[start:end], is_answer=is_answer, account=account)
            for number, kind, start, end in split(raw)
            if number == 1 and kind == DELIMITED
        ]
    except ValueError as error:
        raise PayloadError(f"the message is not a valid {prediction.PACKAGE}.SeldonMessageList: {error}") from error


def encode_feedback(feedback: Feedback) -> bytes:
    """`feedback` as a serialized Feedback; one received as protobuf is returned byte for byte."""
    if isinstance(feedback, ProtoFeedback):
        return feedback.raw
    request, response, reward, truth = feedback.content
    parts = [
        delimited(tag, encode(message))
        for tag, message in ((b"\x0a", request), (b"\x12", response), (b"\x22", truth))
        if message is not None
    ]
    if reward:
        try:
            parts.append(struct.pack("<Bf", 0x1D, reward))
        except (struct.error, OverflowError) as error:
            raise ComponentError(f"the reward {reward!r} is not a 32-bit number") from error
    return b"".join(parts)
