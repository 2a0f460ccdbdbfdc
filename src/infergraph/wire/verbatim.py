"""A message or feedback as the bytes that it came in, or written as its caller would spell it: for the payload log."""

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
    """The payload's own bytes, unpacked, where it has some; else written in the spelling of the call.

    Args:
        over_grpc: the call's; what was made here has no spelling of its own.
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
