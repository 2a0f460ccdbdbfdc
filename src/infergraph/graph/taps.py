"""Payload taps: which of a node's payloads are logged, and to which sink.

    executor ─▶ tap filtered by the node's mode and the request's skip header ─▶ a sink of records

Source: the orchestrator specification, sections 13 and 23.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

from infergraph.errors import GraphError
from infergraph.graph.spec import Node
from infergraph.message import Context, Feedback, Message

_SKIP = b"seldon-skip-logging"
_YES = frozenset({b"true", b"on", b"1"})
_REQUESTS = frozenset({"all", "request"})
_RESPONSES = frozenset({"all", "response"})


class Tap(Protocol):
    """Observes the payloads of a node with a logger; must neither raise nor wait."""

    def request(self, message: Message, context: Context) -> None:
        """Called before the node answers `message`."""

    def response(self, message: Message, context: Context) -> None:
        """Called with the node's answer."""

    def feedback(self, feedback: Feedback, context: Context) -> None:
        """Called before the node gets `feedback`."""


def filtered(tap: Tap, mode: str) -> Tap | None:
    """The tap, restricted to what a logger of this mode logs; None for a mode that logs nothing."""
    asked = mode in _REQUESTS, mode in _RESPONSES
    return _Filtered(tap, *asked) if any(asked) else None


class _Filtered:
    def __init__(self, tap: Tap, requests: bool, responses: bool) -> None:
        self._tap = tap
        self._requests = requests
        self._responses = responses

    def request(self, message: Message, context: Context) -> None:
        if self._requests and not skips(context):
            self._tap.request(message, context)

    def response(self, message: Message, context: Context) -> None:
        if self._responses and not skips(context):
            self._tap.response(message, context)

    def feedback(self, feedback: Feedback, context: Context) -> None:
        if self._responses and not skips(context):
            self._tap.feedback(feedback, context)


def skips(context: Context) -> bool:
    """Whether the request's headers disable logging."""
    return any(name == _SKIP and value.lower() in _YES for name, value in context.headers)


def sink_url(node: Node, default: str) -> str:
    """The sink of a node's payload log.

    Args:
        default: for a logger without a url (REQUEST_LOGGER_DEFAULT_ENDPOINT).
    Raises: GraphError if it is not an http address.
    """
    url = (node.logger.url if node.logger else "") or default
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise GraphError(f"logger.url of node {node.name!r} is {url!r}, not an http address", node=node.name)
    return url
