"""The bytes of a message or feedback for the payload log: as received, or encoded for the call's transport."""

from __future__ import annotations

from infergraph.message import Feedback, Message
from infergraph.wire import json_codec, proto_codec
from infergraph.wire.compression import unpacked
from infergraph.wire.json_codec import JsonFeedback, JsonMessage
from infergraph.wire.json_text import JsonOptions
from infergraph.wire.proto_codec import ProtoFeedback, ProtoMessage

JSON = "application/json"
PROTOBUF = "application/protobuf"
UNPACKED_LIMIT_BYTES = 64 * 1024 * 1024


def body_of(carrier: Message | Feedback, options: JsonOptions, *, over_grpc: bool) -> tuple[bytes, str]:
    """The received bytes, decompressed, if any; else encoded for the call's transport.

    Args:
        over_grpc: the call's transport, for payloads made here.
    Returns: the bytes, and their content type.
    """
    is_json = isinstance(carrier, JsonMessage | JsonFeedback)
    if isinstance(carrier, JsonMessage | JsonFeedback) and carrier.raw is not None and not carrier.query:
        limit_bytes = carrier.limit_bytes or UNPACKED_LIMIT_BYTES
        raw = unpacked(carrier.raw, limit_bytes) if carrier.content_encoding else carrier.raw
        return raw, carrier.content_type or JSON
    if is_json or not (over_grpc or isinstance(carrier, ProtoMessage | ProtoFeedback)):
        if isinstance(carrier, Feedback):
            return json_codec.encode_feedback(carrier, options), JSON
        return json_codec.encode(carrier, options), JSON
    if isinstance(carrier, Feedback):
        return proto_codec.encode_feedback(carrier), PROTOBUF
    return proto_codec.encode(carrier), PROTOBUF
