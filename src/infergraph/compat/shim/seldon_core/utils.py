"""Conversions between JSON documents, protobuf messages and numpy, and the construction of answers."""

from __future__ import annotations

from typing import NoReturn

from infergraph.errors import MissingExtra

from ._arrays import array_to_grpc_datadef, array_to_list_value, array_to_rest_datadef, grpc_datadef_to_array
from ._documents import (
    feedback_to_json,
    json_to_feedback,
    json_to_seldon_message,
    json_to_seldon_messages,
    json_to_seldon_model_metadata,
    seldon_message_to_json,
    seldon_messages_to_json,
)
from ._environment import get_request_path, getenv, getenv_as_bool
from ._requests import (
    extract_feedback_request_parts,
    extract_request_parts,
    extract_request_parts_json,
    get_data_from_proto,
    get_meta_from_proto,
)
from ._responses import construct_response, construct_response_json
from .env_utils import ENV_MODEL_IMAGE, ENV_MODEL_NAME, NONIMPLEMENTED_IMAGE_MSG, NONIMPLEMENTED_MSG

__all__ = [
    "ENV_MODEL_IMAGE",
    "ENV_MODEL_NAME",
    "NONIMPLEMENTED_IMAGE_MSG",
    "NONIMPLEMENTED_MSG",
    "array_to_grpc_datadef",
    "array_to_list_value",
    "array_to_rest_datadef",
    "construct_response",
    "construct_response_json",
    "extract_feedback_request_parts",
    "extract_request_parts",
    "extract_request_parts_json",
    "feedback_to_json",
    "get_data_from_proto",
    "get_meta_from_proto",
    "get_request_path",
    "getenv",
    "getenv_as_bool",
    "grpc_datadef_to_array",
    "json_to_feedback",
    "json_to_seldon_message",
    "json_to_seldon_messages",
    "json_to_seldon_model_metadata",
    "seldon_message_to_json",
    "seldon_messages_to_json",
    "setup_tracing",
]


def setup_tracing(interface_name: str) -> NoReturn:
    """Not offered: the Jaeger client it was about has reached its end.

    Raises: MissingExtra, always; it says what takes its place.
    """
    raise MissingExtra(f"jaeger tracing of {interface_name!r} is not offered; use OpenTelemetry in its place")
