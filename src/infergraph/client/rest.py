"""A server asked over REST: the paths that components, graphs and ingresses have in common.

Message ─▶ its own bytes, or encoded ─▶ POST ─▶ 2xx: the body as a message ┊ else: the fault it tells of
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote

from infergraph.client import faults
from infergraph.client.calls import Headers, Sending
from infergraph.client.connection import Connection, Server
from infergraph.errors import DeadlinePassed, MethodMissing, NotReady, PayloadError, RemoteError
from infergraph.message import ONCE_ONLY, Encoding, Feedback, Message, Method, Request
from infergraph.net.http_client import Call, HttpClient, Reply
from infergraph.net.http_stream import StreamCall, StreamReply, stream
from infergraph.protocol.paths import API, EXTERNAL, HEALTH, INTERNAL, METADATA, READY
from infergraph.wire import json_codec

_JSON = "application/json"
_PATHS = {**INTERNAL, **EXTERNAL}
_METADATA = API + METADATA
_HEALTH = API + HEALTH
_BASE = b"accept: */*\r\naccept-encoding: identity\r\nuser-agent: infergraph-client\r\n"


class RestWire:
    """Calls to one address over REST. Lives on one event loop.

    Args:
        headers: sent with every request.
    """

    def __init__(self, server: Server, connection: Connection, headers: Headers) -> None:
        self.server = server
        self._options = connection.http_options(server.address)
        self._client = HttpClient(server.address, self._options)
        self._limit_bytes = connection.message_limit_bytes
        self._head = _BASE + lines((*server.headers, *headers))

    async def close(self) -> None:
        """Close the idle connections."""
        self._client.close()

    async def ask(self, method: Method, request: Request, sending: Sending) -> Message:
        """What the server answers.

        Raises: the fault that it tells of; RemoteError if it cannot be reached; DeadlinePassed.
        """
        body, content_type, encoding = _body(request)
        if len(body) > self._limit_bytes:
            raise PayloadError(
                f"the message has {len(body)} bytes, {self._limit_bytes} may be sent (message_limit_bytes)"
            )
        extra = f"content-type: {content_type}\r\n" + (f"content-encoding: {encoding}\r\n" if encoding else "")
        path = _PATHS[method]
        reply = await self._exchange("POST", path, sending, body, extra.encode("latin-1"), once=method in ONCE_ONLY)
        if reply.status == 404 and not reply.content_type.startswith(_JSON):
            fault = faults.of_reply(reply, self._asked("POST", path))
            text = f"{self.server} has no {path}: a graph takes predictions and feedback alone ({fault})"
            raise MethodMissing(text) from fault
        return self._message(reply, "POST", path)

    async def fetch(
        self, verb: str, path: str, sending: Sending, body: bytes | None = None, *, once: bool = False
    ) -> Reply:
        """The successful reply to any request for JSON. Raises: as `ask` does."""
        extra = b"" if body is None else b"content-type: application/json\r\n"
        reply = await self._exchange(verb, path, sending, body, extra, once=once)
        if not 200 <= reply.status < 300:
            raise faults.of_reply(reply, self._asked(verb, path))
        return reply

    async def metadata(self, node: str, sending: Sending) -> Mapping[str, Any]:
        """The metadata of what is served, or of one of its nodes. Raises: as `ask` does."""
        path = f"{_METADATA}/{quote(node, safe='')}" if node else _METADATA
        reply = await self.fetch("GET", path, sending)
        try:
            document = json_codec.value_of(reply.body, reply.content_type)
        except PayloadError as fault:
            raise RemoteError(f"{self.server}{path}: the metadata cannot be read: {fault}") from fault
        if not isinstance(document, dict):
            raise RemoteError(f"{self.server}{path}: the metadata is no JSON object")
        return document

    async def health(self, sending: Sending) -> Message:
        """The component's own account of its health; a graph says no more than that it is ready."""
        reply = await self._exchange("GET", _HEALTH, sending)
        if 200 <= reply.status < 300 and not reply.body:
            return Message.of("ready", Encoding.STR)
        if reply.status == 503 and not reply.body:
            raise NotReady(f"{self.server} is not ready")
        return self._message(reply, "GET", _HEALTH)

    async def ready(self, sending: Sending) -> bool:
        """Whether requests would be answered now. Raises: nothing; who cannot be reached is not ready."""
        try:
            reply = await self._exchange("GET", READY, sending)
            if reply.status in (404, 405):  # Seldon's wrapper has none, and an ingress hides it
                reply = await self._exchange("GET", _HEALTH, sending)
        except (RemoteError, DeadlinePassed):
            return False
        return 200 <= reply.status < 300

    def stream(
        self,
        verb: str,
        path: str,
        head: bytes,
        silence_s: float | None,
        body: AsyncGenerator[bytes, None] | None = None,
        length: int | None = None,
    ) -> AbstractAsyncContextManager[StreamReply]:
        """One exchange whose body or reply is streamed, on a connection of its own; see `StreamCall`."""
        call = StreamCall(
            verb, self.server.prefix + path, self._head + head, silence_s=silence_s, body=body, length=length
        )
        return stream(self.server.address, self._options, call)

    async def _exchange(
        self,
        verb: str,
        path: str,
        sending: Sending,
        body: bytes | None = None,
        extra: bytes = b"",
        *,
        once: bool = False,
    ) -> Reply:
        head = self._head + lines(sending.headers) + extra if sending.headers else self._head + extra
        call = Call(verb, self.server.prefix + path, head, body, not once)
        try:
            return await self._client.exchange(call, sending.timeout_s)
        except TimeoutError:
            raise DeadlinePassed(f"{self._asked(verb, path)}: no answer{sending.limit_text}") from None

    def _message(self, reply: Reply, verb: str, path: str) -> Message:
        if not 200 <= reply.status < 300:
            raise faults.of_reply(reply, self._asked(verb, path))
        return json_codec.received(reply.body, reply.content_type or _JSON)

    def _asked(self, verb: str, path: str) -> str:
        return f"{verb} {self.server}{path}"


def lines(headers: Headers) -> bytes:
    """Headers as they are sent."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("utf-8")


def _body(request: Request) -> tuple[bytes, str, str]:
    """Body, content type and content encoding: a message's own where it came as one."""
    if isinstance(request, Message):
        return json_codec.outgoing(request)
    if isinstance(request, Feedback):
        return json_codec.forwarded(request)
    return json_codec.encode_messages(request), _JSON, ""
