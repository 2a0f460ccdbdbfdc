"""What keeps other sites' pages out: who may ask, and what a browser may do with a page of ours.

The API has no log-in, so a browser on the same machine or network is all that another site's page would need.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from infergraph.serving import answers

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


class ForeignWrites:
    """Refuses what pages of other sites ask for that changes something: a form of theirs needs no CORS to be sent.

    Args:
        app: answers the rest.
        origins: `cors_origins`: origins that are named there may write; `*` names none.
    """

    def __init__(self, app: ASGIApp, origins: str) -> None:
        self._app = app
        self._named = {origin.strip() for origin in origins.split(",")} - {"", "*"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            headers = Headers(scope=scope)
            if is_foreign(headers) and headers.get("origin") not in self._named:
                await _refusal(headers.get("origin"))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _refusal(origin: str | None) -> Response:
    text = f"403 Forbidden: a page of {origin or 'another site'} may not do this; name its origin in cors_origins"
    return Response(answers.envelope(text, answers.INTERNAL), 403, media_type="application/json")
