"""YAML with comments: plain documents to text that every reader of YAML 1.1 and 1.2 reads alike.

    document with Noted values ──to_yaml──▶ text     (comments say where a value comes from)
                               ──plain────▶ the document without them

PyYAML writes no comments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
_PLAIN = re.compile(r"(?:--)?[A-Za-z/_][A-Za-z0-9_./@+=-]*(?:[ :,]?[A-Za-z0-9_./@+=-]+)*")
_QUANTITY = re.compile(r"[1-9][0-9]*(?:m|k|[KMGT]i?)")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_NUMBERS = {float("inf"): ".inf", float("-inf"): "-.inf"}


class Noted(msgspec.Struct, frozen=True):
    """A value with a comment behind it."""

    value: Any
    note: str


def noted(members: Mapping[str, Any], note: str) -> dict[str, Any]:
    """Members with a comment behind each."""
    return {name: Noted(value, note) for name, value in members.items()}


def plain(value: Any) -> Any:
    """A document without comments."""
    if isinstance(value, Noted):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def to_yaml(document: dict[str, Any]) -> str:
    """A document as YAML in block style."""
    lines: list[str] = []
    _members(lines, document, "")
    return "\n".join(lines) + "\n"


def _members(lines: list[str], members: dict[str, Any], indent: str) -> None:
    for key, value in members.items():
        _put(lines, f"{indent}{_scalar(key)}:", value, indent)


def _items(lines: list[str], items: list[Any] | tuple[Any, ...], indent: str) -> None:
    for item in items:
        value, note = (item.value, item.note) if isinstance(item, Noted) else (item, "")
        inner, start = f"{indent}  ", len(lines)
        if isinstance(value, dict) and value:
            _members(lines, value, inner)
        elif isinstance(value, list | tuple) and value:
            _items(lines, value, inner)
        else:
            _put(lines, f"{indent}-", value, indent)
        first = lines[start]
        comment = f"  # {note}" if note and "  # " not in first else ""
        lines[start] = f"{indent}- {first[len(inner) :]}{comment}" if first.startswith(inner) else f"{first}{comment}"


def _put(lines: list[str], lead: str, value: Any, indent: str) -> None:
    """Write `lead`, which is a key or a hyphen, and its value."""
    comment = ""
    if isinstance(value, Noted):
        comment, value = f"  # {value.note}", value.value
    if isinstance(value, dict) and value:
        lines.append(lead + comment)
        _members(lines, value, f"{indent}  ")
    elif isinstance(value, list | tuple) and value:
        lines.append(lead + comment)
        _items(lines, value, indent)
    elif isinstance(value, str) and _is_block(value):
        chomping = "" if value.endswith("\n") else "-"
        lines.append(f"{lead} |{chomping}{comment}")
        lines.extend(f"{indent}  {line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    else:
        lines.append(f"{lead} {_scalar(value)}{comment}")


def _is_block(text: str) -> bool:
    return "\n" in text and not text[:1].isspace() and not text.endswith("\n\n") and _UNPRINTABLE.search(text) is None


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list | tuple):
        return "[]"
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value, default=str)


def _is_plain(text: str) -> bool:
    if _QUANTITY.fullmatch(text):
        return True
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS


def _quoted(text: str) -> str:
    if '"' in text and "\n" not in text and "\t" not in text and _UNPRINTABLE.search(text) is None:
        return "'" + text.replace("'", "''") + "'"
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _float(value: float) -> str:
    if value != value or value in _NUMBERS:
        return _NUMBERS.get(value, ".nan")
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text
