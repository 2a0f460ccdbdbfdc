"""Error lines, the answers to failed records: {"error": {"line": n, "reason": "…"}, "input": "the raw line"}."""

from __future__ import annotations

import orjson

from infergraph.errors import PayloadError
from infergraph.wire import transcoding


def error_line(number: int, reason: str, raw: bytes, charset: str = "") -> bytes:
    """The error line for a failed record, without a line end.

    Args:
        number: of the line, from 1.
        charset: of the received file; empty for UTF-8.
    """
    raw = raw.removesuffix(b"\r")
    text = transcoding.shown(raw) if charset else raw.decode("utf-8", "backslashreplace")
    document = {
        "error": {"line": number, "reason": reason.encode("utf-8", "surrogatepass").decode("utf-8", "replace")},
        "input": text,
    }
    return orjson.dumps(document)


def read_error_line(line: bytes) -> tuple[int, str, str]:
    """The number, reason and raw line in an error line.

    Raises: PayloadError if it is not an error line.
    """
    try:
        document = orjson.loads(line)
        return int(document["error"]["line"]), str(document["error"]["reason"]), str(document["input"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise PayloadError(f"not an error line: {error}") from error
