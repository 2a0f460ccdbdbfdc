"""Triton's generate form of the open inference protocol: a JSON object whose members are tensors and parameters.

    {"text_input": "…", "temperature": 0.2} ─▶ GenerateRequest ─▶ … ─▶ {"model_name": "m", "text_output": "…"}

Source: Triton's generate extension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from infergraph.errors import PayloadError
from infergraph.wire.json_text import PLAIN, JsonOptions
from infergraph.wire.v2 import hook_values, json, tensors
from infergraph.wire.v2.metadata import TensorMetadata
from infergraph.wire.v2.records import InferRequest, InferResponse, check_names, text_member
from infergraph.wire.v2.tensors import Datatype, Tensor, brief

TEXT_INPUT = "text_input"
TEXT_OUTPUT = "text_output"
_TEXT = TensorMetadata(TEXT_INPUT, Datatype.BYTES.value, [1])


class GenerateRequest(InferRequest, frozen=True, kw_only=True):
    """A request in this form, which its answers have too."""


def decode(
    document: Mapping[str, Any], inputs: Sequence[TensorMetadata], *, model: str, version: str, puid: str
) -> GenerateRequest:
    """The request of a body.

    Args:
        inputs: the tensors that the model declares; a member with the name of one is it, any other a parameter.
        model, version: from the path.
        puid: the id of a request without one of its own.
    Raises: PayloadError that names the member.
    """
    parameters = document.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise PayloadError(f"parameters must be an object, not {brief(parameters)}")
    own = {name: value for name, value in document.items() if name not in ("id", "parameters")}
    members = {name: value for name, value in {**(parameters or {}), **own}.items() if value is not None}
    declared = _by_member(inputs)
    given = [_tensor(declared[name], value) for name, value in members.items() if name in declared]
    if not given:
        raise PayloadError(f"the body has neither inputs nor {' or '.join(declared)}")
    check_names([tensor.name for tensor in given])
    rest = {name: value for name, value in members.items() if name not in declared}
    json.check_parameters(rest, "parameters")
    return GenerateRequest(
        model_name=model,
        model_version=version,
        id=text_member(document.get("id"), "id") or puid,
        parameters=rest,
        inputs=given,
    )


def _by_member(inputs: Sequence[TensorMetadata]) -> Mapping[str, TensorMetadata]:
    """The declared tensors by member; the only one, if it takes text, is `text_input` too."""
    declared = {each.name: each for each in inputs} or {TEXT_INPUT: _TEXT}
    if len(inputs) == 1 and inputs[0].datatype == Datatype.BYTES.value:
        declared.setdefault(TEXT_INPUT, inputs[0])
    return declared


def _tensor(declared: TensorMetadata, value: Any) -> Tensor:
    name = declared.name
    elements = value if isinstance(value, list) else [value]
    if any(isinstance(element, list | dict) for element in elements):
        raise PayloadError(f"{name!r} must be a value or a flat list of values")
    datatype = tensors.datatype_named(declared.datatype, name)
    shape = _shape(declared, len(elements))
    return Tensor(name, datatype, tensors.of_list(name, datatype, shape, elements), declared.parameters)


def _shape(declared: TensorMetadata, count: int) -> tuple[int, ...]:
    """The declared shape, its innermost free axis filled by what the fixed axes leave."""
    shape = [1 if size < 0 else size for size in declared.shape]
    free = [axis for axis, size in enumerate(declared.shape) if size < 0]
    fixed = math.prod(shape)
    if free and fixed:
        shape[free[-1]] = count // fixed
    return tuple(shape)


def encode(response: InferResponse, options: JsonOptions = PLAIN) -> bytes:
    """The JSON object of an answer: an output of one element is its value, any other a flat list."""
    document: dict[str, Any] = {"model_name": response.model_name}
    if response.model_version:
        document["model_version"] = response.model_version
    if response.id:
        document["id"] = response.id
    outputs = {_name(tensor, response): _value(tensor) for tensor in response.outputs}
    for name, value in {**response.parameters, **outputs}.items():
        document.setdefault(name, value)
    return json.body_of(document, (), options).head


def _name(tensor: Tensor, response: InferResponse) -> str:
    """The output's name; a text that has none of its own is `text_output`."""
    is_text = tensor.datatype is Datatype.BYTES and len(response.outputs) == 1
    is_own = tensor.name != hook_values.FIRST_OUTPUT or not is_text
    return tensor.name if is_own else TEXT_OUTPUT


def _value(tensor: Tensor) -> Any:
    data = json.entry_of(tensor)["data"]
    return data[0] if len(data) == 1 else data
