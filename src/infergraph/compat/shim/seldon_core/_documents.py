"""JSON documents to protobuf messages and back, by protobuf's own JSON mapping."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from .flask_utils import SeldonMicroserviceException
from .proto import prediction_pb2


def json_to_seldon_message(message_json: Any) -> Any:
    """The SeldonMessage of a document. Raises: SeldonMicroserviceException naming the field that does not fit."""
    return _parse(message_json, prediction_pb2.SeldonMessage())


def json_to_feedback(message_json: Any) -> Any:
    """The Feedback of a document. Raises: SeldonMicroserviceException naming the field that does not fit."""
    return _parse(message_json, prediction_pb2.Feedback())


def json_to_seldon_messages(message_json: Any) -> Any:
    """The SeldonMessageList of a document, or of a bare list of messages.

    Raises: SeldonMicroserviceException naming the field that does not fit.
    """
    document = {"seldonMessages": message_json} if isinstance(message_json, list) else message_json
    return _parse(document, prediction_pb2.SeldonMessageList())


def json_to_seldon_model_metadata(metadata_json: Any) -> Any:
    """The SeldonModelMetadata of a document; unknown members are left out.

    Raises: SeldonMicroserviceException naming the field that does not fit.
    """
    return _parse(metadata_json, prediction_pb2.SeldonModelMetadata(), ignore_unknown_fields=True)


def seldon_message_to_json(message_proto: Any) -> dict[str, Any]:
    """The document of a SeldonMessage."""
    return json_format.MessageToDict(message_proto)


def seldon_messages_to_json(message_protos: Any) -> dict[str, Any]:
    """The document of a SeldonMessageList."""
    return json_format.MessageToDict(message_protos)


def feedback_to_json(message_proto: Any) -> dict[str, Any]:
    """The document of a Feedback."""
    return json_format.MessageToDict(message_proto)


def _parse(document: Any, message: Any, *, ignore_unknown_fields: bool = False) -> Any:
    if document is None:
        return message
    if not isinstance(document, dict):
        raise SeldonMicroserviceException(f"Invalid JSON: expected an object, not {type(document).__name__}")
    try:
        return json_format.ParseDict(document, message, ignore_unknown_fields=ignore_unknown_fields)
    except (json_format.ParseError, TypeError, AttributeError) as error:
        raise SeldonMicroserviceException(f"Invalid JSON: {error}") from error
