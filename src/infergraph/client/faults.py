"""From a server's error to the fault that a client raises.

status, reason, node ─▶ the fault of that reason (its cause is a RemoteError with all that was answered)
                     └▶ a RemoteError where the reason is nobody's in particular
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import orjson

from infergraph.errors import Fault, MethodMissing, PayloadError, RemoteError, StartupFault, UnsupportedBody
from infergraph.net.http_client import Reply

_REASON = b"infergraph-reason"
_NODE = b"infergraph-node"
_TEXT_LIMIT = 300
_INVALID_ARGUMENT, _UNIMPLEMENTED = 3, 12


def _reasons(kind: type[Fault]) -> Iterator[tuple[str, type[Fault]]]:
    for child in kind.__subclasses__():
        if child is not StartupFault:
            yield child.reason, child
            yield from _reasons(child)


def _table() -> dict[str, type[Fault]]:
    table: dict[str, type[Fault]] = {}
    for reason, kind in _reasons(Fault):
        table.setdefault(reason, kind)
    del table[Fault.reason]  # said of many things
    return table


BY_REASON: dict[str, type[Fault]] = _table()
"""The fault of each reason that only one kind of fault has; the most general kind where a reason is inherited."""


def of_reply(reply: Reply, asked: str) -> Fault:
    """The fault that an HTTP answer without success tells of.

    Args:
        asked: what was asked, for the text.
    """
    status = _status(reply.body)
    info = status.get("info")
    told = f"{info}" if info else _shown(reply)
    reason = reply.header(_REASON) or str(status.get("reason") or "")
    error = RemoteError(
        told or f"{asked}: HTTP status {reply.status}",
        reason=reason or None,
        node=unquote(reply.header(_NODE)) or str(status.get("node") or ""),
        status=reply.status,
        body=reply.body,
        content_type=reply.content_type,
        retry_after_s=_seconds(reply.header(b"retry-after")),
    )
    kind = BY_REASON.get(reason)
    if kind is PayloadError and reply.status == 415:
        kind = UnsupportedBody
    return _kin(kind, error, reason)


def of_code(code: int, text: str, reason: str, node: str) -> Fault:
    """The fault that a gRPC status tells of; `reason` and `node` are empty where the server says neither."""
    error = RemoteError(text, reason=reason or None, node=node, grpc_code=code)
    kind = BY_REASON.get(reason)
    if code == _UNIMPLEMENTED:
        kind = MethodMissing
    elif code == _INVALID_ARGUMENT and kind is None:
        kind = PayloadError
    return _kin(kind, error, reason)


def _kin(kind: type[Fault] | None, error: RemoteError, reason: str) -> Fault:
    if kind is None:
        return error
    fault = kind(error.text, reason=reason or None, node=error.node)
    fault.__cause__ = error
    return fault


def _status(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    status = document.get("status") if isinstance(document, dict) else None
    return status if isinstance(status, dict) else {}


def _shown(reply: Reply) -> str:
    """A body that is not the protocol's, where it is a line of text."""
    text = reply.body[:_TEXT_LIMIT].decode("utf-8", "replace").strip()
    is_text = text and "html" not in reply.content_type and not text.startswith("<")
    return f"HTTP status {reply.status}: {text}" if is_text else ""


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() else None
