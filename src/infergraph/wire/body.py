"""Finds the JSON value of an HTTP request: multipart parts, a form or query field `json`, or the body itself.

Source: the protocol's request body resolution, in its order.
"""

from __future__ import annotations

import base64
from itertools import chain
from typing import Any
from urllib.parse import unquote_to_bytes

from infergraph.errors import PayloadError, UnsupportedBody
from infergraph.wire import charsets, json_slices
from infergraph.wire.bodies_memory import ValuesAccount
from infergraph.wire.json_text import UNREADABLE
from infergraph.wire.multipart import MultipartReader, Part, is_multipart

_UTF8_BOM = b"\xef\xbb\xbf"
_FORM = "application/x-www-form-urlencoded"
_FORM_FIELDS_LIMIT = 1000
_ESCAPED_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 18


def read(raw: bytes, content_type: str = "application/json", query: bytes = b"") -> Any:
    """The JSON value of a request; never None.

    Args:
        raw: the body.
        content_type: the received header; "" for none.
        query: the raw query string, without the question mark.
    Raises:
        UnsupportedBody: the content type is not supported and the body does not look like JSON.
        PayloadError: there is no JSON value, or it cannot be read.
    """
    text = json_bytes(raw, content_type, query)
    return multipart_value(raw, content_type) if text is None else json_slices.read_body(text, content_type)


def undecoded(raw: bytes, content_type: str = "application/json", query: bytes = b"") -> Any:
    """The undecoded content of a request, for user code that decodes it itself.

    Returns: the message of a multipart body; else the text of a form's or the query's field `json`; else the body.
    Raises: PayloadError if a multipart body, a form or a query cannot be read.
    """
    kind = content_type.lower()
    if is_multipart(kind):
        return multipart_value(raw, content_type)
    text = _field(raw, "form") if kind.startswith(_FORM) else b""
    text = text or (_field(query, "query") if query else b"")
    return text.decode("utf-8", "replace") if text else raw


def json_bytes(raw: bytes, content_type: str, query: bytes = b"") -> bytes | None:
    """The undecoded JSON text of a request; None if it is spread over multipart parts.

    Raises: UnsupportedBody and PayloadError like `read`, without reading the text.
    """
    if content_type == "application/json" and not query:
        return raw
    kind = content_type.lower()
    if is_multipart(kind):
        return None
    looks_like_json = raw.lstrip()[:1] in (b"{", b"[")
    if kind.startswith(_FORM) and not looks_like_json and (text := _field(raw, "form")):
        return text
    if query and (text := _field(query, "query")):
        return text
    if raw:
        if looks_like_json or _is_json(kind):
            return raw
        if raw.startswith(_UTF8_BOM) and raw[3:].lstrip()[:1] in (b"{", b"["):
            return raw
    if not raw or _is_json(kind):
        raise PayloadError(f"{UNREADABLE}the body is empty")
    name = content_type or "no content type"
    way = "; `infergraph call URL @FILE.csv` sends a CSV file as that" if kind.startswith("text/csv") else ""
    raise UnsupportedBody(f"{UNREADABLE}a body of {name} is not a message; send application/json{way}")


def is_json_type(content_type: str, raw: bytes) -> bool:
    """Whether the body `raw` is JSON by its `content_type`, or looks like JSON if that is inconclusive."""
    if content_type == "application/json" or _is_json(kind := content_type.lower()):
        return True
    return (not kind or kind.startswith(_FORM)) and raw.lstrip()[:1] in (b"{", b"[")


def is_form(content_type: str) -> bool:
    """Whether `content_type` is one of the two kinds of form."""
    kind = content_type.lower()
    return is_multipart(kind) or kind.startswith(_FORM)


def _is_json(kind: str) -> bool:
    media = kind.partition(";")[0].strip()
    return media == "application/json" or media.endswith("+json")


def _field(encoded: bytes, place: str) -> bytes:
    """The first `json` field of an urlencoded text; empty if it has no such field."""
    if encoded.count(b"&") >= _FORM_FIELDS_LIMIT:
        raise PayloadError(f"the {place} cannot be read: it has more than {_FORM_FIELDS_LIMIT} fields")
    for field in encoded.split(b"&"):
        name, _, value = field.partition(b"=")
        if value and name == b"json":
            return _unquoted(value)
    return b""


def _unquoted(text: bytes) -> bytes:
    """An urlencoded text, decoded in blocks: an escape takes many times its size while it is decoded."""
    parts, at = [], 0
    while at < len(text):
        end = at + _ESCAPED_BYTES
        cut = text.find(b"%", end - 2, end)  # an escape is not divided between blocks
        end = cut if cut > at and end < len(text) else end
        parts.append(unquote_to_bytes(text[at:end].replace(b"+", b" ")))
        at = end
    return b"".join(parts)


def multipart_value(raw: bytes, content_type: str, *, account: ValuesAccount | None = None) -> dict[str, Any]:
    """The message whose members are the parts of a multipart body.

    Args:
        account: see `json_slices.read`, for each part.
    Raises: PayloadError if the body or a part cannot be read; UploadTooLarge and Overloaded like `json_slices.read`.
    """
    reader = MultipartReader(content_type)
    parts: list[tuple[Part, list[bytes]]] = []
    pieces = (raw[at : at + _BLOCK_BYTES] for at in range(0, len(raw), _BLOCK_BYTES))
    for event in chain(chain.from_iterable(map(reader.feed, pieces)), reader.finish()):
        if isinstance(event, Part):
            parts.append((event, []))
        else:
            parts[-1][1].append(event)
    message: dict[str, Any] = {}
    for part, blocks in parts:
        if part.name not in message:  # the first of that name is used
            message[part.name] = _part_value(part, part.decoded(b"".join(blocks)), account)
    return message


def _part_value(part: Part, data: bytes, account: ValuesAccount | None) -> Any:
    """The value of a part, as a member of a JSON message."""
    field = f"the multipart part {part.name!r}"
    if part.name == "binData" and part.filename is not None:
        return base64.b64encode(data).decode()
    if part.name in ("binData", "strData"):
        return charsets.text_of(data, charsets.label_of(part.content_type), field)
    try:
        return json_slices.read(data, part.content_type, account=account)
    except PayloadError as error:
        raise PayloadError(f"{field}: {error.text}") from error
