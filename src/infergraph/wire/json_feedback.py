"""A feedback's JSON document to its content, by the strict rules of protobuf's JSON.

Source: the protocol: an unknown field is refused, camel-case and proto names are read, the reward is a float32 that
may be text, and every number of the data is a double.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from infergraph.errors import PayloadError
from infergraph.message import FeedbackContent
from infergraph.wire import prediction
from infergraph.wire.json_content import shown
from infergraph.wire.proto_codec import ProtoFeedback


def content_of(document: Any) -> FeedbackContent:
    """The content of a feedback's document.

    Raises: PayloadError if it is no feedback; the text names the field.
    """
    if not isinstance(document, dict):
        raise PayloadError(f"Invalid JSON: a feedback is an object, not {shown(document)}")
    try:
        parsed = json_format.ParseDict(document, prediction.Feedback(), descriptor_pool=prediction.POOL)
    except (json_format.ParseError, TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
        raise PayloadError(f"Invalid JSON: {error}") from error
    return ProtoFeedback.of_proto(parsed).content
