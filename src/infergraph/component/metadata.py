"""A model's metadata: defaults, then `init_metadata()`, then MODEL_METADATA, checked against the protocol's schema.

If nothing declares the inputs, those of a fitted scikit-learn estimator are the default.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, TypeVar

import msgspec
import yaml

from infergraph.errors import BadMetadata
from infergraph.protocol.images import split_tag

_log = logging.getLogger(__name__)

_DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32",
    "FP64", "BYTES",
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
    parameters: dict[str, Any] = {}


class _Metadata(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    versions: list[str] = []
    platform: str = ""
    inputs: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    custom: dict[str, str] = {}


def check(metadata: object) -> None:
    """Raise BadMetadata naming the first member that violates the protocol's schema.

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


def content_types(inputs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The content types that metadata give to inputs, by tensor name."""
    found = {str(each.get("name", "")): each.get("parameters", {}).get("content_type") for each in inputs}
    return {name: str(content_type) for name, content_type in found.items() if content_type}


_T = TypeVar("_T")


def _converted(value: object, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadMetadata(f"{where}: {error}") from error


def assemble(image: str, own: object, override: str, inputs: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A model's metadata, complete but unchecked.

    Args:
        image: the container image that names it by default; may be empty.
        own: the result of `init_metadata()`; anything but a dict is logged and ignored.
        override: YAML or JSON mapping that overrides it; unreadable text is logged and ignored.
        inputs: the default if neither of them has any.
    """
    name, version = split_tag(image)
    metadata: dict[str, Any] = {
        "name": name,
        "versions": [version],
        "platform": "",
        "inputs": [],
        "outputs": [],
        "custom": {},
    }
    declared = metadata | _mapping(own, "init_metadata()") | _mapping(_read(override), "MODEL_METADATA")
    return declared if declared["inputs"] else declared | {"inputs": [dict(each) for each in inputs]}


def expected_inputs(user: object) -> list[dict[str, Any]]:
    """The input of the fitted scikit-learn estimator that a component is or contains; empty if there is none.

    Source: scikit-learn's developer guide, "Estimated attributes": `n_features_in_` and `feature_names_in_`.
    """
    for each in (user, *getattr(user, "__dict__", {}).values()):
        count = None if isinstance(each, type) else _attribute(each, "n_features_in_")
        if isinstance(count, Integral):
            names = _attribute(each, "feature_names_in_")
            listed = [] if names is None else [str(name) for name in names]
            return [{"messagetype": "ndarray", "schema": {"names": listed, "shape": [int(count)]}}]
    return []


def _attribute(estimator: object, name: str) -> Any:
    """An attribute that may be a property which raises until the estimator is fitted."""
    try:
        return getattr(estimator, name, None)
    except Exception:  # noqa: BLE001 - foreign code
        return None


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
