"""What a remote node of the open inference protocol does over REST and gRPC alike: names, and answers that are read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

from infergraph.errors import PayloadError, RemoteError
from infergraph.message import Context, Message, Method, Transport
from infergraph.protocol.status import GrpcStatus
from infergraph.wire.v2 import hop
from infergraph.wire.v2.messages import NodeAnswer
from infergraph.wire.v2.metadata import metadata_of
from infergraph.wire.v2.records import TensorSet
from infergraph.wire.v2.remote import FIRST_INPUT

_T = TypeVar("_T")
_LARGE_BYTES = 256 * 1024


class V2Node:
    """One node.

    Args:
        relays: of a graph that passes bodies on as they are, the methods whose answer leaves as that of the graph;
            None for a graph that reads the answers of its nodes.
        metadata: asks the node for its metadata, with the headers of a request.
    """

    def __init__(
        self, name: str, relays: Collection[Method] | None, metadata: Callable[[Context], Awaitable[Mapping[str, Any]]]
    ) -> None:
        self.name = name
        self._reads = relays is None
        self._last = frozenset(relays or ())
        self._metadata = metadata
        self._input: str | None = None

    def is_relayed(self, method: Method, asked: Message, context: Context, transport: Transport) -> bool:
        """Whether the bytes of the answer leave the graph: the client asked in this protocol, over this transport."""
        return method in self._last and context.transport is transport and asked.holds_tensors

    def readable(self, read: Callable[[], _T]) -> _T:
        """What `read` reads in the node's answer.

        Raises: RemoteError where it cannot be read.
        """
        try:
            return read()
        except PayloadError as fault:
            raise RemoteError(f"the answer of node {self.name} cannot be read: {fault.text}", node=self.name) from fault

    async def finished(self, answer: NodeAnswer, asked: Message) -> Message:
        """The answer in the protocol of what was asked; read already, unless the graph only passes it on.

        Raises: RemoteError where it cannot be read.
        """
        if not asked.holds_tensors:
            return self.readable(lambda: hop.spelled_back(answer, asked))
        if self._reads and len(answer.raw or b"") > _LARGE_BYTES:
            await asyncio.to_thread(self.readable, lambda: answer.content)
        elif self._reads:
            self.readable(lambda: answer.content)
        return answer

    async def unnamed(self, message: Message, given: TensorSet, context: Context) -> str:
        """The name for an array that has none: the request's only one, the one that the node declares, or `input-0`.

        Raises: RemoteError if the node cannot be reached.
        """
        if not given.is_unnamed:
            return ""
        return hop.input_name(message) or await self._declared(context)

    async def _declared(self, context: Context) -> str:
        if self._input is None:
            try:
                inputs = metadata_of(self.name, await self._metadata(context)).inputs
            except RemoteError as fault:
                if fault.status is None and fault.grpc_code in _UNREACHABLE:
                    raise
                inputs = []
            self._input = inputs[0].name if len(inputs) == 1 else FIRST_INPUT
        return self._input


_UNREACHABLE = frozenset({None, GrpcStatus.UNAVAILABLE, GrpcStatus.DEADLINE_EXCEEDED})
