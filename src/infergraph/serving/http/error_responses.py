"""REST error responses: from a fault to its status and the protocol's error envelope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from infergraph import errors
from infergraph.auth.quotas import Allowance
from infergraph.errors import ComponentError, Fault, Overloaded, RemoteError
from infergraph.protocol.status import http_status

INTERNAL = "MICROSERVICE_INTERNAL_ERROR"
BAD_DATA = "MICROSERVICE_BAD_DATA"

Headers = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """A complete REST answer: status, body, headers.

    Args:
        blobs: follow the body, each sent from the memory where it lies.
    """

    status: int
    body: bytes
    headers: Headers
    blobs: Sequence[bytes | bytearray | memoryview] = ()

    @property
    def whole_body(self) -> bytes:
        """The body and what follows it in one piece."""
        return b"".join((self.body, *self.blobs)) if self.blobs else self.body


_CHALLENGE = (b"www-authenticate", b'Bearer realm="infergraph", Basic realm="infergraph", charset="UTF-8"')
JSON_TYPE = (b"content-type", b"application/json")


def envelope(text: str, reason: str, *, node: str = "") -> bytes:
    """The protocol's error body."""
    status: dict[str, Any] = {"code": -1, "info": text, "reason": reason, "status": 1}
    if node:
        status["node"] = node
    return orjson.dumps({"status": status})


def of_fault(fault: Fault) -> Answer:
    """The error response for a fault.

    A remote unit's own error body and status pass through; so does what the user's error handler made.
    """
    status = http_status(fault)
    if isinstance(fault, ComponentError) and fault.answer is not None:
        status, body, given = fault.answer
        return Answer(status, body, [(name.lower().encode(), value.encode()) for name, value in given.items()])
    if isinstance(fault, RemoteError) and fault.status is not None and fault.body is not None:
        kind = fault.content_type or "application/json"
        return Answer(status, fault.body, [(b"content-type", kind.encode("latin-1"))])
    return Answer(status, envelope(utf8(fault.text), fault.reason), [JSON_TYPE, *advice(fault)])


def advice(fault: Fault) -> Headers:
    """The headers that tell a client what to do about a fault: when to come again, how to say who it is."""
    if isinstance(fault, Overloaded | errors.NotReady | errors.StoreAway):
        return [(b"retry-after", b"1")]
    if isinstance(fault, errors.QuotaExceeded):
        left = Allowance(fault.limit, 0, fault.reset_s)
        return [(b"retry-after", b"%d" % max(1, fault.reset_s)), *rate_limit(left)]
    return [_CHALLENGE] if isinstance(fault, errors.Unauthenticated) else []


def rate_limit(allowance: Allowance) -> Headers:
    """The RateLimit headers: how many requests, how many are left, in how many seconds there are more."""
    return [(name.encode(), value.encode()) for name, value in allowance.entries()]


def of_bug(puid: str) -> Answer:
    """The response to an unexpected error, without details; its traceback is in the log."""
    text = f"internal error; the log has the details under puid {puid or '-'}"
    return Answer(500, envelope(text, INTERNAL), [JSON_TYPE])


def refusal(status: int, text: str, reason: str, *more: tuple[bytes, bytes]) -> Answer:
    """An answer of the HTTP layer itself: 404, 405, 413, 415, 503."""
    return Answer(status, envelope(text, reason), [JSON_TYPE, *more])


def utf8(text: str) -> str:
    """`text` without lone surrogates, which no JSON body can carry."""
    return text.encode("utf-8", "replace").decode()
