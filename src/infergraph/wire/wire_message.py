"""Received messages, which have a JSON view in every codec."""

from __future__ import annotations

from typing import Any

from infergraph.errors import Fault, NestedTooDeeply, PayloadError
from infergraph.message import Feedback, Message, Request
from infergraph.wire import json_text

_DEEP_LEVELS = 30
"""Near the maximum depth of protobuf: a deeper request may not fit into an answer, which adds levels."""


class WireMessage(Message):
    """A received message, or one made of a JSON document.

    It may have more than its content (a status, unknown members), which is in its `document`.
    """

    __slots__ = ()

    @property
    def document(self) -> Any:
        """The JSON value of the message.

        Raises: PayloadError if it cannot be read.
        """
        raise NotImplementedError("each codec's message has its own view")

    @property
    def written(self) -> Any:
        """The same value, possibly with NumPy arrays, for the JSON writer.

        Raises: PayloadError if it cannot be read.
        """
        return self.document

    @property
    def known_document(self) -> Any:
        """The document if it has been read; None if the content is complete without it."""
        return None


def blamed(fault: NestedTooDeeply, request: Request) -> Fault:
    """The fault of an answer nested too deeply: a PayloadError if the request itself is deep."""
    if isinstance(request, Feedback):
        content = request.content
        parts = [part for part in (content.request, content.response, content.truth) if part is not None]
    else:
        parts = [request] if isinstance(request, Message) else list(request)
    if any(isinstance(part, WireMessage) and json_text.is_deeper(part.document, _DEEP_LEVELS) for part in parts):
        return PayloadError(f"the request is nested too deeply to be answered: {fault.text}")
    return fault


def is_larger(message: Message, size_bytes: int) -> bool:
    """Whether a received message is larger than `size_bytes`, or compressed, so that its size is not known yet."""
    raw = getattr(message, "raw", None)
    return raw is not None and (len(raw) > size_bytes or bool(getattr(message, "content_encoding", "")))
