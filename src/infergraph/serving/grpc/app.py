"""gRPC calls, of whatever protocol: raw bytes in, raw bytes out.

    engine ─GrpcCall─▶ Calls.start ─▶ the method's handler ─▶ GrpcCall.reply ─▶ engine: payload | status and trailers

`native` and `aio` are the two engines that transport the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias, overload
from urllib.parse import quote

from infergraph import errors
from infergraph.auth.credentials import SECRET_METADATA, secret_of_metadata
from infergraph.auth.quotas import Allowance
from infergraph.errors import (
    AccessFault,
    DeadlinePassed,
    Fault,
)
from infergraph.message import Context, Transport
from infergraph.protocol.headers import NODE_KEY, PUID_KEY, REASON_KEY, STATUS_KEY, new_puid
from infergraph.protocol.status import GRPC_NAMES, GrpcStatus, grpc_status, http_status
from infergraph.runner import Runner
from infergraph.serving.admission import Admission
from infergraph.serving.authentication import Authenticator
from infergraph.serving.call import AccessLine, Accounting, Call, Calls

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

TEXT_LIMIT_BYTES = 4096
"""Maximum length of a fault's text, as encoded on the wire; many clients limit all metadata to 8 KiB."""


_OK = GRPC_NAMES[GrpcStatus.OK]


class Replying(Protocol):
    """How an engine sends the result of a call."""

    def respond(self, payload: bytes, initial: Metadata) -> None:
        """Send an answer with its initial metadata."""

    def fail(self, code: int, text: str, trailing: Metadata) -> None:
        """Send a status with its trailing metadata."""


class Streaming(Replying, Protocol):
    """How an engine sends the results of one request of a stream; an empty answer ends them."""

    async def send(self, payload: bytes) -> None:
        """Send one message; waits for a client that reads slowly."""


class GrpcStream(NamedTuple):
    """One method whose requests and answers are streams.

    Args:
        handler: answers one request: it sends messages, and returns the last one, empty for none.
        failed: gives the message that tells a fault, after which the stream goes on; None to end it with a status.
    """

    name: str
    handler: Callable[[StreamedCall], Coroutine[Any, Any, bytes]]
    failed: Callable[[StreamedCall, str], bytes | None]
    protocol: str = "seldon"


class GrpcMethod(NamedTuple):
    """One method of the services: its handler, the handler's runner, and its name and protocol in the metrics.

    Gated ones are subject to the concurrency limit and request_timeout_s; probes, and loading a model, are not.
    """

    name: str
    handler: Callable[[GrpcCall], Coroutine[Any, Any, bytes]]
    runner: Callable[[], Runner | None]
    protocol: str = "seldon"
    gated: bool = True


class GrpcCall(Call, kw_only=True, eq=False):
    """One call.

    Args:
        path: `/package.Service/Method`.
        metadata: of the request.
        remaining_s: seconds until the client's deadline; None for none.
        out: sends the result.
        initial: metadata of the answer, beside the id.
    """

    path: str
    payload: bytes
    metadata: Metadata
    out: Replying
    remaining_s: float | None = None
    initial: Metadata = ()

    gone_code = "CANCELLED"

    def reply(self) -> tuple[str, int]:
        """Send the answer's bytes, or the status and trailers of the fault."""
        if self.error is None:
            payload: bytes = self.result
            self.out.respond(payload, ((PUID_KEY, self.puid), *self.initial) if self.puid else self.initial)
            return _OK, len(payload)
        code, text, trailing = self.failure(self.error)
        self.out.fail(code, text, trailing)
        return GRPC_NAMES.get(code, str(code)), 0

    def failure(self, error: BaseException) -> tuple[int, str, Metadata]:
        """The status of an error: code, text and trailing metadata."""
        if isinstance(error, Fault):
            return grpc_status(error), _brief(error.text), _trailing(error)
        return GrpcStatus.INTERNAL, f"internal error; the log has the details under puid {self.puid or '-'}", ()

    def give_up(self) -> None:
        """Send a bare status."""
        self.out.fail(GrpcStatus.INTERNAL, "internal error", ())

    def late(self) -> DeadlinePassed:
        """The fault for request_timeout_s or for the client's deadline, whichever was exceeded."""
        if self.remaining_s is None or self.limit_s < self.remaining_s:
            return DeadlinePassed(f"no answer within {self.limit_s:g} s (setting request_timeout_s)")
        return DeadlinePassed(f"no answer within the {float(f'{self.remaining_s:.2g}'):g} s that the caller gave")

    def access_line(self) -> AccessLine:
        """Its fields in the access log."""
        return AccessLine("unary", self.path)


class StreamedCall(GrpcCall, kw_only=True, eq=False):
    """One request of a stream.

    Args:
        request_id: the request's own id, once it is known.
        sent_bytes: the size of the messages sent so far.
    """

    out: Streaming
    failed: Callable[[StreamedCall, str], bytes | None]
    request_id: str = ""
    sent_bytes: int = 0

    async def send(self, payload: bytes) -> None:
        """Send one message. Raises: AccessFault if the caller's key has been revoked meanwhile."""
        self.check_caller()
        self.sent_bytes += len(payload)
        await self.out.send(payload)

    def reply(self) -> tuple[str, int]:
        """Send the last message, or the fault."""
        if self.error is None:
            self.out.respond(self.result, ())
            return _OK, self.sent_bytes + len(self.result)
        code, text, trailing = self.failure(self.error)
        told = None if isinstance(self.error, AccessFault) else self.failed(self, text)
        if told is None:
            self.out.fail(code, text, trailing)
        else:
            self.out.respond(told, ())
        return GRPC_NAMES.get(code, str(code)), self.sent_bytes + len(told or b"")

    def access_line(self) -> AccessLine:
        """Its fields in the access log."""
        return AccessLine("stream", self.path)


class GrpcApp:
    """The gRPC calls of a server.

    Args:
        methods: by path.
        streams: those whose requests and answers are streams.
        gives_ids: whether a call that has no id gets one; those for metadata never do.
        authenticator: tells callers; None where everybody may do everything.
    """

    def __init__(
        self,
        methods: Mapping[str, GrpcMethod],
        accounting: Accounting,
        *,
        gives_ids: bool,
        message_limit_bytes: int,
        concurrency_limit: int,
        request_timeout_s: float,
        streams: Mapping[str, GrpcStream] = MappingProxyType({}),
        authenticator: Authenticator | None = None,
    ) -> None:
        self._gives_ids = gives_ids
        self._authenticator = authenticator
        self._message_limit_bytes = message_limit_bytes
        self._request_timeout_s = request_timeout_s
        self.admission = Admission(concurrency_limit=concurrency_limit)
        self.calls = Calls(self.admission, accounting)
        self.methods = methods
        self.streams = streams

    def call(
        self,
        path: str,
        payload: bytes,
        metadata: Metadata,
        remaining_s: float | None,
        out: Replying,
        subject: str = "",
    ) -> GrpcCall:
        """The call of one of the `methods`, for `calls` to start.

        Args:
            metadata: of the request.
            remaining_s: seconds until the client's deadline; None for none.
            out: sends the result.
            subject: the name in the client's certificate; empty for none.
        """
        name, handler, runner, protocol, gated = self.methods[path]
        puid = ""
        for key, value in metadata:
            if key == PUID_KEY:
                puid = str(value)
                break
        if not puid and self._gives_ids and name != "metadata":
            puid = new_puid()
        limit_s = self._request_timeout_s if gated else 0.0
        call = GrpcCall(
            name=name,
            transport="grpc",
            protocol=protocol,
            handler=handler,
            runner=runner(),
            is_gated=gated,
            puid=puid,
            request_bytes=len(payload),
            limit_s=limit_s if remaining_s is None else _sooner(limit_s, remaining_s),
            path=path,
            payload=payload,
            metadata=metadata,
            remaining_s=remaining_s,
            out=out,
        )
        self._admit(call, subject)
        return call

    def streamed_call(
        self,
        path: str,
        payload: bytes,
        metadata: Metadata,
        remaining_s: float | None,
        out: Streaming,
        subject: str = "",
    ) -> StreamedCall:
        """The call for one request of one of the `streams`; arguments as for `call`."""
        name, handler, failed, protocol = self.streams[path]
        call = StreamedCall(
            name=name,
            transport="grpc",
            protocol=protocol,
            handler=handler,
            puid=entry_of(metadata, PUID_KEY),
            request_bytes=len(payload),
            limit_s=self._request_timeout_s if remaining_s is None else _sooner(self._request_timeout_s, remaining_s),
            path=path,
            payload=payload,
            metadata=metadata,
            remaining_s=remaining_s,
            out=out,
            failed=failed,
        )
        self._admit(call, subject)
        return call

    def _admit(self, call: GrpcCall, subject: str) -> None:
        """Refuse a call whose caller may not make it, or whose message is too large."""
        if self._authenticator is not None:
            _identify(call, self._authenticator, subject)
        if call.error is None and len(call.payload) > self._message_limit_bytes:
            call.error = too_large(len(call.payload), self._message_limit_bytes)


_SHORTEST_S = 1e-6
"""The time limit once a deadline has passed: 0 would mean no limit."""


def _sooner(limit_s: float, remaining_s: float) -> float:
    """The time limit of a call: the server's, 0 for none, or what the client has left."""
    remaining_s = max(remaining_s, _SHORTEST_S)
    return min(remaining_s, limit_s) if limit_s else remaining_s


def too_large(size_bytes: int, limit_bytes: int) -> errors.UploadTooLarge:
    """The fault for a message over the limit; it names the setting."""
    text = f"a message of {size_bytes} bytes is over the limit of {limit_bytes} (setting message_limit_bytes)"
    return errors.UploadTooLarge(text)


def _identify(call: GrpcCall, authenticator: Authenticator, subject: str) -> None:
    """Find out who sent a call, and take the secret off it; if they may not, the fault is its answer."""
    try:
        allowance = call.admit(authenticator, secret_of_metadata(call.metadata), subject)
        if allowance is not None:
            call.initial = allowance.entries()
    except AccessFault as fault:
        call.error = fault
    call.metadata = [pair for pair in call.metadata if pair[0] not in SECRET_METADATA]


def entry_of(metadata: Metadata, wanted: str) -> str:
    """An entry of a call's metadata; empty if there is none."""
    return next((str(value) for key, value in metadata if key == wanted), "")


def may_wait() -> Runner | None:
    """The runner of calls that may wait for something: none."""
    return None


class _Headers(Sequence[tuple[bytes, bytes]]):
    """Metadata as headers, converted on access: most units never read them."""

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


def context_of(call: GrpcCall) -> Context:
    """The call's context. Without a deadline where a runner is used: then a timer enforces the limit."""
    deadline = None
    if call.runner is None and call.limit_s:
        deadline = asyncio.get_running_loop().time() + call.limit_s
    return Context(Transport.GRPC, _Headers(call.metadata), call.puid, deadline, path=call.path)


def _brief(text: str) -> str:
    """`text`, truncated to fit into the trailers, which clients limit to a few kilobytes."""
    cut = text[:TEXT_LIMIT_BYTES].encode("utf-8", "replace").decode()
    while len(quote(cut)) > TEXT_LIMIT_BYTES:
        cut = cut[: len(cut) * 2 // 3]
    return cut if len(cut) == len(text) else f"{cut}…"


def _trailing(fault: Fault) -> Metadata:
    trailing: list[tuple[str, str | bytes]] = [(REASON_KEY, fault.reason)]
    if fault.node:
        trailing.append((NODE_KEY, fault.node.encode()))
    trailing.append((STATUS_KEY, str(http_status(fault))))
    if isinstance(fault, errors.QuotaExceeded):
        trailing += [("retry-after", str(max(1, fault.reset_s))), *Allowance(fault.limit, 0, fault.reset_s).entries()]
    return trailing
