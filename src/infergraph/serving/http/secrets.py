"""The secret of an HTTP request, where it comes from: a header, or the cookie of a signed-in browser."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers as StarletteHeaders

from infergraph.auth.credentials import SECRET_HEADERS, secret_of
from infergraph.serving.http.cross_origin import is_foreign
from infergraph.serving.http.error_responses import Headers

COOKIE = "infergraph-session"
_COOKIE = COOKIE.encode()


def secret_in(headers: Mapping[bytes, bytes], raw: Headers) -> bytes | None:
    """The secret of a request; None for none. A cookie counts only for our own pages: a browser sends it unasked.

    Args:
        headers: by lower-case name.
        raw: the same as they came.
    """
    secret = secret_of(headers)
    if secret is not None or b"cookie" not in headers or _COOKIE not in headers[b"cookie"]:
        return secret
    return None if is_foreign(StarletteHeaders(raw=raw)) else _session_in(headers[b"cookie"])


def without_secrets(headers: Mapping[bytes, bytes], raw: Headers) -> Headers:
    """The headers as they came, without those that carried a secret: no component, node, log or trace sees a key."""
    secret = SECRET_HEADERS
    if b"cookie" in headers and _COOKIE in headers[b"cookie"]:
        secret = secret | {b"cookie"}
    return [header for header in raw if header[0] not in secret]


def _session_in(cookies: bytes) -> bytes | None:
    for part in cookies.split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name == _COOKIE:
            return value.strip()
    return None
