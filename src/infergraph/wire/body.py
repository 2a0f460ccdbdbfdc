"""Which JSON value an HTTP request carries: multipart parts, a form or query field `json`, or the body itself.

Source: the protocol's request body resolution, in its order.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from infergraph.errors import PayloadError, UnsupportedBody
from infergraph.wire import json_text

_UTF8_BOM = b"\xef\xbb\xbf"
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_FORM_FIELDS_LIMIT = 1000


def read(raw: bytes, content_type: str = "application/json", query: bytes = b"") -> Any:
    """The JSON value of a request; never None.

    Args:
        raw: the body.
        content_type: the header as it came; "" for none.
        query: the query string as it came, without the question mark.
    Raises:
        UnsupportedBody: the content type is none of ours and the body does not look like JSON.
        PayloadError: there is no JSON value, or it cannot be read.
    """
    text = json_bytes(raw, content_type, query)
    return multipart_value(raw, content_type) if text is None else value_of(text)


def undecoded(raw: bytes, content_type: str = "application/json", query: bytes = b"") -> Any:
    """What a request carries, for those who read it themselves: no JSON is looked for.

    Returns: the message of a multipart body; else the text of a form's or the query's field `json`; else the body.
    Raises: PayloadError if a multipart body, a form or a query cannot be read.
    """
    kind = content_type.lower()
    if _MULTIPART in kind:
        return multipart_value(raw, content_type)
    text = _field(raw, "form") if kind.startswith(_FORM) else b""
    text = text or (_field(query, "query") if query else b"")
    return text.decode("utf-8", "replace") if text else raw


def value_of(text: bytes, *, narrow: bool = False) -> Any:
    """The JSON value of a text; never None.

    Args:
        narrow: as `json_text.read` takes it.
    Raises: PayloadError if it is null or cannot be read.
    """
    value = json_text.read(text, narrow=narrow)
    if value is None:
        raise PayloadError("Can't find JSON in data: the body is null")
    return value


def json_bytes(raw: bytes, content_type: str, query: bytes = b"") -> bytes | None:
    """The JSON text that a request carries, not yet read; None where it is spread over multipart parts.

    Raises: UnsupportedBody and PayloadError as `read` does, without reading the text.
    """
    if content_type == "application/json" and not query:
        return raw
    kind = content_type.lower()
    if _MULTIPART in kind:
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
        raise PayloadError("Can't find JSON in data: the body is empty")
    name = content_type or "no content type"
    raise UnsupportedBody(f"Can't find JSON in data: a body of {name} is no message; send application/json")


def is_json_type(content_type: str, raw: bytes) -> bool:
    """Whether `content_type` says that the body `raw` is JSON, or leaves that open and it looks like JSON."""
    if content_type == "application/json" or _is_json(kind := content_type.lower()):
        return True
    return (not kind or kind.startswith(_FORM)) and raw.lstrip()[:1] in (b"{", b"[")


def is_form(content_type: str) -> bool:
    """Whether `content_type` is one of the two kinds of form."""
    kind = content_type.lower()
    return _MULTIPART in kind or kind.startswith(_FORM)


def _is_json(kind: str) -> bool:
    media = kind.partition(";")[0].strip()
    return media == "application/json" or media.endswith("+json")


def _field(encoded: bytes, place: str) -> bytes:
    """The first `json` field of an urlencoded text; empty where there is none."""
    if b"json" not in encoded:
        return b""
    try:
        # One character a byte, both ways: given bytes, Python before 3.13 refuses fields that are not ASCII.
        fields = parse_qsl(encoded.decode("latin-1"), encoding="latin-1", max_num_fields=_FORM_FIELDS_LIMIT)
    except ValueError as error:
        raise PayloadError(f"the {place} cannot be read: {error}") from error
    return next((value.encode("latin-1") for name, value in fields if name == "json"), b"")


class _Part:
    """One part of a multipart body while it is being read."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.header_name = b""
        self.header_value = b""
        self.data = bytearray()

    def end_header(self) -> None:
        self.headers[self.header_name.lower()] = self.header_value
        self.header_name = self.header_value = b""


class _Parts:
    """Collects the parts that the parser announces."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.complete = False

    def begin(self) -> None:
        if len(self.parts) == _FORM_FIELDS_LIMIT:
            raise FormParserError(f"it has more than {_FORM_FIELDS_LIMIT} parts")
        self.parts.append(_Part())

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].header_name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].header_value += data[start:end]

    def header_end(self) -> None:
        self.parts[-1].end_header()

    def data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].data += data[start:end]

    def end(self) -> None:
        self.complete = True


def multipart_value(raw: bytes, content_type: str) -> dict[str, Any]:
    """The message whose members are the parts of a multipart body.

    Raises: PayloadError if the body or a part cannot be read.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise PayloadError("the multipart body cannot be read: its content type names no boundary")
    parts = _Parts()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_part_data": parts.data,
                "on_header_field": parts.header_field,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_end": parts.end,
            },
        )
        parser.write(raw)
        parser.finalize()
    except FormParserError as error:
        raise PayloadError(f"the multipart body cannot be read: {error}") from error
    if not parts.complete:
        raise PayloadError("the multipart body cannot be read: it ends before its last boundary")
    message: dict[str, Any] = {}
    for part in parts.parts:
        name, is_file = _disposition(part)
        if name not in message:  # the first of that name counts
            message[name] = _part_value(name, bytes(part.data), is_file)
    return message


def _disposition(part: _Part) -> tuple[str, bool]:
    """A part's field name, and whether it is a file."""
    _, options = parse_options_header(part.headers.get(b"content-disposition"))
    name = options.get(b"name")
    if not name:
        raise PayloadError("the multipart body cannot be read: a part has no name")
    return name.decode("utf-8", "replace"), b"filename" in options


def _part_value(name: str, data: bytes, is_file: bool) -> Any:
    """A part as the member of a JSON message that it stands for."""
    if name == "binData":
        return base64.b64encode(data).decode() if is_file else _text(name, data)
    if name == "strData":
        return _text(name, data)
    try:
        return json_text.read(data)
    except PayloadError as error:
        raise PayloadError(f"the multipart part {name!r}: {error.text}") from error


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PayloadError(f"the multipart part {name!r} is not valid UTF-8 at byte {error.start}") from error
