"""Messages of the open inference protocol over gRPC, to requests and from answers.

    ModelInferRequest ─▶ InferRequest          raw contents are views of the message's own bytes
    InferResponse ─▶ ModelInferResponse        raw where the request was raw, else typed

Source: the protocol's gRPC text. Raw contents are cut out before protobuf parses the rest, which would copy them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from infergraph.errors import PayloadError
from infergraph.protocol import services
from infergraph.wire import fields
from infergraph.wire.bodies_memory import ValuesAccount
from infergraph.wire.json_values import text_of
from infergraph.wire.prediction import message_class
from infergraph.wire.proto_content import parse
from infergraph.wire.v2 import tensors
from infergraph.wire.v2.records import BINARY_OUTPUT, InferRequest, InferResponse, RequestedOutput, check_names
from infergraph.wire.v2.tensors import Buffer, Datatype, Parameters, Tensor, brief

_PACKAGE = services.INFERENCE.partition(".")[0]

ModelInferRequest = message_class(f"{_PACKAGE}.ModelInferRequest")
ModelInferResponse = message_class(f"{_PACKAGE}.ModelInferResponse")
ModelReadyRequest = message_class(f"{_PACKAGE}.ModelReadyRequest")
ModelReadyResponse = message_class(f"{_PACKAGE}.ModelReadyResponse")
ModelMetadataRequest = message_class(f"{_PACKAGE}.ModelMetadataRequest")
ModelMetadataResponse = message_class(f"{_PACKAGE}.ModelMetadataResponse")
ModelStreamInferResponse = message_class(f"{_PACKAGE}.ModelStreamInferResponse")

SELDON_METHOD = "seldon_method"
"""The parameter of a request that asks for a route or for an aggregate; an extension of this runtime."""

_NAME, _VERSION, _ID, _PARAMETERS = 1, 2, 3, 4
"""Fields that a request and an answer have in common."""
_REQUESTED = 6
_STREAM_ANSWER_TAG = bytes([2 << 3 | fields.DELIMITED])

_INPUTS = 5
_DATATYPE, _SHAPE, _TYPED = 2, 3, 5
"""Fields of an input."""
_TEXTS, _FIXED_NUMBERS = 8, (6, 7)
"""Fields of typed contents: bytes, and floats."""
_INPUT_COST, _TEXT_COST, _VARINT_COST = 1000, tensors.ELEMENT_COST_BYTES, 40
"""Memory of an input, and of an element, in bytes."""
_LAST_BYTE = 128

_RAW_INPUTS = 7
_RAW_OUTPUTS = 6
_RAW_TAGS = {
    ModelInferRequest: bytes([_RAW_INPUTS << 3 | fields.DELIMITED]),
    ModelInferResponse: bytes([_RAW_OUTPUTS << 3 | fields.DELIMITED]),
}
_CONTENTS: Mapping[Datatype, str] = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
_RAW_ONLY = frozenset({Datatype.FP16, Datatype.BF16})
_NARROW = frozenset({Datatype.INT8, Datatype.INT16, Datatype.UINT8, Datatype.UINT16})


def decode(payload: bytes, account: ValuesAccount | None = None) -> InferRequest:
    """The request of a serialized ModelInferRequest.

    Args:
        account: is charged for the memory of its elements before it is parsed; None for no limit.
    Raises:
        PayloadError: naming the tensor.
        UploadTooLarge: its elements would take more memory than one message may.
        Overloaded: its elements would take more memory than is left.
    """
    if account is not None:
        _charge(payload, account)
    is_large = len(payload) > tensors.COPY_LIMIT_BYTES
    rest, blobs = _without_raw(payload) if is_large else (payload, [])
    message = parse(ModelInferRequest, rest)
    blobs = blobs or message.raw_input_contents
    inputs = tensors_in(message.inputs, blobs)
    check_names([tensor.name for tensor in inputs])
    outputs = message.outputs
    return InferRequest(
        model_name=message.model_name,
        model_version=message.model_version,
        id=message.id,
        parameters=parameters_in(message.parameters),
        inputs=inputs,
        outputs=[RequestedOutput(each.name, parameters_in(each.parameters)) for each in outputs] if outputs else (),
        is_raw=bool(blobs),
    )


def _charge(payload: bytes, account: ValuesAccount) -> None:
    elements_bytes = 0
    try:
        for number, kind, start, end in fields.split(payload):
            if number == _INPUTS and kind == fields.DELIMITED:
                elements_bytes += _INPUT_COST + _cost(payload, start, end, len(payload))
    except ValueError:
        return  # it is no message
    account.charge_within(elements_bytes, len(payload))


def _cost(payload: bytes, start: int, end: int, size_bytes: int) -> int:
    """The memory that the elements of an input take; nothing for what becomes an array without an object for each."""
    cost, is_text, elements = 0, False, 1
    for number, kind, at, to in fields.split(memoryview(payload)[start:end]):
        place = slice(start + at, start + to)
        if number == _DATATYPE:
            is_text = payload[place] == Datatype.BYTES.value.encode()
        elif number == _SHAPE:
            elements *= math.prod(_varints(payload[place]))
        elif number == _TYPED and kind == fields.DELIMITED:
            cost += _typed_cost(payload[place])
    return cost + (_TEXT_COST * min(elements, size_bytes // 4) if is_text and not cost else 0)


def _typed_cost(contents: bytes) -> int:
    """The memory of the elements in typed contents: one list of packed numbers, or a field for each element."""
    first = next(fields.split(contents), None)
    if first is None:
        return 0
    number, kind, start, end = first
    if kind != fields.DELIMITED or number == _TEXTS:
        return _TEXT_COST * contents.count(contents[:1])
    if number in _FIXED_NUMBERS:
        return 0
    return _VARINT_COST * int(np.count_nonzero(np.frombuffer(contents, np.uint8)[start:end] < _LAST_BYTE))


def _varints(raw: bytes) -> Iterator[int]:
    at = 0
    while at < len(raw):
        number, at = fields.read_varint(raw, at)
        yield number


def encode(response: InferResponse, request: InferRequest) -> bytes:
    """The serialized ModelInferResponse: raw bytes where the request came so or asks for it, else typed contents."""
    asked = request.parameters.get(BINARY_OUTPUT)
    is_raw = asked if isinstance(asked, bool) else request.is_raw
    message = ModelInferResponse(model_name=response.model_name, model_version=response.model_version, id=response.id)
    write_parameters(message.parameters, response.parameters)
    return serialized(message, message.outputs, response.outputs, is_raw=is_raw)


def serialized(message: Any, entries: Any, given: Sequence[Tensor], *, is_raw: bool) -> bytes:
    """The serialized message with these tensors.

    Args:
        entries: the message's field of tensors.
        is_raw: whether they go raw; all of them do where one of them has no typed form.
    """
    is_raw = is_raw or any(tensor.datatype in _RAW_ONLY for tensor in given)
    for tensor in given:
        entry = entries.add(name=tensor.name, datatype=tensor.datatype.value, shape=tensor.array.shape)
        write_parameters(entry.parameters, tensor.parameters)
        if not is_raw:
            getattr(entry.contents, _CONTENTS[tensor.datatype]).extend(_elements(tensor))
    parts: list[tensors.Buffer] = [message.SerializeToString()]
    if is_raw:
        tag = _RAW_TAGS[type(message)]
        for tensor in given:
            raw = tensors.raw_of(tensor)
            parts += (tag, fields.varint(len(raw)), raw)
    return b"".join(parts)


def head_of(payload: bytes) -> Any:
    """A ModelInferRequest without its tensors: names, id, parameters and requested outputs.

    Raises: PayloadError if it is none.
    """
    kept = {_NAME, _VERSION, _ID, _PARAMETERS, _REQUESTED}
    return parse(ModelInferRequest, _selected(payload, lambda number: number in kept))


def members_of(payload: bytes) -> dict[str, Any]:
    """The parameters and requested outputs of a serialized ModelInferRequest, whose tensors are not read.

    Raises: PayloadError if it is none.
    """
    message = head_of(payload)
    outputs = [{"name": each.name, "parameters": dict(parameters_in(each.parameters))} for each in message.outputs]
    return {"parameters": dict(parameters_in(message.parameters)), "outputs": outputs}


def readdressed(payload: bytes, model: str, *, keeps_outputs: bool) -> bytes:
    """A serialized ModelInferRequest to another model; everything else keeps its bytes.

    Args:
        keeps_outputs: whether it asks for the same outputs, or for all.
    Raises: PayloadError if it is none.
    """
    dropped = {_NAME, _VERSION} if keeps_outputs else {_NAME, _VERSION, _REQUESTED}
    named: bytes = ModelInferRequest(model_name=model).SerializeToString()
    return named + _without(payload, dropped)


def chained(payload: bytes, model: str, parameters: Parameters, outputs: Sequence[RequestedOutput]) -> bytes:
    """A serialized ModelInferResponse as the request of the next node: its outputs are inputs, and raw ones stay raw.

    Args:
        parameters: of the client's request; the answer's own have precedence.
        outputs: those to ask for.
    Raises: PayloadError if it is none.
    """
    message = ModelInferRequest(model_name=model)
    write_parameters(message.parameters, parameters)
    for each in outputs:
        write_parameters(message.outputs.add(name=each.name).parameters, each.parameters)
    parts = [message.SerializeToString(), _without(payload, {_NAME, _VERSION, _RAW_OUTPUTS})]
    for number, kind, start, end in _fields(payload):
        if number == _RAW_OUTPUTS and kind == fields.DELIMITED:
            parts += (_RAW_TAGS[ModelInferRequest], fields.varint(end - start), payload[start:end])
    return b"".join(parts)


def _fields(payload: bytes) -> Iterator[tuple[int, int, int, int]]:
    try:
        yield from fields.split(payload)
    except ValueError as error:
        raise PayloadError(f"the message is not valid protobuf: {error}") from error


def _selected(payload: bytes, is_wanted: Callable[[int], bool]) -> bytes:
    """The fields of a message whose number is wanted, as they are."""
    parts, at = [], 0
    for number, _, _, end in _fields(payload):
        if is_wanted(number):
            parts.append(payload[at:end])
        at = end
    return b"".join(parts)


def _without(payload: bytes, numbers: Collection[int]) -> bytes:
    """All fields but those of these numbers."""
    return _selected(payload, lambda number: number not in numbers)


def encode_ready_request(model: str) -> bytes:
    """A serialized ModelReadyRequest."""
    asked: bytes = ModelReadyRequest(name=model).SerializeToString()
    return asked


def is_ready(payload: bytes) -> bool:
    """What a serialized ModelReadyResponse, or ServerReadyResponse, says.

    Raises: PayloadError if it is none.
    """
    return bool(parse(ModelReadyResponse, payload).ready)


def encode_metadata_request(model: str) -> bytes:
    """A serialized ModelMetadataRequest."""
    asked: bytes = ModelMetadataRequest(name=model).SerializeToString()
    return asked


def decode_metadata(payload: bytes) -> dict[str, Any]:
    """The metadata of a serialized ModelMetadataResponse, as its JSON document has them.

    Raises: PayloadError if it is none.
    """
    return metadata_of(parse(ModelMetadataResponse, payload))


def metadata_of(message: Any) -> dict[str, Any]:
    """The metadata of a ModelMetadataResponse, as its JSON document has them."""
    return {
        "name": message.name,
        "versions": list(message.versions),
        "platform": message.platform,
        "inputs": [_tensor_metadata(each) for each in message.inputs],
        "outputs": [_tensor_metadata(each) for each in message.outputs],
    }


def _tensor_metadata(entry: Any) -> dict[str, Any]:
    return {"name": entry.name, "datatype": entry.datatype, "shape": list(entry.shape)}


def stream_answer(response: bytes) -> bytes:
    """The serialized ModelStreamInferResponse around a ModelInferResponse."""
    return b"".join((_STREAM_ANSWER_TAG, fields.varint(len(response)), response))


def unwrapped(payload: bytes) -> tuple[str, bytes]:
    """The error of a serialized ModelStreamInferResponse, empty for none, and the ModelInferResponse in it.

    Raises: PayloadError if it is none.
    """
    members = {number: payload[start:end] for number, kind, start, end in _fields(payload) if kind == fields.DELIMITED}
    return members.get(1, b"").decode("utf-8", "replace"), members.get(2, b"")


def stream_error(text: str, request_id: str) -> bytes:
    """The serialized ModelStreamInferResponse for a request that failed; it has the request's id, but no answer."""
    failed = ModelStreamInferResponse(error_message=text)
    if request_id:
        failed.infer_response.id = request_id
    serialized: bytes = failed.SerializeToString()
    return serialized


def _without_raw(payload: bytes) -> tuple[bytes, list[memoryview]]:
    """The message without its raw contents, and those as views of its bytes."""
    view = memoryview(payload)
    blobs = [
        view[start:end]
        for number, kind, start, end in _fields(payload)
        if number == _RAW_INPUTS and kind == fields.DELIMITED
    ]
    return (_without(payload, {_RAW_INPUTS}), blobs) if blobs else (payload, [])


def tensors_in(entries: Any, blobs: Sequence[Buffer]) -> list[Tensor]:
    """The tensors of a message, each from its own contents, or all from the raw ones.

    Raises: PayloadError that names the tensor.
    """
    if blobs and len(blobs) != len(entries):
        raise PayloadError(f"raw_input_contents has {len(blobs)} entries for {len(entries)} inputs")
    return [_tensor(entry, blobs[place] if blobs else None) for place, entry in enumerate(entries)]


def _tensor(entry: Any, blob: Buffer | None) -> Tensor:
    name = entry.name
    datatype = tensors.datatype_named(entry.datatype, name)
    shape = tensors.shape_of(list(entry.shape), name)
    parameters = parameters_in(entry.parameters) if entry.parameters else tensors.NO_PARAMETERS
    if blob is None:
        return Tensor(name, datatype, _typed(name, datatype, shape, entry), parameters)
    if entry.HasField("contents"):
        raise PayloadError(f"input {name!r} has contents, though the request has raw_input_contents")
    return Tensor(name, datatype, tensors.of_raw(name, datatype, shape, blob), parameters)


def _typed(name: str, datatype: Datatype, shape: tuple[int, ...], entry: Any) -> np.ndarray:
    if datatype in _RAW_ONLY:
        raise PayloadError(f"input {name!r}: {datatype.value} travels in raw_input_contents alone")
    field = _CONTENTS[datatype]
    for descriptor, _ in entry.contents.ListFields():
        if descriptor.name != field:
            raise PayloadError(f"input {name!r}: {datatype.value} travels in {field}, not in {descriptor.name}")
    values = getattr(entry.contents, field)
    tensors.check_count(name, len(values), shape)
    if datatype is Datatype.BYTES:
        return tensors.shaped(name, tensors.of_elements(list(values)), shape)
    if datatype in _NARROW:
        return tensors.of_integers(name, datatype, values, shape)
    return tensors.shaped(name, np.array(values, dtype=tensors.dtype_of(datatype)), shape)


def _elements(tensor: Tensor) -> Iterable[Any]:
    if tensor.datatype is Datatype.BYTES:
        return [tensors.element_bytes(element) for element in tensor.array.reshape(-1)]
    elements: list[Any] = tensor.array.reshape(-1).tolist()
    return elements


def parameters_in(found: Any) -> Parameters:
    """The parameters of a message, as plain values. Raises: PayloadError for those of shared memory."""
    if not found:
        return tensors.NO_PARAMETERS
    values = {}
    for key, parameter in found.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            values[key] = getattr(parameter, choice)
        if key.startswith("shared_memory_"):
            raise PayloadError("shared memory is not offered")
    content_type = values.get("content_type")
    if content_type is not None and not isinstance(content_type, str):
        raise PayloadError(f"parameters: content_type must be a text, not {brief(content_type)}")
    return MappingProxyType(values)


def write_parameters(target: Any, parameters: Parameters) -> None:
    """Put parameters into a message."""
    for key, value in parameters.items():
        target[text_of(key)].MergeFrom(_parameter(value, target[text_of(key)].__class__))


def _parameter(value: Any, kind: Any) -> Any:
    if isinstance(value, bool):
        return kind(bool_param=value)
    if isinstance(value, float):
        return kind(double_param=value)
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return kind(int64_param=value) if value < 2**63 else kind(uint64_param=value)
    return kind(string_param=text_of(str(value)))
