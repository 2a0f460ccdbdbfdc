"""The bytes of a message or feedback for the payload log: as received, or encoded for the call's transport."""

from __future__ import annotations

from typing import NamedTuple

from infergraph.message import Feedback, Message, Transport
from infergraph.wire import json_codec, proto_codec
from infergraph.wire.compression import unpacked
from infergraph.wire.json_codec import JsonFeedback, JsonMessage
from infergraph.wire.json_text import JsonOptions
from infergraph.wire.proto_codec import ProtoFeedback, ProtoMessage
from infergraph.wire.v2 import hop

JSON = "application/json"
PROTOBUF = "application/protobuf"
UNPACKED_LIMIT_BYTES = 64 * 1024 * 1024


class Written(NamedTuple):
    """The bytes of a payload.

    Args:
        header_length: of the JSON of a body of the open inference protocol, if raw tensors follow it; else empty.
    """

    body: bytes
    content_type: str
    header_length: str = ""


def body_of(carrier: Message | Feedback, options: JsonOptions, *, over_grpc: bool, is_request: bool) -> Written:
    """The received bytes, decompressed, if any; else encoded for the call's transport.

    Args:
        over_grpc: the call's transport, for payloads made here.
        is_request: what a node was asked; then an answer of the open inference protocol is spelled as a request.
    """
    if isinstance(carrier, Message) and carrier.holds_tensors:
        return _tensors(carrier, options, over_grpc=over_grpc, is_request=is_request)
    is_json = isinstance(carrier, JsonMessage | JsonFeedback)
    if isinstance(carrier, JsonMessage | JsonFeedback) and carrier.raw is not None and not carrier.query:
        limit_bytes = carrier.limit_bytes or UNPACKED_LIMIT_BYTES
        raw = unpacked(carrier.raw, limit_bytes) if carrier.content_encoding else carrier.raw
        return Written(raw, carrier.content_type or JSON)
    if is_json or not (over_grpc or isinstance(carrier, ProtoMessage | ProtoFeedback)):
        if isinstance(carrier, Feedback):
            return Written(json_codec.encode_feedback(carrier, options), JSON)
        return Written(json_codec.encode(carrier, options), JSON)
    if isinstance(carrier, Feedback):
        return Written(proto_codec.encode_feedback(carrier), PROTOBUF)
    return Written(proto_codec.encode(carrier), PROTOBUF)


def _tensors(message: Message, options: JsonOptions, *, over_grpc: bool, is_request: bool) -> Written:
    """A message of the open inference protocol; raw tensors stay raw."""
    sent = hop.plain(message, is_request=is_request)
    if sent is None:
        made = hop.encode_made(message, options, over_grpc=over_grpc, is_request=is_request)
        return Written(made, PROTOBUF if over_grpc else JSON)
    spelling = sent.spelling
    kind = PROTOBUF if spelling.transport is Transport.GRPC else spelling.content_type or JSON
    return Written(bytes(sent.raw), kind, spelling.header_length or "")
