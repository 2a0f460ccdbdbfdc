"""File format detection: a file that is not JSONL is reported once, before the work, and not line by line.

    head of the file, its number of lines ──whole_fault──▶ one sentence with a solution, or an empty string

Only a file that cannot be JSONL is reported; one with bad lines among good ones is answered line by line.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence

HEAD_BYTES = 64 * 1024
"""Bytes at the start of a file that are inspected."""

_PICKLE = "a pickle of Python's: write its rows as lines of JSON first"
_YAML = "YAML: write its records as lines of JSON first (yq -o json -I 0 '.[]')"
_MAGIC = (
    (b"\x1f\x8b", "gzip: unpack it first (gunzip)"),
    (b"PK\x03\x04", "a zip archive, or a spreadsheet: unpack it, or save it as JSON lines"),
    (b"BZh", "bzip2: unpack it first (bunzip2)"),
    (b"\xfd7zXZ\x00", "xz: unpack it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "zstd: unpack it first (unzstd)"),
    (b"PAR1", "Parquet: write it as JSON lines first (pandas: to_json(…, orient='records', lines=True))"),
    (b"\x93NUMPY", "a NumPy array: write each row as a line of JSON first"),
    (b"SQLite format 3\x00", "an SQLite database: write its rows as lines of JSON first"),
    (b"%PDF-", "a PDF document"),
    (b"<?xml", "XML: write its records as lines of JSON first"),
    (b"<!DOCTYPE", "an HTML page: download the data that it links to"),
    (b"<html", "an HTML page: download the data that it links to"),
    (b"\x80\x02", _PICKLE),
    (b"\x80\x03", _PICKLE),
    (b"\x80\x04", _PICKLE),
    (b"\x80\x05", _PICKLE),
    (b"ARROW1", "Arrow (Feather): write it as JSON lines first (pandas: to_json(…, orient='records', lines=True))"),
    (b"ORC", "ORC: write it as JSON lines first (pandas: to_json(…, orient='records', lines=True))"),
    (b"Obj\x01", "Avro: write its records as lines of JSON first"),
    (b"\x89HDF\r\n\x1a\n", "HDF5: write its rows as lines of JSON first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it first"),
    (b"\x04\x22\x4d\x18", "lz4: unpack it first (unlz4)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document: save it as JSON lines"),
    (b"{\\rtf", "an RTF document: save it as JSON lines"),
    (b"%YAML", _YAML),
    (b"\x1e", "a JSON text sequence: take its record separators out (tr -d '\\036')"),
)
_CSV = "CSV: name it .csv, or say so (--format csv, format=csv)"
_DELIMITERS = (",", "\t", ";")
_TAR_MAGIC, _TAR_AT = b"ustar", 257
_YAML_ROW = re.compile(r"(?: *- .*| *(?:- +)*[\w.$-][\w .$-]*:(?: .*)?)")
_JSON_ROW = re.compile(r"\s*(?:[\[{\"]|-?[0-9]|(?:true|false|null|NaN|-?Infinity)\s*$)")
_TEXT_ROWS = 5
"""Lines that do not even begin like JSON: from so many on, and nothing else, a file is text."""


def whole_fault(head: bytes, lines: int) -> str:
    """The format of a file that is not JSONL, in one sentence with a solution; empty for a file that may be JSONL.

    Args:
        head: its first `HEAD_BYTES` bytes, or all of it, in UTF-8.
        lines: how many lines it has.
    """
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return f"the file is {what}"
    if head.startswith(_TAR_MAGIC, _TAR_AT):
        return "the file is a tar archive: unpack it first (tar -x)"
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        return ""
    is_cut = len(head) >= HEAD_BYTES
    if lines == 1 or ("\n" not in text.rstrip() and not is_cut):
        return _one_line_fault(text)
    rows = text.split("\n")
    whole = rows[:-1] if is_cut else rows
    spread = _spread_fault("\n".join(whole) + "\n" if is_cut else text, is_cut=is_cut)
    return spread or _comma_fault(whole) or _line_end_fault(whole) or _table_fault(whole) or _text_fault(whole)


def _one_line_fault(text: str) -> str:
    """The fault of a file with one line."""
    if text[0] == "[" and text[1:].lstrip()[:1] == "{":
        return "the file is one JSON array; a line for each item is expected (jq -c '.[]')"
    end = _value_end(text)
    if end is not None and text[end : end + 1] == "\r" and text[end:].strip():
        return "the file's lines end in CR alone; LF or CRLF is expected (tr '\\r' '\\n')"
    return ""


def _spread_fault(text: str, *, is_cut: bool) -> str:
    """The fault of a file whose first value spans several lines.

    Args:
        is_cut: the text is only the beginning of the file, and the value may end beyond it.
    """
    if text[0] not in "[{" or _value_end(text.partition("\n")[0]) is not None:
        return ""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        if not is_cut or error.pos < len(text.rstrip()):
            return ""
    except (ValueError, RecursionError):
        return ""
    else:
        if "\n" not in text[:end]:
            return ""
    if text[0] == "[":
        return "the file is one JSON array over several lines; a line for each item is expected (jq -c '.[]')"
    return "the file has JSON objects over several lines; each in one line is expected (jq -c .)"


def _comma_fault(rows: Sequence[str]) -> str:
    """The fault of a file whose lines are the items of a JSON array, with commas between them."""
    first = [row.strip() for row in rows if row.strip()][:5]
    if len(first) < 2 or any(row[0] not in "[{" or row[_value_end(row) :].lstrip() != "," for row in first[:-1]):
        return ""
    return (
        "the file's lines end in commas, as the items of a JSON array; lines without them are expected (sed 's/, *$//')"
    )


def _line_end_fault(rows: Sequence[str]) -> str:
    """The fault of a file some of whose lines end in CR alone."""
    for row in rows[:5]:
        parts = [part for part in row.split("\r") if part.strip()]
        if len(parts) > 1 and all(_value_end(part.strip()) == len(part.strip()) for part in parts):
            return "some of the file's lines end in CR alone; LF or CRLF is expected (tr -s '\\r' '\\n')"
    return ""


def _text_fault(rows: Sequence[str]) -> str:
    """The fault of a file none of whose first lines begins like JSON: YAML, plain text, or no text at all."""
    first = [row.rstrip("\r") for row in rows if row.strip()][:_TEXT_ROWS]
    if len(first) < 2 or any(_JSON_ROW.match(row) for row in first):
        return ""
    if any("\0" in row for row in first):
        return "the file is not text; lines of JSON are expected"
    if first[0].rstrip() == "---" or all(_YAML_ROW.fullmatch(row) for row in first):
        return f"the file looks like {_YAML}"
    if len(first) < _TEXT_ROWS or any(_JSON_ROW.match(row) for row in rows):
        return ""
    return "no line of the file is JSON; texts are sent as objects (jq -R -c '{text: .}')"


def _table_fault(rows: Sequence[str]) -> str:
    """The fault of a file whose first rows are not JSON and have the same number of columns: a CSV file."""
    first = [row.rstrip("\r") for row in rows[:5] if row.strip()]
    if len(first) < 2 or any(_value_end(row) == len(row) or row[0] in "[{" for row in first):
        return ""
    return f"the file looks like {_CSV}" if any(_is_table(first, delimiter) for delimiter in _DELIMITERS) else ""


def _is_table(rows: Sequence[str], delimiter: str) -> bool:
    """Whether rows have the same number of columns, and more than one."""
    try:
        widths = set(map(len, csv.reader(rows, delimiter=delimiter)))
    except csv.Error:  # such as a carriage return within a row
        return False
    return len(widths) == 1 and min(widths) > 1


def _value_end(text: str) -> int | None:
    """The end of the JSON value at the start of a text; None if there is none."""
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return None
