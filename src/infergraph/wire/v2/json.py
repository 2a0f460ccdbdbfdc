"""Bodies of the open inference protocol over REST: JSON, perhaps with the raw bytes of tensors behind it.

    Inference-Header-Content-Length: n ─▶ n bytes of JSON, then the blobs in the order of their tensors

Source: the protocol's REST text and its binary tensor extension.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from infergraph.errors import PayloadError, UnsupportedBody
from infergraph.wire import compression, json_scan, json_slices, json_text, json_values
from infergraph.wire.bodies_memory import ValuesAccount
from infergraph.wire.json_text import PLAIN, JsonOptions
from infergraph.wire.v2 import tensors
from infergraph.wire.v2.metadata import TensorMetadata
from infergraph.wire.v2.records import (
    BINARY_OUTPUT,
    InferRequest,
    InferResponse,
    RequestedOutput,
    check_names,
    text_member,
)
from infergraph.wire.v2.tensors import NO_PARAMETERS, Buffer, Datatype, Parameters, Tensor, brief

JSON = "application/json"
_LARGE_BYTES = 16 * 1024
"""Numbers of a larger request are read without an object for each."""

BLOB_SIZE = "binary_data_size"
BINARY = "binary_data"
_ALIGNMENT = 8
"""The first blob of an answer begins at a multiple of this, so that a reader need not copy it."""


class Body(NamedTuple):
    """An encoded answer.

    Args:
        head: the JSON.
        blobs: raw tensors that follow it, each the array's own memory.
        header_length: of the JSON, where blobs follow; None for JSON alone.
    """

    head: bytes
    blobs: Sequence[Buffer] = ()
    header_length: int | None = None


def unpacked(body: bytes, coding: str, limit_bytes: int) -> bytes:
    """A body without its content encoding.

    Raises: UnsupportedBody for one other than gzip and deflate; PayloadError if it is damaged; UploadTooLarge if it is
        larger than the limit.
    """
    if coding in ("", "identity"):
        return body
    if coding not in compression.ENCODINGS:
        raise UnsupportedBody(f"the content encoding {coding!r} cannot be read; send gzip, deflate or none")
    return compression.unpacked(body, limit_bytes)


_Size = Annotated[int, msgspec.Meta(ge=0)]
_Shape = Annotated[list[_Size], msgspec.Meta(max_length=tensors.AXES_LIMIT)]


class _Entry(msgspec.Struct):
    """A tensor as a request spells it; `data` is a list, or the flat array of its numbers."""

    name: str
    shape: _Shape
    datatype: Datatype
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    """A request whose members have the types that they should."""

    inputs: list[_Entry]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[Any] | None = None


_read_typed = msgspec.json.Decoder(_Request).decode


def decode(
    body: Buffer,
    header_length: str | None = None,
    *,
    model: str = "",
    version: str = "",
    puid: str = "",
    account: ValuesAccount | None = None,
) -> InferRequest:
    """The request of a body.

    Args:
        header_length: the header of that name; None where it is missing: the whole body is JSON.
        model, version: from the path.
        puid: the id of a request without one of its own.
        account: see `json_slices.read`.
    Raises: PayloadError that names the member or the tensor; UploadTooLarge and Overloaded like `json_slices.read`.
    """
    head, blobs = (body, None) if header_length is None else split_body(body, header_length)
    request = _read(head, account)
    if blobs is None:
        inputs = [tensor_of(entry, NO_BLOBS) for entry in request.inputs]
    else:
        reader = Blobs(blobs, account)
        inputs = [tensor_of(entry, reader) for entry in request.inputs]
        reader.finish(model)
    if len(inputs) != 1:
        check_names([tensor.name for tensor in inputs])
    outputs = request.outputs
    return InferRequest(
        model_name=model,
        model_version=version,
        id=request.id or puid,
        parameters=request.parameters or NO_PARAMETERS,
        inputs=inputs,
        outputs=[_requested(each, place) for place, each in enumerate(outputs)] if outputs else (),
    )


def _read(text: Buffer, account: ValuesAccount | None) -> _Request:
    """The request, at once where it has the right form; else member by member, for a fault that names one."""
    try:
        is_small = len(text) <= _LARGE_BYTES
        request = _read_typed(text) if is_small else json_scan.charged(account, bytes(text), _read_numbers)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        request = None
    if request is None:
        request = _read_document(json_slices.read(bytes(text), JSON, account=account))
    if request.parameters:
        check_parameters(request.parameters, "parameters")
        _check_boolean(request.parameters.get(BINARY_OUTPUT), f"parameters: {BINARY_OUTPUT}")
    return request


def _read_numbers(text: bytes) -> _Request | None:
    """A large request, whose numbers go into arrays without becoming objects; None if it needs a closer look."""
    found = json_scan.read_tensors(text)
    if found is None:
        return None
    document, data = found
    try:
        request = msgspec.convert(document, _Request)
    except msgspec.ValidationError:
        return None
    for entry, numbers in zip(request.inputs, data, strict=True):
        if not tensors.takes_numbers(entry.datatype, numbers):
            return None
        entry.data = numbers  # type: ignore[assignment] # a list, as far as msgspec is to know
    return request


def _read_document(document: Any) -> _Request:
    if not isinstance(document, dict):
        raise PayloadError("the body must be a JSON object with inputs")
    return _Request(
        inputs=[read_entry(each, place) for place, each in enumerate(_list(document, "inputs"))],
        id=text_member(document.get("id"), "id"),
        parameters=_object(document.get("parameters"), "parameters"),
        outputs=_list(document, "outputs"),
    )


def read_entry(entry: Any, place: int) -> _Entry:
    """A tensor as a request spells it, member by member.

    Raises: PayloadError that names the member or the tensor.
    """
    if not isinstance(entry, dict):
        raise PayloadError(f"inputs[{place}] must be an object")
    name = entry.get("name")
    if not isinstance(name, str):
        raise PayloadError(f"inputs[{place}].name must be a text, not {brief(name)}")
    shape = list(tensors.shape_of(entry.get("shape"), name))
    datatype = tensors.datatype_named(entry.get("datatype"), name)
    data = entry.get("data")
    if data is not None and not isinstance(data, list):
        raise PayloadError(f"input {name!r}: data must be a list, not {brief(data)}")
    return _Entry(name, shape, datatype, data, _object(entry.get("parameters"), f"input {name!r}: parameters"))


def parameters_of(body: bytes) -> dict[str, Any]:
    """The `parameters` of a request of the repository, whose body may be empty.

    Raises: PayloadError if they, or the body, are not objects, or one has no plain value.
    """
    parameters = _object(object_of(body).get("parameters"), "parameters") or {}
    check_parameters(parameters, "parameters")
    return parameters


def object_of(body: bytes, account: ValuesAccount | None = None) -> dict[str, Any]:
    """The JSON object of a body that may be empty, which is an empty object.

    Args:
        account: is charged for the memory of a large one's values; None for no limit.
    Raises: PayloadError if it is anything else; UploadTooLarge and Overloaded for one that takes too much memory.
    """
    document = json_slices.read(body, account=account) if body else {}
    if not isinstance(document, dict):
        raise PayloadError("the body must be empty or a JSON object")
    return document


def decode_raw(body: Buffer, inputs: Sequence[TensorMetadata], *, model: str, version: str, puid: str) -> InferRequest:
    """The request of a body that is nothing but the raw bytes of the only input that the model declares.

    Raises: PayloadError if it declares another number of inputs, or one whose shape the bytes cannot tell.
    """
    if len(inputs) != 1:
        raise PayloadError(
            f"Inference-Header-Content-Length is 0, and the model declares {len(inputs)} inputs, not one"
        )
    declared = inputs[0]
    datatype = tensors.datatype_named(declared.datatype, declared.name)
    shape = _raw_shape(declared, datatype, len(body))
    raw = body if datatype is not Datatype.BYTES else len(body).to_bytes(4, "little") + bytes(body)
    tensor = Tensor(declared.name, datatype, tensors.of_raw(declared.name, datatype, shape, raw))
    parameters = MappingProxyType({BINARY_OUTPUT: True})
    return InferRequest(model_name=model, model_version=version, id=puid, parameters=parameters, inputs=[tensor])


def _raw_shape(declared: TensorMetadata, datatype: Datatype, size_bytes: int) -> tuple[int, ...]:
    """The declared shape, its free axis filled by the number of bytes."""
    shape, free = declared.shape, declared.shape.count(-1)
    if free > 1:
        raise PayloadError(f"input {declared.name!r}: {free} axes of its shape {shape} are free; raw bytes fill one")
    if datatype is Datatype.BYTES:
        if any(size not in (1, -1) for size in shape):
            raise PayloadError(f"input {declared.name!r}: raw bytes are one element, and its shape is {shape}")
        return tuple(1 for _ in shape)
    fixed = math.prod(size for size in shape if size != -1) * tensors.dtype_of(datatype).itemsize
    return tuple(size_bytes // fixed if size == -1 and fixed else size for size in shape)


def encode(
    response: InferResponse, request: InferRequest, options: JsonOptions = PLAIN, *, is_hop: bool = False
) -> Body:
    """The answer, each output as the request wants it: in the JSON, or as raw bytes behind it.

    Args:
        is_hop: it is for a graph of this runtime, so what JSON cannot hold exactly is raw in any case.
    """
    blobs: list[Buffer] = []
    document: dict[str, Any] = {"model_name": response.model_name}
    if response.model_version:
        document["model_version"] = response.model_version
    if response.id:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = response.parameters
    own = request.own_spellings if request.outputs else {}
    is_binary = bool(request.parameters) and request.wants_binary
    document["outputs"] = [
        entry_of(tensor, blobs if own.get(tensor.name, is_binary) or (is_hop and not is_exact(tensor)) else None)
        for tensor in response.outputs
    ]
    return body_of(document, blobs, options)


def is_exact(tensor: Tensor) -> bool:
    """Whether JSON can hold every element; NaN is null there."""
    if tensor.datatype is Datatype.BYTES:
        return not _texts(tensor.array)[1]
    if tensor.datatype is Datatype.BF16:
        return False
    return tensor.array.dtype.kind != "f" or not np.isinf(tensor.array).any()


def body_of(document: Mapping[str, Any], blobs: Sequence[Buffer], options: JsonOptions = PLAIN) -> Body:
    """The JSON object, padded so that the blobs behind it begin aligned."""
    head = json_text.write_numbers(document, options) if options.is_plain else None
    head = json_text.write(document, options) if head is None else head
    if not blobs:
        return Body(head)
    head += b" " * (-len(head) % _ALIGNMENT)
    return Body(head, blobs, len(head))


def entry_of(tensor: Tensor, blobs: list[Buffer] | None = None) -> dict[str, Any]:
    """The JSON object of a tensor; its raw bytes are added to `blobs` if there are any, else it has its elements."""
    name, datatype, array, parameters = tensor
    entry: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": datatype}
    if parameters:
        entry["parameters"] = dict(parameters)
    if blobs is not None:
        raw = tensors.raw_of(tensor)
        blobs.append(raw)
        entry["parameters"] = {**parameters, BLOB_SIZE: len(raw)}
        return entry
    if datatype is Datatype.BF16:
        raise PayloadError(f"output {name!r}: BF16 has no JSON form; ask for it as binary data")
    if datatype is not Datatype.BYTES:
        entry["data"] = json_values.flat_elements(array)
        return entry
    data, is_base64 = _texts(array)
    entry["data"] = data
    if is_base64:
        entry["parameters"] = {**parameters, "content_type": "base64"}
    return entry


def _texts(array: np.ndarray) -> tuple[list[str], bool]:
    """The elements as JSON can hold them: texts, or all in base64 if one is not text."""
    elements = [tensors.element_bytes(element) for element in array.reshape(-1)]
    try:
        return [element.decode() for element in elements], False
    except UnicodeDecodeError:
        return [base64.b64encode(element).decode() for element in elements], True


def split_body(body: Buffer, header_length: str) -> tuple[Buffer, memoryview]:
    """The JSON of a body, and the blobs behind it.

    Raises: PayloadError for a length that is not a number, or beyond the body.
    """
    view = memoryview(body)
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= 18):
        raise PayloadError(f"Inference-Header-Content-Length must be a whole number, not {header_length!r}")
    length = int(header_length)
    if length > len(view):
        raise PayloadError(f"Inference-Header-Content-Length is {length}, but the body has {len(view)} bytes")
    return view[:length], view[length:]


class Blobs:
    """The raw bytes behind the JSON, handed out in order."""

    def __init__(self, raw: memoryview | None, account: ValuesAccount | None = None) -> None:
        self._account = account
        self._is_there = raw is not None
        self._raw = memoryview(b"") if raw is None else raw
        self._at = 0

    def take(self, name: str, size: object) -> memoryview:
        """The next blob. Raises: PayloadError that names the tensor."""
        if type(size) is not int or size < 0:
            raise PayloadError(f"input {name!r}: {BLOB_SIZE} must be a whole number, not {brief(size)}")
        if not self._is_there:
            raise PayloadError(f"input {name!r}: {BLOB_SIZE} without the header Inference-Header-Content-Length")
        start, self._at = self._at, self._at + size
        if self._at > len(self._raw):
            raise PayloadError(f"input {name!r}: {BLOB_SIZE} is {size}, but {len(self._raw) - start} bytes are left")
        return self._raw[start : self._at]

    def charge(self, shape: Sequence[int], size_bytes: int) -> None:
        """Charge for the elements of a tensor of BYTES in a blob of that size, before there is an object for each.

        Raises: UploadTooLarge and Overloaded like `ValuesAccount.charge_within`.
        """
        if self._account is not None:
            elements = min(math.prod(shape), size_bytes // 4)
            self._account.charge_within(tensors.ELEMENT_COST_BYTES * elements, len(self._raw))

    def finish(self, model: str) -> None:
        """Refuse bytes that no tensor has taken. Raises: PayloadError."""
        if self._at < len(self._raw):
            left = len(self._raw) - self._at
            raise PayloadError(f"unexpected additional input data for model {model!r}: {left} bytes")


NO_BLOBS = Blobs(None)


def tensor_of(entry: _Entry, blobs: Blobs) -> Tensor:
    """The tensor of an entry, its bytes from `blobs` where it has a size of some.

    Raises: PayloadError that names the tensor.
    """
    name, datatype, parameters = entry.name, entry.datatype, entry.parameters
    shape = tuple(entry.shape)
    if not parameters:
        if entry.data is None:
            raise PayloadError(f"input {name!r} must have either data or the parameter {BLOB_SIZE}")
        return Tensor(name, datatype, _array(name, datatype, shape, entry.data))
    check_parameters(parameters, f"input {name!r}: parameters")
    _refuse_shared_memory(parameters, f"input {name!r}")
    size = parameters.get(BLOB_SIZE)
    if (size is None) == (entry.data is None):
        raise PayloadError(f"input {name!r} must have either data or the parameter {BLOB_SIZE}")
    if size is None:
        return Tensor(name, datatype, _array(name, datatype, shape, entry.data), parameters)
    blob = blobs.take(name, size)
    if datatype is Datatype.BYTES:
        blobs.charge(shape, len(blob))
    array = tensors.of_raw(name, datatype, shape, blob)
    return Tensor(name, datatype, array, {key: value for key, value in parameters.items() if key != BLOB_SIZE})


def _array(name: str, datatype: Datatype, shape: tuple[int, ...], data: Any) -> np.ndarray:
    if type(data) is list:
        return tensors.of_list(name, datatype, shape, data)
    return tensors.of_numbers(name, datatype, shape, data)


def _refuse_shared_memory(parameters: Parameters, where: str) -> None:
    if any(key.startswith("shared_memory_") for key in parameters):
        raise PayloadError(f"{where}: shared memory is not offered")


def _requested(entry: Any, place: int) -> RequestedOutput:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise PayloadError(f"outputs[{place}].name must be a text")
    name = entry["name"]
    parameters = _object(entry.get("parameters"), f"output {name!r}: parameters")
    if not parameters:
        return RequestedOutput(name)
    check_parameters(parameters, f"output {name!r}: parameters")
    is_binary = parameters.get(BINARY)
    _check_boolean(is_binary, f"output {name!r}: {BINARY}")
    _refuse_shared_memory(parameters, f"output {name!r}")
    return RequestedOutput(name, parameters, is_binary)


def _check_boolean(value: Any, parameter: str) -> None:
    if value is not None and not isinstance(value, bool):
        raise PayloadError(f"{parameter} must be true or false, not {brief(value)}")


def check_parameters(parameters: Mapping[str, Any], member: str) -> None:
    """Refuse parameters other than texts, numbers and booleans.

    Raises: PayloadError that names the member and the parameter.
    """
    for key, value in parameters.items():
        if not isinstance(value, str | int | float):
            raise PayloadError(f"{member}: {key!r} must be a text, a number or a boolean")
    content_type = parameters.get("content_type")
    if content_type is not None and not isinstance(content_type, str):
        raise PayloadError(f"{member}: content_type must be a text, not {brief(content_type)}")


def _object(value: Any, member: str) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise PayloadError(f"{member} must be an object, not {brief(value)}")
    return value


def _list(document: Mapping[str, Any], member: str) -> list[Any]:
    found = document.get(member)
    if found is None:
        return []
    if not isinstance(found, list):
        raise PayloadError(f"{member} must be a list, not {brief(found)}")
    return found
