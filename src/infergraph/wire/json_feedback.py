"""Decodes a feedback's JSON document by the strict rules of protobuf's JSON mapping.

    document ──large arrays of numbers removed──▶ protobuf's parser ──arrays inserted as bytes──▶ Feedback

Source: the protocol: an unknown field is refused, camel-case and proto names are accepted, the reward is a float32 that
may be text, and every number of the data is a double.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf import json_format

from infergraph.errors import PayloadError
from infergraph.message import FeedbackContent
from infergraph.wire import number_lists, prediction
from infergraph.wire.arrays import numbers_of
from infergraph.wire.fields import delimited
from infergraph.wire.json_content import shown
from infergraph.wire.proto_codec import ProtoFeedback

_MESSAGES = ("request", "response", "truth")
_LONG_TEXT = 1 << 16
_MANY = 8
"""Minimum rows or values of an array that is decoded separately: protobuf's parser takes microseconds for each."""


def content_of(document: Any) -> FeedbackContent:
    """The content of a feedback's document.

    Raises: PayloadError if it is not a feedback; the text names the field.
    """
    if not isinstance(document, dict):
        raise PayloadError(f"Invalid JSON: a feedback must be an object, not {shown(document)}")
    emptied, taken, texts = dict(document), {}, {}
    for name in _MESSAGES:
        message = document.get(name)
        found = _take_numbers(message)
        if found is not None:
            emptied[name], taken[name] = found
        elif (text := _long_text(message)) is not None:
            emptied[name], texts[name] = {**document[name], "strData": ""}, text
    try:
        parsed = json_format.ParseDict(emptied, prediction.Feedback(), descriptor_pool=prediction.POOL)
        for name, text in texts.items():
            getattr(parsed, name).strData = text
    except (
        json_format.ParseError,
        TypeError,
        ValueError,
        AttributeError,
        KeyError,
        OverflowError,
        RecursionError,
    ) as error:
        raise PayloadError(f"Invalid JSON: {error}") from error
    for name, numbers in taken.items():
        data = getattr(parsed, name).data
        if data.HasField("tensor"):
            data.tensor.MergeFromString(delimited(b"\x12", numbers.astype("<f8").tobytes()))
        else:
            data.ndarray.MergeFromString(number_lists.encode(numbers))
    return ProtoFeedback.of_proto(parsed).content


def _long_text(message: Any) -> str | None:
    """A message's text that protobuf's parser would search, for seconds, for lone surrogates; None if there is none."""
    text = message.get("strData") if isinstance(message, dict) else None
    return text if isinstance(text, str) and len(text) > _LONG_TEXT else None


def _take_numbers(message: Any) -> tuple[dict[str, Any], np.ndarray] | None:
    """A message's document without its large array, and the array; None if there is none."""
    data = message.get("data") if isinstance(message, dict) else None
    if not isinstance(data, dict) or ("tensor" in data) == ("ndarray" in data):
        return None
    tensor, rows = data.get("tensor"), data.get("ndarray")
    if isinstance(tensor, dict):
        rows = tensor.get("values")
    if not isinstance(rows, list) or len(rows) < _MANY:
        return None
    numbers = numbers_of(rows)
    if numbers is None or (isinstance(tensor, dict) and numbers.ndim != 1):
        return None
    emptied: dict[str, Any] = {"tensor": {**tensor, "values": []}} if isinstance(tensor, dict) else {"ndarray": []}
    return {**message, "data": {**data, **emptied}}, numbers
