"""A remote node of the open inference protocol over gRPC.

    Message ─▶ its own bytes, an answer's outputs as inputs, or encoded ─▶ ModelInfer ─▶ OK: the bytes as a message

Source: the protocol's gRPC text; the orchestrator specification, section 20. Routes and aggregates are asked for with
the parameter `seldon_method`, which servers of this runtime know.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Collection, Mapping
from contextlib import aclosing
from typing import Any

from infergraph.errors import DeadlinePassed, PayloadError, RemoteError
from infergraph.graph.remote.grpc import GrpcOptions, GrpcUnit, metadata_of
from infergraph.graph.remote.rest import unsent
from infergraph.graph.remote.v2_node import V2Node
from infergraph.message import ONCE_ONLY, Answers, Context, Encoding, Feedback, Message, Method, Request, Transport
from infergraph.net.discovery import Discovery
from infergraph.net.grpc_client import GrpcClient, Metadata
from infergraph.protocol import services
from infergraph.protocol.headers import ANSWER_HOP, FORM_KEY, REQUEST_HOP
from infergraph.protocol.services import INFERENCE
from infergraph.protocol.status import GrpcStatus
from infergraph.streams import Begun, begin, or_whole, resumed
from infergraph.wire.v2 import hop, proto
from infergraph.wire.v2.messages import tensors_of

_INFER = services.V2_INFER
_METADATA = services.V2_METADATA
_STREAM = f"/{INFERENCE}/ModelStreamInfer"
_FAULTS_AS_STATUS = ("triton_grpc_error", "true")
_MODEL_READY = f"/{INFERENCE}/ModelReady"
_SERVER_READY = f"/{INFERENCE}/ServerReady"


class V2GrpcUnit(GrpcUnit):
    """A remote predictive unit of the open inference protocol, over gRPC.

    Args:
        relays: see `V2Node`.
    Promises: of a message received over gRPC only the model's name changes, and of an answer that becomes a request
        the numbers of fields.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        options: GrpcOptions = GrpcOptions(),  # noqa: B008  a frozen value
        *,
        probe_port: int = 0,
        path: str = "",
        discovery: Discovery = Discovery(),  # noqa: B008  a frozen value
        relays: Collection[Method] | None = None,
    ) -> None:
        super().__init__(name, host, port, options, probe_port=probe_port, path=path, discovery=discovery)
        self._node = V2Node(name, relays, functools.partial(self.metadata, None))

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The node's answer, in the protocol of the request.

        Raises:
            PayloadError: the request has no form in the protocol.
            RemoteError, DeadlinePassed: as of any gRPC node; also if the answer cannot be read.
        """
        if isinstance(request, Feedback):
            return unsent(request)
        model = context.model or self.name
        first = request if isinstance(request, Message) else request[0]
        is_relayed = self._node.is_relayed(method, first, context, Transport.GRPC)
        if isinstance(request, Message):
            raw, form = await self._sent(method, request, model, context, is_relayed=is_relayed)
        else:
            raw, form = hop.encode_aggregate(request, model, context.puid), hop.forms_of(request)
        about = () if is_relayed else (ANSWER_HOP if first.is_answer else REQUEST_HOP,)
        about = (*about, (FORM_KEY, form)) if form else about
        payload, told = await self._infer(raw, about, context, is_replayable=method not in ONCE_ONLY)
        if method is Method.ROUTE:
            return self._node.readable(lambda: hop.routed(hop.read_grpc(payload)))
        return await self._node.finished(hop.grpc_answer(payload, told, first), first)

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The node's answers to a prediction, as it sends them; its one answer where it has no streams.

        Raises: as `answer` does, perhaps after some answers.
        """
        if method is not Method.PREDICT or not isinstance(request, Message):
            return super().stream(method, request, context)
        whole = functools.partial(self.answer, method, request, context)
        return or_whole(self._answers(request, context), whole, _has_no_streams)

    async def _answers(self, request: Message, context: Context) -> Answers:
        model, timeout_s = context.model or self.name, self._timeout_s(context)
        raw, form = await self._sent(Method.PREDICT, request, model, context, is_relayed=False)
        about = [ANSWER_HOP if request.is_answer else REQUEST_HOP, _FAULTS_AS_STATUS]
        metadata = (*metadata_of(context), *about, *([(FORM_KEY, form)] if form else ()))
        path = self._path + _STREAM

        def ask(client: GrpcClient, silence_s: float | None) -> Awaitable[Begun[bytes]]:
            return begin(client.stream(path, raw, metadata=metadata, silence_s=silence_s))

        try:
            async with self._addresses.held(ask, timeout_s) as begun, aclosing(resumed(begun)) as payloads:
                async for payload in payloads:
                    answer = hop.grpc_answer(self._unwrapped(payload, model), "", request)
                    yield await self._node.finished(answer, request)
        except TimeoutError:
            text = f"{self.address.authority}{path}: no answer within {timeout_s or 0:.3f} s"
            raise DeadlinePassed(text, node=self.name) from None
        except RemoteError as fault:
            fault.node = self.name
            raise

    def _unwrapped(self, payload: bytes, model: str) -> bytes:
        """The answer in a message of a stream. MLServer's are bare: its model stands where an error would."""
        error, response = self._node.readable(lambda: proto.unwrapped(payload))
        if error and error != model:
            raise RemoteError(error, grpc_code=GrpcStatus.UNKNOWN)
        return payload if error else response

    async def _sent(
        self, method: Method, message: Message, model: str, context: Context, *, is_relayed: bool
    ) -> tuple[bytes, str]:
        """The serialized request, and the form of its tensors."""
        if method is not Method.ROUTE:
            sent = hop.forwarded_proto(message, model, is_last=is_relayed)
            if sent is not None:
                return sent.raw, sent.spelling.form
        given = tensors_of(message)
        unnamed = await self._node.unnamed(message, given, context)
        request = hop.request_of(message, given, unnamed, context.puid, is_last=is_relayed)
        return hop.encode_grpc(request, model, "route" if method is Method.ROUTE else ""), given.form

    async def _infer(self, raw: bytes, about: Metadata, context: Context, *, is_replayable: bool) -> tuple[bytes, str]:
        """The serialized answer, and the form of its tensors; `about` is metadata of this hop."""
        metadata, path = (*metadata_of(context), *about), self._path + _INFER

        def ask(client: GrpcClient, timeout_s: float | None) -> Awaitable[tuple[bytes, Mapping[str, str | bytes]]]:
            return client.exchange(path, raw, metadata=metadata, timeout_s=timeout_s)

        payload, initial = await self._in_time(path, ask, context, is_replayable=is_replayable)
        return payload, str(initial.get(FORM_KEY, ""))

    async def _serves(self, client: GrpcClient) -> bool:
        path, timeout_s = self._path + _SERVER_READY, self.options.ready_timeout_s
        try:
            return proto.is_ready(await client.call(path, b"", timeout_s=timeout_s))
        except (PayloadError, RemoteError):
            return False

    async def health(self, context: Context) -> Message:
        """A message saying that the model is ready.

        Raises: RemoteError if it is not, or cannot be reached.
        """
        asked = proto.encode_ready_request(context.model or self.name)
        answer = await self._ask(_MODEL_READY, asked, metadata_of(context), context)
        if self._node.readable(lambda: proto.is_ready(answer)):
            return Message.of("healthy", Encoding.STR)
        raise RemoteError(f"node {self.name} at {self.address.authority} is not ready", node=self.name, status=503)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The node's metadata.

        Raises: RemoteError if it has none.
        """
        asked = proto.encode_metadata_request(self.name)
        return await self._told(_METADATA, asked, proto.decode_metadata, context or Context())


def _has_no_streams(fault: RemoteError) -> bool:
    return fault.grpc_code == GrpcStatus.UNIMPLEMENTED
