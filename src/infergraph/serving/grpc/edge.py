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
from infergraph.errors import (
    ComponentError,
    DeadlinePassed,
    Fault,
    MethodMissing,
    Overloaded,
    PayloadError,
    RemoteError,
)
from infergraph.message import Context, Message, Method, PredictiveUnit, Transport
from infergraph.observe import logs
from infergraph.observe.node_times import node_times
from infergraph.protocol.request_ids import new_id
from infergraph.protocol.status import grpc_of_http
from infergraph.serving.http.application import Accounting
from infergraph.wire import prediction, proto_codec
from infergraph.wire.proto_codec import ProtoFeedback, ProtoMessage

_log = logging.getLogger(__name__)

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

# The status numbers of gRPC, so that the native engine does without grpcio.
OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 0, 1, 2, 3, 4, 5
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 9, 10, 12, 13, 14

CODES: dict[type[Fault], int] = {
    Fault: INTERNAL,
    errors.PayloadError: INVALID_ARGUMENT,
    errors.MethodMissing: UNIMPLEMENTED,
    errors.ComponentError: INTERNAL,
    errors.RoutingError: INTERNAL,
    errors.RemoteError: UNAVAILABLE,
    errors.DeadlinePassed: DEADLINE_EXCEEDED,
    errors.Overloaded: RESOURCE_EXHAUSTED,
    errors.NotReady: UNAVAILABLE,
    errors.TaskFault: INTERNAL,
    errors.UnknownTask: NOT_FOUND,
    errors.TaskState: FAILED_PRECONDITION,
    errors.TaskConflict: FAILED_PRECONDITION,
    errors.UploadTooLarge: RESOURCE_EXHAUSTED,
    errors.StorageFull: RESOURCE_EXHAUSTED,
    errors.StartupFault: INTERNAL,
}
"""gRPC status by fault class; the nearest class of a fault's own counts."""

NAMES = {
    INVALID_ARGUMENT: "INVALID_ARGUMENT",
    DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    NOT_FOUND: "NOT_FOUND",
    RESOURCE_EXHAUSTED: "RESOURCE_EXHAUSTED",
    FAILED_PRECONDITION: "FAILED_PRECONDITION",
    UNIMPLEMENTED: "UNIMPLEMENTED",
    INTERNAL: "INTERNAL",
    UNAVAILABLE: "UNAVAILABLE",
    CANCELLED: "CANCELLED",
    UNKNOWN: "UNKNOWN",
    OK: "OK",
}

ASKING: dict[str, Method] = {
    "Generic/TransformInput": Method.TRANSFORM_INPUT,
    "Generic/TransformOutput": Method.TRANSFORM_OUTPUT,
    "Generic/Route": Method.ROUTE,
    "Generic/Aggregate": Method.AGGREGATE,
    "Generic/SendFeedback": Method.SEND_FEEDBACK,
    "Model/Predict": Method.PREDICT,
    "Model/SendFeedback": Method.SEND_FEEDBACK,
    "Router/Route": Method.ROUTE,
    "Router/SendFeedback": Method.SEND_FEEDBACK,
    "Transformer/TransformInput": Method.TRANSFORM_INPUT,
    "OutputTransformer/TransformOutput": Method.TRANSFORM_OUTPUT,
    "Combiner/Aggregate": Method.AGGREGATE,
    "Seldon/Predict": Method.PREDICT,
    "Seldon/SendFeedback": Method.SEND_FEEDBACK,
}
"""Methods of the services (package `seldon.protos`) that ask the unit."""


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
        self._asks = {f"/{prediction.PACKAGE}.{path}": method for path, method in ASKING.items()}
        self.handlers: dict[str, tuple[str, Handler]] = self._table()

    def _table(self) -> dict[str, tuple[str, Handler]]:
        """By path: the name a call is counted under, and its handler."""
        package = prediction.PACKAGE
        table: dict[str, tuple[str, Handler]] = {
            path: (method.value, self._asking(method)) for path, method in self._asks.items()
        }
        table[f"/{package}.Model/Metadata"] = ("metadata", self._metadata)
        table[f"/{package}.Seldon/ModelMetadata"] = ("metadata", self._metadata)
        table[f"/{package}.Seldon/GraphMetadata"] = ("metadata", self._graph_metadata)
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
        code, sent = OK, 0
        puid = ""
        try:
            self._admit(payload)
            for key, value in metadata:
                if key == "seldon-puid":
                    puid = str(value)
                    break
            if not puid and self._is_graph and name != "metadata":
                puid = new_id()
            limited = not at_once and (remaining_s is not None or self._request_timeout_s > 0)
            context = _context(metadata, puid, remaining_s if limited else None)
            if limited:
                answered = await self._within(handler, payload, context, remaining_s)
            else:
                answered = await handler(payload, context)
            sent = len(answered)
            return Answered(answered, (("seldon-puid", puid),) if puid else ())
        except Fault as fault:
            code = code_of(fault)
            raise GrpcFault(code, _brief(fault.text), _trailing(fault)) from fault
        except asyncio.CancelledError:
            code = CANCELLED
            raise
        except Exception as error:
            code = INTERNAL
            _log.exception("a call of %s failed (puid %s)", path, puid or "-")
            raise GrpcFault(code, f"internal error; the log has the details under puid {puid or '-'}") from error
        finally:
            self.in_flight -= 1
            seconds = time.perf_counter() - started
            self._accounting.finished(name, NAMES.get(code, str(code)), "grpc", seconds, len(payload), sent)
            if self._access:
                logs.access("grpc", "unary", path, NAMES.get(code, str(code)), seconds, puid=puid, nodes=node_times())

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


def _context(metadata: Metadata, puid: str, remaining_s: float | None) -> Context:
    deadline = None if remaining_s is None else asyncio.get_running_loop().time() + remaining_s
    return Context(Transport.GRPC, _Headers(metadata), puid, deadline)


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


def code_of(fault: Fault) -> int:
    """The gRPC status number of a fault; a remote unit's own passes through."""
    if isinstance(fault, RemoteError):
        if fault.grpc_code is not None:
            return fault.grpc_code
        if fault.status is not None:
            return grpc_of_http(fault.status)
    return next(CODES[kind] for kind in type(fault).__mro__ if kind in CODES)


def _trailing(fault: Fault) -> Metadata:
    trailing: list[tuple[str, str | bytes]] = [("infergraph-reason", fault.reason)]
    if fault.node:
        trailing.append(("infergraph-node-bin", fault.node.encode()))
    if isinstance(fault, errors.ComponentError) and fault.status is not None:
        trailing.append(("infergraph-status", str(fault.status)))
    return trailing
