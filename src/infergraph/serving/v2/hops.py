"""Bodies of the open inference protocol over REST with their headers, as a graph receives them and passes them on."""

from __future__ import annotations

import orjson

from infergraph.message import Context, Message, Transport
from infergraph.protocol.headers import FORM, INFERENCE_HEADER_LENGTH
from infergraph.serving.http.error_responses import JSON_TYPE, Answer
from infergraph.serving.http.exchange import Exchange
from infergraph.wire.v2.hop import NOT_CHAINED
from infergraph.wire.v2.messages import NodeAnswer
from infergraph.wire.v2.records import Spelling


def spelling_of(exchange: Exchange, limit_bytes: int) -> Spelling:
    """How the body of a request is spelled."""
    return Spelling(
        content_type=text(exchange, b"content-type"),
        coding=coding_of(exchange),
        header_length=header_length_of(exchange),
        limit_bytes=limit_bytes,
        form=text(exchange, FORM),
    )


def coding_of(exchange: Exchange) -> str:
    """The content encoding of a request's body; empty for none."""
    coding = text(exchange, b"content-encoding").strip().lower()
    return "" if coding == "identity" else coding


def header_length_of(exchange: Exchange) -> str | None:
    """The size of the JSON of a request's body, as its header tells it; None where the whole body is JSON."""
    length = exchange.headers.get(INFERENCE_HEADER_LENGTH)
    return None if length is None else length.decode("latin-1").strip()


def context_of(exchange: Exchange, model: str) -> Context:
    """The context of a request for a model; empty for the only one."""
    return Context(Transport.REST, exchange.raw_headers, exchange.puid, None, model, exchange.path, exchange.query)


def relayed(message: Message) -> Answer | None:
    """The bytes of a node's answer as they came over REST; None where there are none."""
    if not isinstance(message, NodeAnswer) or message.spelling.transport is not Transport.REST or message.raw is None:
        return None
    spelling = message.spelling
    headers = [(b"content-type", spelling.content_type.encode("latin-1", "replace"))]
    if spelling.header_length is not None:
        headers.append((INFERENCE_HEADER_LENGTH, spelling.header_length.encode("latin-1", "replace")))
    return Answer(200, message.raw, headers)


def ready() -> Answer:
    """What the reference orchestrator answers when all nodes are ready: nothing."""
    return Answer(200, b"", [])


def unchained() -> Answer:
    """The answer to a body that is not a request, in a graph of remote nodes alone.

    Source: the orchestrator specification, section 19: such a graph answers what the reference does.
    """
    body = {"status": {"code": 500, "info": NOT_CHAINED, "status": "FAILURE"}}
    return Answer(500, orjson.dumps(body), [JSON_TYPE])


def text(exchange: Exchange, name: bytes) -> str:
    """A header of a request; empty where there is none."""
    return str(exchange.headers.get(name, b""), "latin-1")
