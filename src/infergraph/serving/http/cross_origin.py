"""What keeps other sites' pages out: who may ask, and what a browser may do with a page of ours.

The API has no log-in, so a browser on the same machine or network is all that another site's page would need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from infergraph.serving.http import answers
from infergraph.serving.http.answers import Answer
from infergraph.serving.http.dialects import origins_of

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({"same-origin", "none"})

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Of every answer of the console: no script, style or picture but our own files, nothing inline, no frames."""


def is_foreign(headers: Headers) -> bool:
    """Whether a page of another origin sent a request. Programs that are no browsers are never foreign.

    Source: Fetch Metadata, section 2.2; browsers leave it out where the address is plain http and not this machine,
    and then send `Origin` with all that could be read or change something.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OWN
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def may_look(headers: Headers) -> bool:
    """Whether a page of the console may be answered with: not to another site's script, but to its links."""
    is_followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return is_followed or not is_foreign(headers)


def foreign_calls(origins: str) -> Callable[[RawHeaders], Answer | None] | None:
    """What refuses the calls of pages that `cors_origins` leaves out; None where it lets any page call.

    Browsers keep such pages from reading answers, but send them plain forms and texts all the same.
    """
    named = origins_of(origins)
    if "*" in named:
        return None

    def refused(raw: RawHeaders) -> Answer | None:
        headers = Headers(raw=raw)
        origin = headers.get("origin")
        if origin in named or not is_foreign(headers):
            return None
        return answers.refusal(403, _text(origin), answers.INTERNAL)

    return refused


class ForeignWrites:
    """Refuses what pages of other sites ask for that changes something: a form of theirs needs no CORS to be sent.

    Args:
        app: answers the rest.
        origins: `cors_origins`: origins that are named there may write; `*` names none.
    """

    def __init__(self, app: ASGIApp, origins: str) -> None:
        self._app = app
        self._named = origins_of(origins) - {"*"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            headers = Headers(scope=scope)
            if is_foreign(headers) and headers.get("origin") not in self._named:
                await _refusal(headers.get("origin"))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _refusal(origin: str | None) -> Response:
    return Response(answers.envelope(_text(origin), answers.INTERNAL), 403, media_type="application/json")


def _text(origin: str | None) -> str:
    return f"403 Forbidden: a page of {origin or 'another site'} may not do this; name its origin in cors_origins"
