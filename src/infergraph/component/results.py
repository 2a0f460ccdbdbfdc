"""Results of user code, converted to messages by the protocol's rules.

    result ─▶ payload and encoding (mirrors the request's) ─▶ names ─▶ meta

Source: the microservice specification, sections 6 and 7; the contract suite repeats its tables.
"""

from __future__ import annotations

import functools
import numbers
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Encoding, Meta
from infergraph.wire.arrays import has_nan
from infergraph.wire.json_values import text_of
from infergraph.wire.private_copies import copy_any, own_json
from infergraph.wire.tensor import is_text


class Returned(msgspec.Struct, frozen=True):
    """A result with its tags and metrics."""

    data: Any
    tags: Mapping[str, Any] | None = None
    metrics: Any = None


class Own(msgspec.Struct, frozen=True):
    """The component's own additions to the meta of an answer."""

    tags: Mapping[str, Any] | None
    metrics: Sequence[Mapping[str, Any]]
    request_path: Mapping[str, str] | None


NOTHING = Own(None, (), None)
"""A component that adds nothing."""

_ROWS = "data.ndarray"


def unwrap(result: Any, given: Any = None) -> Returned:
    """The parts of a SeldonResponse; any other result is data only.

    Args:
        result: held in a local variable of the caller, which counts as one reference.
        given: the payload passed to the hook, which it may have returned.
    Promises: an array has no other owner: one that the component keeps, or a view of one, is copied.
    """
    kind = type(result)
    if kind is np.ndarray:
        return Returned(result if _is_sole(result, given) else result.copy())
    is_response = _RESPONSES.get(kind)
    if is_response is None:
        # By name: the class may be ours, or that of an installed seldon_core.
        is_response = _RESPONSES[kind] = any(base.__name__ == "SeldonResponse" for base in kind.__mro__)
    if is_response:
        data = result.data.copy() if isinstance(result.data, np.ndarray) else result.data
        return Returned(data, getattr(result, "tags", None), getattr(result, "metrics", None))
    return Returned(result)


def _is_sole(values: np.ndarray[Any, Any], given: Any) -> bool:
    """Whether only the frames of this request reference an array and the array it is a view of."""
    if sys.getrefcount(values) > (_ANSWERED_REFERENCES if values is given else _REFERENCES):
        return False
    base: Any = values.base
    if base is None or type(base) is memoryview:  # a view of the request's body, which is this request's alone
        return True
    if type(base) is not np.ndarray:
        return False
    return sys.getrefcount(base) <= (_ANSWERED_BASE_REFERENCES if base is given else _BASE_REFERENCES)


def _counted(values: np.ndarray[Any, Any], given: Any) -> int:
    base = values.base
    return sys.getrefcount(values if base is None else base)


def _references(*, is_view: bool, is_given: bool) -> int:
    """The reference count of an array, or of its base, if only the frames of a request reference it.

    Measured, since interpreters count differently. The variable names are those of the calling frames.
    """
    payload = np.empty(1) if is_given else None
    result = np.empty(1) if payload is None else payload
    if is_view:
        result = result[:]

    def unwrapped(result: np.ndarray[Any, Any], given: Any) -> int:
        return _counted(result, given)

    return unwrapped(result, payload)


_RESPONSES: dict[type, bool] = {}
_REFERENCES = _references(is_view=False, is_given=False)
_ANSWERED_REFERENCES = _references(is_view=False, is_given=True)
_BASE_REFERENCES = _references(is_view=True, is_given=False)
_ANSWERED_BASE_REFERENCES = _references(is_view=True, is_given=True)


class Shaped(msgspec.Struct, frozen=True):
    """A payload in its encoding; `columns` is the size of the second axis, or None below two axes."""

    payload: Any
    encoding: Encoding
    columns: int | None
    names: list[str] | None = None


def shape(result: Any, asked: Encoding, *, as_array: bool = False) -> Shaped:
    """The payload and encoding of a result.

    Args:
        result: the return value of user code; an array has no other owner (see `unwrap`).
        asked: the encoding of the request, which arrays in answers keep.
        as_array: a list becomes the array that NumPy makes of it (numbers beside text are text); else it stays.
    Returns: arrays of numbers, booleans or text unchanged, everything else in JSON's own types, with no other owner.
    Raises: ComponentError for values that no message can carry; the text names the type and its path.
    """
    if isinstance(result, np.ndarray):
        return _shape_array(result if type(result) is np.ndarray else _plain_array(result), asked)
    if isinstance(result, dict):
        return Shaped(own_json(result, Encoding.JSON.value), Encoding.JSON, None)
    if isinstance(result, list | tuple):
        return _shape_list(list(result), asked, as_array=as_array)
    if isinstance(result, str):
        return Shaped(text_of(result), Encoding.STR, None)
    if isinstance(result, bytes | bytearray | memoryview):
        return Shaped(bytes(result), Encoding.BIN, None)
    return _shape_other(result, asked)


def _shape_other(result: Any, asked: Encoding) -> Shaped:
    if isinstance(result, np.generic | int | float):
        return _shape_array(np.asarray(result), asked)
    if isinstance(result, numbers.Real | Decimal):
        return _shape_other(float(result), asked)
    if hasattr(result, "DESCRIPTOR") and result.DESCRIPTOR.full_name == "google.protobuf.Any":
        return Shaped(copy_any(result), Encoding.CUSTOM, None)
    if hasattr(result, "__array__"):  # DataFrame, Series, a CPU tensor
        shaped = _shape_array(_framed(result), asked)
        columns = getattr(result, "columns", None)
        return shaped if columns is None else replace(shaped, names=[str(column) for column in columns])
    raise ComponentError(
        f"Unknown data type returned as payload (must be list or np array): {type(result).__name__} {result!r:.200}"
    )


def _shape_array(array: np.ndarray[Any, Any], asked: Encoding) -> Shaped:
    sizes, kind = array.shape, array.dtype.kind
    columns = sizes[1] if len(sizes) > 1 else None
    if kind in "iuf" and asked is not Encoding.NDARRAY:
        return Shaped(array, asked if asked is Encoding.TFTENSOR else Encoding.TENSOR, columns)
    if asked is Encoding.TFTENSOR and is_text(array):
        return Shaped(array, asked, columns)
    if not sizes and kind not in "iuf" and type(array.item()) is not int:  # an integer beyond 64 bits is a number too
        return _shape_array(array[None], asked)  # over gRPC only a number can be without axes
    if not sizes:
        return Shaped(array, Encoding.NDARRAY, None)
    return Shaped(array if kind in "biufU" else own_json(array, _ROWS), Encoding.NDARRAY, columns)


def _framed(table: Any) -> np.ndarray[Any, Any]:
    """The array of a table or tensor of another library; a missing value beside text is None, which pandas has as NaN.

    What has no such values has no `isna`, and in an array of numbers NaN stays.
    """
    values = np.array(table)
    if values.dtype.kind == "O" and hasattr(table, "isna"):
        with suppress(NotImplementedError):  # an index of several levels
            values[np.asarray(table.isna())] = None
    return values


def _plain_array(array: Any) -> np.ndarray[Any, Any]:
    """An array of a subclass as a plain one, with masked values as NaN, or as None among text."""
    if not np.ma.is_masked(array):
        return np.array(array)
    if array.dtype.kind in "iuf":
        return np.asarray(array.astype(np.float64).filled(np.nan))
    return np.array(array.tolist(), dtype=object)


def _shape_list(rows: list[Any], asked: Encoding, *, as_array: bool) -> Shaped:
    # Rows of a task, labels: decided without making an array.
    if rows and not as_array and isinstance(rows[0], dict | str):
        return Shaped(own_json(rows, _ROWS), Encoding.NDARRAY, None)
    try:
        array = np.array(rows)
    except ValueError:  # rows of different lengths
        return Shaped(own_json(rows, _ROWS), Encoding.NDARRAY, None)
    kind = array.dtype.kind
    if kind == "U" and as_array and (array == "nan").any() and has_nan(listed := own_json(rows, _ROWS)):
        return Shaped(listed, Encoding.NDARRAY, array.shape[1] if array.ndim > 1 else None)
    has_frames = any(map(_is_frame, set(map(type, rows))))
    if (as_array and kind in "biufU") or (kind in "iuf" and asked is not Encoding.NDARRAY) or has_frames:
        return _shape_array(array, asked)
    return Shaped(own_json(rows, _ROWS), Encoding.NDARRAY, array.shape[1] if array.ndim > 1 else None)


def _is_frame(kind: type) -> bool:
    """Whether a row's type is a table or tensor of another library, which NumPy can convert and JSON cannot."""
    return hasattr(kind, "__array__") and not issubclass(kind, np.ndarray | np.generic)


def default_names(columns: int | None) -> Sequence[str]:
    """The column names `t:0`, `t:1`, … for an array of two or more axes, else none.

    An array of more than a million columns has none: they would take far more memory than its values.
    """
    if columns is None or columns > _NAMED_COLUMNS:
        return ()
    return _kept_names(columns) if columns <= _KEPT_COLUMNS else _numbered(columns)


def _numbered(columns: int) -> tuple[str, ...]:
    return tuple(f"t:{column}" for column in range(columns))


_NAMED_COLUMNS = 1_000_000
_KEPT_COLUMNS = 10_000
_kept_names = functools.lru_cache(maxsize=16)(_numbered)
"""The same, kept for the next answer of as many columns."""


def branch(result: Any) -> int:
    """The route in a router's result: n for child n, -1 for all, -2 for none.

    Raises: ComponentError for anything but an integer; a bool is not one.
    """
    if isinstance(result, numbers.Integral | np.integer) and not isinstance(result, bool | np.bool_):
        return int(result)
    raise ComponentError(
        f"Routing response must be int but got {result!r:.200}", status=400, reason="MICROSERVICE_BAD_DATA"
    )


def meta_of(asked: Sequence[Meta | None], own: Own, response: Returned, *, carries: bool) -> Meta:
    """The meta of an answer.

    Args:
        asked: the meta of the request; of several messages for a combiner.
        own: what the component adds.
        response: tags and metrics returned with the result; they take precedence.
        carries: whether the requests' tags, metrics and path are kept (not for routers, feedback and health).
    """
    if not any(asked) and response.tags is None and own.tags is None and not own.metrics:
        return {"requestPath": dict(own.request_path)} if own.request_path else {}
    given = [meta for meta in asked if meta]
    meta: Meta = {}
    first = asked[0] if asked else None
    puid = first.get("puid") if first else None
    if puid:
        meta["puid"] = puid
    travelling = given if carries else ()
    tags = _union("tags", [entry.get("tags") for entry in travelling], own.tags, response.tags)
    if tags:
        meta["tags"] = tags
    metrics = _joined([entry.get("metrics") for entry in travelling], own.metrics)
    if metrics:
        meta["metrics"] = metrics
    path = dict(own.request_path or {})
    for entry in travelling:
        path.update(_mapping("requestPath", entry.get("requestPath") or {}))
    if path:
        meta["requestPath"] = path
    own_meta: Meta = own_json(meta, "meta")
    return own_meta


def _union(member: str, given: Sequence[Any], *own: Any) -> Any:
    """One member of meta, merged from requests and component; later values take precedence.

    A single value is passed on whatever it is: the protocol does not validate what it need not read.
    """
    sent = [value for value in given if value]
    added = [value for value in own if value]
    if len(sent) == 1 and not added and not isinstance(sent[0], Mapping):
        return sent[0]
    union: dict[str, Any] = {}
    for value in sent:
        union.update(_mapping(member, value))
    for value in added:
        if not isinstance(value, Mapping):
            raise ComponentError(f"a component's {member} must be a dict, not {type(value).__name__}")
        union.update(value)
    return union


def _mapping(member: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PayloadError(f"meta.{member} must be an object, not {value!r:.200}")
    return value


def _joined(given: Sequence[Any], own: Sequence[Any]) -> Any:
    """The metrics of requests and component in one list; a single value is passed on whatever it is."""
    sent = [value for value in given if value]
    if len(sent) == 1 and not own and not isinstance(sent[0], list):
        return sent[0]
    joined: list[Any] = []
    for value in sent:
        if not isinstance(value, list):
            raise PayloadError(f"meta.metrics must be a list, not {value!r:.200}")
        joined.extend(value)
    joined.extend(own)
    return joined
