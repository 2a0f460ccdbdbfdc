"""Requests of the open inference protocol to other servers, and their answers.

Message of either protocol ─▶ InferRequest ─▶ body, or serialized ModelInferRequest
body, or serialized ModelInferResponse ─▶ InferResponse ─▶ Message
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from infergraph.errors import PayloadError
from infergraph.message import Encoding, Message, Meta
from infergraph.wire import json_slices
from infergraph.wire.bodies_memory import ValuesAccount
from infergraph.wire.proto_content import parse
from infergraph.wire.v2 import json, proto
from infergraph.wire.v2.json import Body
from infergraph.wire.v2.messages import tensors_of
from infergraph.wire.v2.records import InferRequest, InferResponse, RequestedOutput, TensorSet, text_member
from infergraph.wire.v2.tensors import NO_PARAMETERS, Buffer, Datatype, Tensor

FIRST_INPUT = "input-0"
"""The name of an input that has none of its own."""


def request_of(message: Message, *, model: str = "", version: str = "", unnamed: str = FIRST_INPUT) -> InferRequest:
    """The request that asks a model with a message of either protocol.

    Args:
        unnamed: the name of a tensor that has none.
    Raises: PayloadError for a message without a form as tensors.
    """
    given, meta = tensors_of(message), message.meta or {}
    return InferRequest(
        model_name=model,
        model_version=version,
        id=str(meta.get("id") or meta.get("puid") or ""),
        parameters={**given.parameters, **meta.get("parameters", {})},
        inputs=given.named(unnamed),
        outputs=requested_of(meta),
    )


def requested_of(asked: Meta) -> list[RequestedOutput]:
    """The outputs that a request asks for, by the meta of its message."""
    return [
        RequestedOutput(each["name"], each.get("parameters") or NO_PARAMETERS) for each in asked.get("outputs") or ()
    ]


def answer_of(response: InferResponse) -> Message:
    """The message of an answer."""
    meta: Meta = {"model_name": response.model_name}
    if response.model_version:
        meta["model_version"] = response.model_version
    if response.id:
        meta["id"] = meta["puid"] = response.id
    return Message.of(TensorSet(response.outputs, response.parameters), Encoding.TENSORS, meta=meta)


def document_of(answer: Message) -> dict[str, Any]:
    """The JSON object of an answer in tensors."""
    given, meta = tensors_of(answer), answer.meta or {}
    named = ("model_name", "model_version", "id")
    document: dict[str, Any] = {member: meta[member] for member in named if member in meta}
    if given.parameters:
        document["parameters"] = dict(given.parameters)
    return document | {"outputs": [json.entry_of(each) for each in given.tensors]}


# ── REST ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode_rest(request: InferRequest, *, is_binary: bool) -> Body:
    """The body of a request.

    Args:
        is_binary: send the tensors as raw bytes behind the JSON; BF16, which has no JSON form, is sent so in any case.
    Raises: PayloadError for an infinity in JSON.
    """
    document: dict[str, Any] = {"id": request.id} if request.id else {}
    if request.parameters:
        document["parameters"] = dict(request.parameters)
    if request.outputs:
        document["outputs"] = [_requested(each) for each in request.outputs]
    blobs: list[Buffer] = []
    document["inputs"] = [_input(each, blobs, is_binary=is_binary) for each in request.inputs]
    return json.body_of(document, blobs)


def _input(tensor: Tensor, blobs: list[Buffer], *, is_binary: bool) -> dict[str, Any]:
    if is_binary or tensor.datatype is Datatype.BF16:
        return json.entry_of(tensor, blobs)
    if tensor.array.dtype.kind == "f" and np.isinf(tensor.array).any():  # it would become null, and so NaN
        raise PayloadError(f"input {tensor.name!r}: an infinity has no JSON form; send it as binary data")
    return json.entry_of(tensor)


def _requested(output: RequestedOutput) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": output.name}
    return {**entry, "parameters": dict(output.parameters)} if output.parameters else entry


def decode_rest(
    body: Buffer, header_length: str | None = None, *, account: ValuesAccount | None = None
) -> InferResponse:
    """The answer of a body.

    Args:
        header_length: the header Inference-Header-Content-Length; None where it is missing: the whole body is JSON.
        account: see `json_slices.read`.
    Raises: PayloadError if it cannot be read; it names the output; UploadTooLarge and Overloaded like
        `json_slices.read`.
    """
    head, blobs = (body, memoryview(b"")) if header_length is None else json.split_body(body, header_length)
    document = json_slices.read(bytes(head), account=account)
    if not isinstance(document, dict) or not isinstance(document.get("outputs"), list):
        raise PayloadError("an answer of the open inference protocol is a JSON object with outputs")
    parameters = document.get("parameters") or NO_PARAMETERS
    return InferResponse(
        model_name=text_member(document.get("model_name"), "model_name"),
        model_version=text_member(document.get("model_version"), "model_version"),
        id=text_member(document.get("id"), "id"),
        parameters=parameters if isinstance(parameters, dict) else NO_PARAMETERS,
        outputs=_of_outputs(document["outputs"], blobs),
    )


def _of_outputs(entries: Sequence[Any], blobs: memoryview) -> list[Tensor]:
    reader = json.Blobs(blobs)
    try:
        outputs = [json.tensor_of(json.read_entry(each, place), reader) for place, each in enumerate(entries)]
        reader.finish("")
    except PayloadError as error:
        raise of_an_output(error) from error
    return outputs


def of_an_output(error: PayloadError) -> PayloadError:
    """The fault in words for an answer; the codec has them for a request."""
    return PayloadError(error.text.replace("input", "output", 1))


# ── gRPC ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode_grpc(request: InferRequest) -> bytes:
    """The serialized ModelInferRequest: raw bytes where the request says so, or a datatype has no other form."""
    message = proto.ModelInferRequest(model_name=request.model_name, model_version=request.model_version, id=request.id)
    proto.write_parameters(message.parameters, request.parameters)
    for output in request.outputs:
        proto.write_parameters(message.outputs.add(name=output.name).parameters, output.parameters)
    return proto.serialized(message, message.inputs, request.inputs, is_raw=request.is_raw)


def decode_grpc(payload: bytes) -> InferResponse:
    """The answer of a serialized ModelInferResponse.

    Raises: PayloadError if it cannot be read; it names the output.
    """
    message = parse(proto.ModelInferResponse, payload)
    if message.raw_output_contents:
        for output in message.outputs:  # MLServer has empty ones beside the raw ones
            output.ClearField("contents")
    try:
        outputs = proto.tensors_in(message.outputs, message.raw_output_contents)
    except PayloadError as error:
        raise of_an_output(error) from error
    return InferResponse(
        model_name=message.model_name,
        model_version=message.model_version,
        id=message.id,
        parameters=proto.parameters_in(message.parameters),
        outputs=outputs,
    )
