"""Encodes a logged payload as a CloudEvent over HTTP, in binary mode.

    Record (a message or feedback, when, of which node and request) ─▶ Event (headers, body)

Source: CloudEvents 1.0 with its HTTP binding, section 3.1; the orchestrator specification, section 23.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from infergraph.message import Feedback, Message, SoleMessage, Transport
from infergraph.wire import logged_payloads
from infergraph.wire.json_text import JsonOptions

_OF_A_RECORD_BYTES = 512
# Characters that the HTTP binding leaves unescaped: printable ASCII without space, quote and percent sign.
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class Kind(Enum):
    """The kind of a record; the value is the event's type."""

    REQUEST = "io.seldon.serving.inference.request"
    RESPONSE = "io.seldon.serving.inference.response"
    FEEDBACK = "io.seldon.serving.feedback"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The origin of the payloads of one predictor.

    Args:
        source: the server's own URL.
        deployment, namespace, predictor: their names; empty for none.
        protocol: seldon, tensorflow or v2.
        json: options for encoding messages that were not received as bytes.
    """

    source: str
    deployment: str
    namespace: str
    predictor: str
    protocol: str
    json: JsonOptions = JsonOptions()


class Record(NamedTuple):
    """One payload to be logged.

    Args:
        url: of the collector.
        carrier: the message or feedback that the node received or returned.
        transport: that of the request, which determines the encoding of messages that were not received as bytes.
        at: time in Unix seconds.
    """

    url: str
    kind: Kind
    node: str
    puid: str
    carrier: Message | Feedback
    transport: Transport
    at: float

    def size(self) -> int:
        """Approximate memory of the payload in bytes."""
        carrier = self.carrier
        raw = getattr(carrier, "raw", None)
        if type(carrier) is Message or isinstance(carrier, SoleMessage):  # made here, so its content is available
            payload = carrier.payload
            raw_size = getattr(payload, "nbytes", None)
            size = raw_size if raw_size is not None else len(payload) if isinstance(payload, str | bytes) else 0
        else:
            size = len(raw or b"")
        return _OF_A_RECORD_BYTES + int(size)


class Event(NamedTuple):
    """The HTTP request: headers in order, and the body."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


def event_of(record: Record, origin: Origin, id: str) -> Event:
    """The event of a record.

    Args:
        id: of the event.
    Raises: PayloadError if the payload cannot be encoded.
    """
    over_grpc = record.transport is Transport.GRPC
    is_request = record.kind is Kind.REQUEST
    written = logged_payloads.body_of(record.carrier, origin.json, over_grpc=over_grpc, is_request=is_request)
    when = datetime.fromtimestamp(record.at, UTC).isoformat().replace("+00:00", "Z")
    attributes = (
        ("Ce-Id", id),
        ("Ce-Specversion", "1.0"),
        ("Ce-Type", record.kind.value),
        ("Ce-Source", origin.source),
        ("Ce-Time", when),
        ("Ce-Modelid", record.node),
        ("Ce-Requestid", record.puid),
        ("Ce-Inferenceservicename", origin.deployment),
        ("Ce-Namespace", origin.namespace),
        ("Ce-Endpoint", origin.predictor),
        ("Ce-Protocol", origin.protocol),
    )
    told = tuple((name, quote(value, safe=_PLAIN)) for name, value in attributes if value)
    if written.header_length:
        told = (*told, ("Inference-Header-Content-Length", written.header_length))
    return Event((*told, ("Content-Type", written.content_type)), written.body)
