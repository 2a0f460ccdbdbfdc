"""Error responses in OpenAI's form: {"error": {"message", "type", "param", "code"}}.

The functions have the names and arguments of those in `serving.http.error_responses`, whose place they take.

Source: OpenAI's API reference, "Errors"; the classes of its client, which go by the status.
"""

from __future__ import annotations

import re

import orjson

from infergraph import errors
from infergraph.errors import Fault
from infergraph.protocol.status import http_status
from infergraph.serving.http.error_responses import JSON_TYPE, Answer, advice, utf8

_CODES: dict[type[Fault], str] = {
    errors.PayloadError: "invalid_value",
    errors.UnsupportedBody: "unsupported_media_type",
    errors.UploadTooLarge: "file_too_large",
    errors.UnknownTask: "not_found",
    errors.TaskState: "conflict",
    errors.TaskConflict: "conflict",
    errors.Unauthenticated: "invalid_api_key",
    errors.AccessFault: "permission_denied",
    errors.QuotaExceeded: "rate_limit_exceeded",
    errors.Overloaded: "server_overloaded",
    errors.StorageFull: "storage_full",
}
_PARAM = re.compile(r"([a-z]\w*(?:\[\w+\])?): ")
"""Faults name the field first."""


def of_fault(fault: Fault) -> Answer:
    """The response for a fault."""
    code = next((_CODES[kind] for kind in type(fault).__mro__ if kind in _CODES), "server_error")
    named = _PARAM.match(fault.text) if isinstance(fault, errors.PayloadError | errors.UploadTooLarge) else None
    return _answer(http_status(fault), fault.text, code, None if named is None else named[1], *advice(fault))


def of_bug(puid: str) -> Answer:
    """The response for an unexpected error, without details; its traceback is in the log."""
    return _answer(500, "internal error; the log has the details", "server_error", None)


def refusal(status: int, text: str, reason: str, *more: tuple[bytes, bytes]) -> Answer:
    """The response of the HTTP layer itself."""
    return _answer(status, text, reason.lower(), None, *more)


def _answer(status: int, text: str, code: str, param: str | None, *headers: tuple[bytes, bytes]) -> Answer:
    error = {"message": utf8(text), "type": _type(status), "param": param, "code": code}
    return Answer(status, orjson.dumps({"error": error}), [JSON_TYPE, *headers])


def _type(status: int) -> str:
    if status >= 500:
        return "server_error"
    return "rate_limit_error" if status == 429 else "invalid_request_error"
