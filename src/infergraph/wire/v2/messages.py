"""Messages of the open inference protocol: received ones, and any message as an answer in its tensors.

body ─▶ InferMessage ─decoded once─▶ InferRequest ─▶ Content: a TensorSet, and what else the request says as meta
reply of a remote node ─▶ NodeAnswer ─decoded once─▶ Content
Message of either protocol ─▶ TensorSet ─▶ InferResponse
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Content, Encoding, Message, Meta, Request, SoleMessage
from infergraph.wire.json_values import text_of
from infergraph.wire.v2 import classification, hook_values, tensors
from infergraph.wire.v2.records import BINARY_OUTPUT, InferRequest, InferResponse, Spelling, TensorSet, chosen
from infergraph.wire.v2.tensors import Buffer, Datatype, Tensor

REQUEST_INPUT = "request_input"
REQUEST_MEMBERS = ("puid", "id", "model_name", "model_version", "parameters", "outputs", REQUEST_INPUT)
"""Members of a message's meta that say what a request of the protocol asks for; they stay on the way through a graph.

The last one is the name of its only tensor, under which an unnamed array is sent to a remote node.
"""

_SELDON_MEMBERS = frozenset({"tags", "routing", "requestPath", "metrics"})

ROUTING = "seldon_routing"
"""The parameter of an answer that holds the recorded route."""

NO_TAGS = frozenset({hook_values.CONTENT_TYPE, ROUTING, BINARY_OUTPUT})
"""Parameters that have another meaning, so that a node's answer has no tags of these names."""


class InferMessage(Message):
    """A received request.

    Args:
        raw: its body, or serialized message.
        decode: reads the request.
        request: what it reads, if that is known.
        spelling: how the bytes are spelled, where they may go on to a remote node.
    Promises: a reader that may change it is handed what was decoded, or a copy where the message is shared.
    """

    __slots__ = ("_decode_request", "_is_shared", "_request", "raw", "spelling")

    is_answer = False
    holds_tensors = True

    def __init__(
        self,
        raw: Buffer,
        decode: Callable[[Any], InferRequest],
        request: InferRequest | None = None,
        *,
        spelling: Spelling | None = None,
    ) -> None:
        self._content = None
        self.raw: Any = raw
        self.spelling = spelling
        self._decode_request = decode
        self._request = request
        self._is_shared = False

    def read(self) -> InferRequest:
        """The request, decoded once.

        Raises: PayloadError if it cannot be read.
        """
        if self._request is None:
            assert self.raw is not None
            self._request = self._decode_request(self.raw)
        return self._request

    @property
    def is_read(self) -> bool:
        """Whether the request has been decoded."""
        return self._request is not None

    def _decode(self) -> Content:
        return _content_of(self.read(), self.spelling)

    def decode_again(self) -> Content | None:
        """The content for one reader, who may change it."""
        content = _content_of(self.read(), self.spelling)
        if not self._is_shared:
            return content
        given: TensorSet = content.payload
        return content._replace(payload=given._replace(tensors=[each.copy() for each in given.tensors]))

    def share(self) -> None:
        """Keep the tensors for more than one reader: each is handed a copy."""
        self._is_shared = True

    def with_meta(self, meta: Meta) -> Message:
        """The same tensors with another meta."""
        return Message(self.content._replace(meta=meta))


class NodeAnswer(SoleMessage):
    """The answer of a remote node.

    Args:
        raw: its body, or serialized message.
        decode: reads it.
        spelling: how the bytes are spelled.
        asked: what the request asked for (see `asked_of`).
    """

    __slots__ = ("_decode_answer", "asked", "raw", "spelling")

    holds_tensors = True

    def __init__(
        self, raw: bytes, decode: Callable[[bytes], InferResponse], spelling: Spelling, asked: InferMessage | Meta
    ) -> None:
        Message.__init__(self, None)
        self._is_shared = False
        self.raw: bytes | None = raw
        self.spelling = spelling
        self.asked = asked
        self._decode_answer = decode

    @property
    def content_type(self) -> str:
        """Of a REST body."""
        return self.spelling.content_type

    def _decode(self) -> Content:
        assert self.raw is not None
        return answer_content(self._decode_answer(self.raw), self.spelling.form, members_of(self.asked))


def asked_of(message: Message) -> InferMessage | Meta:
    """What the client's request of a message asked for: the request itself, or what is known of it."""
    if isinstance(message, InferMessage):
        return message
    if isinstance(message, NodeAnswer):
        return message.asked
    return carried(message.meta)


def members_of(asked: InferMessage | Meta) -> Meta:
    """The members of a meta that say what a request asked for."""
    return carried(asked.meta) if isinstance(asked, InferMessage) else asked


def answer_content(read: InferResponse, form: str, asked: Meta) -> Content:
    """The content of a node's answer: its parameters are tags, but for those that have another meaning."""
    own = {key: value for key, value in read.parameters.items() if key == hook_values.CONTENT_TYPE}
    meta = dict(asked)
    tags = {key: value for key, value in read.parameters.items() if key not in NO_TAGS}
    if tags:
        meta["tags"] = tags
    if routing := _routing_of(read.parameters.get(ROUTING)):
        meta["routing"] = routing
    return Content(TensorSet(read.outputs, own).formed(form), Encoding.TENSORS, (), meta)


def _routing_of(text: Any) -> dict[str, int]:
    """The routing that a graph as a node has recorded; empty where there is none that can be read."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) and all(type(each) is int for each in found.values()) else {}


def _content_of(request: InferRequest, spelling: Spelling | None) -> Content:
    parameters = request.parameters
    meta: Meta = {"parameters": dict(parameters) if parameters else {}, "model_name": request.model_name}
    if request.id:
        meta["id"] = meta["puid"] = request.id
    if request.model_version:
        meta["model_version"] = request.model_version
    if request.outputs:
        meta["outputs"] = [
            {"name": each.name, "parameters": dict(each.parameters)} if each.parameters else {"name": each.name}
            for each in request.outputs
        ]
    given = TensorSet(request.inputs, parameters)
    if len(request.inputs) == 1:
        meta[REQUEST_INPUT] = request.inputs[0].name
    if spelling is not None and spelling.form:
        given = given.formed(spelling.form)
    return Content(given, Encoding.TENSORS, (), meta)


def carried(meta: Mapping[str, Any] | None) -> Meta:
    """What the meta of a request says about the request, for the meta of an answer on the way to the next node."""
    return {key: meta[key] for key in REQUEST_MEMBERS if key in meta} if meta else {}


def without_request(meta: Mapping[str, Any] | None) -> Meta | None:
    """The members of a hook's meta that Seldon's protocol has, but the id."""
    if not meta or meta.keys().isdisjoint(_SELDON_MEMBERS):
        return None
    return {key: meta[key] for key in _SELDON_MEMBERS if key in meta}


def hook_meta(content: Content) -> Meta:
    """The meta for a hook: the request's own, and its tensors by name, datatype, shape and parameters."""
    given: TensorSet = content.payload
    meta = {"parameters": {}} if content.meta is None else content.meta
    meta["inputs"] = [_described(tensor) for tensor in given.tensors]
    return meta


def _described(tensor: Tensor) -> dict[str, Any]:
    name, datatype, array, parameters = tensor
    own = dict(parameters) if parameters else {}
    return {"name": name, "datatype": datatype.value, "shape": list(array.shape), "parameters": own}


def tensors_of(message: Message) -> TensorSet:
    """The tensors of a message of either protocol.

    Raises: PayloadError if it cannot be read or has no form as tensors; ComponentError if a component made it so.
    """
    payload, encoding, names, _ = message.content
    if encoding is Encoding.TENSORS:
        given: TensorSet = payload
        return given
    if encoding is Encoding.CUSTOM:
        raise PayloadError("customData has no form in the open inference protocol")
    if encoding is Encoding.JSON and not isinstance(payload, Mapping | list):
        return TensorSet([hook_values.as_json(hook_values.FIRST_OUTPUT, [payload])], is_unnamed=True)
    made = hook_values.outputs_of(payload)
    if encoding.is_array and len(names) and not _are_default(names) and _is_table(made):
        return hook_values.with_column_names(made, [str(name) for name in names])
    return made


def _are_default(names: Any) -> bool:
    return all(name == f"t:{place}" for place, name in enumerate(names))


def _is_table(given: TensorSet) -> bool:
    return len(given.tensors) == 1 and given.tensors[0].array.ndim == 2


def in_tensors(answer: Message, request: Request) -> Message:
    """The answer to a request in tensors, in tensors too where it has such a form; any other as it is."""
    first = request if isinstance(request, Message) else request[0] if isinstance(request, Sequence) else None
    if first is None or not first.holds_tensors or answer.holds_tensors:
        return answer
    try:
        meta = {**carried(first.meta), **(answer.meta or {})}
        return SoleMessage(Content(tensors_of(answer), Encoding.TENSORS, (), meta))
    except (ComponentError, PayloadError):
        return answer


def seldon_content(content: Content) -> Content:
    """The content of a message of tensors in Seldon's protocol.

    Returns: one tensor of numbers as `tensor`, one of texts as `ndarray`, JSON texts as `jsonData`, several as
        `jsonData` of nested lists by name.
    """
    given: TensorSet = content.payload
    meta = without_request(content.meta) or {}
    if content.meta and "puid" in content.meta:
        meta["puid"] = content.meta["puid"]
    if len(given.tensors) > 1 or given.is_mapping or given.parameters.get(hook_values.CONTENT_TYPE) == "pd":
        return Content({each.name: _plain(each) for each in given.tensors}, Encoding.JSON, (), meta)
    value, names = hook_values.inputs_of(given)
    if not isinstance(value, np.ndarray):
        return Content(value, Encoding.JSON, (), meta)
    kind = value.dtype.kind
    if kind in "iuf":
        return Content(value, Encoding.TENSOR, names, meta)
    return Content(value if kind == "b" else _listed(value), Encoding.NDARRAY, names, meta)


def _plain(tensor: Tensor) -> Any:
    value = hook_values.read_as(tensor, str(tensor.parameters.get(hook_values.CONTENT_TYPE, "")))
    return _listed(value) if isinstance(value, np.ndarray) else value


def _listed(array: np.ndarray) -> Any:
    return [_listed(row) for row in array] if array.ndim > 1 else [_text(each) for each in array.tolist()]


def _text(element: Any) -> Any:
    return element.decode("utf-8", "replace") if isinstance(element, bytes) else element


def in_seldon(request: Request) -> Request:
    """The request in Seldon's protocol, if it is a message in tensors."""
    if isinstance(request, Message) and request.holds_tensors:
        return Message(seldon_content(request.decode_again() or request.content))
    return request


def request_object(content: Content) -> dict[str, Any]:
    """What the hook `predict_v2` is handed: the request's members as plain values, `data` of each input an array."""
    given: TensorSet = content.payload
    meta = content.meta or {}
    return {
        "model_name": meta.get("model_name", ""),
        "model_version": meta.get("model_version", ""),
        "id": meta.get("id", ""),
        "parameters": dict(meta.get("parameters", {})),
        "inputs": [{**_described(each), "data": each.array} for each in given.tensors],
        "outputs": [dict(each) for each in meta.get("outputs", ())],
    }


def is_response_object(result: Any) -> bool:
    """Whether a result has the form of an answer: a dict with a list of named outputs."""
    outputs = result.get("outputs") if isinstance(result, dict) else None
    return isinstance(outputs, list) and all(isinstance(each, dict) and "name" in each for each in outputs)


def of_response_object(result: Mapping[str, Any]) -> tuple[TensorSet, dict[str, Any]]:
    """The tensors of what `predict_v2` returned: `outputs` of name and data, perhaps datatype, shape and parameters.

    Returns: the tensors, and the answer's parameters, which are tags, but for those that have another meaning.
    Raises: ComponentError that names the output.
    """
    outputs = [_output(entry) for entry in result["outputs"]]
    parameters = hook_values.parameters_of_tags(result.get("parameters") or {})
    tags = {key: parameters.pop(key) for key in list(parameters) if key not in NO_TAGS}
    return TensorSet(outputs, parameters), tags


def _output(entry: Mapping[str, Any]) -> Tensor:
    name = text_of(str(entry["name"]))
    if "data" not in entry:
        raise ComponentError(f"output {name!r} has no data")
    tensor = hook_values.single(name, entry["data"])
    if datatype := entry.get("datatype"):
        tensor = tensors.cast(tensor, datatype)
    if (shape := entry.get("shape")) is not None:
        try:
            tensor = tensor._replace(array=tensor.array.reshape(shape))
        except (ValueError, TypeError) as error:
            raise ComponentError(f"output {name!r} has no shape {shape!r}: {error}") from error
    parameters = hook_values.parameters_of_tags(entry.get("parameters") or {})
    return tensor._replace(parameters={**tensor.parameters, **parameters})


def is_unnamed(answer: Message) -> bool:
    """Whether the answer is an array that has no name of its own yet."""
    return not answer.holds_tensors or bool(answer.content.payload.is_unnamed)


def response_of(
    answer: Message, request: InferRequest, *, name: str, version: str, declared: str, is_hop: bool = False
) -> InferResponse:
    """The answer to a request.

    Args:
        name, version: of the model; the version may be empty.
        declared: the name that metadata give to its only output; empty for none.
        is_hop: it is for a graph of this runtime, whose next node is handed what the unit returned.
    Raises: PayloadError for a requested output that there is not; ComponentError for what is no output.
    """
    given: TensorSet = answer.content.payload if answer.holds_tensors else _converted(answer)
    outputs = given.tensors
    if given.is_unnamed:
        requested = request.outputs[0].name if len(request.outputs) == 1 else ""
        if own := declared or requested:
            outputs = given.named(own)
    if request.outputs:
        outputs = classification.classified(chosen(outputs, request), request)
    return InferResponse(
        model_name=name,
        model_version=version,
        id=request.id,
        parameters=_parameters(given, answer.meta, is_hop=is_hop),
        form=given.form if is_hop else "",
        outputs=[_labelled(each) if each.datatype is Datatype.BYTES and not is_hop else each for each in outputs],
    )


def _converted(answer: Message) -> TensorSet:
    try:
        return tensors_of(answer)
    except PayloadError as error:
        raise ComponentError(f"the answer has no form in the open inference protocol: {error.text}") from error


def _parameters(given: TensorSet, meta: Meta | None, *, is_hop: bool) -> dict[str, Any]:
    parameters = dict(given.parameters) if given.parameters else {}
    if meta:
        if tags := meta.get("tags"):
            parameters |= hop_tags(tags) if is_hop else hook_values.parameters_of_tags(tags)
        if routing := meta.get("routing"):
            parameters[ROUTING] = json.dumps(routing, separators=(",", ":"))
    return parameters


def hop_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Tags as parameters between nodes, without those that would change how a message is read or answered."""
    return {key: value for key, value in hook_values.parameters_of_tags(tags).items() if key not in NO_TAGS}


def _labelled(tensor: Tensor) -> Tensor:
    """An output of texts says so."""
    if hook_values.CONTENT_TYPE in tensor.parameters or not all(type(each) is str for each in tensor.array.reshape(-1)):
        return tensor
    return tensor._replace(parameters={**tensor.parameters, hook_values.CONTENT_TYPE: "str"})
