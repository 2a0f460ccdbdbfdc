"""The HTTP dialect of the open inference protocol: an id for every request, and errors as `{"error": …}`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import orjson

from infergraph.errors import Fault, RemoteError, UnsupportedBody
from infergraph.protocol.headers import INFERENCE_HEADER_LENGTH, NODE, REASON, new_puid
from infergraph.protocol.status import http_status
from infergraph.serving.http.app import Dialect, Endpoint
from infergraph.serving.http.error_responses import JSON_TYPE, Answer, Headers, advice, utf8
from infergraph.serving.http.exchange import Exchange
from infergraph.wire import json_codec

_ALLOWED = b"access-control-allow-headers"
_ALSO = b", " + INFERENCE_HEADER_LENGTH
_EXPOSED = (b"access-control-expose-headers", b"%b, %b, %b" % (INFERENCE_HEADER_LENGTH, REASON, NODE))


class V2Dialect:
    """The protocol's dialect.

    Args:
        base: of the other protocol on the same port, with which it shares ids and cross-origin rules.
    """

    def __init__(self, base: Dialect) -> None:
        self._base = base

    def identify(self, exchange: Exchange) -> str:
        """The id that the client sent, or a new one."""
        return self._base.identify(exchange) or new_puid()

    def decorate(self, headers: Headers, endpoint: Endpoint, exchange: Exchange) -> None:
        """The id and the cross-origin headers, which allow and expose the size of the JSON before raw tensors."""
        self._base.decorate(headers, endpoint, exchange)
        if b"origin" in exchange.headers:
            headers.append(_EXPOSED)
        if exchange.method == "OPTIONS":
            headers[:] = [(name, value + _ALSO if name == _ALLOWED else value) for name, value in headers]

    def of_fault(self, fault: Fault) -> Answer:
        """The fault's text; its reason and the node go in headers."""
        status = http_status(fault)
        status = status if status >= 400 else 500  # clients take no other one for an error
        answer = error(status, _text(fault), (REASON, fault.reason.encode("ascii", "replace")))
        answer.headers.extend(advice(fault))
        if isinstance(fault, UnsupportedBody):
            answer.headers.append((b"accept-encoding", b"gzip, deflate"))
        if fault.node:
            answer.headers.append((NODE, quote(fault.node).encode()))
        return answer

    def of_bug(self, puid: str) -> Answer:
        """A generic text."""
        return error(500, f"internal error; the log has the details under puid {puid}")

    def refuse_method(self, endpoint: Endpoint, exchange: Exchange) -> Answer:
        """405, or the answer to a pre-flight."""
        if exchange.method == "OPTIONS":
            return self._base.refuse_method(endpoint, exchange)
        allowed = ", ".join(sorted((endpoint.methods or frozenset()) | {"OPTIONS"})).encode()
        return error(405, "Method Not Allowed", (b"allow", allowed))

    def not_found(self, path: str, hint: str) -> Answer:
        """404."""
        return error(404, "Not Found")


def error(status: int, text: str, *more: tuple[bytes, bytes]) -> Answer:
    """The protocol's error answer."""
    return Answer(status, orjson.dumps({"error": utf8(text)}), [JSON_TYPE, *more])


def _text(fault: Fault) -> str:
    """The fault's text; of a remote node's answer the text within."""
    if isinstance(fault, RemoteError) and fault.body is not None:
        try:
            told: Any = orjson.loads(fault.body)
        except orjson.JSONDecodeError:
            return fault.body.decode("utf-8", "replace") or fault.text
        if isinstance(told, dict):
            return json_codec.error_text(told) or fault.text
    return fault.text
