"""The gRPC edge: raw bytes in, raw bytes out, over the seven services of the protocol.

    call ─engine─▶ Grpc.answer(path, payload, metadata) ─▶ unit ─▶ payload | GrpcFault

Written once against raw bytes; `grpc_native` and `grpc_aio` are the two engines that carry it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, overload
from urllib.parse import quote

from infergraph import errors
from infergraph.errors import ComponentError, DeadlinePassed, Fault, MethodMissing, Overloaded, PayloadError
from infergraph.message import Context, Message, Method, PredictiveUnit, Transport
from infergraph.observe import logs
from infergraph.observe.node_times import node_times
from infergraph.protocol import services
from infergraph.protocol.headers import NODE_KEY, PUID_KEY, REASON_KEY, STATUS_KEY, new_puid
from infergraph.protocol.status import GRPC_NAMES, GrpcStatus, grpc_status
from infergraph.serving.http.application import Accounting
from infergraph.wire import proto_codec
from infergraph.wire.proto_codec import ProtoFeedback, ProtoMessage

_log = logging.getLogger(__name__)

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

TEXT_LIMIT_BYTES = 4096
"""Longest text of a fault, as it is encoded on the wire; many clients take 8 KiB of metadata in all."""


class GrpcFault(Exception):
    """How a call fails on the wire: status number, text, trailing metadata."""

    def __init__(self, code: int, text: str, trailing: Metadata = ()) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.trailing = trailing


class Answered(NamedTuple):
    """An answer's bytes and the metadata that goes before it."""

    payload: bytes
    initial: Metadata


Handler: TypeAlias = Callable[[bytes, Context], Awaitable[bytes]]


class Grpc:
    """The gRPC edge over one unit."""

    def __init__(
        self,
        unit: PredictiveUnit,
        accounting: Accounting,
        *,
        is_graph: bool,
        message_limit_bytes: int,
        concurrency_limit: int,
        request_timeout_s: float,
    ) -> None:
        self._unit = unit
        self._accounting = accounting
        self._is_graph = is_graph
        self._message_limit_bytes = message_limit_bytes
        self._concurrency_limit = concurrency_limit
        self._request_timeout_s = request_timeout_s
        self._access = logs.access_on()
        self.in_flight = 0
        self._asks = {services.path(call): method for call, method in services.METHODS.items()}
        self.handlers: dict[str, tuple[str, Handler]] = self._table()

    def _table(self) -> dict[str, tuple[str, Handler]]:
        """By path: the name a call is counted under, and its handler."""
        table: dict[str, tuple[str, Handler]] = {
            path: (method.value, self._asking(method)) for path, method in self._asks.items()
        }
        for call in (services.NODE_METADATA, services.MODEL_METADATA):
            table[services.path(call)] = ("metadata", self._metadata)
        table[services.path(services.GRAPH_METADATA)] = ("metadata", self._graph_metadata)
        return table

    def _asking(self, method: Method) -> Handler:
        read: Callable[[bytes], Any] = _READERS.get(method, ProtoMessage)

        async def handle(payload: bytes, context: Context) -> bytes:
            message: Message = await self._unit.answer(method, read(payload), context)
            try:
                return proto_codec.encode(message)
            except PayloadError as error:  # of the answer, which is not the caller's
                raise ComponentError(f"the answer cannot be read: {error}") from error

        return handle

    async def _metadata(self, payload: bytes, context: Context) -> bytes:
        node = proto_codec.decode_metadata_request(payload) if payload else ""
        told = await self._unit.metadata(node if self._is_graph else None, context)
        return proto_codec.encode_metadata(dict(told))

    async def _graph_metadata(self, payload: bytes, context: Context) -> bytes:
        if not self._is_graph:
            raise MethodMissing("GraphMetadata not available on the Model level.")
        return proto_codec.encode_graph_metadata(dict(await self._unit.metadata(context=context)))

    def answers_at_once(self, path: str, size_bytes: int) -> bool:
        """Whether a call of `path` with so many bytes would now be answered without waiting for anything."""
        method = self._asks.get(path)
        return method is not None and self._unit.answers_at_once(method, size_bytes)

    async def answer(
        self, path: str, payload: bytes, metadata: Metadata, remaining_s: float | None, *, at_once: bool = False
    ) -> Answered:
        """Answer one call. The one place of this edge that catches.

        Args:
            path: `/package.Service/Method`, one of `handlers`.
            metadata: of the request.
            remaining_s: seconds the caller still waits; None for no limit.
            at_once: `answers_at_once` has just said so: nothing will wait, so no time can run out.
        Raises: GrpcFault.
        """
        name, handler = self.handlers[path]
        started = time.perf_counter()
        self.in_flight += 1
        self._accounting.started()
        code, sent = 0, 0
        puid = ""
        try:
            self._admit(payload)
            for key, value in metadata:
                if key == PUID_KEY:
                    puid = str(value)
                    break
            if not puid and self._is_graph and name != "metadata":
                puid = new_puid()
            limited = not at_once and (remaining_s is not None or self._request_timeout_s > 0)
            context = _context(path, metadata, puid, remaining_s if limited else None)
            if limited:
                answered = await self._within(handler, payload, context, remaining_s)
            else:
                answered = await handler(payload, context)
            sent = len(answered)
            return Answered(answered, ((PUID_KEY, puid),) if puid else ())
        except Fault as fault:
            code = grpc_status(fault)
            raise GrpcFault(code, _brief(fault.text), _trailing(fault)) from fault
        except asyncio.CancelledError:
            code = GrpcStatus.CANCELLED
            raise
        except Exception as error:
            code = GrpcStatus.INTERNAL
            _log.exception("a call of %s failed (puid %s)", path, puid or "-")
            raise GrpcFault(code, f"internal error; the log has the details under puid {puid or '-'}") from error
        finally:
            self.in_flight -= 1
            seconds = time.perf_counter() - started
            status = GRPC_NAMES.get(code, str(code))
            self._accounting.finished(name, status, "grpc", seconds, len(payload), sent)
            if self._access:
                logs.access("grpc", "unary", path, status, seconds, puid=puid, nodes=node_times())

    def _admit(self, payload: bytes) -> None:
        if len(payload) > self._message_limit_bytes:
            raise errors.UploadTooLarge(
                f"a message of {len(payload)} bytes is over the limit of {self._message_limit_bytes} "
                "(setting message_limit_bytes)"
            )
        if self._concurrency_limit and self.in_flight > self._concurrency_limit:
            raise Overloaded(
                f"{self._concurrency_limit} calls are in work already (setting concurrency_limit); try again"
            )

    async def _within(self, handler: Handler, payload: bytes, context: Context, remaining_s: float | None) -> bytes:
        limits = [limit for limit in (self._request_timeout_s, remaining_s) if limit]
        try:
            async with asyncio.timeout(min(limits)):
                return await handler(payload, context)
        except TimeoutError as error:
            raise DeadlinePassed(_over(self._request_timeout_s, remaining_s)) from error


_READERS: dict[Method, Callable[[bytes], Any]] = {
    Method.AGGREGATE: proto_codec.decode_messages,
    Method.SEND_FEEDBACK: ProtoFeedback,
}


class _Headers(Sequence[tuple[bytes, bytes]]):
    """Metadata as headers, converted only if somebody looks: most units never do."""

    __slots__ = ("_metadata",)

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def __len__(self) -> int:
        return len(self._metadata)

    @overload
    def __getitem__(self, place: int) -> tuple[bytes, bytes]: ...
    @overload
    def __getitem__(self, place: slice) -> list[tuple[bytes, bytes]]: ...
    def __getitem__(self, place: int | slice) -> tuple[bytes, bytes] | list[tuple[bytes, bytes]]:
        return [_pair(*pair) for pair in self._metadata][place]


def _pair(key: str, value: str | bytes) -> tuple[bytes, bytes]:
    return key.encode(), value if isinstance(value, bytes) else value.encode()


def _context(path: str, metadata: Metadata, puid: str, remaining_s: float | None) -> Context:
    deadline = None if remaining_s is None else asyncio.get_running_loop().time() + remaining_s
    return Context(Transport.GRPC, _Headers(metadata), puid, deadline, path=path)


def _over(limit_s: float, remaining_s: float | None) -> str:
    """Which limit has passed: the setting's, or the caller's, which is a little less by the time that it is read."""
    if remaining_s is None or (limit_s and limit_s < remaining_s):
        return f"no answer within {limit_s:g} s (setting request_timeout_s)"
    return f"no answer within the {float(f'{remaining_s:.2g}'):g} s that the caller gave"


def _brief(text: str) -> str:
    """`text` as far as it fits into the trailers of an answer, which clients limit to some kilobytes."""
    cut = text[:TEXT_LIMIT_BYTES].encode("utf-8", "replace").decode()
    while len(quote(cut)) > TEXT_LIMIT_BYTES:
        cut = cut[: len(cut) * 2 // 3]
    return cut if len(cut) == len(text) else f"{cut}…"


def _trailing(fault: Fault) -> Metadata:
    trailing: list[tuple[str, str | bytes]] = [(REASON_KEY, fault.reason)]
    if fault.node:
        trailing.append((NODE_KEY, fault.node.encode()))
    if isinstance(fault, errors.ComponentError) and fault.status is not None:
        trailing.append((STATUS_KEY, str(fault.status)))
    return trailing
