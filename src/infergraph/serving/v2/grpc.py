"""The gRPC edge of the open inference protocol: the calls of its service over the served model."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from msgspec.structs import replace

from infergraph import __version__
from infergraph.errors import PayloadError, UnknownModel
from infergraph.message import Context, Transport
from infergraph.protocol.headers import ANSWER_HOP, FORM_KEY, REQUEST_HOP, is_header_id
from infergraph.protocol.services import INFERENCE
from infergraph.serving.grpc.app import GrpcCall, GrpcMethod, GrpcStream, StreamedCall, context_of, entry_of, may_wait
from infergraph.serving.v2.rest import EXTENSIONS, V2Parts
from infergraph.wire.bodies_memory import ValuesAccount
from infergraph.wire.prediction import SERVICES, message_class
from infergraph.wire.proto_content import SLICED_BYTES as LARGE_BYTES
from infergraph.wire.proto_content import parse
from infergraph.wire.v2 import hop, proto
from infergraph.wire.v2.messages import InferMessage, NodeAnswer
from infergraph.wire.v2.records import InferRequest, InferResponse, Spelling

_ROUTE, _AGGREGATE = "route", "aggregate"
_LARGE_BYTES = 256 * 1024
_CLASSES = {call: tuple(map(message_class, types)) for call, types in SERVICES[INFERENCE].items()}


_WANTS_FINAL = "triton_enable_empty_final_response"
_IS_FINAL = "triton_final_response"
_STATUS_KEY = "triton_grpc_error"
_FORM_KEY, _PLAIN = "infergraph-stream-form", "plain"


class V2Grpc:
    """The calls of the protocol."""

    def __init__(self, parts: V2Parts) -> None:
        self._parts = parts
        self._model = parts.model
        self._repository = parts.repository

    def methods(self) -> Mapping[str, GrpcMethod]:
        """The calls by path."""
        told: dict[str, tuple[str, Callable[[Any], Awaitable[Any]]]] = {
            "ServerLive": ("live", self._server_live),
            "ServerReady": ("ready", self._server_ready),
            "ServerMetadata": ("metadata", self._server_metadata),
            "ModelReady": ("ready", self._model_ready),
            "ModelMetadata": ("metadata", self._model_metadata),
            "ModelConfig": ("metadata", self._model_configuration),
            "ModelStatistics": ("statistics", self._model_statistics),
            "RepositoryIndex": ("index", self._index),
            "RepositoryModelLoad": ("load", self._load),
            "RepositoryModelUnload": ("unload", self._unload),
        }
        methods = {
            call: GrpcMethod(name, _telling(call, tell), may_wait, "v2", name == "metadata")
            for call, (name, tell) in told.items()
        }
        methods["ModelInfer"] = GrpcMethod("infer", self._infer, self._model.runner, "v2")
        return {f"/{INFERENCE}/{call}": method for call, method in methods.items()}

    def streams(self) -> Mapping[str, GrpcStream]:
        """The calls that are streams, by path."""
        return {f"/{INFERENCE}/ModelStreamInfer": GrpcStream("infer_stream", self._infer_stream, _failed, "v2")}

    async def _infer_stream(self, call: StreamedCall) -> bytes:
        """Send the answers to one request of a stream."""
        message = self._message(call.payload, Spelling(Transport.GRPC))
        request = await self._read(message, call.payload, blocks=len(call.payload) > _LARGE_BYTES)
        call.request_id = request.id
        metadata = await self._model.check(request.model_name, request.model_version)
        wrap = bytes if _is_plain(call) else proto.stream_answer
        tells_end = request.parameters.get(_WANTS_FINAL) is True
        context = self._context(call, request.model_name)
        async with aclosing(self._model.stream(message, context, metadata)) as responses:
            async for response in responses:
                if tells_end:
                    response = replace(response, parameters={**response.parameters, _IS_FINAL: False})
                await call.send(wrap(proto.encode(response, request)))
        if not tells_end:
            return b""
        end = InferResponse(model_name=self._model.name, id=request.id, parameters={_IS_FINAL: True}, outputs=())
        return wrap(proto.encode(end, request))

    async def _infer(self, call: GrpcCall) -> bytes:
        if self._model.relays:
            return await self._relay(call)
        form = entry_of(call.metadata, FORM_KEY)
        spelling = Spelling(Transport.GRPC, form=form) if form or self._model.is_graph else None
        message = self._message(call.payload, spelling)
        blocks = call.runner is None and len(call.payload) > _LARGE_BYTES
        request = await self._read(message, call.payload, blocks=blocks)
        self._model.check_name(request.model_name)
        version = request.model_version
        metadata = self._model.known(version) or await self._model.check(request.model_name, version)
        if request.id and is_header_id(request.id):
            call.puid = request.id
        context, is_hop = self._context(call, request.model_name), is_a_hop(call)
        method = request.parameters.get(proto.SELDON_METHOD) if request.parameters else None
        if method == _ROUTE:
            response = await self._model.finished(await self._model.route(message, context), request, metadata)
        elif method == _AGGREGATE:
            children = hop.proto_children(message, form)
            response = await self._model.aggregate(children, request, context, metadata, is_hop=is_hop)
        else:
            response = await self._model.infer(message, context, metadata, call, is_hop=is_hop)
        if response.form:
            call.initial = (*call.initial, (FORM_KEY, response.form))
        if blocks:
            return await asyncio.to_thread(proto.encode, response, request)
        return proto.encode(response, request)

    async def _relay(self, call: GrpcCall) -> bytes:
        """The last node's bytes as they came; those of another protocol, or of a node of this process, are written."""
        head = proto.head_of(call.payload)
        name = head.model_name or self._model.name
        self._model.check_name(name)
        if head.id and is_header_id(head.id):
            call.puid = head.id
        metadata = self._model.known(head.model_version) or await self._model.metadata()
        message, context = self._message(call.payload, Spelling(Transport.GRPC)), self._context(call, name)
        limit_s = InferRequest(inputs=(), parameters=proto.parameters_in(head.parameters)).timeout_s
        if limit_s:
            answer = await self._model.answer_within(limit_s, message, context, call)
        else:
            answer = await self._model.answer(message, context)
        if isinstance(answer, NodeAnswer) and answer.spelling.transport is Transport.GRPC and answer.raw is not None:
            return answer.raw
        request = message.read()
        return proto.encode(await self._model.finished(answer, request, metadata), request)

    async def _read(self, message: InferMessage, payload: bytes, *, blocks: bool) -> InferRequest:
        """The request of a message.

        Args:
            blocks: whether it is read off the event loop.
        Raises: UnknownModel for another model, whatever its tensors are; PayloadError that names the tensor.
        """
        try:
            return await asyncio.to_thread(message.read) if blocks else message.read()
        except PayloadError:
            head = proto.head_of(payload)
            await self._model.check(head.model_name, head.model_version)
            raise

    def _message(self, payload: bytes, spelling: Spelling | None) -> InferMessage:
        memory = self._parts.options.memory
        if memory is None or len(payload) < LARGE_BYTES:
            return InferMessage(payload, proto.decode, spelling=spelling)
        decode = functools.partial(proto.decode, account=ValuesAccount(memory))
        return InferMessage(payload, decode, spelling=spelling)

    def _context(self, call: GrpcCall, name: str) -> Context:
        model = self._model.address(name) if self._model.is_graph else ""
        return context_of(call).addressed(model) if model else context_of(call)

    async def _server_live(self, request: Any) -> Any:
        return {"live": True}

    async def _server_ready(self, request: Any) -> Any:
        return {"ready": await self._parts.is_server_ready()}

    async def _server_metadata(self, request: Any) -> Any:
        return {"name": self._parts.options.server_name, "version": __version__, "extensions": EXTENSIONS}

    async def _model_ready(self, request: Any) -> Any:
        try:
            return {"ready": await self._model.is_ready(request.name, request.version, self._parts.is_ready)}
        except UnknownModel:
            return {"ready": False}

    async def _model_metadata(self, request: Any) -> Any:
        document = (await self._model.described(request.name, request.version)).document()
        for tensor in (*document["inputs"], *document["outputs"]):
            tensor.pop("parameters", None)
        return document

    async def _model_configuration(self, request: Any) -> Any:
        return {"config": (await self._model.described(request.name, request.version)).configuration()}

    async def _model_statistics(self, request: Any) -> Any:
        return await self._parts.statistics_of(request.name, request.version)

    async def _index(self, request: Any) -> Any:
        return {"models": await self._repository.index(only_ready=request.ready)}

    async def _load(self, request: Any) -> Any:
        await self._repository.load(request.model_name, request.parameters)
        return {}

    async def _unload(self, request: Any) -> Any:
        await self._repository.unload(request.model_name)
        return {}


def is_a_hop(call: GrpcCall) -> bool:
    """Whether the client is a graph of this runtime."""
    return ANSWER_HOP in call.metadata or REQUEST_HOP in call.metadata


def _is_plain(call: StreamedCall) -> bool:
    return (_FORM_KEY, _PLAIN) in call.metadata


def _failed(call: StreamedCall, text: str) -> bytes | None:
    """The message that tells a fault; None where the client wants a status, or has no message for it."""
    if _is_plain(call) or (_STATUS_KEY, "true") in call.metadata:
        return None
    return proto.stream_error(text, call.request_id)


def _telling(call: str, tell: Callable[[Any], Awaitable[Mapping[str, Any]]]) -> Callable[[GrpcCall], Any]:
    """The handler of a call with a small request and answer."""
    request_class, answer_class = _CLASSES[call]

    async def handle(grpc_call: GrpcCall) -> bytes:
        request = parse(request_class, grpc_call.payload)
        answer: bytes = answer_class(**await tell(request)).SerializeToString()
        return answer

    return handle
