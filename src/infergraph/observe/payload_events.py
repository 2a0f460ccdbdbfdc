"""A logged payload as a CloudEvent over HTTP, binary mode.

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
from infergraph.wire import verbatim
from infergraph.wire.json_text import JsonOptions

_OF_A_RECORD_BYTES = 512
# What the HTTP binding lets stand as it is: printable ASCII without the space, the quote and the percent sign.
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class Kind(Enum):
    """What was logged; the value is the event's type."""

    REQUEST = "io.seldon.serving.inference.request"
    RESPONSE = "io.seldon.serving.inference.response"
    FEEDBACK = "io.seldon.serving.feedback"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the payloads of one predictor come from.

    Args:
        source: the server's own address.
        deployment, namespace, predictor: their names; empty for none.
        protocol: seldon, tensorflow or v2.
        json: how messages are written that have no bytes of their own.
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
        url: where to.
        carrier: the message or feedback, as the node got or gave it.
        transport: the protocol that the request came in by; what has no bytes yet is written in its spelling.
        at: when, in Unix seconds.
    """

    url: str
    kind: Kind
    node: str
    puid: str
    carrier: Message | Feedback
    transport: Transport
    at: float

    def size(self) -> int:
        """About how many bytes of memory it holds."""
        carrier = self.carrier
        raw = getattr(carrier, "raw", None)
        if type(carrier) is Message or isinstance(carrier, SoleMessage):  # made here, so that its content is at hand
            payload = carrier.payload
            raw_size = getattr(payload, "nbytes", None)
            size = raw_size if raw_size is not None else len(payload) if isinstance(payload, str | bytes) else 0
        else:
            size = len(raw or b"")
        return _OF_A_RECORD_BYTES + int(size)


class Event(NamedTuple):
    """What is posted: headers in order, and the body."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


def event_of(record: Record, origin: Origin, id: str) -> Event:
    """The event of a record.

    Args:
        id: of the event.
    Raises: PayloadError if the payload cannot be written.
    """
    over_grpc = record.transport is Transport.GRPC
    body, content_type = verbatim.body_of(record.carrier, origin.json, over_grpc=over_grpc)
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
    return Event((*told, ("Content-Type", content_type)), body)
