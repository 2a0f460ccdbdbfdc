"""The secret that a request carries: `X-API-Key`, or `Authorization` as Bearer or Basic; over gRPC as metadata."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

_NAMES = {"authorization": b"authorization", "x-api-key": b"x-api-key"}

SECRET_HEADERS = frozenset(_NAMES.values())
SECRET_METADATA = frozenset(_NAMES)
"""Taken off a request once its caller is known: no component, node, log or trace sees a key."""


def secret_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The secret among the headers, by lower-case name; None where there is none, empty where it cannot be read.

    An `Authorization` may belong to a proxy in front, so `X-API-Key` goes first. Of Basic it is the password, or the
    user where there is no password: some addresses can only be a URL, `https://KEY:@host/`.
    """
    own = headers.get(b"x-api-key")
    if own is not None:
        return own.strip()
    given = headers.get(b"authorization")
    if given is None:
        return None
    scheme, _, rest = given.strip().partition(b" ")
    kind = scheme.lower()
    if kind == b"bearer":
        return rest.strip()
    return _of_basic(rest.strip()) if kind == b"basic" else b""


def secret_of_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> bytes | None:
    """The same of a gRPC call."""
    headers = {_NAMES[name]: _bytes(value) for name, value in metadata if name in _NAMES}
    return secret_of(headers) if headers else None


def _of_basic(encoded: bytes) -> bytes:
    try:
        user, _, password = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return b""
    return password or user


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "replace")
