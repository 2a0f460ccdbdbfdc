"""Cross-origin protection: which pages may call the API, and the content security policy of the console.

Without keys a page of another site could call the API through any browser on the same network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from infergraph.serving.http import error_responses
from infergraph.serving.http.error_responses import Answer

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({"same-origin", "none"})

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every console response: scripts, styles and images from our own files only, nothing inline, no frames."""


def origins_of(setting: str) -> frozenset[str]:
    """The origins that `cors_origins` lists; `*` among them allows any."""
    return frozenset(origin.strip() for origin in setting.split(",")) - {""}


def is_foreign(headers: Headers) -> bool:
    """Whether a page of another origin sent a request. Clients other than browsers are never foreign.

    Source: Fetch Metadata, section 2.2; browsers omit it for plain http to another machine, and then send `Origin`
    with every request that could read or change something.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OWN
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def may_look(headers: Headers) -> bool:
    """Whether a console page may be served: to links of another site, but not to its scripts."""
    is_followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return is_followed or not is_foreign(headers)


def foreign_calls(origins: str) -> Callable[[RawHeaders], Answer | None] | None:
    """A check that refuses calls of pages whose origin is not in `cors_origins`; None if any origin is allowed.

    Browsers keep such pages from reading responses, but send their simple requests (forms, plain text) all the same.
    """
    named = origins_of(origins)
    if "*" in named:
        return None

    def refused(raw: RawHeaders) -> Answer | None:
        headers = Headers(raw=raw)
        origin = headers.get("origin")
        if origin in named or not is_foreign(headers):
            return None
        return error_responses.refusal(403, _text(origin), error_responses.INTERNAL)

    return refused


class ForeignWrites:
    """ASGI middleware that refuses state-changing requests of other sites: a form is sent without a CORS pre-flight.

    Args:
        app: the wrapped application.
        origins: `cors_origins`: origins listed there may write; `*` lists none.
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
    body = error_responses.envelope(_text(origin), error_responses.INTERNAL)
    return Response(body, 403, media_type="application/json")


def _text(origin: str | None) -> str:
    return f"403 Forbidden: a page of {origin or 'another site'} may not do this; name its origin in cors_origins"
