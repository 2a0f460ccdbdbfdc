"""A server asked in the open inference protocol (V2), over REST or gRPC.

data ─message_of─▶ tensors ─▶ JSON and raw bytes, or ModelInferRequest ─▶ answer in tensors ─▶ Message

What a server tells of itself is asked once for each connection: the name of its only model, the name and datatype of
the model's only input, and, over REST, whether it reads raw bytes.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from msgspec.structs import replace

from infergraph import local
from infergraph.client import faults
from infergraph.client.calls import CallOptions, Headers, Sending
from infergraph.client.connection import Connection, Server
from infergraph.client.grpc import GrpcWire
from infergraph.client.rest import JSON_LINE, RestWire
from infergraph.errors import (
    ComponentError,
    DeadlinePassed,
    Fault,
    MethodMissing,
    PayloadError,
    RemoteError,
    SettingsError,
    UnknownModel,
    remote_error_of,
)
from infergraph.message import Answers, Encoding, Message, Meta, Method, Request
from infergraph.protocol.headers import INFERENCE_HEADER_LENGTH
from infergraph.protocol.paths import V2_INDEX, V2_LIVE, V2_MODELS, V2_READY, V2_SERVER
from infergraph.protocol.services import INFERENCE
from infergraph.protocol.status import GrpcStatus
from infergraph.wire import json_codec
from infergraph.wire.prediction import SERVICES, message_class
from infergraph.wire.proto_content import parse
from infergraph.wire.v2 import hook_values, proto, remote, tensors
from infergraph.wire.v2.messages import tensors_of
from infergraph.wire.v2.records import BINARY_OUTPUT, InferRequest
from infergraph.wire.v2.tensors import Tensor

_CODES_OF_A_MOMENT = (GrpcStatus.UNAVAILABLE, GrpcStatus.RESOURCE_EXHAUSTED, GrpcStatus.DEADLINE_EXCEEDED)
_BINARY_EXTENSION = "binary_tensor_data"
_FAULTS_AS_STATUS = ("triton_grpc_error", "true")
_PASSING = frozenset({429, 502, 503, 504, *_CODES_OF_A_MOMENT})
"""Statuses and codes of a server that may know the question a moment later."""
_PATH = re.compile(r"/v2(/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?(/infer)?)?/?$")


class Model(NamedTuple):
    """The model that is asked; without a name the only one that the server has."""

    name: str = ""
    version: str = ""

    @property
    def path(self) -> str:
        """Its path over REST."""
        version = f"/versions/{quote(self.version, safe='')}" if self.version else ""
        return f"/v2/models/{quote(self.name, safe='')}{version}"


def addressed(server: Server, model: Model) -> tuple[Server, Model]:
    """Server and model of an address that may be one of predictions, such as `http://host:port/v2/models/m/infer`."""
    found = _PATH.search(server.prefix)
    if found is None:
        return server, model
    name, version = (unquote(found[part] or "") for part in ("name", "version"))
    return replace(server, prefix=server.prefix[: found.start()]), Model(model.name or name, model.version or version)


def message_of(data: Any, call: CallOptions) -> Message:
    """Any Python value as a message of tensors, each with the dtype and the shape that it has.

    Args:
        data: as `AsyncClient.predict` takes it.
    Raises: PayloadError for what has no form as tensors.
    """
    meta: Meta = dict(call.get("meta") or {})
    if parameters := call.get("parameters"):
        meta["parameters"] = dict(parameters)
    if outputs := call.get("outputs"):
        meta["outputs"] = [{"name": name} for name in outputs]
    if isinstance(data, Message):
        return data.with_meta({**(data.meta or {}), **meta}) if meta else data
    names = call.get("names") or ()
    if names or isinstance(data, list | tuple):  # the numbers of a list have no datatype of their own
        return local.message_of(data, names=names, meta=meta)
    try:
        return Message.of(hook_values.outputs_of(data), Encoding.TENSORS, meta=meta)
    except ComponentError as fault:
        raise _of_data(fault) from fault


def _of_data(fault: ComponentError) -> PayloadError:
    """The fault in words for a request; the codec has them for an answer."""
    return PayloadError(fault.text.replace("output", "input").replace("the component returned", "the data is"))


class _V2Wire(ABC):
    """What a server tells of itself, and requests as it takes them.

    Args:
        model: as the caller names it.
    """

    server: Server

    def __init__(self, model: Model) -> None:
        self._model = model
        self._inputs: Sequence[Mapping[str, Any]] | None = None

    async def ask(self, method: Method, request: Request, sending: Sending) -> Message:
        """What the model answers.

        Raises: MethodMissing for anything but a prediction; the fault that the server tells of; RemoteError if it
            cannot be reached; DeadlinePassed.
        """
        if method is not Method.PREDICT or not isinstance(request, Message):
            told = "rewards go" if method is Method.SEND_FEEDBACK else "other methods are asked"
            raise MethodMissing(f"the open inference protocol has predictions alone: {told} in Seldon's protocol")
        infer = await self._request(request, sending)
        try:
            return remote.answer_of(await self._infer(infer, sending))
        except ComponentError as fault:
            if remote_error_of(fault) is not None:
                raise
            raise _of_data(fault) from fault

    async def answers(self, request: Message, sending: Sending) -> Answers:
        """What the model answers, as it comes.

        Raises: as `ask` does, perhaps after some answers.
        """
        infer = await self._request(request, sending)
        async with aclosing(self._stream(infer, sending)) as answers:
            async for answer in answers:
                yield answer

    async def metadata(self, node: str, sending: Sending) -> Mapping[str, Any]:
        """The metadata of the model, or of a node of it. Raises: as `ask` does."""
        return await self._declared(Model(node) if node else await self._chosen(sending), sending)

    async def health(self, sending: Sending) -> Message:
        """That the server lives. Raises: as `ask` does."""
        return Message.of("live" if await self._is_live(sending) else "not live", Encoding.STR)

    async def _request(self, message: Message, sending: Sending) -> InferRequest:
        model = await self._chosen(sending)
        try:
            request = remote.request_of(message, model=model.name, version=model.version)
            is_unnamed = tensors_of(message).is_unnamed
        except ComponentError as fault:
            raise _of_data(fault) from fault
        if not is_unnamed:
            return request
        declared = await self._only_input(sending)
        if declared is None:
            return request
        tensor = request.inputs[0]._replace(name=declared["name"])
        if message.encoding is Encoding.NDARRAY:
            tensor = _as_declared(tensor, declared.get("datatype"))
        return replace(request, inputs=[tensor])

    async def _chosen(self, sending: Sending) -> Model:
        """The model, its name found out where the caller has given none."""
        if not self._model.name:
            names = await self._names(sending)
            if len(names) != 1:
                there = f"there are {', '.join(names)}" if names else "there is none"
                raise SettingsError(f"{self.server}: name the model that is asked: {there}")
            self._model = self._model._replace(name=names[0])
        return self._model

    async def _only_input(self, sending: Sending) -> Mapping[str, Any] | None:
        """The only input that the model declares; None if it declares none, or several."""
        if self._inputs is None:
            self._inputs = (await self._told(self._declared(await self._chosen(sending), sending))).get("inputs") or []
        return self._inputs[0] if len(self._inputs) == 1 else None

    @staticmethod
    async def _told(question: Any) -> Mapping[str, Any]:
        """What a server tells of itself; nothing where it does not know the question."""
        try:
            answer: Mapping[str, Any] = await question
        except DeadlinePassed:
            raise
        except Fault as fault:
            error = remote_error_of(fault)
            code = None if error is None else error.status or error.grpc_code
            if code is None or code in _PASSING:
                raise
            return {}
        return answer

    @abstractmethod
    async def _infer(self, request: InferRequest, sending: Sending) -> Any:
        """The answer of the server."""

    @abstractmethod
    def _stream(self, request: InferRequest, sending: Sending) -> Answers:
        """The answers of the server."""

    @abstractmethod
    async def _names(self, sending: Sending) -> Sequence[str]:
        """The models of the server."""

    @abstractmethod
    async def _declared(self, model: Model, sending: Sending) -> Mapping[str, Any]:
        """The metadata of a model."""

    @abstractmethod
    async def _is_live(self, sending: Sending) -> bool:
        """Whether the server says that it lives."""


def _as_declared(tensor: Tensor, datatype: object) -> Tensor:
    """Numbers of a list in the datatype that the model declares, where that changes no whole number."""
    with suppress(ComponentError):
        cast = tensors.cast(tensor, datatype)
        if cast.array.dtype.kind == "f" or np.array_equal(cast.array, tensor.array):
            return cast
    return tensor


class V2RestWire(_V2Wire, RestWire):
    """Calls to one address over REST, with raw bytes where the server reads them. Lives on one event loop."""

    def __init__(self, server: Server, connection: Connection, headers: Headers, model: Model) -> None:
        _V2Wire.__init__(self, model)
        RestWire.__init__(self, server, connection, headers)
        self._takes_binary: bool | None = None

    async def _infer(self, request: InferRequest, sending: Sending) -> Any:
        is_binary = await self._is_binary(sending)
        if is_binary:
            request = replace(request, parameters={**request.parameters, BINARY_OUTPUT: True})
        body, extra = _encoded(request, is_binary=is_binary)
        self.check_size(body)
        reply = await self.fetch("POST", f"{self._model.path}/infer", sending, body, extra=extra)
        length = reply.header(INFERENCE_HEADER_LENGTH)
        try:
            return remote.decode_rest(reply.body, length or None)
        except PayloadError as fault:
            raise RemoteError(f"the answer cannot be read: {fault}", body=reply.body) from fault

    async def _stream(self, request: InferRequest, sending: Sending) -> Answers:
        body, extra = _encoded(request, is_binary=await self._is_binary(sending))
        path = f"{self._model.path}/infer_stream"
        async with aclosing(self._answers(path, extra, body, sending, _read_answer)) as answers:
            async for answer in answers:
                yield answer

    async def ready(self, sending: Sending) -> bool:
        """Whether requests would be answered now. Raises: nothing; who cannot be reached is not ready."""
        path = f"{self._model.path}/ready" if self._model.name else V2_READY
        try:
            return 200 <= (await self._exchange("GET", path, sending)).status < 300
        except (RemoteError, DeadlinePassed):
            return False

    async def _is_binary(self, sending: Sending) -> bool:
        if self._takes_binary is None:
            told = await self._told(self._document(V2_SERVER, sending))
            self._takes_binary = _BINARY_EXTENSION in (told.get("extensions") or ())
        return self._takes_binary

    async def _names(self, sending: Sending) -> Sequence[str]:
        told = await self._told(self._document(V2_MODELS, sending))
        if isinstance(listed := told.get("models"), list):
            return [str(name) for name in listed]
        reply = await self.fetch("POST", V2_INDEX, sending, b"{}")
        index = json_codec.value_of(reply.body, reply.content_type)
        return _served(index if isinstance(index, list) else [])

    async def _declared(self, model: Model, sending: Sending) -> Mapping[str, Any]:
        return await self._document(model.path, sending)

    async def _is_live(self, sending: Sending) -> bool:
        return 200 <= (await self.fetch("GET", V2_LIVE, sending)).status < 300

    async def _document(self, path: str, sending: Sending) -> Mapping[str, Any]:
        reply = await self.fetch("GET", path, sending)
        try:
            document = json_codec.value_of(reply.body, reply.content_type)
        except PayloadError as fault:
            raise RemoteError(f"{self.server}{path}: the answer cannot be read: {fault}", body=reply.body) from fault
        if not isinstance(document, dict):
            raise RemoteError(f"{self.server}{path}: the answer is no JSON object", body=reply.body)
        return document


class V2GrpcWire(_V2Wire, GrpcWire):
    """Calls to one address over gRPC, in raw contents. Lives on one event loop."""

    def __init__(self, server: Server, connection: Connection, headers: Headers, model: Model) -> None:
        _V2Wire.__init__(self, model)
        GrpcWire.__init__(self, server, connection, headers)

    async def _infer(self, request: InferRequest, sending: Sending) -> Any:
        raw = remote.encode_grpc(replace(request, is_raw=True))
        answer = await self._call(f"/{INFERENCE}/ModelInfer", raw, sending)
        try:
            return remote.decode_grpc(answer)
        except PayloadError as fault:
            raise RemoteError(f"the answer cannot be read: {fault}") from fault

    async def _stream(self, request: InferRequest, sending: Sending) -> Answers:
        raw = remote.encode_grpc(replace(request, is_raw=True))
        path, metadata = f"/{INFERENCE}/ModelStreamInfer", (*self._metadata(sending), _FAULTS_AS_STATUS)
        try:
            stream = self._client.stream(path, raw, metadata=metadata, silence_s=sending.timeout_s)
            async with aclosing(stream) as answers:
                async for answer in answers:
                    yield _read_streamed(answer, request.model_name)
        except TimeoutError:
            raise DeadlinePassed(f"{self.server}{path}: no answer{sending.limit_text}") from None
        except RemoteError as error:
            raise _of_v2_status(faults.of_status(error)) from error

    async def ready(self, sending: Sending) -> bool:
        """Whether calls would be answered now. Raises: nothing; who cannot be reached is not ready."""
        try:
            if not self._model.name:
                return bool((await self._message("ServerReady", sending)).ready)
            name, version = self._model
            return bool((await self._message("ModelReady", sending, name=name, version=version)).ready)
        except Fault:
            return False

    async def _names(self, sending: Sending) -> Sequence[str]:
        try:
            index = await self._message("RepositoryIndex", sending)
        except MethodMissing:
            return []
        return _served([{"name": each.name, "state": each.state} for each in index.models])

    async def _declared(self, model: Model, sending: Sending) -> Mapping[str, Any]:
        told = await self._message("ModelMetadata", sending, name=model.name, version=model.version)
        return proto.metadata_of(told)

    async def _is_live(self, sending: Sending) -> bool:
        return bool((await self._message("ServerLive", sending)).live)

    async def _call(self, path: str, raw: bytes, sending: Sending) -> bytes:
        try:
            return await super()._call(path, raw, sending)
        except RemoteError as error:
            raise _of_v2_status(error) from error

    async def _message(self, call: str, sending: Sending, **members: str) -> Any:
        asked, answered = map(message_class, SERVICES[INFERENCE][call])
        raw = await self._call(f"/{INFERENCE}/{call}", asked(**members).SerializeToString(), sending)
        try:
            return parse(answered, raw)
        except PayloadError as fault:
            raise RemoteError(f"{self.server}: the answer to {call} cannot be read: {fault}") from fault


def _encoded(request: InferRequest, *, is_binary: bool) -> tuple[bytes, bytes]:
    """The body of a request over REST, and the headers about it."""
    body = remote.encode_rest(request, is_binary=is_binary)
    if body.header_length is None:
        return body.head, JSON_LINE
    extra = b"content-type: application/octet-stream\r\n%b: %d\r\n" % (INFERENCE_HEADER_LENGTH, body.header_length)
    return b"".join((body.head, *body.blobs)), extra


def _read_answer(body: bytes, _: str) -> Message:
    try:
        return remote.answer_of(remote.decode_rest(body, None))
    except PayloadError as fault:
        raise RemoteError(f"the answer cannot be read: {fault}", body=body) from fault


def _read_streamed(payload: bytes, model: str) -> Message:
    """The answer of a message. MLServer's are bare, so that its model stands where an error would."""
    try:
        error, response = proto.unwrapped(payload)
        if error == model:
            response = payload
        elif error:
            raise RemoteError(error, grpc_code=GrpcStatus.UNKNOWN)
        return remote.answer_of(remote.decode_grpc(response))
    except PayloadError as fault:
        raise RemoteError(f"the answer cannot be read: {fault}") from fault


def _of_v2_status(fault: Fault) -> Fault:
    """The fault of a status as the protocol has it."""
    if isinstance(fault, RemoteError) and fault.grpc_code == GrpcStatus.NOT_FOUND:
        return UnknownModel(fault.text, node=fault.node)
    return fault


def _served(index: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models of a repository that are loaded, and no nodes of graphs."""
    loaded = [each["name"] for each in index if str(each.get("state", "READY")).endswith("READY")]
    return [name for name in loaded if name.rpartition("/")[0] not in loaded]
