"""Error lines, the answers to failed records: {"error": {"line": n, "reason": "…"}, "input": "the raw line"}.

A record that is unreadable before it is a line, such as a row of a CSV file, has a line of its own in the input: NUL,
which no JSON begins with, then the reason and the raw record.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import orjson

from infergraph.errors import PayloadError
from infergraph.wire import transcoding

_BAD = b"\0"


def error_line(number: int, reason: str, raw: bytes, charset: str = "") -> bytes:
    """The error line for a failed record, without a line end.

    Args:
        number: of the line, from 1.
        charset: of the received file; empty for UTF-8.
    """
    unreadable = read_bad_line(raw)
    raw = raw.removesuffix(b"\r")
    if unreadable is not None:
        text = unreadable[1]
    else:
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


def bad_line(reason: str, raw: bytes) -> bytes:
    """The line of an unreadable record, without a line end."""
    try:
        text = transcoding.shown(raw)
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "backslashreplace")
    return _BAD + orjson.dumps([reason, text])


def read_bad_line(line: bytes) -> tuple[str, str] | None:
    """The reason and the raw record in the line of an unreadable record; None for any other line."""
    if not line.startswith(_BAD):
        return None
    try:
        reason, raw = orjson.loads(line[len(_BAD) :])
    except (ValueError, TypeError):
        return None
    return str(reason), str(raw)


def failed_lines(errors: Path, done: int = 0) -> Generator[int, None, None]:
    """Numbers of the failed lines beyond the first `done`, in order."""
    with errors.open("rb") as file:
        for line in file:
            number, _, _ = read_error_line(line)
            if number > done:
                yield number
