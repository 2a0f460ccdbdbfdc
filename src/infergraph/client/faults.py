"""Converts a server's error to the fault that the client raises.

status, reason, node ─▶ the fault with this reason (caused by a RemoteError with the complete answer)
                     └▶ a RemoteError for any other reason
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import orjson

from infergraph.errors import Fault, MethodMissing, PayloadError, RemoteError, UnknownModel, UnsupportedBody
from infergraph.net.http_client import Reply
from infergraph.protocol.headers import NODE, REASON
from infergraph.protocol.status import BY_REASON, GrpcStatus
from infergraph.wire import json_codec

_TEXT_LIMIT = 300
_KINDS_OF_V2 = {400: PayloadError, 404: UnknownModel, 422: PayloadError}
"""Of errors of the open inference protocol, whose body has a text alone, where no header has a reason."""


def of_reply(reply: Reply, asked: str) -> Fault:
    """The fault that an unsuccessful HTTP answer reports.

    Args:
        asked: names the request in the message.
    """
    status = _status(reply.body)
    info = status.get("info")
    told = f"{info}" if info else _shown(reply)
    reason = reply.header(REASON) or str(status.get("reason") or "")
    error = RemoteError(
        told or f"{asked}: HTTP status {reply.status}",
        reason=reason or None,
        node=unquote(reply.header(NODE)) or str(status.get("node") or ""),
        status=reply.status,
        body=reply.body,
        content_type=reply.content_type,
        retry_after_s=_seconds(reply.header(b"retry-after")),
    )
    kind = BY_REASON.get(reason) if reason else _KINDS_OF_V2.get(reply.status) if status.keys() == {"info"} else None
    if kind is PayloadError and reply.status == 415:
        kind = UnsupportedBody
    return _kin(kind, error)


def of_event(data: bytes, asked: str) -> Fault | None:
    """The fault that an event of a stream reports; None for an answer."""
    if json_codec.failure_in(data) is None:
        return None
    return of_reply(Reply(500, "application/json", "", data, ()), asked)


def of_status(error: RemoteError) -> Fault:
    """The fault that a gRPC status reports."""
    kind = BY_REASON.get(error.reason)
    if error.grpc_code == GrpcStatus.UNIMPLEMENTED:
        kind = MethodMissing
    elif error.grpc_code == GrpcStatus.INVALID_ARGUMENT and kind is None:
        kind = PayloadError
    return _kin(kind, error)


def _kin(kind: type[Fault] | None, error: RemoteError) -> Fault:
    if kind is None:
        return error
    reason = None if error.reason == RemoteError.reason else error.reason
    fault = kind(error.text, reason=reason, node=error.node)
    fault.__cause__ = error
    return fault


def _status(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(document, dict):
        return {}
    if isinstance(document.get("error"), str):  # the open inference protocol's form
        return {"info": document["error"]}
    status = document.get("status")
    return status if isinstance(status, dict) else {}


def _shown(reply: Reply) -> str:
    """The status and the body, if that is a line of text and not the protocol's error."""
    text = reply.body[:_TEXT_LIMIT].decode("utf-8", "replace").strip()
    is_text = text and "html" not in reply.content_type and not text.startswith("<")
    return f"HTTP status {reply.status}: {text}" if is_text else ""


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() else None
