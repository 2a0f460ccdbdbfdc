"""Lines that are requests to a served path, and their answers, as OpenAI's Batch API has them.

    {"custom_id": "a", "method": "POST", "url": "/predict", "body": {…}}
    {"id": "…", "custom_id": "a", "response": {"status_code": 200, "request_id": "…", "body": {…}}, "error": null}
    {"id": "…", "custom_id": "a", "response": null, "error": {"code": "…", "message": "…"}}

The bytes of a body reach the served path as they stand in the line.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from infergraph.protocol.headers import new_puid
from infergraph.wire import transcoding

SERVER_ERROR = "server_error"
_SHOWN_CHARACTERS = 300
_FIELD = re.compile(r"(?:field `|at `\$\.)(\w+)")


class RequestLine(msgspec.Struct, frozen=True):
    """One request: `body` is its JSON, an object or a list."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class InvalidLine(NamedTuple):
    """Why a line is no request: a stable code, a text, and the member at fault (None for the line)."""

    code: str
    message: str
    param: str | None = None


class Response(msgspec.Struct, frozen=True):
    """What the served path answered; `request_id` is that of its log lines."""

    status_code: int
    request_id: str
    body: msgspec.Raw


class RequestError(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    code: str
    message: str


class AnswerLine(msgspec.Struct, frozen=True):
    """The answer to a request, or why there is none."""

    id: str
    custom_id: str
    response: Response | None = None
    error: RequestError | None = None


class _Id(msgspec.Struct, frozen=True):
    custom_id: str = ""


_read = msgspec.json.Decoder(RequestLine).decode
_read_id = msgspec.json.Decoder(_Id).decode
_read_answer = msgspec.json.Decoder(AnswerLine).decode
_read_json = msgspec.json.Decoder(msgspec.Raw).decode
_write = msgspec.json.Encoder().encode


def read(line: bytes) -> RequestLine | InvalidLine:
    """The request that a line is, or why it is none."""
    if not line.strip():
        return InvalidLine("invalid_json_line", "the line is blank")
    try:
        request = _read(line)
    except msgspec.ValidationError as error:
        return _invalid(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return InvalidLine("invalid_json_line", f"the line is not JSON: {error}")
    if not request.custom_id:
        return InvalidLine("invalid_value", "custom_id is empty", "custom_id")
    if request.method != "POST":
        return InvalidLine("invalid_method", f"method is {request.method!r:.40}, only POST is taken", "method")
    if bytes(request.body)[:1] not in (b"{", b"["):
        return InvalidLine("invalid_type", "body is neither an object nor a list", "body")
    return request


def path_of(url: str, base_path: str = "") -> str:
    """The path that a request names, decoded, without the base path, which it may or may not have."""
    path = unquote(url.partition("?")[0])
    return path.removeprefix(base_path) if path.startswith(f"{base_path}/") else path


def _invalid(text: str) -> InvalidLine:
    """What is wrong with a line that is JSON, from the decoder's message."""
    code = "missing_required_parameter" if "missing required" in text else "invalid_type"
    return InvalidLine(code, text[0].lower() + text[1:], member_in(text))


def member_in(text: str) -> str | None:
    """The member that a message of msgspec names, whose texts a test fixes; None for the document itself."""
    field = _FIELD.search(text)
    return None if field is None else field[1]


def answer(custom_id: str, request_id: str, status: int, body: bytes, *, is_json: bool) -> bytes:
    """The line of an answer; a body that is not JSON becomes a string, an empty one null."""
    raw = _json(body) if is_json else None
    response = Response(status, request_id, raw or msgspec.Raw(_write(body.decode("utf-8", "replace") or None)))
    return _write(AnswerLine(f"batch_req_{request_id}", custom_id, response))


def _json(body: bytes) -> msgspec.Raw | None:
    """JSON on one line; None for what is none."""
    try:
        return msgspec.Raw(bytes(_read_json(body)).replace(b"\n", b" "))
    except (msgspec.DecodeError, RecursionError):
        return None


def failure(custom_id: str, code: str, message: str) -> bytes:
    """The line of a request that has no answer."""
    text = message.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return _write(AnswerLine(f"batch_req_{new_puid()}", custom_id, None, RequestError(code, text)))


def failure_of(line: bytes, code: str, message: str, charset: str = "") -> bytes:
    """The line of a request that has no answer, or of what is no request.

    Args:
        line: of the input.
        charset: of the received file; empty for UTF-8.
    """
    try:
        custom_id = _read_id(line).custom_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        custom_id, shown = "", transcoding.shown(line) if charset else line.decode("utf-8", "backslashreplace")
        message = f"{message}: {shown[:_SHOWN_CHARACTERS]}"
    return failure(custom_id, code, message)


def reason_of(line: bytes) -> str:
    """What an answer says of a failure, in one line, for people."""
    told = _read_answer(line)
    if told.response is not None:
        what = f"{told.response.status_code} {bytes(told.response.body).decode('utf-8', 'replace')}"
    else:
        what = "no answer" if told.error is None else told.error.message
    return f"request {told.custom_id!r}: {what[:_SHOWN_CHARACTERS]}"
