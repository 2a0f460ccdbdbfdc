"""The form of “Try it”: an initial request derived from the metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from infergraph.serving.openapi.inference import example_of as example_request
from infergraph.wire.v2.metadata import metadata_of

CELLS_LIMIT = 512
EXAMPLE_TEXT = "Ada Lovelace was born in London."
_ZEROS = {"string": "", "integer": 0, "number": 0, "boolean": False, "null": None}
_TEXT_KEYS = ("data", "text", "sentence")


class Pane(Enum):
    """The editor that suits a request best."""

    TABLE = "table"
    TEXT = "text"
    TENSORS = "tensors"
    JSON = "json"


class Form(msgspec.Struct, frozen=True):
    """The initial state of the form.

    Args:
        start: a complete request that can be sent unchanged.
        pane: the editor to open.
        text_key: the key of the text in a record; empty if there are no such records.
    """

    start: dict[str, Any]
    pane: Pane
    text_key: str = ""


def form_of(metadata: Mapping[str, Any] | None, protocol: str) -> Form:
    """The form for a unit.

    Args:
        metadata: of a component or a graph; None if it is not available.
        protocol: seldon, tensorflow or v2: the protocol of the server.
    """
    given = metadata or {}
    listed = given.get("inputs") or given.get("graphinputs") or []
    inputs = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    first = inputs[0] if inputs else {}
    if protocol == "v2":
        return Form(example_request(metadata_of("", given)), Pane.TENSORS)
    if protocol == "tensorflow":
        return Form({"instances": [[0] * _width(first.get("shape"))]}, Pane.JSON)
    if len(inputs) > 1 and all("datatype" in each for each in inputs[:CELLS_LIMIT]):  # a column each
        names = [str(each.get("name") or f"x{place}") for place, each in enumerate(inputs[:CELLS_LIMIT])]
        return Form({"data": {"names": names, "ndarray": [[0] * len(names)]}}, Pane.TABLE)
    return _seldon(first)


def _seldon(first: Mapping[str, Any]) -> Form:
    kind = str(first.get("messagetype") or "")
    schema = first.get("schema")
    schema = schema if isinstance(schema, dict) else {}
    if kind == "strData":
        return Form({"strData": EXAMPLE_TEXT}, Pane.TEXT)
    if kind == "binData":
        return Form({"binData": ""}, Pane.JSON)
    if kind == "jsonData":
        key = _text_key(schema)
        example = example_of(schema)
        start = [{key: example.get(key) or EXAMPLE_TEXT}] if key else example
        return Form({"jsonData": start}, Pane.TEXT if key else Pane.JSON, key)
    names = [str(name) for name in schema.get("names") or []][:CELLS_LIMIT]
    width = len(names) or _width(schema.get("shape") or first.get("shape"))
    data: dict[str, Any] = {"names": names} if names else {}
    if kind == "tensor" or (not kind and first.get("datatype") not in (None, "BYTES")):
        return Form({"data": {**data, "tensor": {"shape": [1, width], "values": [0] * width}}}, Pane.TABLE)
    return Form({"data": {**data, "ndarray": [[0] * width]}}, Pane.TABLE)


def _text_key(schema: Mapping[str, Any]) -> str:
    """The key of records that only need a text; empty for other records."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return ""
    needed = required if isinstance(required, list) and required else list(properties)
    for key in _TEXT_KEYS:
        if needed == [key] and isinstance(properties.get(key), dict) and properties[key].get("type") == "string":
            return key
    return ""


def _shape(shape: object) -> list[int]:
    """A shape without unknown sizes; empty if there is none, or if it is too large for a form."""
    if not isinstance(shape, list) or not all(isinstance(size, int) for size in shape):
        return []
    sizes = [max(1, size) for size in shape]
    return sizes if math.prod(sizes) <= CELLS_LIMIT else []


def _width(shape: object) -> int:
    sizes = _shape(shape)
    return sizes[-1] if sizes else 2


def example_of(schema: object, depth: int = 0) -> Any:
    """An example value for a JSON schema, for simple schemas."""
    if not isinstance(schema, dict) or depth > 8:
        return {}
    for key in ("default", "const"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind == "array":
        return [example_of(schema["items"], depth + 1)] if isinstance(schema.get("items"), dict) else []
    if isinstance(kind, str) and kind in _ZEROS:
        return _ZEROS[kind]
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: example_of(each, depth + 1) for name, each in properties.items()}
