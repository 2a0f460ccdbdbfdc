"""Messages of the open inference protocol between the nodes of a graph.

    client's request ──▶ first node, as it came ┊ answer ─its outputs become inputs─▶ request of the next node
    message without such bytes ─▶ InferRequest ─▶ JSON, raw tensors, or protobuf

Source: the orchestrator specification, section 19, and the protocol's REST and gRPC texts.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson
from msgspec.structs import replace

from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Encoding, Message, Meta, SoleMessage, Transport
from infergraph.wire import json_slices, json_text
from infergraph.wire.bodies_memory import ValuesAccount
from infergraph.wire.json_text import LITERAL, JsonOptions
from infergraph.wire.v2 import hook_values, json, proto, remote, tensors
from infergraph.wire.v2.hook_values import FIRST_OUTPUT
from infergraph.wire.v2.messages import (
    REQUEST_INPUT,
    InferMessage,
    NodeAnswer,
    answer_content,
    asked_of,
    hop_tags,
    members_of,
    seldon_content,
    tensors_of,
)
from infergraph.wire.v2.records import (
    BINARY_OUTPUT,
    InferRequest,
    InferResponse,
    Spelling,
    TensorSet,
    check_names,
)
from infergraph.wire.v2.remote import FIRST_INPUT
from infergraph.wire.v2.tensors import Buffer, Datatype, Tensor

NOT_CHAINED = "Failed to convert kfserving response so it could be chained to new input"
_OCTETS = "application/octet-stream"
_UNPACKED_LIMIT_BYTES = 64 * 1024 * 1024
_SMALL_BYTES = 4 * 1024
"""Tensors up to this size are sent as JSON, which every server reads."""


class Sent(NamedTuple):
    """A request's bytes and how they are spelled."""

    raw: bytes
    spelling: Spelling


# ── REST ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rest_answer(raw: bytes, spelling: Spelling, request: Message) -> NodeAnswer:
    """The answer of a node over REST to a request."""

    def decode(body: bytes) -> InferResponse:
        return read_rest(body, spelling.header_length)

    return NodeAnswer(raw, decode, spelling, asked_of(request))


def read_rest(body: Buffer, header_length: str | None, *, account: ValuesAccount | None = None) -> InferResponse:
    """The answer of a body; texts in base64 are bytes again.

    Args:
        account: see `json_slices.read`.
    Raises: PayloadError that names the output; UploadTooLarge and Overloaded like `json_slices.read`.
    """
    response = _checked(remote.decode_rest(body, header_length, account=account))
    return replace(response, outputs=[_unwrapped(tensor) for tensor in response.outputs])


def _checked(response: InferResponse) -> InferResponse:
    try:
        check_names([tensor.name for tensor in response.outputs])
    except PayloadError as fault:
        raise remote.of_an_output(fault) from fault
    return response


def _unwrapped(tensor: Tensor) -> Tensor:
    """A tensor whose elements were put into base64, because JSON cannot hold bytes that are not text."""
    if tensor.datatype is not Datatype.BYTES or tensor.parameters.get(hook_values.CONTENT_TYPE) != "base64":
        return tensor
    try:
        elements = [base64.b64decode(element, validate=True) for element in tensor.array.reshape(-1)]
    except ValueError:
        return tensor
    parameters = {key: value for key, value in tensor.parameters.items() if key != hook_values.CONTENT_TYPE}
    return tensor._replace(array=tensors.of_elements(elements).reshape(tensor.array.shape), parameters=parameters)


def forwarded(message: Message, *, is_last: bool) -> Sent | None:
    """The bytes of a message as the request of a REST node; None where it has none that are spelled so.

    A request goes on as it came, and an answer with its outputs as inputs; the outputs that the client asks for are
    asked of the last node alone.

    Args:
        is_last: whether the node's answer is that of the graph.
    Raises: PayloadError where it is neither a request nor an answer.
    """
    if not isinstance(message, InferMessage | NodeAnswer):
        return None
    spelling, raw = message.spelling, message.raw
    if spelling is None or spelling.transport is not Transport.REST or raw is None:
        return None
    if spelling.header_length == "0":
        return Sent(raw, spelling)
    head, blobs = _parts(raw, spelling)
    members = _members(head)
    if "inputs" in members:
        if is_last or not _asks_for_outputs(members):
            return Sent(raw, spelling)
        kept = {key: value for key, value in members.items() if key != "outputs"}
        return _joined(kept, blobs, spelling)
    if "outputs" not in members:
        raise PayloadError(NOT_CHAINED)
    return _joined(_renamed(members, members_of_request(asked_of(message)), is_last=is_last), blobs, spelling)


class NoRequest(PayloadError):
    """A body that a graph of remote nodes is to relay has no inputs."""


def check_request(message: InferMessage) -> float:
    """Refuse a body that is no request, before any node is asked.

    Returns: how many seconds the request may take; 0 for no limit.
    Raises: NoRequest if it has no inputs; PayloadError if it cannot be read.
    """
    spelling, raw = message.spelling, message.raw
    if spelling is None or raw is None or spelling.header_length == "0":
        return 0.0
    members = _members(_parts(raw, spelling)[0])
    if "inputs" not in members:
        raise NoRequest("inputs: at least one tensor is needed")
    given = json_text.read(bytes(members["parameters"])) if "parameters" in members else None
    return InferRequest(inputs=(), parameters=given).timeout_s if isinstance(given, dict) else 0.0


def members_of_request(asked: InferMessage | Meta) -> Meta:
    """The parameters and requested outputs of a client's request, if possible without reading its tensors."""
    spelling = asked.spelling if isinstance(asked, InferMessage) and not asked.is_read else None
    if spelling is None or spelling.header_length == "0":
        return members_of(asked)
    assert isinstance(asked, InferMessage)
    assert asked.raw is not None
    if spelling.transport is Transport.GRPC:
        return proto.members_of(asked.raw)
    members = _members(_parts(asked.raw, spelling)[0])
    return {key: json_text.read(bytes(members[key])) for key in ("parameters", "outputs") if key in members}


def _parts(raw: bytes, spelling: Spelling) -> tuple[Buffer, Buffer]:
    """The JSON of a body and what follows it, decompressed."""
    plain = _unpacked(raw, spelling)
    return (plain, b"") if spelling.header_length is None else json.split_body(plain, spelling.header_length)


def _unpacked(raw: bytes, spelling: Spelling) -> bytes:
    """A body without its content encoding."""
    if not spelling.coding:
        return raw
    return json.unpacked(bytes(raw), spelling.coding, spelling.limit_bytes or _UNPACKED_LIMIT_BYTES)


def _members(head: Buffer) -> dict[str, Any]:
    """The members of a JSON object, each as it is spelled; none where it is no object.

    Raises: PayloadError for what is no JSON.
    """
    try:
        members: dict[str, Any] = _read_members(head)
    except (msgspec.DecodeError, UnicodeError, RecursionError):  # perhaps with NaN, which is no JSON
        document = json_text.read(bytes(head))
        named = document if isinstance(document, dict) else {}
        return {key: _spelled(value) for key, value in named.items()}
    return members


def _spelled(value: Any) -> bytes:
    try:
        return json_text.write(value, LITERAL)
    except ComponentError as error:  # deeper than what is written
        raise PayloadError(f"{json_text.UNREADABLE}it is nested too deeply") from error


_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _asks_for_outputs(members: Mapping[str, Any]) -> bool:
    if "outputs" not in members:
        return False
    outputs = json_text.read(bytes(members["outputs"]))
    return isinstance(outputs, list) and bool(outputs) and all(isinstance(each, dict) for each in outputs)


def _renamed(members: Mapping[str, Any], asked: Meta, *, is_last: bool) -> dict[str, Any]:
    """An answer's members as those of a request, with the parameters of the client's request beside its own."""
    renamed = {"inputs" if key == "outputs" else key: value for key, value in members.items() if key != "model_version"}
    if parameters := _passed_on(asked):
        own = json_text.read(bytes(members["parameters"])) if "parameters" in members else None
        renamed["parameters"] = orjson.dumps(parameters | (own if isinstance(own, dict) else {}))
    if is_last and asked.get("outputs"):
        renamed["outputs"] = orjson.dumps(asked["outputs"])
    return renamed


def _joined(members: Mapping[str, Any], blobs: Buffer, spelling: Spelling) -> Sent:
    fragments = {key: orjson.Fragment(bytes(value)) for key, value in members.items()}
    head, _, length = json.body_of(fragments, [blobs] if blobs else ())
    header_length = None if length is None else str(length)
    return Sent(b"".join((head, blobs)), spelling._replace(coding="", header_length=header_length))


def _passed_on(asked: Meta) -> dict[str, Any]:
    """The parameters of the client's request for the nodes behind the first one, which has used up its content type."""
    parameters = asked.get("parameters")
    if not isinstance(parameters, dict):
        return {}
    return {key: value for key, value in parameters.items() if key != hook_values.CONTENT_TYPE}


def is_small(request: InferRequest) -> bool:
    """Whether a request goes as JSON, whatever the node can read: it is small, and JSON has a form for all of it."""
    return TensorSet(request.inputs).nbytes <= _SMALL_BYTES and all(json.is_exact(tensor) for tensor in request.inputs)


def encode_rest(request: InferRequest, form: str, *, is_binary: bool, asks_binary: bool) -> Sent:
    """A request for a REST node.

    Args:
        is_binary: send raw tensors.
        asks_binary: ask for them.
    Raises: PayloadError for an infinity in JSON.
    """
    if asks_binary:
        request = replace(request, parameters={**request.parameters, BINARY_OUTPUT: True})
    head, blobs, length = remote.encode_rest(request, is_binary=is_binary)
    if length is None:
        return Sent(head, Spelling(content_type=json.JSON, form=form))
    return Sent(b"".join((head, *blobs)), Spelling(content_type=_OCTETS, header_length=str(length), form=form))


def encode_list(messages: Sequence[Message]) -> bytes:
    """The answers of a combiner's children as one JSON list; those received as JSON are there byte for byte.

    Raises: PayloadError for one that cannot be read, or has no form in JSON.
    """
    return b"[%b]" % b",".join([_as_json(message) for message in messages])


def _as_json(message: Message) -> bytes:
    if isinstance(message, NodeAnswer) and message.raw is not None:
        spelling = message.spelling
        if spelling.transport is Transport.REST and spelling.header_length is None:
            head, _ = _parts(message.raw, spelling)
            _members(head)
            return bytes(head)
    given, meta = tensors_of(message), message.meta or {}
    document = {
        "model_name": str(meta.get("model_name", "")),
        "parameters": _tags_of(meta) | {k: v for k, v in given.parameters.items() if k == hook_values.CONTENT_TYPE},
        "outputs": [json.entry_of(tensor) for tensor in given.tensors],
    }
    return json.body_of(document, (), LITERAL).head


def forms_of(messages: Sequence[Message]) -> str:
    """The forms of a combiner's children, in order; empty where the tensors say it all."""
    forms = [tensors_of(message).form for message in messages]
    return ",".join(forms) if any(forms) else ""


def rest_children(body: bytes, forms: str, puid: str, *, account: ValuesAccount | None = None) -> list[Message]:
    """The messages of an aggregate request over REST: a JSON list of the children's answers.

    Args:
        forms: as `forms_of` tells them; empty for none.
        puid: the id of answers without one of their own.
        account: see `json_slices.read`.
    Raises: PayloadError that says which answer cannot be read; UploadTooLarge and Overloaded like `json_slices.read`.
    """
    answers = [_listed(each, place, account) for place, each in enumerate(_elements(body, account))]
    told = _told(forms, len(answers))
    return [
        Message(answer_content(answer, form, {"puid": answer.id or puid, "parameters": {}}))
        for answer, form in zip(answers, told, strict=True)
    ]


def _elements(body: bytes, account: ValuesAccount | None) -> list[Any]:
    """The elements of a JSON list, each as it is spelled."""
    try:
        listed: Any = _read_elements(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):  # perhaps with an infinity, which is no JSON
        listed = json_slices.read(body, account=account)
        listed = [_spelled(each) for each in listed] if isinstance(listed, list) else None
    if not listed:
        raise PayloadError("an aggregate request is a JSON list of at least one answer")
    return list(listed)


_read_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _listed(text: Any, place: int, account: ValuesAccount | None) -> InferResponse:
    try:
        return read_rest(bytes(text), None, account=account)
    except PayloadError as fault:
        raise PayloadError(f"answer {place}: {fault.text}") from fault


def _told(forms: str, children: int) -> list[str]:
    told = forms.split(",")
    return told if len(told) == children else [""] * children


# ── gRPC ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def grpc_answer(raw: bytes, form: str, request: Message) -> NodeAnswer:
    """The answer of a node over gRPC to a request."""
    return NodeAnswer(raw, read_grpc, Spelling(Transport.GRPC, form=form), asked_of(request))


def read_grpc(payload: bytes) -> InferResponse:
    """The answer of a serialized ModelInferResponse.

    Raises: PayloadError that names the output.
    """
    return _checked(remote.decode_grpc(payload))


def forwarded_proto(message: Message, model: str, *, is_last: bool) -> Sent | None:
    """The bytes of a message as a ModelInferRequest to a node; None where it has none that are spelled so.

    Args:
        model: the model's name there.
        is_last: whether the node's answer is that of the graph.
    Raises: PayloadError if the bytes are no message.
    """
    if not isinstance(message, InferMessage | NodeAnswer):
        return None
    spelling, raw = message.spelling, message.raw
    if spelling is None or spelling.transport is not Transport.GRPC or raw is None:
        return None
    if isinstance(message, InferMessage):
        return Sent(proto.readdressed(raw, model, keeps_outputs=is_last), spelling)
    asked = members_of_request(message.asked)
    outputs = remote.requested_of(asked) if is_last else ()
    return Sent(proto.chained(raw, model, _passed_on(asked), outputs), spelling)


def encode_aggregate(messages: Sequence[Message], model: str, puid: str) -> bytes:
    """The answers of a combiner's children as one ModelInferRequest, each tensor named `<child>:<name>`.

    Raises: PayloadError for one that cannot be read.
    """
    requests = [request_of(message, tensors_of(message), FIRST_OUTPUT, puid) for message in messages]
    parameters: dict[str, Any] = {}
    for request in requests:
        parameters |= {key: value for key, value in request.parameters.items() if key != hook_values.CONTENT_TYPE}
    inputs = [
        tensor._replace(name=f"{child}:{tensor.name}")
        for child, request in enumerate(requests)
        for tensor in request.inputs
    ]
    joined = InferRequest(id=requests[0].id if requests else puid, parameters=parameters, inputs=inputs)
    return encode_grpc(joined, model, "aggregate")


def encode_grpc(request: InferRequest, model: str, method: str = "") -> bytes:
    """A serialized ModelInferRequest with raw tensors.

    Args:
        method: `route` or `aggregate`, which a node of this runtime knows; empty for the model's own.
    """
    parameters = {**request.parameters, proto.SELDON_METHOD: method} if method else request.parameters
    return remote.encode_grpc(replace(request, model_name=model, parameters=parameters, is_raw=True))


def proto_children(message: InferMessage, forms: str) -> list[Message]:
    """The messages of an aggregate request over gRPC.

    Args:
        forms: as `forms_of` tells them; empty for none.
    Raises: PayloadError for a tensor whose name has no child, and for a child without tensors.
    """
    request = message.read()
    children: dict[int, list[Tensor]] = {}
    for tensor in request.inputs:
        child, colon, name = tensor.name.partition(":")
        if not (colon and child.isascii() and child.isdigit()):
            raise PayloadError(f"input {tensor.name!r} of an aggregate request must be named <child>:<name>")
        children.setdefault(int(child[:9]), []).append(tensor._replace(name=name))
    if sorted(children) != list(range(len(children))):
        raise PayloadError(f"the children of an aggregate request are {sorted(children)}, not counted from 0")
    told = _told(forms, len(children))
    return [
        Message.of(TensorSet(children[child]).formed(told[child]), Encoding.TENSORS, meta=dict(message.meta or {}))
        for child in range(len(children))
    ]


# ── the payload log ─────────────────────────────────────────────────────────────────────────────────────────────────


def plain(message: Message, *, is_request: bool) -> Sent | None:
    """The bytes of a message without content encoding; None where it has none of its own.

    Args:
        is_request: what a node was asked; then an answer is spelled as a request.
    Raises: PayloadError if it cannot be read.
    """
    if not isinstance(message, InferMessage | NodeAnswer) or message.raw is None or message.spelling is None:
        return None
    if message.spelling.transport is Transport.GRPC:
        sent = forwarded_proto(message, "", is_last=True) if is_request else None
        return sent or Sent(message.raw, message.spelling)
    sent = forwarded(message, is_last=True) if is_request else None
    raw, spelling = sent or (message.raw, message.spelling)
    return Sent(_unpacked(raw, spelling), spelling._replace(coding=""))


def encode_made(message: Message, options: JsonOptions, *, over_grpc: bool, is_request: bool) -> bytes:
    """A message that has no bytes, as a request or as an answer."""
    given = tensors_of(message)
    unnamed = (input_name(message) or FIRST_INPUT) if is_request else FIRST_OUTPUT
    request = request_of(message, given, unnamed, "")
    if is_request and over_grpc:
        return encode_grpc(request, "")
    answer = {**_tags_of(message.meta or {}), **given.parameters}
    if over_grpc:
        response = InferResponse(model_name="", id=request.id, parameters=answer, outputs=request.inputs)
        return proto.encode(response, replace(request, is_raw=True))
    document = {
        "id": request.id,
        "parameters": request.parameters if is_request else answer,
        "inputs" if is_request else "outputs": [json.entry_of(tensor) for tensor in request.inputs],
    }
    return json.body_of({key: value for key, value in document.items() if value}, (), options).head


# ── both ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def request_of(message: Message, given: TensorSet, unnamed: str, puid: str, *, is_last: bool = False) -> InferRequest:
    """A message of either protocol as a request.

    Args:
        given: its tensors.
        unnamed: the name of an array that has none.
        puid: the id of a message without one.
        is_last: whether the node's answer is that of the graph, so the client's outputs are asked for.
    """
    meta = message.meta or {}
    return InferRequest(
        id=str(meta.get("id") or puid),
        parameters={**_passed_on(meta), **_tags_of(meta), **given.parameters},
        inputs=given.named(unnamed),
        outputs=remote.requested_of(meta) if is_last else (),
    )


def _tags_of(meta: Meta) -> dict[str, Any]:
    return hop_tags(meta.get("tags") or {})


def input_name(message: Message) -> str:
    """The name of the only tensor of the client's request, for an array without a name; empty for none."""
    return str((message.meta or {}).get(REQUEST_INPUT, ""))


def routed(answer: InferResponse) -> Message:
    """The answer of a router: the first tensor of an answer of the protocol, and its tags."""
    content = answer_content(answer, "", {})
    return Message.of(answer.outputs[0].array, Encoding.NDARRAY, meta=content.meta)


def _without_label(tensor: Tensor) -> Tensor:
    """A tensor of texts that does not say so; the other protocol's arrays hold texts without it."""
    if tensor.parameters.get(hook_values.CONTENT_TYPE) != "str":
        return tensor
    return tensor._replace(parameters={k: v for k, v in tensor.parameters.items() if k != hook_values.CONTENT_TYPE})


def spelled_back(answer: NodeAnswer, request: Message) -> Message:
    """The answer of a node to a request of Seldon's protocol, in that protocol and the request's encoding.

    Columns without names are `t:0`, `t:1`, …, as a component's are.

    Raises: PayloadError if it cannot be read.
    """
    given: TensorSet = answer.content.payload
    given = given._replace(tensors=[_without_label(tensor) for tensor in given.tensors])
    content = seldon_content(answer.content._replace(payload=given))
    encoding = request.content.encoding
    if content.encoding.is_array and encoding.is_array:
        shape = given.tensors[0].array.shape
        names = content.names or (tuple(f"t:{column}" for column in range(shape[1])) if len(shape) > 1 else ())
        kept = content.encoding if encoding is Encoding.TFTENSOR else encoding
        content = content._replace(encoding=kept, names=names)
    elif encoding in (Encoding.STR, Encoding.BIN) and [tensor.array.shape for tensor in given.tensors] == [(1,)]:
        element = given.tensors[0].array[0]
        if isinstance(element, str):
            content = content._replace(payload=element, encoding=Encoding.STR, names=())
        elif isinstance(element, bytes):
            content = content._replace(payload=element, encoding=Encoding.BIN, names=())
    return SoleMessage(content)
