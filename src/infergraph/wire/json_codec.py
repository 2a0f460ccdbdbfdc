"""JSON bodies to messages and back.

    bytes ──JsonMessage──▶ Content          decoded lazily
    Message ──encode──▶ bytes               a received message is returned byte for byte

A JSON message is never converted to protobuf, so integers, unknown members and key order survive. Only feedback is
decoded strictly, by protobuf's rules, as the protocol requires.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import orjson

from infergraph.errors import PayloadError
from infergraph.message import Content, Encoding, Feedback, FeedbackContent, Message, Meta
from infergraph.settings import NanPolicy
from infergraph.wire import body, json_content, json_feedback, json_scan, json_slices, json_text, json_values
from infergraph.wire.bodies_memory import ValuesAccount
from infergraph.wire.compression import unpacked
from infergraph.wire.json_text import LITERAL, PLAIN, JsonOptions
from infergraph.wire.private_copies import own_json, own_names
from infergraph.wire.v2.messages import seldon_content
from infergraph.wire.wire_message import WireMessage

__all__ = [
    "JsonFeedback",
    "JsonMessage",
    "JsonMessages",
    "JsonOptions",
    "Outgoing",
    "as_bytes",
    "decode_messages",
    "document_of",
    "encode",
    "encode_feedback",
    "encode_messages",
    "forwarded",
    "of_document",
    "other_document",
    "outgoing",
    "own_document",
    "received",
    "received_feedback",
    "reply",
    "value_of",
    "whole_document",
]

JSON_TYPE = "application/json"
LITERAL_TYPE = "application/json; nan=literal"
"""Content type of a body between nodes of this runtime with NaN or infinity literals, which are not valid JSON."""

_UNREAD: Any = object()
_CARRIED = ("_document", "account", "content_encoding", "content_type", "limit_bytes", "query", "raw")
_SMALL_BYTES = 2048
_MANY_NUMBERS = 256


class JsonMessage(WireMessage):
    """A message in JSON, decoded when its content is first accessed.

    Args:
        raw: the received body, possibly compressed.
        content_type: the received header; "" for none.
        content_encoding: "" or "gzip".
        query: the raw query string, whose `json` field takes precedence over the body.
        limit_bytes: maximum size of a decompressed body; 0 for no limit.
        account: is charged for the memory of its values, see `json_slices.read`; None for no limit.
        is_answer: whether it is a node's answer, whose rows may have different lengths.
    """

    __slots__ = (*_CARRIED, "_is_narrow", "is_answer")

    raw: bytes | None

    def __init__(
        self,
        raw: bytes,
        content_type: str = JSON_TYPE,
        *,
        content_encoding: str = "",
        query: bytes = b"",
        limit_bytes: int = 0,
        account: ValuesAccount | None = None,
        is_answer: bool = False,
    ) -> None:
        self._content = None
        self._document = _UNREAD
        self._is_narrow = False
        self.raw = raw
        self.content_type = content_type
        self.content_encoding = content_encoding
        self.query = query
        self.limit_bytes = limit_bytes
        self.account = account
        self.is_answer = is_answer

    @classmethod
    def of_document(cls, document: Any, *, is_answer: bool = False) -> JsonMessage:
        """A message with the given document, as a raw hook returns it."""
        message = cls(b"", is_answer=is_answer)
        message.raw = None
        message._document = document
        return message

    @property
    def document(self) -> Any:
        """The JSON value, decoded at most once.

        Raises: PayloadError if it cannot be read.
        """
        if self._document is _UNREAD:
            text = _text(self)
            if text is not None and len(text) < json_scan.LARGE_BYTES:
                self._document = self._read_small(text)
        return _document(self)

    @property
    def meta(self) -> Meta | None:
        """The protocol's meta; None if the message has none. Needs no payload.

        Raises: PayloadError if the message cannot be read.
        """
        if self._content is None and self._document is _UNREAD and len(self.raw or b"") >= json_scan.LARGE_BYTES:
            try:
                return self.content.meta  # most likely numbers, which are read faster without the document
            except PayloadError:
                pass  # there may be a meta without a payload
        return self._content.meta if self._content is not None else json_content.meta_of(self.document)

    @property
    def known_document(self) -> Any:
        """The document if it has been read; None if only its large array of numbers was, which is all of it."""
        return self._document if self._document is not _UNREAD else None

    def _decode(self) -> Content:
        if self._document is not _UNREAD:
            return self._content_of(self._document)
        content, self._document = self._read()
        return content

    def decode_again(self) -> Content | None:
        """A new copy of the content, for a reader that may change it; None if only the array is known.

        Raises: PayloadError like `content`.
        """
        if self._document is _UNREAD:
            return self._read()[0] if self._content is None else None
        content = self._content_of(self._document)
        if content.encoding is Encoding.JSON or (content.encoding.is_array and content.payload.dtype.kind == "O"):
            if self.raw is not None:
                return self._read()[0]
            return json_content.content_of(json_slices.copied(self._document, ""), is_answer=self.is_answer)
        payload, encoding, names, meta = content
        return Content(payload, encoding, own_names(names), own_json(meta))

    def with_meta(self, meta: Meta) -> Message:
        """The same message with another meta; every other member is kept.

        Returns: the message itself if it is not an object, which could have a meta.
        Raises: PayloadError if it cannot be read.
        """
        document = self.document
        if not isinstance(document, dict):
            return self
        changed = JsonMessage.of_document({**document, "meta": meta}, is_answer=self.is_answer)
        # Keep bytes as bytes: an edge takes a status from a document made by user code, but not from a node's body.
        return changed if self.raw is None else as_bytes(changed)

    def chosen(self) -> Any:
        """The route in a router's answer, which may be a bare list.

        Raises: PayloadError if it contains no number, or cannot be read.
        """
        return json_content.chosen_of(self.document)

    def _read(self) -> tuple[Content, Any]:
        """Content and document of the bytes, not cached; the document is None if there is only an array of numbers."""
        text = _text(self)
        if text is not None and len(text) < json_scan.LARGE_BYTES:
            document = self._read_small(text)
            return self._content_of(document), document
        if text is not None and json_text.is_utf8_json(text):
            found = json_scan.charged(self.account, text, json_scan.read_numbers)
            if found is not None:
                return found, _UNREAD
        document = _read_document(self, text)
        return self._content_of(document), document

    def _read_small(self, text: bytes) -> Any:
        self._is_narrow = narrow = len(text) < _SMALL_BYTES and json_text.is_narrow(text)
        document = json_text.read(text, self.content_type, narrow=narrow)
        if document is None:
            json_text.refuse_null()
        return document

    def _content_of(self, document: Any) -> Content:
        return json_content.content_of(document, is_plain=self._is_narrow, is_answer=self.is_answer)


class JsonMessages(Sequence[Message]):
    """The messages of an aggregate request in JSON, decoded when one is first accessed.

    Args:
        whole: the body.
    """

    __slots__ = ("_messages", "_whole")

    def __init__(self, whole: JsonMessage) -> None:
        self._whole = whole
        self._messages: list[Message] | None = None

    @property
    def raw(self) -> bytes | None:
        """The received body, possibly compressed."""
        return self._whole.raw

    @property
    def document(self) -> Any:
        """The JSON value, decoded at most once.

        Raises: PayloadError if it cannot be read.
        """
        return self._whole.document

    def _found(self) -> list[Message]:
        if self._messages is None:
            document = self.document
            messages = document.get("seldonMessages") if isinstance(document, dict) else document
            if not isinstance(messages, list):
                raise PayloadError(f"Invalid request data type: {json_content.shown(document)}")
            is_answer = self._whole.is_answer
            self._messages = [JsonMessage.of_document(message, is_answer=is_answer) for message in messages]
        return self._messages

    def __len__(self) -> int:
        return len(self._found())

    @overload
    def __getitem__(self, place: int) -> Message: ...
    @overload
    def __getitem__(self, place: slice) -> list[Message]: ...
    def __getitem__(self, place: int | slice) -> Message | list[Message]:
        return self._found()[place]


class JsonFeedback(Feedback):
    """A feedback in JSON, decoded strictly when its content is first accessed; the arguments of `JsonMessage`."""

    __slots__ = _CARRIED

    raw: bytes | None

    def __init__(
        self,
        raw: bytes,
        content_type: str = JSON_TYPE,
        *,
        content_encoding: str = "",
        query: bytes = b"",
        limit_bytes: int = 0,
        account: ValuesAccount | None = None,
    ) -> None:
        self._content = None
        self._document = _UNREAD
        self.raw = raw
        self.content_type = content_type
        self.content_encoding = content_encoding
        self.query = query
        self.limit_bytes = limit_bytes
        self.account = account

    @property
    def document(self) -> Any:
        """The JSON value, decoded at most once.

        Raises: PayloadError if it cannot be read.
        """
        return _document(self)

    def _decode(self) -> FeedbackContent:
        return json_feedback.content_of(_document(self))

    def echo(self) -> Message:
        """The feedback's own body."""
        return JsonMessage(
            self.raw or b"",
            self.content_type,
            content_encoding=self.content_encoding,
            query=self.query,
            limit_bytes=self.limit_bytes,
            account=self.account,
        )

    def recorded(self) -> Mapping[str, Any]:
        """The recorded route; unknown fields are not refused, since only the nodes need the payloads.

        Raises: PayloadError if the feedback cannot be read.
        """
        found = self.document
        if not isinstance(found, dict):
            raise PayloadError("a feedback must be an object with request, response, reward or truth")
        for key in ("response", "meta", "routing"):
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}


def _text(carrier: JsonMessage | JsonFeedback) -> bytes | None:
    """The decompressed JSON text of a body; None if it is spread over multipart parts."""
    raw = carrier.raw or b""
    if carrier.content_encoding:
        raw = _unpacked(raw, carrier.content_encoding, carrier.limit_bytes)
    elif carrier.content_type == JSON_TYPE and not carrier.query:
        return raw
    return body.json_bytes(raw, carrier.content_type, carrier.query)


def _document(carrier: JsonMessage | JsonFeedback) -> Any:
    if carrier._document is _UNREAD:
        carrier._document = _read_document(carrier, _text(carrier))
    return carrier._document


def _read_document(carrier: JsonMessage | JsonFeedback, text: bytes | None) -> Any:
    kind, account = carrier.content_type, carrier.account
    if text is None:
        return body.multipart_value(carrier.raw or b"", kind, account=account)
    return json_slices.read_body(text, kind, account=account)


def _unpacked(raw: bytes, content_encoding: str, limit_bytes: int) -> bytes:
    if content_encoding != "gzip":
        raise PayloadError(f"the content encoding {content_encoding!r} cannot be read; send gzip or none")
    return unpacked(raw, limit_bytes)


def of_document(document: Any, *, is_answer: bool = False) -> Message:
    """A message made of a JSON value."""
    return JsonMessage.of_document(document, is_answer=is_answer)


def received(
    raw: bytes,
    content_type: str = JSON_TYPE,
    *,
    content_encoding: str = "",
    query: bytes = b"",
    limit_bytes: int = 0,
    account: ValuesAccount | None = None,
    is_answer: bool = False,
) -> Message:
    """The message of an HTTP body; the arguments of `JsonMessage`."""
    return JsonMessage(
        raw,
        content_type,
        content_encoding=content_encoding,
        query=query,
        limit_bytes=limit_bytes,
        account=account,
        is_answer=is_answer,
    )


def received_feedback(
    raw: bytes,
    content_type: str,
    *,
    content_encoding: str = "",
    query: bytes = b"",
    limit_bytes: int = 0,
    account: ValuesAccount | None = None,
) -> Feedback:
    """The feedback of an HTTP body; the arguments of `JsonFeedback`."""
    return JsonFeedback(
        raw,
        content_type,
        content_encoding=content_encoding,
        query=query,
        limit_bytes=limit_bytes,
        account=account,
    )


def value_of(raw: bytes, content_type: str = JSON_TYPE) -> Any:
    """The JSON value of a reply's body.

    Raises: PayloadError if it is not JSON.
    """
    return JsonMessage(raw, content_type).document


class Outgoing(NamedTuple):
    """A body with its Content-Type and Content-Encoding."""

    body: bytes
    content_type: str
    content_encoding: str


def outgoing(message: Message, options: JsonOptions = PLAIN) -> Outgoing:
    """The body and headers to send for `message`: those received, otherwise JSON.

    A body received compressed, or of a type other than JSON, is forwarded unchanged; the content of a form, a multipart
    body or a query string is sent as JSON.

    Raises: like `encode`.
    """
    if isinstance(message, JsonMessage) and message.raw is not None and _is_sendable(message, options):
        kind = message.content_type
        is_json = not message.content_encoding and body.is_json_type(kind, message.raw)
        return Outgoing(message.raw, JSON_TYPE if is_json else kind, message.content_encoding)
    return Outgoing(encode(message, options), JSON_TYPE, "")


def forwarded(carrier: Message | Feedback, options: JsonOptions = PLAIN) -> Outgoing:
    """The received HTTP body and headers of a message or feedback, otherwise its JSON.

    Raises: like `encode`.
    """
    if isinstance(carrier, JsonMessage | JsonFeedback) and carrier.raw is not None and not carrier.query:
        return Outgoing(carrier.raw, carrier.content_type, carrier.content_encoding)
    written = encode_feedback(carrier, options) if isinstance(carrier, Feedback) else encode(carrier, options)
    return Outgoing(written, JSON_TYPE, "")


def reply(message: Message, options: JsonOptions, *, is_opaque: bool, is_hop: bool) -> Outgoing:
    """The body and headers of an edge's answer.

    Args:
        is_opaque: a node's answer is passed on unchanged.
        is_hop: whether the client is a graph of this runtime, so that NaN and infinities are sent as literals.
    Raises: like `encode`.
    """
    if not isinstance(message, JsonMessage) or message.raw is None:
        if not is_hop:
            return Outgoing(encode(message, options), JSON_TYPE, "")
        message = as_bytes(message)
    if message.raw is not None and (is_hop or (is_opaque and message.content_type != LITERAL_TYPE)):
        return Outgoing(message.raw, message.content_type, message.content_encoding)
    return outgoing(message, options)


def whole_document(message: Message) -> Any:
    """The JSON value that user code returned instead of a message; None for a payload, and for a node's answer."""
    return message.document if isinstance(message, JsonMessage) and message.raw is None else None


def failure_in(event: bytes) -> str | None:
    """The text of the error that an event of a stream tells, in the form of either protocol; None for an answer."""
    if b'"error"' not in event and b'"status"' not in event:
        return None
    document = value_of(event)
    if not isinstance(document, dict):
        return None
    if document.keys() == {"error"}:
        return str(document["error"])
    status = document.get("status")
    if not isinstance(status, dict) or status.get("status") not in (1, "FAILURE"):
        return None
    return str(status.get("info") or "")


def error_text(document: Mapping[str, Any]) -> str:
    """The text of an error answer of either protocol; empty where it has none."""
    status = document.get("status")
    text = document.get("error") or (status.get("info") if isinstance(status, dict) else None)
    return text if isinstance(text, str) else ""


def other_document(message: Message) -> Any:
    """The JSON value of an answer that is not a message of the protocol.

    Raises: PayloadError if it is not JSON, or has a payload that cannot be read.
    """
    if not isinstance(message, JsonMessage):
        raise PayloadError("the answer is not JSON")
    document = message.document
    if isinstance(document, dict) and document.keys() & {"data", "strData", "binData"}:
        raise PayloadError("the answer has a payload that cannot be read")
    return document


def encode(message: Message, options: JsonOptions = PLAIN) -> bytes:
    """`message` as JSON in UTF-8, not compressed.

    Promises: a message received as JSON is returned byte for byte, unless an option requires rewriting.
    Raises:
        ComponentError: its payload cannot be encoded; the text names the type and its path.
        PayloadError: it was received and cannot be decoded.
    """
    if isinstance(message, WireMessage):
        verbatim = _verbatim(message, options) if isinstance(message, JsonMessage) else None
        return verbatim if verbatim is not None else json_text.write(message.written, options)
    content = message.content
    if content.encoding is Encoding.TENSORS:
        content = seldon_content(content)
    if isinstance(content.payload, np.ndarray) and content.payload.size >= _MANY_NUMBERS and not options.pretty:
        written = _numbers_body(content, options)
        if written is not None:
            return written
    return json_text.write(json_content.document_of(content), options)


def as_bytes(message: Message) -> JsonMessage:
    """The body of a message for a node of this runtime, with NaN and infinities as literals.

    Raises: like `encode`.
    """
    raw = encode(message, LITERAL)
    return JsonMessage(raw, LITERAL_TYPE if json_text.has_literal(raw) else JSON_TYPE, is_answer=message.is_answer)


def _numbers_body(content: Content, options: JsonOptions) -> bytes | None:
    """The body of a message with a large array of numbers, whose text is written in place, without a copy."""
    values = content.payload
    if values.dtype.kind not in "iuf" or content.encoding not in (Encoding.TENSOR, Encoding.NDARRAY):
        return None
    names = json_text.fragment(content.names, options)
    if content.encoding is Encoding.TENSOR:
        payload = {"shape": values.shape, "values": _written_numbers(values.ravel())}
    else:
        payload = _written_numbers(values)
    document = {
        "data": {"names": names, content.encoding.value: payload},
        "meta": json_text.fragment({} if content.meta is None else content.meta, options),
    }
    return json_text.write_numbers(document, options)


def _written_numbers(values: np.ndarray) -> Any:
    """Numbers for `json_text.write_numbers`; very many are encoded here, in blocks."""
    if values.size <= json_values.BLOCK_VALUES:
        return json_values.direct(values)
    return orjson.Fragment(json_values.numbers_text(values))


def _verbatim(carrier: JsonMessage | JsonFeedback, options: JsonOptions) -> bytes | None:
    """The received bytes, if they are JSON that may be forwarded."""
    raw = carrier.raw
    if raw is None or carrier.query or carrier.content_encoding or not options.is_plain:
        return None
    if not json_text.is_utf8_json(raw) or not body.is_json_type(carrier.content_type, raw):
        return None
    if options.nan is not NanPolicy.LITERAL and json_text.has_literal(raw):
        return None
    return raw


def _is_sendable(message: JsonMessage, options: JsonOptions) -> bool:
    """Whether a body that is not plain JSON may be forwarded unchanged, with its headers."""
    if _verbatim(message, options) is not None:
        return True
    if message.query or not options.is_plain or body.is_form(message.content_type):
        return False
    return bool(message.content_encoding) or not body.is_json_type(message.content_type, message.raw or b"")


def document_of(message: Message) -> Any:
    """The JSON value of any message, in plain Python types.

    Raises: like `encode`.
    """
    if isinstance(message, JsonMessage):
        return message.document
    if isinstance(message, WireMessage):
        return json_values.plain(message.written)
    content = message.content
    if content.encoding is Encoding.TENSORS:
        content = seldon_content(content)
    return json_values.plain(json_content.document_of(content))


def own_document(message: Message) -> Any:
    """The JSON value of any message, for a reader that may change it.

    Raises: like `encode`.
    """
    return own_json(message.document) if isinstance(message, JsonMessage) else document_of(message)


def encode_messages(messages: Iterable[Message], options: JsonOptions = PLAIN) -> bytes:
    """A bare JSON list of any messages; received ones are included byte for byte."""
    return b"[" + b",".join([encode(message, options) for message in messages]) + b"]"


def encode_feedback(feedback: Feedback, options: JsonOptions = PLAIN) -> bytes:
    """`feedback` as JSON in UTF-8; one received as JSON is returned byte for byte."""
    if isinstance(feedback, JsonFeedback):
        verbatim = _verbatim(feedback, options)
        return verbatim if verbatim is not None else json_text.write(feedback.document, options)
    request, response, reward, truth = feedback.content
    members = [
        b'"%s":%s' % (name, encode(message, options))
        for name, message in ((b"request", request), (b"response", response), (b"truth", truth))
        if message is not None
    ]
    members.append(b'"reward":' + json_text.write(reward, options))
    return b"{" + b",".join(members) + b"}"


def decode_messages(
    raw: bytes,
    content_type: str = JSON_TYPE,
    query: bytes = b"",
    *,
    content_encoding: str = "",
    limit_bytes: int = 0,
    account: ValuesAccount | None = None,
    is_answer: bool = False,
) -> JsonMessages:
    """The messages of an aggregate request: `{"seldonMessages": [...]}` or a bare list, decoded lazily.

    Args: see `JsonMessage`.
    """
    whole = JsonMessage(
        raw,
        content_type,
        content_encoding=content_encoding,
        query=query,
        limit_bytes=limit_bytes,
        account=account,
        is_answer=is_answer,
    )
    return JsonMessages(whole)
