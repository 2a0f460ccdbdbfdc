"""What a hook gets of a request of the open inference protocol, and what becomes of the value that it returns.

    TensorSet ─▶ X, names ─▶ predict ─▶ value ─▶ TensorSet

Source: the content types of MLServer; the guide "Open inference protocol" has the tables.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from infergraph.errors import ComponentError, MissingExtra, PayloadError
from infergraph.wire import json_text
from infergraph.wire.json_values import text_of
from infergraph.wire.v2 import tensors
from infergraph.wire.v2.records import TensorSet, repeated
from infergraph.wire.v2.tensors import Datatype, Tensor

CONTENT_TYPE = "content_type"
COLUMN_NAMES = "column_names"
FIRST_OUTPUT = "output-0"
JSON_TYPES = frozenset({"json", "hg_json", "hg_jsonlist", "dict"})
_OF_ONE_TENSOR = frozenset({"np", "str"})


class Inputs(NamedTuple):
    """What a hook gets: `X` and `names`."""

    payload: Any
    names: Sequence[str]


class Wanted(NamedTuple):
    """How a component wants its tensors.

    Args:
        as_mapping: always as a dict of arrays by tensor name.
        content_types: those that its metadata give to inputs, by tensor name.
        is_writable: never as read-only views of the request's bytes.
    """

    as_mapping: bool = False
    content_types: Mapping[str, str] = MappingProxyType({})
    is_writable: bool = False


PLAIN = Wanted()


def inputs_of(given: TensorSet, wanted: Wanted = PLAIN) -> Inputs:
    """X and names of a request, or of the answer of the node before.

    Raises: PayloadError that names the tensor which its content type does not fit.
    """
    tensors_given = given.tensors
    whole = str(given.parameters.get(CONTENT_TYPE, "")) if given.parameters else ""
    if whole == "pd":
        return _frame(tensors_given, wanted)
    if len(tensors_given) == 1 and not (wanted.as_mapping or given.is_mapping):
        tensor = tensors_given[0]
        value = _value(tensor, whole, wanted)
        return Inputs(value, _names_of(tensor, value, is_unnamed=given.is_unnamed))
    if whole in _OF_ONE_TENSOR and len(tensors_given) > 1:
        raise PayloadError(f"content_type {whole!r} of a request is for one tensor, and it has {len(tensors_given)}")
    values = {tensor.name: _value(tensor, whole, wanted) for tensor in tensors_given}
    return Inputs(values, list(values))


def _value(tensor: Tensor, whole: str, wanted: Wanted) -> Any:
    own = tensor.parameters.get(CONTENT_TYPE) if tensor.parameters else None
    value = read_as(tensor, str(own or whole or wanted.content_types.get(tensor.name, "")))
    if wanted.is_writable and isinstance(value, np.ndarray) and not value.flags.writeable:
        return value.copy()
    return value


def _names_of(tensor: Tensor, value: Any, *, is_unnamed: bool) -> Sequence[str]:
    columns = tensor.parameters.get(COLUMN_NAMES) if tensor.parameters else None
    if isinstance(columns, str) and tensor.array.ndim == 2:
        found = _json(tensor.name, columns)
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return found
    if is_unnamed or not isinstance(value, np.ndarray):
        return []
    return [tensor.name] if value.ndim == 1 or (value.ndim == 2 and value.shape[1] == 1) else []


def read_as(tensor: Tensor, content_type: str) -> Any:
    """The value of a tensor under a content type; unknown ones are ignored.

    Raises: PayloadError that names the tensor.
    """
    array = tensor.array
    if content_type == "nplist":
        if not array.ndim:
            raise PayloadError(f"input {tensor.name!r}: content_type nplist splits the first axis, and there is none")
        return list(array)
    if tensor.datatype is not Datatype.BYTES:
        return array
    if content_type == "str":
        return [_text(tensor.name, element) for element in array.reshape(-1)]
    if content_type in JSON_TYPES:
        values = [_json(tensor.name, element) for element in array.reshape(-1)]
        return values[0] if len(values) == 1 else values
    if content_type == "base64":
        return [_from_base64(element) for element in array.reshape(-1)]
    if content_type == "datetime":
        return [_date(tensor.name, element) for element in array.reshape(-1)]
    if content_type == "bytes":
        return _mapped(array, tensors.element_bytes)
    return array


def _mapped(array: np.ndarray, function: Callable[[Any], Any]) -> np.ndarray:
    return _objects([function(element) for element in array.reshape(-1)]).reshape(array.shape)


def _text(name: str, element: Any) -> str:
    try:
        return element.decode() if isinstance(element, bytes) else str(element)
    except UnicodeDecodeError as error:
        raise PayloadError(f"input {name!r}: an element is not UTF-8, which content_type str needs") from error


def _json(name: str, element: Any) -> Any:
    try:
        return json_text.read(tensors.element_bytes(element))
    except PayloadError as error:
        raise PayloadError(f"input {name!r}: an element is not JSON: {error}") from error


def _from_base64(element: Any) -> bytes:
    raw = tensors.element_bytes(element)
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error:
        return raw


def _date(name: str, element: Any) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(_text(name, element))
    except ValueError as error:
        raise PayloadError(f"input {name!r}: {element!r:.80} is not an ISO 8601 date") from error


def _frame(inputs: Sequence[Tensor], wanted: Wanted) -> Inputs:
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra.of("pandas", "pandas", "content_type pd") from error
    columns: dict[str, Any] = {}
    rows = None
    for tensor in inputs:
        array = tensor.array
        if array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
            raise PayloadError(f"input {tensor.name!r}: a column has one value a row, not {list(array.shape)}")
        rows = array.size if rows is None else rows
        if array.size != rows:
            raise PayloadError(f"input {tensor.name!r} has {array.size} rows, and {inputs[0].name!r} has {rows}")
        columns[tensor.name] = _column(tensor, wanted)
    return Inputs(pd.DataFrame(columns), list(columns))


def _column(tensor: Tensor, wanted: Wanted) -> Any:
    kind = str(tensor.parameters.get(CONTENT_TYPE) or wanted.content_types.get(tensor.name, ""))
    if (kind == "pd_json" or kind in JSON_TYPES) and tensor.datatype is Datatype.BYTES:  # one value is a row, too
        return [_json(tensor.name, element) for element in tensor.array.reshape(-1)]
    value = read_as(tensor, kind)
    return value.reshape(-1) if isinstance(value, np.ndarray) else value


def outputs_of(value: Any, *, is_sole: bool = False) -> TensorSet:
    """The tensors that a returned value becomes.

    Args:
        is_sole: whether an array has no other owner; parts of a dict are copied where somebody may write to them.
    Raises: ComponentError that names the type or the dtype where the protocol has no form for it.
    """
    if type(value) is np.ndarray and value.dtype.kind in "biuf" and value.ndim and value.dtype.isnative:
        array = value if is_sole else owned(value)
        return TensorSet((Tensor(FIRST_OUTPUT, tensors.datatype_of(array, FIRST_OUTPUT), array),), is_unnamed=True)
    if value is None:
        raise ComponentError("the component returned None, which is not an output")
    if _is_frame(value):
        columns = [single(_name(each), _as_column(value.iloc[:, place])) for place, each in enumerate(value.columns)]
        return TensorSet(_distinct(columns), {CONTENT_TYPE: "pd"})
    if isinstance(value, Mapping):
        parts = [_part(_name(key), each) for key, each in value.items()]
        if parts and all(part is not None for part in parts):
            return TensorSet(_distinct([part for part in parts if part is not None]), is_mapping=True)
        return TensorSet([as_json(FIRST_OUTPUT, [value])], is_unnamed=True)
    series = getattr(value, "name", None)
    if isinstance(series, str) and type(value).__name__ == "Series":
        return TensorSet([single(_name(series), value)])
    return TensorSet([single(FIRST_OUTPUT, value)], is_unnamed=True)


def owned(array: np.ndarray) -> np.ndarray:
    """`array` where nobody can write to it any more, which is so for a view of received bytes; else a copy."""
    if not array.flags.writeable:
        base: Any = array.base
        while isinstance(base, np.ndarray):
            base = base.base
        if type(base) is bytes or (type(base) is memoryview and base.readonly and type(base.obj) is bytes):
            return array
    return array.copy()


def _name(given: Any) -> str:
    """A key or a column as the name of an output, which can be sent."""
    return text_of(str(given))


def _distinct(outputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """The outputs, if no two have one name."""
    if (twice := repeated([output.name for output in outputs])) is not None:
        raise ComponentError(f"there are two outputs {twice!r}")
    return outputs


def _is_frame(value: Any) -> bool:
    return hasattr(value, "columns") and hasattr(value, "iloc")


def _as_column(series: Any) -> np.ndarray:
    return np.asarray(series).reshape(-1, 1)


def _part(name: str, value: Any) -> Tensor | None:
    """One value of a dict as a tensor; None where it is neither an array nor a rectangular list of plain values."""
    if not (isinstance(value, list | tuple) or hasattr(value, "__array__")):
        return None
    try:
        return single(name, value, only_plain=True)
    except ComponentError:
        if hasattr(value, "__array__"):
            raise
        return None


def single(name: str, value: Any, *, only_plain: bool = False) -> Tensor:
    """One value as a tensor.

    Raises: ComponentError that names the output and the type.
    """
    if isinstance(value, str | bytes | bytearray | memoryview):
        return Tensor(name, Datatype.BYTES, _elements([value if isinstance(value, str) else bytes(value)]))
    if isinstance(value, list | tuple) and value and all(isinstance(each, Mapping) for each in value):
        if only_plain:
            raise ComponentError(f"output {name!r}: dicts are not elements")
        return as_json(name, value)
    if isinstance(value, datetime.date):
        value = [value]
    if _are_dates(value):
        texts = [each.isoformat() for each in value]
        return Tensor(name, Datatype.BYTES, _objects(texts), {CONTENT_TYPE: "datetime"})
    array = _array(name, value)
    array = array.reshape(1) if array.ndim == 0 else array
    array = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "O":
        array = _of_objects(name, array)
    if array.dtype.kind in "biuf":
        return Tensor(name, tensors.datatype_of(array, name), owned(array) if _is_shared(array, value) else array)
    if array.dtype.name == "bfloat16":
        return Tensor(name, Datatype.BF16, array.astype(np.float32))
    if array.dtype.kind == "M":
        dates = np.datetime_as_string(array).astype(object)
        return Tensor(name, Datatype.BYTES, dates, {CONTENT_TYPE: "datetime"})
    if array.dtype.kind in "SUOT":
        return Tensor(name, Datatype.BYTES, _elements(array.reshape(-1).tolist()).reshape(array.shape))
    return Tensor(name, tensors.datatype_of(array, name), array)


def _is_shared(array: np.ndarray, value: Any) -> bool:
    """Whether an array made of `value` may be, or look into, memory that the component keeps."""
    return array is value or array.base is not None


def _array(name: str, value: Any) -> np.ndarray:
    """The array of a value, of objects where it has texts: NumPy's own lose zeros at the end."""
    if isinstance(value, numbers.Real | Decimal) and not isinstance(value, int | np.generic):
        value = float(value)
    if not (isinstance(value, list | tuple | int | float | complex) or hasattr(value, "__array__")):
        raise ComponentError(f"output {name!r}: the protocol has no form for a {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray):
        return _filled(value)
    if isinstance(value, list | tuple) and (texts := _texts_in(value)) is not None:
        return texts
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ComponentError(f"output {name!r}: the list returned is ragged and makes no array: {error}") from error


def _filled(masked: Any) -> np.ndarray:
    """A masked array as a plain one: what is masked is NaN."""
    if not np.ma.is_masked(masked) or masked.dtype.kind not in "iuf":
        return np.array(masked)
    return np.asarray(masked.astype(np.result_type(masked.dtype, np.float32)).filled(np.nan))


def _texts_in(value: Sequence[Any]) -> np.ndarray | None:
    """The object array of a rectangular list of texts and bytes; None for any other."""
    first: Any = value
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if not isinstance(first, str | bytes):
        return None
    try:
        array = np.array(value, dtype=object)
    except ValueError:
        return None
    return array if all(isinstance(each, str | bytes) for each in array.reshape(-1)) else None


def _of_objects(name: str, array: np.ndarray) -> np.ndarray:
    """An array of objects, all of them texts, or all numbers, which have a dtype."""
    elements = [float(each) if isinstance(each, Decimal) else each for each in array.reshape(-1)]
    are_texts = not elements or any(isinstance(each, str | bytes) for each in elements)
    wanted = str | bytes if are_texts else int | float | np.bool_ | np.number
    for each in elements:
        if not isinstance(each, wanted):
            beside = " beside texts" if are_texts else ""
            raise ComponentError(f"output {name!r}: an array of objects has a {type(each).__name__}{beside} in it")
    if are_texts:
        return array
    narrowed = np.array(elements).reshape(array.shape)
    if narrowed.dtype.kind == "O":
        raise ComponentError(f"output {name!r}: an integer has more than 64 bits")
    return narrowed


def _elements(given: Sequence[str | bytes]) -> np.ndarray:
    """Texts and bytes as the elements that a reader would see: str if all of them are texts."""
    if all(isinstance(each, str) for each in given):
        return _objects(given)
    return tensors.of_elements([tensors.element_bytes(each) for each in given])


def _objects(elements: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def _are_dates(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(e, datetime.date) for e in value)


def as_json(name: str, values: Iterable[Any]) -> Tensor:
    """A tensor of JSON texts."""
    texts = [json_text.write(value).decode() for value in values]
    return Tensor(name, Datatype.BYTES, _objects(texts), {CONTENT_TYPE: "json"})


def with_column_names(given: TensorSet, names: Sequence[str]) -> TensorSet:
    """The set with the names of the columns of its only tensor."""
    tensor = given.tensors[0]
    listed = json.dumps(list(names), ensure_ascii=False, separators=(",", ":"))
    return given._replace(tensors=[tensor._replace(parameters={**tensor.parameters, COLUMN_NAMES: listed})])


def parameters_of_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Tags as parameters of an answer: texts, numbers and booleans as they are, anything else as JSON text."""
    return {key: _parameter(value.item() if isinstance(value, np.generic) else value) for key, value in tags.items()}


def _parameter(value: Any) -> str | int | float:
    if isinstance(value, str | int | float):
        return value
    return json.dumps(value, separators=(",", ":"), default=str)
