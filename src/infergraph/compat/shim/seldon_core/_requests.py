"""The parts of a request: payload, meta, the data document or message it came in, and the payload's field name."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from infergraph.message import Encoding

from ._arrays import content_of_document, content_of_proto, grpc_datadef_to_array
from .flask_utils import SeldonMicroserviceException


def get_data_from_proto(request: Any) -> Any:
    """The payload of a SeldonMessage: an array, str, bytes, a JSON value, or an Any.

    Raises: SeldonMicroserviceException if there is none, or it cannot be read.
    """
    kind = request.WhichOneof("data_oneof")
    if kind is None:
        raise SeldonMicroserviceException("Unknown data in SeldonMessage")
    if kind == "data":
        return grpc_datadef_to_array(request.data)
    return content_of_proto(request).payload if kind == "jsonData" else getattr(request, kind)


def get_meta_from_proto(request: Any) -> dict[str, Any]:
    """The meta of a SeldonMessage as a document; empty if there is none."""
    return json_format.MessageToDict(request.meta)


def extract_request_parts(request: Any) -> tuple[Any, dict[str, Any], Any, str]:
    """Payload, meta, DefaultData and payload field of a SeldonMessage.

    Raises: SeldonMicroserviceException if there is no payload, or it cannot be read.
    """
    payload = get_data_from_proto(request)
    return payload, get_meta_from_proto(request), request.data, request.WhichOneof("data_oneof")


def extract_request_parts_json(request: Any) -> tuple[Any, dict[str, Any] | None, Any, str]:
    """Payload, meta, `data` document and payload field of a message's document.

    Raises: SeldonMicroserviceException if there is no payload, or it cannot be read.
    """
    content = content_of_document(request)
    if content.encoding is Encoding.CUSTOM:
        raise SeldonMicroserviceException(f"Invalid request data type: {request}")
    field = "data" if content.encoding.is_array else content.encoding.value
    return content.payload, content.meta, request.get("data"), field


def extract_feedback_request_parts(request: Any) -> tuple[Any, Any, Any, float]:
    """DefaultData of the request, its array, the truth's array and the reward of a Feedback."""
    return (
        request.request.data,
        grpc_datadef_to_array(request.request.data),
        grpc_datadef_to_array(request.truth.data),
        request.reward,
    )
