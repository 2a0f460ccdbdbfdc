"""Messages for raw hooks: `*_raw`, and the deprecated `*_rest` and `*_grpc`.

Request ─▶ JSON document | protobuf object of the user's own class ─▶ hook ─▶ Message
"""

from __future__ import annotations

import importlib
import inspect
import json
from typing import Any

import orjson

from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Feedback, Message, Request
from infergraph.wire import body, json_codec, prediction, proto_codec
from infergraph.wire.json_codec import JsonFeedback, JsonMessage, JsonMessages
from infergraph.wire.private_copies import own_json
from infergraph.wire.proto_codec import ProtoFeedback, ProtoMessage


def is_proto(request: Request) -> bool:
    """Whether a request was received as protobuf."""
    if isinstance(request, Message | Feedback):
        return isinstance(request, ProtoMessage | ProtoFeedback)
    return not isinstance(request, JsonMessages) and bool(request) and isinstance(request[0], ProtoMessage)


def document_of(request: Request) -> Any:
    """The request as a JSON value that the hook may change; feedback as JSON text."""
    if isinstance(request, Message):
        return json_codec.own_document(request)
    if isinstance(request, Feedback):
        # Seldon's wrapper always passes text to the deprecated REST hook.
        document = request.document if isinstance(request, JsonFeedback) else None
        return json.dumps(document) if document is not None else json_codec.encode_feedback(request).decode()
    if isinstance(request, JsonMessages):
        return request.document
    return [json_codec.own_document(message) for message in request]


def proto_of(request: Request) -> Any:
    """The request as a protobuf object of the class that the user's own code imports, now or later."""
    if isinstance(request, Feedback):
        return user_messages().Feedback.FromString(proto_codec.encode_feedback(request))
    if isinstance(request, Message):
        return user_messages().SeldonMessage.FromString(proto_codec.encode(request))
    return user_messages().SeldonMessageList.FromString(proto_codec.encode_messages(request))


def user_messages() -> Any:
    """The module of the message classes that user code imports; our own classes if there is none."""
    try:
        return importlib.import_module("seldon_core.proto.prediction_pb2")
    except Exception:  # noqa: BLE001 - generated code of an installed seldon_core may not suit this protobuf
        return prediction


def undecoded(request: Request) -> Any:
    """The undecoded HTTP body of a request, for user code that decodes it itself; None for other transports."""
    if not isinstance(request, JsonMessage) or request.raw is None:
        return None
    return body.undecoded(request.raw, request.content_type, request.query)


def as_it_is(raw: bytes) -> Message:
    """The bytes that a hook returned in pass-through, as a body of the matching content type."""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return JsonMessage(raw, "application/octet-stream")
    return JsonMessage(raw)


def feedback_message(result: Any, feedback: Feedback) -> Message:
    """The message that a raw hook returned for a feedback, always protobuf in the end; None is an empty one.

    Returns: for a feedback in JSON, that message in protobuf's own JSON mapping.
    Raises: ComponentError for anything else.
    """
    try:
        is_proto = hasattr(result, "SerializeToString")
        message = (
            proto_codec.of_proto(result) if is_proto else proto_codec.of_document({} if result is None else result)
        )
    except PayloadError as error:  # of the answer, not of the request
        raise ComponentError(f"a raw feedback hook must return a message or None: {error}") from error
    if isinstance(feedback, JsonFeedback):
        return JsonMessage.of_document(proto_codec.proto3_document(message))
    return message


def with_document(message: Message, document: Any) -> Message:
    """A message like this one whose JSON view is `document`."""
    changed = JsonMessage.of_document(document)
    return ProtoMessage(proto_codec.encode(changed)) if isinstance(message, ProtoMessage) else changed


def message_of(result: Any) -> Message:
    """The message that a raw hook returned.

    Raises: ComponentError for anything but a JSON value or a protobuf message.
    """
    if hasattr(result, "SerializeToString"):
        return ProtoMessage.of_proto(result)
    if isinstance(result, Message):
        return result
    if isinstance(result, bytes | bytearray) or inspect.iscoroutine(result):
        raise ComponentError(f"a raw hook must return a JSON value or a protobuf message, not {type(result).__name__}")
    return JsonMessage.of_document(own_json(result))
