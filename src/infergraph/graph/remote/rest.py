"""A remote node over REST.

    Message ─▶ its own bytes, or encoded ─▶ POST ─▶ 2xx: the body as a message ┊ else: RemoteError with status and body

Source: the orchestrator specification, sections 13, 17, 18 and 21.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from infergraph.errors import DeadlinePassed, PayloadError, RemoteError
from infergraph.message import (
    ONCE_ONLY,
    Answers,
    Context,
    Feedback,
    Message,
    Method,
    PredictiveUnit,
    Request,
    Transport,
)
from infergraph.net.address import Address, connects
from infergraph.net.balancing import addresses
from infergraph.net.discovery import Discovery
from infergraph.net.http_client import Call, HttpClient, HttpOptions, Reply
from infergraph.net.http_stream import StreamCall, StreamReply, stream
from infergraph.net.members import Clients
from infergraph.protocol import paths
from infergraph.protocol.headers import ACCEPT_ENCODING, ANSWER_CODING, HOP_BY_HOP, PUID, REQUEST_CODING
from infergraph.protocol.paths import Protocol
from infergraph.protocol.status import GrpcStatus
from infergraph.wire import json_codec, json_text
from infergraph.wire.json_codec import JsonOptions
from infergraph.wire.json_text import LITERAL

_log = logging.getLogger(__name__)

_JSON = "application/json"
_EVENTS = "text/event-stream"
_ACCEPT_EVENTS = b"accept: text/event-stream\r\n"
_CHAINED = frozenset({Method.PREDICT, Method.TRANSFORM_INPUT, Method.TRANSFORM_OUTPUT})


class RestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a REST node.

    Args:
        protocol: of the node.
        timeout_s: time-out of one call (annotation `seldon.io/rest-timeout`); 0 for no limit.
        full_health_checks: request the node's health; otherwise a connection is sufficient.
        is_assumed: the address is not configured, but that of a would-be container; so readiness needs an answer of
            the node, not just a connection, which any process may accept.
        ready_timeout_s: time-out of the readiness check.
        is_secure: call the node by TLS.
        tls_name: expected in its certificate; empty for its host.
        http: options of the connections.
        json: how messages without JSON bytes are encoded.
    """

    protocol: Protocol = Protocol.SELDON
    timeout_s: float = 0.0
    full_health_checks: bool = False
    is_assumed: bool = False
    ready_timeout_s: float = 5.0
    is_secure: bool = False
    tls_name: str = ""
    http: HttpOptions = HttpOptions()
    json: JsonOptions = LITERAL


class RestUnit(PredictiveUnit):
    """A remote predictive unit, over REST, in Seldon's protocol or TensorFlow's.

    Args:
        name: the node's name; in some protocols the model's name in paths.
        host, port: where it listens.
        options: how it is called.
        probe_port: where readiness is probed; 0 for `port`.
        path: before each path of the protocol, such as that of an ingress; empty for none.
        discovery: how its addresses are found, where it may have several.
    Promises: a message received as JSON is forwarded byte for byte; a cancelled call closes its connection.
    """

    _node_paths: Sequence[str] = (paths.PING, *paths.INTERNAL.values())
    """Paths of which a node has at least one."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        options: RestOptions = RestOptions(),  # noqa: B008  a frozen value
        *,
        probe_port: int = 0,
        path: str = "",
        discovery: Discovery = Discovery(),  # noqa: B008  a frozen value
    ) -> None:
        self.name = name
        self.options = options
        self._path = path
        self._probe_ports = {port: probe_port} if probe_port else {}
        self._is_suspected = False
        self._http = options.http
        if discovery.is_needed(host):
            limit_s = min(options.http.connect_timeout_s, discovery.connect_timeout_s)
            self._http = replace(options.http, connect_timeout_s=limit_s)
        address = Address(host, port, options.is_secure, options.tls_name)
        self._addresses = addresses(name, address, Clients(self._open, _closed, self._is_up), discovery)

    def _open(self, address: Address) -> HttpClient:
        return HttpClient(address, self._http)

    async def stop(self) -> None:
        """Close the idle connections."""
        await self._addresses.close()

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The node's answer.

        Raises:
            RemoteError: it is unreachable, or answered a status that is not a success: status and body pass through,
                except for a route, for which the status alone decides.
            DeadlinePassed: no answer by the request's deadline. A passed timeout of its own is a RemoteError.
        """
        if isinstance(request, Feedback) and self.options.protocol is not Protocol.SELDON:
            return unsent(request)
        # A route may draw or count and a reward counts once: those are not sent a second time.
        call = self._call(method, request, context)
        reply = await self._succeeded(call, context, passes_body=method is not Method.ROUTE)
        if method is Method.ROUTE:
            return json_codec.received(reply.body)
        return json_codec.received(reply.body, reply.content_type, is_answer=True)

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The node's answers to a prediction, as it sends them; its one answer where it sends no stream.

        Raises: as `answer` does, perhaps after some answers.
        """
        if self.options.protocol is not Protocol.SELDON or method is not Method.PREDICT:
            return super().stream(method, request, context)
        return self._events(self._call(method, request, context), context, _read_event)

    async def _events(self, call: Call, context: Context, read: Callable[[bytes, str], Message]) -> Answers:
        """The events of a reply as messages; another reply is the only message."""
        limit_bytes, timeout_s = self._http.reply_limit_bytes, self._timeout_s(context)
        try:
            async with AsyncExitStack() as stack:
                asked = partial(self._begun, call, stack)
                reply = await stack.enter_async_context(self._addresses.held(asked, timeout_s))
                if isinstance(reply, Reply):
                    yield read(reply.body, reply.content_type)
                    return
                async with aclosing(reply.events(limit_bytes)) as events:
                    async for event in events:
                        if (failure := json_codec.failure_in(event.data)) is not None:
                            raise RemoteError(failure, status=500, body=event.data, content_type=_JSON)
                        yield read(event.data, _JSON)
        except TimeoutError:  # of looking its host up
            raise DeadlinePassed(self._late(call, timeout_s), node=self.name) from None
        except (RemoteError, DeadlinePassed) as fault:
            fault.node = self.name
            raise

    async def _begun(
        self, call: Call, stack: AsyncExitStack, client: HttpClient, silence_s: float | None
    ) -> StreamReply | Reply:
        """A reply that is a stream of events, closed with `stack`; another reply as a whole.

        Raises: RemoteError if it is no success.
        """
        headers = _ACCEPT_EVENTS + call.headers
        asked = StreamCall(call.method, call.path, headers, silence_s=silence_s, body=call.body or b"")
        async with AsyncExitStack() as own:
            reply = await own.enter_async_context(stream(client.address, self._http, asked))
            if not reply.header(b"content-type").startswith(_EVENTS):
                whole = await reply.whole(self._http.reply_limit_bytes)
                return self._checked(call, whole, client)
            stack.push_async_exit(own.pop_all())
        return reply

    def _call(self, method: Method, request: Request, context: Context) -> Call:
        protocol = self.options.protocol
        if isinstance(request, Feedback):
            body, content_type, encoding = json_codec.forwarded(request, self.options.json)
        elif isinstance(request, Message):
            message = _chained(protocol, method, request, self.name)
            body, content_type, encoding = json_codec.forwarded(message, self.options.json)
        else:
            body, content_type, encoding = self._joined(request)
        path = self._path + paths.method_path(protocol, method, context.model or self.name)
        is_answer = request.is_answer if isinstance(request, Message) else not isinstance(request, Feedback)
        head = header_lines(context, ANSWER_CODING if is_answer else REQUEST_CODING)
        head += line(b"content-type", content_type)
        if encoding:
            head += line(b"content-encoding", encoding)
        return Call("POST", path, head, body, method not in ONCE_ONLY)

    async def ready(self) -> bool:
        """Whether an address takes a connection, or says that it is healthy where full checks are on."""
        try:
            return await self._addresses.has_one(self._is_ready)
        except RemoteError:
            return False

    async def _is_ready(self, client: HttpClient) -> bool:
        path = paths.probe_path(self.options.protocol) if self.options.full_health_checks else ""
        try:
            if path:
                return (await self._got(client, path)).status == 200
            address = client.address
            probed = replace(address, port=self._probe_ports.get(address.port, address.port))
            if not await connects(probed, self.options.ready_timeout_s):
                return False
            return not self.options.is_assumed or await self._is_node(client)
        except (RemoteError, TimeoutError):
            return False

    async def _is_up(self, client: HttpClient) -> bool:
        """Whether an ejected address can answer again: it says so, or is a server that is not asked by this path."""
        return (await self._got(client, paths.ready_path(self.options.protocol))).status < 500

    async def _got(self, client: HttpClient, path: str) -> Reply:
        return await client.exchange(Call("GET", self._path + path, b"", None), self.options.ready_timeout_s)

    async def _is_node(self, client: HttpClient) -> bool:
        """Whether the address knows any path of a node's; one that is too busy to say so counts as a node."""
        for path in self._node_paths:
            try:
                reply = await self._got(client, path)
            except TimeoutError:
                return True
            if reply.status != 404:
                return True
        if not self._is_suspected:
            self._is_suspected = True
            text = "node %s is not ready: what answers at %s is not a node, since it knows none of the protocol's paths"
            _log.warning(text, self.name, client.address.url(""))
        return False

    async def health(self, context: Context) -> Message:
        """The node's own account, as it came.

        Raises: RemoteError with its status and body if it is not a success.
        """
        path = paths.health_path(self.options.protocol, context.model or self.name)
        return await self._get(path, context)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The node's metadata.

        Raises: RemoteError if it has none, or what it has is no JSON object.
        """
        path = paths.metadata_path(self.options.protocol, self.name)
        message = await self._get(path, context or Context(Transport.REST))
        try:
            document = json_codec.value_of(message.raw or b"")
        except PayloadError as fault:
            raise RemoteError(f"the metadata of node {self.name} cannot be read: {fault}", node=self.name) from fault
        if not isinstance(document, dict):
            raise RemoteError(f"the metadata of node {self.name} is no JSON object", node=self.name)
        return document

    async def _get(self, path: str, context: Context) -> Message:
        reply = await self._succeeded(Call("GET", self._path + path, header_lines(context), None), context)
        return json_codec.received(reply.body, reply.content_type)

    async def _succeeded(self, call: Call, context: Context, *, passes_body: bool = True) -> Reply:
        """The reply to a call.

        Args:
            passes_body: whether the fault for one that is not a success has its body.
        """
        own_s, timeout_s = self.options.timeout_s or None, self._timeout_s(context)
        ask = partial(self._asked, call, passes_body)
        try:
            return await self._addresses.answer(ask, timeout_s, is_replayable=call.replayable)
        except TimeoutError:
            text = self._late(call, timeout_s)
            if timeout_s == own_s:  # the protocol has 500 for it
                reason, code = DeadlinePassed.reason, GrpcStatus.DEADLINE_EXCEEDED
                raise RemoteError(text, reason=reason, node=self.name, status=500, grpc_code=code) from None
            raise DeadlinePassed(text, node=self.name) from None
        except RemoteError as fault:
            fault.node = self.name
            raise

    def _late(self, call: Call, timeout_s: float | None) -> str:
        url = self._addresses.address.url(call.path)
        return f'{call.method.capitalize()} "{url}": no answer within {timeout_s or 0:.3f} s: deadline exceeded'

    def _timeout_s(self, context: Context) -> float | None:
        """What is left of the time limits: the node's own, and the request's deadline."""
        own_s = self.options.timeout_s or None
        if context.deadline is None:
            return own_s
        left_s = context.deadline - asyncio.get_running_loop().time()
        return left_s if own_s is None else min(own_s, left_s)

    async def _asked(self, call: Call, passes_body: bool, client: HttpClient, timeout_s: float | None) -> Reply:
        reply = await client.exchange(call, timeout_s)
        return self._checked(call, reply, client, passes_body=passes_body)

    def _checked(self, call: Call, reply: Reply, client: HttpClient, *, passes_body: bool = True) -> Reply:
        """The reply. Raises: RemoteError if it is no success."""
        if 200 <= reply.status < 300:
            return reply
        raise self._failure(client.address.url(call.path), reply, passes_body=passes_body)

    def _failure(self, url: str, reply: Reply, *, passes_body: bool) -> RemoteError:
        return RemoteError(
            f"Internal service call from executor failed calling {url} status code {reply.status}",
            node=self.name,
            status=reply.status,
            body=reply.body if passes_body else None,
            content_type=reply.content_type if passes_body else "",
        )

    def _joined(self, messages: Sequence[Message]) -> tuple[bytes, str, str]:
        """The children's bodies as one JSON list, verbatim; its content type is the first one's."""
        bodies = [json_codec.forwarded(message, self.options.json) for message in messages]
        parts: list[bytes] = []
        for message, (body, _, encoding) in zip(messages, bodies, strict=True):
            part = json_codec.encode(message, self.options.json) if encoding else body
            if not _is_json(part):
                raise RemoteError("Data is not JSON", node=self.name)
            parts.append(part)
        return b"[" + b",".join(parts) + b"]", bodies[0][1] if bodies else "application/json", ""


async def _closed(client: HttpClient) -> None:
    client.close()


def _read_event(body: bytes, content_type: str) -> Message:
    return json_codec.received(body, content_type, is_answer=True)


def _is_json(body: bytes) -> bool:
    """Whether a body is JSON, or would be without bare NaN and infinities."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return json_text.is_read(body)
    return True


def _chained(protocol: Protocol, method: Method, message: Message, node: str) -> Message:
    """The message as a request of the protocol: an answer's `predictions` become the next instances.

    Returns: the message itself, bytes and all, where it is a request already.
    Raises: RemoteError where it is neither.
    """
    if protocol is not Protocol.TENSORFLOW or method not in _CHAINED:
        return message
    document = _document(message, node)
    if isinstance(document, dict):
        if "instances" in document or "inputs" in document:
            return message
        if "predictions" in document:
            renamed = {"instances" if key == "predictions" else key: value for key, value in document.items()}
            return json_codec.of_document(renamed)
    raise RemoteError("Failed to convert tensorflow response so it could be chained to new input", node=node)


def _document(message: Message, node: str) -> Any:
    try:
        return json_codec.document_of(message)
    except PayloadError as fault:
        raise RemoteError(str(fault), node=node) from fault


def unsent(feedback: Feedback) -> Message:
    """The answer to a feedback for a node of a protocol that has none: the feedback itself."""
    return json_codec.received(json_codec.encode_feedback(feedback))


def line(name: bytes, value: str) -> bytes:
    """A header line."""
    return b"%b: %b\r\n" % (name, value.encode("latin-1", "replace"))


def header_lines(context: Context, coding: bytes = b"identity") -> bytes:
    """The request's own headers as lines, without those that belong to one hop, and with the request's id.

    Args:
        coding: the content codings that the answer may have.
    """
    parts: list[bytes] = []
    known = False
    for name, value in context.headers:
        if name in HOP_BY_HOP:
            continue
        if name == PUID:
            if not value:
                continue
            known = True
        parts += (name, b": ", value, b"\r\n")
    if context.puid and not known:
        parts += (PUID, b": ", context.puid.encode("latin-1", "replace"), b"\r\n")
    lines = b"".join(parts)
    if context.transport is not Transport.REST or lines.count(b"\n") != len(parts) // 4:
        lines = _fit(parts)
    return b"%s%s: %s\r\n" % (lines, ACCEPT_ENCODING, coding)


def _fit(parts: list[bytes]) -> bytes:
    """The lines that can be sent as headers: gRPC metadata may hold what HTTP/1.1 forbids."""
    lines = []
    for index in range(0, len(parts), 4):
        name, value = parts[index], parts[index + 2]
        if name.startswith((b":", b"grpc-")) or name.endswith(b"-bin") or _BREAKS.intersection(name + value):
            continue
        lines += parts[index : index + 4]
    return b"".join(lines)


_BREAKS = frozenset(b"\r\n\0")
