"""A model's metadata: defaults, then `init_metadata()`, then MODEL_METADATA, checked against the protocol's schema."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

import msgspec
import yaml

from infergraph.errors import BadMetadata

_log = logging.getLogger(__name__)

_DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
)  # fmt: skip
_ARRAYS = frozenset({"tensor", "ndarray", "tftensor"})
_BARE = frozenset({"strData", "binData"})


class _Schema(msgspec.Struct, forbid_unknown_fields=True):
    """The schema of an array."""

    names: list[str] = []
    shape: list[int] = []


class _Typed(msgspec.Struct, forbid_unknown_fields=True):
    """An input or output by message type."""

    messagetype: str
    schema: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """An input or output as the open inference protocol describes it."""

    name: str = ""
    datatype: str | msgspec.UnsetType = msgspec.UNSET
    shape: list[int] = []


class _Metadata(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    versions: list[str] = []
    platform: str = ""
    inputs: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    custom: dict[str, str] = {}


def check(metadata: object) -> None:
    """Raise BadMetadata naming the first member that breaks the protocol's schema.

    Source: Seldon's documented metadata, observed with its validator.
    """
    whole = _converted(metadata, _Metadata, "metadata")
    for member in ("inputs", "outputs"):
        for place, item in enumerate(getattr(whole, member)):
            _check_item(item, f"{member}[{place}]")


def _check_item(item: dict[str, Any], where: str) -> None:
    if "messagetype" not in item:
        datatype = _converted(item, _Tensor, where).datatype
        if datatype is not msgspec.UNSET and datatype not in _DATATYPES:
            raise BadMetadata(f"{where}: datatype {datatype!r} is none of {', '.join(_DATATYPES)}")
        return
    typed = _converted(item, _Typed, where)
    if typed.schema is msgspec.UNSET:
        return
    if typed.messagetype in _BARE:
        raise BadMetadata(f"{where}: {typed.messagetype} has no schema")
    if typed.messagetype in _ARRAYS:
        _converted(typed.schema, _Schema, f"{where}.schema")


_T = TypeVar("_T")


def _converted(value: object, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadMetadata(f"{where}: {error}") from error


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
