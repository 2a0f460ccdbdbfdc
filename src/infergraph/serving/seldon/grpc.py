"""Seldon's protocol over gRPC: the calls of its seven services over the served unit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from infergraph.errors import ComponentError, MethodMissing, NestedTooDeeply, PayloadError
from infergraph.message import Feedback, Message, Method, PredictiveUnit, Runners
from infergraph.protocol import services
from infergraph.protocol.headers import ANSWER_HOP
from infergraph.serving.grpc.app import GrpcCall, GrpcMethod, context_of, may_wait
from infergraph.wire import proto_codec
from infergraph.wire.bodies_memory import BodiesMemory, ValuesAccount
from infergraph.wire.proto_content import SLICED_BYTES as LARGE_BYTES
from infergraph.wire.wire_message import blamed

_NO_RUNNERS: Runners = {}


class SeldonGrpc:
    """The calls of the protocol.

    Args:
        is_graph: whether a graph is served: calls for metadata may ask for a node's, or the whole graph's.
        runners: the runner of each method, once known.
        memory: is charged what the values of large messages take; None for no limit.
    """

    def __init__(
        self,
        unit: PredictiveUnit,
        *,
        is_graph: bool,
        runners: Runners = _NO_RUNNERS,
        memory: BodiesMemory | None = None,
    ) -> None:
        self._unit = unit
        self._is_graph = is_graph
        self._runners = runners
        self._memory = memory or BodiesMemory()

    def methods(self) -> dict[str, GrpcMethod]:
        """The calls by path."""
        table = {services.path(call): self._method(method) for call, method in services.METHODS.items()}
        for call in (services.NODE_METADATA, services.MODEL_METADATA):
            table[services.path(call)] = GrpcMethod("metadata", self._metadata, may_wait)
        table[services.path(services.GRAPH_METADATA)] = GrpcMethod("metadata", self._graph_metadata, may_wait)
        return table

    def _method(self, method: Method) -> GrpcMethod:
        read: Callable[..., Any] = _READERS.get(method, proto_codec.received)

        async def handle(call: GrpcCall) -> bytes:
            account = ValuesAccount(self._memory) if len(call.payload) >= LARGE_BYTES else None
            request = read(call.payload, is_answer=ANSWER_HOP in call.metadata, account=account)
            try:
                message: Message = await self._unit.answer(method, request, context_of(call))
                return _encoded(message)
            except NestedTooDeeply as fault:
                raise blamed(fault, request) from fault

        return GrpcMethod(method.value, handle, functools.partial(self._runners.get, method))

    async def _metadata(self, call: GrpcCall) -> bytes:
        node = proto_codec.decode_metadata_request(call.payload) if call.payload else ""
        told = await self._unit.metadata(node if self._is_graph else None, context_of(call))
        return proto_codec.encode_metadata(dict(told))

    async def _graph_metadata(self, call: GrpcCall) -> bytes:
        if not self._is_graph:
            raise MethodMissing("GraphMetadata not available on the Model level.")
        return proto_codec.encode_graph_metadata(dict(await self._unit.metadata(context=context_of(call))))


def _encoded(message: Message) -> bytes:
    try:
        return proto_codec.encode(message)
    except PayloadError as error:  # of the answer, which is not the caller's
        raise ComponentError(f"the answer cannot be read: {error}") from error


def _read_feedback(payload: bytes, *, is_answer: bool, account: ValuesAccount | None) -> Feedback:
    return proto_codec.received_feedback(payload, account=account)


_READERS: dict[Method, Callable[..., Any]] = {
    Method.AGGREGATE: proto_codec.decode_messages,
    Method.SEND_FEEDBACK: _read_feedback,
}
