"""Tensors of the open inference protocol: datatypes, and elements as JSON lists or as raw bytes, to arrays and back.

    list of JSON values ─┐                     ┌─▶ list for JSON
                         ├─▶ array, checked ───┤
    raw little-endian ───┘                     └─▶ raw little-endian, without a copy where memory allows

Source: the open inference protocol, REST data types, and the binary tensor extension.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from infergraph.errors import ComponentError, PayloadError
from infergraph.fast_enums import direct

COPY_LIMIT_BYTES = 64 * 1024
"""Raw tensors above this are views of the request's own memory, smaller ones are copied and writable."""
AXES_LIMIT = 64
ELEMENT_COST_BYTES = 80
"""Memory of an element of BYTES, beside its bytes."""
_LENGTH = struct.Struct("<I")
_IS_LITTLE = sys.byteorder == "little"

Parameters: TypeAlias = Mapping[str, Any]
NO_PARAMETERS: Parameters = MappingProxyType({})
Buffer: TypeAlias = bytes | bytearray | memoryview


@direct
class Datatype(Enum):
    """The protocol's name of an element type."""

    __hash__ = object.__hash__  # members are single objects; Enum's own hash runs in Python, on every look-up

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"


_DTYPES: dict[Datatype, np.dtype[Any]] = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype("<u1"),
    Datatype.UINT16: np.dtype("<u2"),
    Datatype.UINT32: np.dtype("<u4"),
    Datatype.UINT64: np.dtype("<u8"),
    Datatype.INT8: np.dtype("<i1"),
    Datatype.INT16: np.dtype("<i2"),
    Datatype.INT32: np.dtype("<i4"),
    Datatype.INT64: np.dtype("<i8"),
    Datatype.FP16: np.dtype("<f2"),
    Datatype.FP32: np.dtype("<f4"),
    Datatype.FP64: np.dtype("<f8"),
    Datatype.BF16: np.dtype("<u2"),  # as it travels; read as the float32 whose upper half it is
}
_DATATYPES = {dtype: datatype for datatype, dtype in _DTYPES.items() if datatype is not Datatype.BF16}
_FLOATS = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64})
_INTEGERS = frozenset(each for each in Datatype if each.value.startswith(("INT", "UINT")))
_NUMBERS = frozenset({int, float, type(None)})
_KINDS = {kind.value: kind for kind in Datatype}


class Tensor(NamedTuple):
    """One input or output.

    Args:
        name: any text.
        datatype: of its elements as they travel.
        array: the elements; BYTES as an object array of str or bytes, BF16 as float32.
        parameters: of this tensor, without those that say how it travels.
    """

    name: str
    datatype: Datatype
    array: np.ndarray
    parameters: Parameters = NO_PARAMETERS

    def copy(self) -> Tensor:
        """The tensor with an array of its own."""
        return self._replace(array=self.array.copy())


def datatype_named(name: object, tensor: str) -> Datatype:
    """The datatype of that name.

    Raises: PayloadError for any other name, naming the tensor.
    """
    found = _KINDS.get(name) if isinstance(name, str) else None
    if found is None:
        raise PayloadError(f"input {tensor!r}: there is no datatype {brief(name)}; there are {', '.join(_KINDS)}")
    return found


def dtype_of(datatype: Datatype) -> np.dtype[Any]:
    """The NumPy type of an element as it travels raw."""
    return _DTYPES[datatype]


def shape_of(given: object, tensor: str) -> tuple[int, ...]:
    """A shape as sent: a list of whole numbers, none negative.

    Raises: PayloadError naming the tensor.
    """
    if not isinstance(given, list) or set(map(type, given)) - {int} or (given and min(given) < 0):
        raise PayloadError(f"input {tensor!r}: shape must be a list of whole numbers from 0 on, not {brief(given)}")
    if len(given) > AXES_LIMIT:
        raise PayloadError(f"input {tensor!r}: shape has {len(given)} axes; {AXES_LIMIT} are allowed")
    return tuple(given)


def takes_numbers(datatype: Datatype, numbers: np.ndarray) -> bool:
    """Whether `of_numbers` takes a flat array of 64-bit numbers for that datatype."""
    return datatype in _FLOATS or (datatype in _INTEGERS and numbers.dtype.kind != "f")


def of_numbers(name: str, datatype: Datatype, shape: tuple[int, ...], numbers: np.ndarray) -> np.ndarray:
    """The array of a tensor whose elements came as a flat array of 64-bit numbers.

    Raises: PayloadError that names the tensor: another count than the shape has, or an element out of its type.
    """
    check_count(name, numbers.size, shape)
    if datatype in _FLOATS:
        return shaped(name, _narrowed(name, datatype, numbers.astype(np.float64, copy=False)), shape)
    _check_range(name, datatype, int(numbers.min()), int(numbers.max()))
    return shaped(name, numbers.astype(_DTYPES[datatype], copy=False), shape)


def of_list(name: str, datatype: Datatype, shape: tuple[int, ...], data: list[Any]) -> np.ndarray:
    """The array of a tensor whose elements came as a JSON list, flat or nested.

    Raises: PayloadError that names the tensor: another count than the shape has, or an element out of its type.
    """
    if datatype is Datatype.BF16:
        raise PayloadError(f"input {name!r}: BF16 has no JSON form; send it as binary data")
    kinds = set(map(type, data))
    if list in kinds:
        data = _flat(data, kinds)
        kinds = set(map(type, data))
    check_count(name, len(data), shape)
    if datatype in _FLOATS:
        array = _floats(name, datatype, data, kinds)
    elif datatype in _INTEGERS:
        array = _integers(name, datatype, data, kinds)
    elif datatype is Datatype.BYTES:
        array = _texts(name, data)
    else:
        array = _booleans(name, data, kinds)
    return shaped(name, array, shape)


def check_count(name: str, count: int, shape: Sequence[int]) -> None:
    """Refuse a tensor with another number of elements than its shape has.

    Raises: PayloadError that names the tensor and both numbers. Promises: allocates nothing.
    """
    wanted = math.prod(shape)
    if count != wanted:
        raise PayloadError(f"input {name!r}: {count} elements, but shape {list(shape)} needs {wanted}")


def shaped(name: str, flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A flat array in a shape of as many elements.

    Raises: PayloadError naming the tensor for a shape beyond what an array can have, as one without elements may be.
    """
    try:
        return flat if shape == flat.shape else flat.reshape(shape)
    except ValueError as error:
        raise PayloadError(f"input {name!r}: no array has the shape {brief(list(shape))}") from error


def of_integers(name: str, datatype: Datatype, values: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    """The array of integers that came in a wider field than their type's.

    Raises: PayloadError for a value out of range; never wraps.
    """
    dtype = _DTYPES[datatype]
    wide = np.asarray(values)
    if wide.size:
        _check_range(name, datatype, int(wide.min()), int(wide.max()))
    return shaped(name, wide.astype(dtype), shape)


def _flat(data: list[Any], kinds: set[type]) -> list[Any]:
    """The leaves of nested lists, in time that grows with their number alone: lists may be of different depths."""
    while kinds == {list}:
        data = list(chain.from_iterable(data))
        kinds = set(map(type, data))
    return _leaves(data) if list in kinds else data


def _leaves(data: list[Any]) -> list[Any]:
    leaves: list[Any] = []
    opened = [iter(data)]
    while opened:
        for each in opened[-1]:
            if type(each) is list:
                opened.append(iter(each))
                break
            leaves.append(each)
        else:
            opened.pop()
    return leaves


def _texts(name: str, elements: list[Any]) -> np.ndarray:
    array = np.empty(len(elements), dtype=object)
    for place, element in enumerate(elements):
        if type(element) is not str:
            raise PayloadError(f"input {name!r}: element {place} of BYTES must be a text, not {brief(element)}")
        array[place] = element
    return array


def _booleans(name: str, elements: list[Any], kinds: set[type]) -> np.ndarray:
    if not kinds <= {bool, int} or not all(element in (0, 1) for element in elements):
        odd = next(element for element in elements if type(element) not in (bool, int) or element not in (0, 1))
        raise PayloadError(f"input {name!r}: BOOL takes true and false, not {brief(odd)}")
    return np.array(elements, dtype=np.bool_)


def _floats(name: str, datatype: Datatype, elements: list[Any], kinds: set[type]) -> np.ndarray:
    if not kinds <= _NUMBERS:
        odd = next(element for element in elements if type(element) not in _NUMBERS)
        raise PayloadError(f"input {name!r}: {datatype.value} takes numbers, not {brief(odd)}")
    try:
        wide = np.array(elements, dtype=np.float64)  # null becomes NaN
    except OverflowError as error:
        raise PayloadError(f"input {name!r}: a number is out of the range of {datatype.value}") from error
    return _narrowed(name, datatype, wide)


def _narrowed(name: str, datatype: Datatype, wide: np.ndarray) -> np.ndarray:
    if datatype is Datatype.FP64:
        return wide
    with np.errstate(over="raise"):
        try:
            return wide.astype(_DTYPES[datatype])
        except FloatingPointError as error:
            raise PayloadError(f"input {name!r}: a number is out of the range of {datatype.value}") from error


def _integers(name: str, datatype: Datatype, elements: list[Any], kinds: set[type]) -> np.ndarray:
    if not kinds <= {int}:
        elements = [_whole(name, datatype, element) for element in elements]
    if elements:
        _check_range(name, datatype, min(elements), max(elements))
    return np.array(elements, dtype=_DTYPES[datatype])


def _whole(name: str, datatype: Datatype, element: Any) -> int:
    if type(element) is int:
        return element
    if type(element) is float and element.is_integer():
        return int(element)
    raise PayloadError(f"input {name!r}: {datatype.value} takes whole numbers, not {brief(element)}")


def _check_range(name: str, datatype: Datatype, least: int, greatest: int) -> None:
    limits = np.iinfo(_DTYPES[datatype])
    for value in (least, greatest):
        if not limits.min <= value <= limits.max:
            raise PayloadError(f"input {name!r}: {value} is out of the range of {datatype.value}")


def of_raw(name: str, datatype: Datatype, shape: tuple[int, ...], raw: Buffer) -> np.ndarray:
    """The array of a tensor that came as raw bytes: little-endian, row-major.

    Raises: PayloadError that names the tensor where the bytes do not fit the shape.
    Promises: above `COPY_LIMIT_BYTES` an aligned one is a view of `raw`, not writable where `raw` is not.
    """
    if datatype is Datatype.BYTES:
        return _raw_elements(name, shape, raw)
    dtype = _DTYPES[datatype]
    wanted = math.prod(shape) * dtype.itemsize
    if len(raw) != wanted:
        raise PayloadError(f"input {name!r}: {len(raw)} bytes, but {datatype.value} of {list(shape)} has {wanted}")
    if datatype is Datatype.BOOL:
        numbers = np.frombuffer(raw, dtype=np.uint8)
        if numbers.size and numbers.max() > 1:
            raise PayloadError(f"input {name!r}: BOOL takes bytes of 0 and 1, not {int(numbers.max())}")
    array = np.frombuffer(raw, dtype=dtype)
    if datatype is Datatype.BF16:
        return shaped(name, (array.astype(np.uint32) << 16).view(np.float32), shape)
    if array.nbytes <= COPY_LIMIT_BYTES or not array.flags.aligned or not _IS_LITTLE:
        array = array.astype(dtype.newbyteorder("="))
    return shaped(name, array, shape)


def _raw_elements(name: str, shape: tuple[int, ...], raw: Buffer) -> np.ndarray:
    data, at, end = bytes(raw), 0, len(raw)
    wanted = math.prod(shape)
    if wanted * _LENGTH.size > end:  # before an element is read: a shape may promise anything
        raise PayloadError(f"input {name!r}: {end} bytes hold no {wanted} elements, which shape {list(shape)} needs")
    elements: list[bytes] = []
    length_at = _LENGTH.unpack_from
    while at < end:
        if at + 4 > end:
            raise PayloadError(f"input {name!r}: element {len(elements)} of BYTES is cut off")
        start = at + 4
        at = start + length_at(data, at)[0]
        elements.append(data[start:at])
        if at > end:
            raise PayloadError(f"input {name!r}: element {len(elements) - 1} of BYTES ends behind the data")
    check_count(name, len(elements), shape)
    return shaped(name, of_elements(elements), shape)


def of_elements(elements: Sequence[bytes]) -> np.ndarray:
    """An object array of BYTES elements: str where every one of them is UTF-8, else bytes."""
    array = np.empty(len(elements), dtype=object)
    try:
        array[:] = [element.decode() for element in elements]
    except UnicodeDecodeError:
        array[:] = list(elements)
    return array


def element_bytes(element: Any) -> bytes:
    """One element of a BYTES array as it travels; a lone surrogate becomes a question mark."""
    return element if isinstance(element, bytes) else str(element).encode("utf-8", "replace")


def datatype_of(array: np.ndarray, output: str) -> Datatype:
    """The datatype of an array that a component returned.

    Raises: ComponentError where the protocol has none for it.
    """
    if array.dtype.kind in "USO":
        return Datatype.BYTES
    datatype = _DATATYPES.get(array.dtype.newbyteorder("<"))
    if datatype is None:
        raise ComponentError(f"output {output!r}: the protocol has no datatype for an array of {array.dtype}")
    return datatype


def cast(tensor: Tensor, name: object) -> Tensor:
    """A tensor of a component's answer in the datatype that it declares.

    Raises: ComponentError for a datatype that there is not, or into which its elements do not go.
    """
    datatype = _KINDS.get(name) if isinstance(name, str) else None
    if datatype is None:
        raise ComponentError(f"output {tensor.name!r}: there is no datatype {name!r}; there are {', '.join(_KINDS)}")
    if datatype is tensor.datatype:
        return tensor
    if Datatype.BYTES in (datatype, tensor.datatype):
        raise ComponentError(f"output {tensor.name!r} holds {tensor.datatype.value}, not {datatype.value}")
    dtype = np.dtype(np.float32) if datatype is Datatype.BF16 else _DTYPES[datatype]
    with np.errstate(over="ignore", invalid="ignore"):
        array = tensor.array.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(array, tensor.array):
        raise ComponentError(f"output {tensor.name!r} has elements that are not {datatype.value}")
    return tensor._replace(datatype=datatype, array=array)


def raw_of(tensor: Tensor) -> Buffer:
    """The elements as raw bytes: the array's own memory where it is little-endian and row-major."""
    array = tensor.array
    if tensor.datatype is Datatype.BYTES:
        elements = [element_bytes(element) for element in array.reshape(-1)]
        packed = _LENGTH.pack
        return b"".join([packed(len(each)) + each for each in elements])
    if tensor.datatype is Datatype.BF16:
        array = (np.ascontiguousarray(array, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
    ordered = np.ascontiguousarray(array, dtype=_DTYPES[tensor.datatype])
    return ordered.reshape(-1).view(np.uint8).data if ordered.size else b""


def brief(value: object) -> str:
    """A received value for an error message."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply"
    return text if len(text) <= 80 else f"{text[:80]}…"
