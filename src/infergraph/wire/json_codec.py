"""JSON bodies to messages and back.

    bytes ──JsonMessage──▶ Content          only when somebody asks for it
    Message ──encode──▶ bytes               a message that still has its bytes gives them back

A JSON message is never put through protobuf, so integers, unknown members and key order survive.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf import json_format

from infergraph.errors import ComponentError, PayloadError, UploadTooLarge
from infergraph.message import Content, Encoding, Feedback, FeedbackContent, Message
from infergraph.settings import NanPolicy
from infergraph.wire import body, json_text, proto_codec, tensor
from infergraph.wire.json_text import JsonOptions
from infergraph.wire.prediction import Feedback as FeedbackProto
from infergraph.wire.wire_message import WireMessage

__all__ = [
    "JsonFeedback",
    "JsonMessage",
    "JsonOptions",
    "decode_messages",
    "document_of",
    "encode",
    "encode_feedback",
    "encode_messages",
]

_UNREAD: Any = object()
_PLAIN = JsonOptions()


class JsonMessage(WireMessage):
    """A message in JSON, read when its content is first asked for.

    Args:
        raw: the body as it came, perhaps compressed.
        content_type: the header as it came; "" for none.
        content_encoding: "" or "gzip".
        query: the query string, whose `json` field goes before the body.
        limit_bytes: most bytes that a compressed body may unpack to; 0 for no limit.
    """

    __slots__ = ("_document", "content_encoding", "content_type", "limit_bytes", "query", "raw")

    def __init__(
        self,
        raw: bytes,
        content_type: str = "application/json",
        *,
        content_encoding: str = "",
        query: bytes = b"",
        limit_bytes: int = 0,
    ) -> None:
        self._content = None
        self._document = _UNREAD
        self.raw: bytes | None = raw
        self.content_type = content_type
        self.content_encoding = content_encoding
        self.query = query
        self.limit_bytes = limit_bytes

    @classmethod
    def of_document(cls, document: Any) -> JsonMessage:
        """A message made here that stands for a whole JSON value, as a raw hook answers it."""
        message = cls(b"")
        message.raw = None
        message._document = document
        return message

    @property
    def document(self) -> Any:
        """The JSON value, read at most once.

        Raises: PayloadError if it cannot be read.
        """
        return _document(self)

    def _decode(self) -> Content:
        return _content(_document(self))


class JsonFeedback(Feedback):
    """A feedback in JSON; the same arguments as `JsonMessage`."""

    __slots__ = ("_document", "content_encoding", "content_type", "limit_bytes", "query", "raw")

    def __init__(
        self,
        raw: bytes,
        content_type: str = "application/json",
        *,
        content_encoding: str = "",
        query: bytes = b"",
        limit_bytes: int = 0,
    ) -> None:
        self._content = None
        self._document = _UNREAD
        self.raw: bytes | None = raw
        self.content_type = content_type
        self.content_encoding = content_encoding
        self.query = query
        self.limit_bytes = limit_bytes

    @property
    def document(self) -> Any:
        """The JSON value, read at most once.

        Raises: PayloadError if it cannot be read.
        """
        return _document(self)

    def _decode(self) -> FeedbackContent:
        document = _document(self)
        if not isinstance(document, dict):
            raise PayloadError(f"Invalid JSON: a feedback is an object, not {_shown(document)}")
        try:
            parsed = json_format.ParseDict(document, FeedbackProto())
        except (json_format.ParseError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise PayloadError(f"Invalid JSON: {error}") from error
        return proto_codec.ProtoFeedback.of_proto(parsed).content


def _document(carrier: JsonMessage | JsonFeedback) -> Any:
    if carrier._document is _UNREAD:
        raw = carrier.raw or b""
        if carrier.content_encoding:
            raw = _unpacked(raw, carrier.content_encoding, carrier.limit_bytes)
        carrier._document = body.read(raw, carrier.content_type, carrier.query)
    return carrier._document


def _verbatim(carrier: JsonMessage | JsonFeedback, options: JsonOptions) -> bytes | None:
    """The bytes as they came, where they may go out as they are."""
    raw = carrier.raw
    if raw is None or carrier.query or carrier.content_encoding or not options.is_plain:
        return None
    if not body.is_json_type(carrier.content_type) or not json_text.is_utf8_json(raw):
        return None
    if options.nan is not NanPolicy.LITERAL and json_text.has_literal(raw):
        return None
    return raw


def _unpacked(raw: bytes, content_encoding: str, limit_bytes: int) -> bytes:
    if content_encoding != "gzip":
        raise PayloadError(f"the content encoding {content_encoding!r} cannot be read; send gzip or none")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unpacker.decompress(raw, limit_bytes)
    except zlib.error as error:
        raise PayloadError(f"the body is not valid gzip: {error}") from error
    if unpacker.unconsumed_tail:
        raise UploadTooLarge(f"the body unpacks to more than {limit_bytes} bytes (message_limit_bytes)")
    if not unpacker.eof:
        raise PayloadError("the body is not valid gzip: it ends early")
    return plain


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _content(document: Any) -> Content:
    if not isinstance(document, dict):
        raise PayloadError(f"Invalid request data type: {_shown(document)}")
    meta = document.get("meta")
    if meta is not None and not isinstance(meta, dict):
        raise PayloadError(f"meta must be an object, not {_shown(meta)}")
    if "data" in document:
        return _data_content(document["data"], meta)
    if "jsonData" in document:
        return Content(document["jsonData"], Encoding.JSON, (), meta)
    if "strData" in document:
        text = document["strData"]
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise PayloadError(f"strData must be a string, not {_shown(text)}")
        return Content(text, Encoding.STR, (), meta)
    if "binData" in document:
        return Content(_unbase64(document["binData"]), Encoding.BIN, (), meta)
    raise PayloadError(f"Invalid request data type: {_shown(document)}")


def _data_content(data: Any, meta: dict[str, Any] | None) -> Content:
    if not isinstance(data, dict):
        raise PayloadError(f"data must be an object with tensor, ndarray or tftensor, not {_shown(data)}")
    names = data.get("names", [])
    if "tensor" in data:
        return Content(_tensor(data["tensor"]), Encoding.TENSOR, names, meta)
    if "ndarray" in data:
        return Content(_array(data["ndarray"], "data.ndarray"), Encoding.NDARRAY, names, meta)
    if "tftensor" in data:
        return Content(tensor.decode_json(data["tftensor"]), Encoding.TFTENSOR, names, meta)
    raise PayloadError(f"data has none of tensor, ndarray and tftensor: {_shown(list(data))}")


def _tensor(value: Any) -> np.ndarray:
    if not isinstance(value, dict):
        raise PayloadError(f"data.tensor must be an object with shape and values, not {_shown(value)}")
    for key in ("shape", "values"):
        if not isinstance(value.get(key), list):
            raise PayloadError(f"data.tensor.{key} must be a list, not {_shown(value.get(key))}")
    shape = value["shape"]
    if not all(type(size) is int for size in shape):
        raise PayloadError(f"data.tensor.shape must hold integers, not {_shown(shape)}")
    values = _array(value["values"], "data.tensor.values")
    try:
        return values.reshape(shape)
    except (ValueError, OverflowError, TypeError) as error:
        raise PayloadError(f"data.tensor has {values.size} values, which do not fit the shape {shape}") from error


def _array(value: Any, field: str) -> np.ndarray:
    try:
        return np.array(value)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise PayloadError(f"{field} is not a regular array: {error}") from error


_URL_SAFE = str.maketrans("-_", "+/")


def _unbase64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise PayloadError(f"binData must be base64 text, not {_shown(text)}")
    try:
        return base64.b64decode(text.translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PayloadError(f"binData is not valid base64: {error}") from error


def encode(message: Message, options: JsonOptions = _PLAIN) -> bytes:
    """`message` as a JSON body.

    Promises: a message that came as JSON gives its very bytes back, unless an option asks for a rewrite.
    Raises:
        ComponentError: its payload cannot be written; the text names the type and the place.
        PayloadError: it came off the wire and cannot be read.
    """
    if isinstance(message, JsonMessage):
        verbatim = _verbatim(message, options)
        if verbatim is not None:
            return verbatim
        return json_text.write(message.document, options)
    return json_text.write(document_of(message), options)


def document_of(message: Message) -> Any:
    """The JSON value of any message; arrays in it are still NumPy arrays, which `json_text.write` writes."""
    if isinstance(message, WireMessage):
        return message.document
    payload, encoding, names, meta = message.content
    document: dict[str, Any] = {}
    if encoding.is_array:
        document["data"] = _data(payload, encoding, names)
    elif encoding is Encoding.BIN:
        document["binData"] = base64.b64encode(payload).decode()
    elif encoding is Encoding.CUSTOM:
        raise ComponentError("customData (a protobuf Any) cannot be written as JSON; ask over gRPC")
    else:
        document[encoding.value] = payload
    document["meta"] = meta if meta is not None else {}
    return document


def _data(payload: Any, encoding: Encoding, names: Any) -> dict[str, Any]:
    names = list(names) if isinstance(names, tuple) else names
    if isinstance(payload, list) and encoding is Encoding.NDARRAY:
        return {"names": names, "ndarray": payload}
    values = np.asarray(payload)
    if values.dtype.kind == "c":
        raise ComponentError(f"the answer is an array of {values.dtype}, which JSON cannot express")
    if values.dtype.kind in "iuf" and encoding is Encoding.TENSOR:
        return {"names": names, "tensor": {"shape": list(values.shape), "values": values.ravel()}}
    if values.dtype.kind in "iuf" and encoding is Encoding.TFTENSOR and tensor.encodable(values):
        return {"names": names, "tftensor": tensor.encode_json(values)}
    return {"names": names, "ndarray": values}


def encode_messages(messages: Iterable[Message], options: JsonOptions = _PLAIN) -> bytes:
    """A bare JSON list of any messages; those with bytes of their own go in verbatim."""
    return b"[" + b",".join(encode(message, options) for message in messages) + b"]"


def encode_feedback(feedback: Feedback, options: JsonOptions = _PLAIN) -> bytes:
    """`feedback` as a JSON body; one that came as JSON gives its very bytes back."""
    if isinstance(feedback, JsonFeedback):
        verbatim = _verbatim(feedback, options)
        return verbatim if verbatim is not None else json_text.write(feedback.document, options)
    request, response, reward, truth = feedback.content
    document: dict[str, Any] = {}
    for name, message in (("request", request), ("response", response), ("truth", truth)):
        if message is not None:
            document[name] = document_of(message)
    document["reward"] = reward
    return json_text.write(document, options)


def decode_messages(raw: bytes, content_type: str = "application/json", query: bytes = b"") -> list[Message]:
    """The messages of an aggregate request: `{"seldonMessages": [...]}` or a bare list.

    Raises: PayloadError if it is neither; the messages themselves are read when asked.
    """
    document = body.read(raw, content_type, query)
    if isinstance(document, dict):
        document = document.get("seldonMessages", document)
    if not isinstance(document, list):
        raise PayloadError(f"Invalid request data type: {_shown(document)}")
    return [JsonMessage.of_document(item) for item in document]
