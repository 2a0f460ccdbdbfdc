"""A model's metadata: defaults, then `init_metadata()`, then MODEL_METADATA, checked against the protocol's schema."""

from __future__ import annotations

import logging
from typing import Any

import jsonschema
import yaml

from infergraph.errors import BadMetadata

_log = logging.getLogger(__name__)

_STRINGS = {"type": "array", "items": {"type": "string"}}
_DATATYPES = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
]  # fmt: skip
_ARRAY_SCHEMA = {
    "type": "object",
    "properties": {"names": _STRINGS, "shape": {"type": "array", "items": {"type": "integer"}}},
    "additionalProperties": False,
}
_V1_ITEM = {
    "type": "object",
    "properties": {"messagetype": {"type": "string"}, "schema": {"type": "object"}},
    "required": ["messagetype"],
    "additionalProperties": False,
    "allOf": [
        {
            "if": {"properties": {"messagetype": {"enum": ["tensor", "ndarray", "tftensor"]}}},
            "then": {"properties": {"schema": _ARRAY_SCHEMA}},
        },
        {
            "if": {"properties": {"messagetype": {"enum": ["strData", "binData"]}}},
            "then": {"not": {"required": ["schema"]}},
        },
    ],
}
_V2_ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "datatype": {"enum": _DATATYPES},
        "shape": {"type": "array", "items": {"type": "integer"}},
    },
    "additionalProperties": False,
}
_ITEMS = {
    "type": "array",
    "items": {"if": {"type": "object", "required": ["messagetype"]}, "then": _V1_ITEM, "else": _V2_ITEM},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "versions": _STRINGS,
        "platform": {"type": "string"},
        "inputs": _ITEMS,
        "outputs": _ITEMS,
        "custom": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}
"""JSON schema of a model's metadata. Source: Seldon's documented metadata, observed with its validator."""

_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def check(metadata: object) -> None:
    """Raise BadMetadata naming the first member that breaks the schema."""
    problem = jsonschema.exceptions.best_match(_VALIDATOR.iter_errors(metadata))
    if problem is not None:
        where = "/".join(str(part) for part in problem.absolute_path) or "metadata"
        raise BadMetadata(f"{where}: {problem.message}")


def split_image(image: str) -> tuple[str, str]:
    """Name and version of a container image: `reg:5000/org/img:0.9` is ("reg:5000/org/img", "0.9")."""
    name, _, version = image.rpartition(":")
    return name, version


def assemble(image: str, own: object, override: str) -> dict[str, Any]:
    """A model's metadata, complete but unchecked.

    Args:
        image: the container image that names it by default; may be empty.
        own: what `init_metadata()` gave; anything but a dict is logged and ignored.
        override: YAML or JSON mapping laid over it; unreadable text is logged and ignored.
    """
    name, version = split_image(image)
    metadata: dict[str, Any] = {
        "name": name,
        "versions": [version],
        "platform": "",
        "inputs": [],
        "outputs": [],
        "custom": {},
    }
    return metadata | _mapping(own, "init_metadata()") | _mapping(_read(override), "MODEL_METADATA")


def _read(text: str) -> object:
    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        _log.error("MODEL_METADATA is not readable YAML and is ignored: %s", error)
        return {}


def _mapping(value: object, source: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    _log.error("%s must give a mapping, not %s; it is ignored", source, type(value).__name__)
    return {}
