"""REST transport of the client: calls the paths common to components, graphs and ingresses.

Message ─▶ received or encoded bytes ─▶ POST ─▶ 2xx: the body as a message ┊ otherwise: the reported fault
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any
from urllib.parse import quote

from infergraph.client import faults
from infergraph.client.calls import Headers, Sending
from infergraph.client.connection import Connection, Server
from infergraph.errors import DeadlinePassed, MethodMissing, NotReady, PayloadError, RemoteError
from infergraph.message import ONCE_ONLY, Answers, Encoding, Feedback, Message, Method, Request
from infergraph.net.http_client import Call, HttpClient, Reply
from infergraph.net.http_stream import StreamCall, StreamReply, stream
from infergraph.protocol.paths import API, EXTERNAL, HEALTH, INTERNAL, METADATA, READY
from infergraph.wire import json_codec

_JSON = "application/json"
JSON_LINE = b"content-type: application/json\r\n"
_PATHS = {**INTERNAL, **EXTERNAL}
_METADATA = API + METADATA
_HEALTH = API + HEALTH
_EVENTS = b"accept: text/event-stream\r\n"
_BASE = b"accept: */*\r\naccept-encoding: identity\r\nuser-agent: infergraph-client\r\n"


class RestWire:
    """The REST connections to one server. Bound to one event loop.

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
        """The server's answer.

        Raises: the fault that it reports; RemoteError if it cannot be reached; DeadlinePassed.
        """
        body, extra = _body(request)
        self.check_size(body)
        path = _PATHS[method]
        reply = await self._exchange("POST", path, sending, body, extra, once=method in ONCE_ONLY)
        if reply.status == 404 and not reply.content_type.startswith(_JSON):
            fault = faults.of_reply(reply, self._asked("POST", path))
            text = f"{self.server} has no {path}: a graph accepts only predictions and feedback ({fault})"
            raise MethodMissing(text) from fault
        return self._message(reply, "POST", path)

    def answers(self, request: Message, sending: Sending) -> Answers:
        """The server's answers to a prediction, as they come.

        Raises: as `ask` does, perhaps after some answers.
        """
        body, head = _body(request)
        return self._answers(_PATHS[Method.PREDICT], head, body, sending, json_codec.received)

    async def _answers(
        self, path: str, head: bytes, body: bytes, sending: Sending, read: Callable[[bytes, str], Message]
    ) -> Answers:
        """The events of a reply as messages; another reply is the only message."""
        self.check_size(body)
        head = lines(sending.headers) + _EVENTS + head
        asked = self._asked("POST", path)
        async with self.stream("POST", path, head, sending.timeout_s, body) as reply:
            kind = reply.header(b"content-type")
            if reply.status != 200 or not kind.startswith("text/event-stream"):
                answer = await reply.whole(self._limit_bytes)
                if not 200 <= answer.status < 300:
                    raise faults.of_reply(answer, asked)
                yield read(answer.body, answer.content_type or _JSON)
                return
            async with aclosing(reply.events(self._limit_bytes)) as events:
                async for event in events:
                    if (fault := faults.of_event(event.data, asked)) is not None:
                        raise fault
                    yield read(event.data, _JSON)

    def check_size(self, body: bytes) -> None:
        """Refuse a message larger than the limit. Raises: PayloadError."""
        if len(body) > self._limit_bytes:
            raise PayloadError(
                f"the message has {len(body)} bytes, more than the limit of {self._limit_bytes} (message_limit_bytes)"
            )

    async def fetch(
        self,
        verb: str,
        path: str,
        sending: Sending,
        body: bytes | None = None,
        *,
        extra: bytes = JSON_LINE,
        once: bool = False,
    ) -> Reply:
        """The successful reply to a request.

        Args:
            extra: the header lines about the body.
        Raises: like `ask`.
        """
        reply = await self._exchange(verb, path, sending, body, b"" if body is None else extra, once=once)
        if not 200 <= reply.status < 300:
            raise faults.of_reply(reply, self._asked(verb, path))
        return reply

    async def metadata(self, node: str, sending: Sending) -> Mapping[str, Any]:
        """The metadata of what is served, or of one of its nodes. Raises: like `ask`."""
        path = f"{_METADATA}/{quote(node, safe='')}" if node else _METADATA
        reply = await self.fetch("GET", path, sending)
        try:
            document = json_codec.value_of(reply.body, reply.content_type)
        except PayloadError as fault:
            raise RemoteError(f"{self.server}{path}: the metadata cannot be read: {fault}") from fault
        if not isinstance(document, dict):
            raise RemoteError(f"{self.server}{path}: the metadata is not a JSON object")
        return document

    async def health(self, sending: Sending) -> Message:
        """The component's health status; empty for a graph, which only reports that it is ready."""
        reply = await self._exchange("GET", _HEALTH, sending)
        if 200 <= reply.status < 300 and not reply.body:
            return Message.of("ready", Encoding.STR)
        if reply.status == 503 and not reply.body:
            raise NotReady(f"{self.server} is not ready")
        return self._message(reply, "GET", _HEALTH)

    async def ready(self, sending: Sending) -> bool:
        """Whether the server is ready; False if it cannot be reached."""
        try:
            reply = await self._exchange("GET", READY, sending)
            if reply.status in (404, 405):  # Seldon's wrapper does not have it, and an ingress hides it
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
        body: AsyncGenerator[bytes, None] | bytes | None = None,
        length: int | None = None,
    ) -> AbstractAsyncContextManager[StreamReply]:
        """A request with a streamed body or reply, on its own connection; see `StreamCall`."""
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
    """Headers, encoded."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("utf-8")


def _body(request: Request) -> tuple[bytes, bytes]:
    """The body, and the header lines about it; those received if the message came over REST."""
    if isinstance(request, Message):
        body, content_type, encoding = json_codec.outgoing(request)
    elif isinstance(request, Feedback):
        body, content_type, encoding = json_codec.forwarded(request)
    else:
        return json_codec.encode_messages(request), JSON_LINE
    head = f"content-type: {content_type}\r\n" + (f"content-encoding: {encoding}\r\n" if encoding else "")
    return body, head.encode("latin-1")
