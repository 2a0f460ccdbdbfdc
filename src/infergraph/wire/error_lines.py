"""The line that stands in the place of a bad record: {"error": {"line": n, "reason": "…"}, "input": "the raw line"}."""

from __future__ import annotations

import orjson

from infergraph.errors import PayloadError


def error_line(number: int, reason: str, raw: bytes) -> bytes:
    """The line that stands in the place of a bad record; `number` counts from 1; without a line end."""
    text = raw.removesuffix(b"\r").decode("utf-8", "backslashreplace")
    document = {
        "error": {"line": number, "reason": reason.encode("utf-8", "surrogatepass").decode("utf-8", "replace")},
        "input": text,
    }
    return orjson.dumps(document)


def read_error_line(line: bytes) -> tuple[int, str, str]:
    """What an error line says: number, reason, raw line.

    Raises: PayloadError if it is none.
    """
    try:
        document = orjson.loads(line)
        return int(document["error"]["line"]), str(document["error"]["reason"]), str(document["input"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise PayloadError(f"not an error line: {error}") from error
