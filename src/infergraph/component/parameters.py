"""Constructor parameters as the platform writes them: a JSON list of {name, value, type}."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from infergraph.errors import SettingsError
from infergraph.settings import read_bool


def _bool(value: Any) -> bool:
    return value if isinstance(value, bool) else read_bool(str(value))


_TYPES: dict[str, Callable[[Any], Any]] = {
    "STRING": str,
    "INT": int,
    "FLOAT": float,
    "DOUBLE": float,
    "BOOL": _bool,
}


def parse_parameters(parameters: str | Sequence[Any]) -> dict[str, Any]:
    """Typed constructor arguments by name.

    Args:
        parameters: the list itself, or its JSON text; types are STRING, INT, FLOAT, DOUBLE, BOOL.
    Raises:
        SettingsError: the text is no JSON list, or an entry lacks a member, has an unknown type or an unreadable
            value; it names the entry.
    """
    if isinstance(parameters, str):
        try:
            parameters = json.loads(parameters or "[]")
        except ValueError as error:
            raise SettingsError(f"parameters are not valid JSON: {error}") from None
    if not isinstance(parameters, list | tuple):
        raise SettingsError(
            'parameters must be a JSON list such as [{"name": "n", "value": "1", "type": "INT"}], '
            f"not {type(parameters).__name__}"
        )
    return dict(_parameter(position, entry) for position, entry in enumerate(parameters))


def _parameter(position: int, entry: Any) -> tuple[str, Any]:
    if not isinstance(entry, dict) or not all(key in entry for key in ("name", "value", "type")):
        raise SettingsError(f"parameter {position} needs the members name, value and type: {entry!r}")
    name, value, kind = entry["name"], entry["value"], entry["type"]
    if kind not in _TYPES:
        raise SettingsError(f"parameter {name!r} has the unknown type {kind!r}; known are {', '.join(_TYPES)}")
    try:
        return name, _TYPES[kind](value)
    except (TypeError, ValueError):
        raise SettingsError(f"Bad model parameter: {name} with value {value!r} can't be parsed as a {kind}") from None
