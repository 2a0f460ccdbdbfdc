"""Converts the JSON document of a message to its content, and back.

    document ──content_of──▶ Content       first of data, jsonData, strData, binData; tensor, ndarray, tftensor
    Content ──document_of──▶ document      arrays still NumPy's, for `json_text.write`

Source: the protocol's decoding table for REST; each fault names the field.
"""

from __future__ import annotations

import base64
import json
from itertools import islice
from typing import Any

import numpy as np

from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Content, Encoding, Meta
from infergraph.wire import tensor
from infergraph.wire.arrays import AXES_LIMIT, array_of, check_empty, rows_of, shaped

PAYLOAD_KEYS = ("data", "jsonData", "strData", "binData")
_URL_SAFE = str.maketrans("-_", "+/")
_BARE = str.maketrans("-_", "+/", " \t\r\n")
_FEW = 64
_NO_NAMES: tuple[str, ...] = ()


_SHOWN = 200
_FORM, _FORM_SHOWN = '{"data": {"ndarray": [[1, 2]]}}', 70
_ROWS_ELSEWHERE = ("instances", "inputs", "ndarray", "rows", "values")  # their keys in other protocols


def shown(value: Any) -> str:
    """`value` for an error message, cut to one line; a large value costs no more than a small one."""
    try:
        text = repr(_cut(value))
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _cut(value: Any) -> Any:
    """`value`, truncated to what its first `_SHOWN` characters can show."""
    if isinstance(value, str):
        return value[: _SHOWN + 1]
    if isinstance(value, dict):
        return {_cut(name): _cut(item) for name, item in islice(value.items(), _SHOWN)}
    if isinstance(value, list):
        return [_cut(item) for item in value[:_SHOWN]]
    return value


def unread(document: Any) -> PayloadError:
    """The fault of a document that is not a message; for rows in another server's format it shows ours."""
    text = f"Invalid request data type: {shown(document)}"
    rows = document
    if isinstance(document, dict):
        rows = next((document[key] for key in _ROWS_ELSEWHERE if isinstance(document.get(key), list)), None)
    if not isinstance(rows, list) or not rows:
        return PayloadError(text)
    row = rows[0] if isinstance(rows[0], list | dict) else rows
    try:
        form = json.dumps(_cut({"data": {"ndarray": [row]}}), ensure_ascii=False)
    except RecursionError:
        form = ""
    return PayloadError(f"{text}; rows are sent as {form if 0 < len(form) <= _FORM_SHOWN else _FORM}")


def meta_of(document: Any) -> Meta | None:
    """The meta of a message's document; None if it has none.

    Raises: PayloadError if the message or its meta is not an object.
    """
    if not isinstance(document, dict):
        raise unread(document)
    meta = document.get("meta")
    if meta is not None and not isinstance(meta, dict):
        raise PayloadError(f"meta must be an object, not {shown(meta)}")
    return meta


def content_of(document: Any, *, is_plain: bool = False, is_answer: bool = False) -> Content:
    """The content of a message's document.

    Args:
        document: any JSON value.
        is_plain: whether it is known to be small, without wide integers or NUL characters.
        is_answer: whether its rows may have different lengths.
    Raises: PayloadError if it has no payload, or one that cannot be read.
    """
    meta = meta_of(document)
    if "data" in document:
        return _data_content(document["data"], meta, is_plain, is_answer)
    if "jsonData" in document:
        return Content(document["jsonData"], Encoding.JSON, _NO_NAMES, meta)
    if "strData" in document:
        text = document["strData"]
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise PayloadError(f"strData must be a string, not {shown(text)}")
        return Content(text, Encoding.STR, _NO_NAMES, meta)
    if "binData" in document:
        return Content(_unbase64(document["binData"]), Encoding.BIN, _NO_NAMES, meta)
    raise unread(document)


def _data_content(data: Any, meta: Meta | None, is_plain: bool, is_answer: bool) -> Content:
    if not isinstance(data, dict):
        raise PayloadError(f"data must be an object with tensor, ndarray or tftensor, not {shown(data)}")
    names = data.get("names", [])
    convert = _plain_array_of if is_plain else array_of
    if "tensor" in data:
        flat, shape = _tensor_parts(data["tensor"])
        values = convert(flat, "data.tensor.values")
        return Content(_reshaped(values, shape), Encoding.TENSOR, names, meta)
    if "ndarray" in data:
        convert = rows_of if is_answer else convert
        values = convert(data["ndarray"], "data.ndarray")
        values = values if values.size else check_empty(values, "data.ndarray")
        return Content(values, Encoding.NDARRAY, names, meta)
    if "tftensor" in data:
        return Content(tensor.decode_json(data["tftensor"]), Encoding.TFTENSOR, names, meta)
    raise PayloadError(f"data has none of tensor, ndarray and tftensor: {shown(data)}")


def _reshaped(values: np.ndarray, shape: list[int]) -> np.ndarray:
    try:
        if (tensor := values.reshape(shape)).size:
            return tensor
    except (ValueError, OverflowError, TypeError):
        pass  # the general decoder reports both sizes
    return shaped(values, shape, "data.tensor")


def _plain_array_of(value: Any, field: str) -> np.ndarray:
    """The same as `array_of` for a value known to be small and without wide integers or NUL characters."""
    try:
        values = np.array(value)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise PayloadError(f"{field} is not a regular array: {error}") from error
    if values.ndim > AXES_LIMIT:
        raise PayloadError(f"{field} has more than {AXES_LIMIT} axes")
    if values.dtype.kind == "U" and (values == "nan").any():
        return array_of(value, field)  # NaN beside text
    return values


def _tensor_parts(value: Any) -> tuple[list[Any], list[int]]:
    if type(value) is dict:
        shape, values = value.get("shape"), value.get("values")
        if type(shape) is list and type(values) is list and set(map(type, shape)) <= _SIZES:
            return values, shape
    raise PayloadError(_tensor_fault(value))


_SIZES = {int}


def _tensor_fault(value: Any) -> str:
    """The fault of an invalid tensor."""
    if not isinstance(value, dict):
        return f"data.tensor must be an object with shape and values, not {shown(value)}"
    for key in ("shape", "values"):
        if key not in value:
            return f"data.tensor has no {key}"
        if not isinstance(value[key], list):
            return f"data.tensor.{key} must be a list, not {shown(value[key])}"
    wrong = next(size for size in value["shape"] if type(size) is not int)
    return f"data.tensor.shape must hold integers, not {shown(wrong)}"


def _unbase64(text: Any) -> bytes:
    """The bytes of base64: either alphabet, with or without padding and line breaks."""
    if not isinstance(text, str):
        raise PayloadError(f"binData must be base64 text, not {shown(text)}")
    try:
        return base64.b64decode(text.translate(_URL_SAFE), validate=True)
    except ValueError:
        whole = text.translate(_BARE)
    bare = whole.removesuffix("=").removesuffix("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError as error:
        raise PayloadError(f"binData is not valid base64: {error}") from error


def chosen_of(document: Any) -> Any:
    """The values of a router's JSON answer: a bare list, or those of `data`; None if `data` is empty.

    Raises: PayloadError if there is neither.
    """
    if isinstance(document, list):
        if document and isinstance(document[0], int) and not isinstance(document[0], bool):
            return document
        raise PayloadError("a list that does not begin with an integer")
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict):
        raise PayloadError("no data with a number")
    if Encoding.NDARRAY.value in data:
        found = data[Encoding.NDARRAY.value]
    elif isinstance(tensor_found := data.get(Encoding.TENSOR.value), dict):
        found = tensor_found.get("values")
    elif isinstance(tensor_found := data.get(Encoding.TFTENSOR.value), dict):
        found = tensor_found.get("intVal") or tensor_found.get("int_val")
    else:
        return None
    return [] if found is None else found


def document_of(content: Content) -> dict[str, Any]:
    """The document of `content`; its arrays are still NumPy's.

    Raises: ComponentError if the payload has a type that its encoding cannot hold.
    """
    payload, encoding, names, meta = content
    if encoding is Encoding.TENSOR or encoding is Encoding.NDARRAY or encoding is Encoding.TFTENSOR:
        return {"data": _data_of(payload, encoding, names), "meta": {} if meta is None else meta}
    if encoding is Encoding.BIN:
        payload = _base64(payload)
    elif encoding is Encoding.CUSTOM:
        payload = any_document(payload)
    return {encoding.value: payload, "meta": {} if meta is None else meta}


def any_document(custom: Any) -> dict[str, str]:
    """A protobuf Any in JSON: type URL and bytes, since the type itself is unknown here.

    Raises: ComponentError if it is not an Any.
    """
    try:
        return {"@type": custom.type_url, "value": _base64(custom.value)}
    except AttributeError as error:
        raise ComponentError(f"customData must be a protobuf Any, not {type(custom).__name__}") from error


def _base64(payload: Any) -> str:
    if not isinstance(payload, bytes | bytearray | memoryview):
        raise ComponentError(f"binData must be bytes, not {type(payload).__name__}")
    return base64.b64encode(payload).decode("ascii")


def _data_of(payload: Any, encoding: Encoding, names: Any) -> dict[str, Any]:
    if encoding is Encoding.NDARRAY and type(payload) is list:
        return {"names": names, "ndarray": payload}
    values = payload if type(payload) is np.ndarray else as_array(payload, encoding)
    if values.dtype.kind not in "iuf" or encoding is Encoding.NDARRAY:
        if encoding is Encoding.TFTENSOR and tensor.is_text(values):
            return {"names": names, "tftensor": tensor.encode_json(values)}
        is_small = values.size <= _FEW and values.dtype.kind in "biuf" and values.itemsize <= 8
        return {"names": names, "ndarray": values.tolist() if is_small else values}
    if encoding is Encoding.TFTENSOR:
        return {"names": names, "tftensor": tensor.encode_json(values)}
    return {"names": names, "tensor": {"shape": values.shape, "values": _flat(values)}}


def _flat(values: np.ndarray) -> Any:
    """The flat numbers of a tensor; a few become a list here, which is faster than an array in `json_text.write`."""
    flat = values.ravel()
    return flat.tolist() if flat.size <= _FEW and flat.itemsize <= 8 else flat


def as_array(payload: Any, encoding: Encoding) -> np.ndarray:
    """The payload of an answer as an array.

    Raises: ComponentError if it is not regular.
    """
    if type(payload) is np.ndarray:
        return payload
    try:
        return np.asarray(payload)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ComponentError(f"the answer is not a regular array ({encoding.value}): {error}") from error
