"""The REST edge: paths to methods of a unit, bodies to messages, messages to bodies.

Served paths are those of the microservice API and of the external API of a graph: one unit answers both, so a
component can stand where a graph stood and the reverse.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import orjson
from starlette.requests import Request as WebRequest
from starlette.responses import Response
from starlette.routing import Route

from infergraph.errors import NotReady
from infergraph.message import Context, Message, Method, PredictiveUnit, Transport
from infergraph.serving import answers, pages
from infergraph.serving.answers import JSON_TYPE, Answer
from infergraph.serving.http import Endpoint, Exchange, Handler
from infergraph.wire import json_codec
from infergraph.wire.json_codec import JsonFeedback, JsonMessage, JsonOptions

JSON = "application/json"
_POST = frozenset({"POST"})
_GET = frozenset({"GET", "HEAD"})
_EITHER = frozenset({"GET", "HEAD", "POST"})

PATHS: dict[str, tuple[Method, frozenset[str]]] = {
    "/predict": (Method.PREDICT, _EITHER),
    "/api/v1.0/predictions": (Method.PREDICT, _POST),
    "/api/v0.1/predictions": (Method.PREDICT, _POST),
    "/transform-input": (Method.TRANSFORM_INPUT, _EITHER),
    "/transform-output": (Method.TRANSFORM_OUTPUT, _EITHER),
    "/route": (Method.ROUTE, _EITHER),
    "/aggregate": (Method.AGGREGATE, _EITHER),
    "/combine": (Method.AGGREGATE, _EITHER),
    "/send-feedback": (Method.SEND_FEEDBACK, _EITHER),
    "/api/v1.0/feedback": (Method.SEND_FEEDBACK, _POST),
    "/api/v0.1/feedback": (Method.SEND_FEEDBACK, _POST),
}
"""Every path that asks the unit, with its HTTP methods."""


class RestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Habits of the REST edge.

    Args:
        issues_puid: give a request id to a request that has none, as a graph's front does.
        json: how answers are written.
    """

    issues_puid: bool = False
    json: JsonOptions = JsonOptions()


class Rest:
    """The REST edge over one unit."""

    def __init__(self, unit: PredictiveUnit, options: RestOptions, is_ready: Callable[[], Awaitable[bool]]) -> None:
        self._unit = unit
        self._options = options
        self._is_ready = is_ready

    def table(self) -> dict[str, Endpoint]:
        """The hot paths."""
        table = {
            path: Endpoint(methods, self._asking(method), method.value) for path, (method, methods) in PATHS.items()
        }
        for path in ("/health/status", "/api/v1.0/health/status"):
            table[path] = Endpoint(_GET, self._health, "health")
        for path in ("/metadata", "/api/v1.0/metadata"):
            table[path] = Endpoint(_GET, self._metadata, "metadata")
        table["/health/ping"] = Endpoint(_GET, _pong, "ping", gated=False)
        table["/live"] = Endpoint(_EITHER, _live, "live", gated=False)
        for path in ("/ready", "/api/v1.0/status"):
            table[path] = Endpoint(_EITHER, self._ready, "ready", gated=False)
        return table

    def routes(self) -> list[Route]:
        """The paths that carry a node's name."""
        return [
            Route(f"/api/{version}/{kind}/{{node}}", handler, methods=["GET"])
            for version in ("v1.0", "v0.1")
            for kind, handler in (("metadata", self._node_metadata), ("status", self._node_status))
        ]

    def _asking(self, method: Method) -> Handler:
        """The handler that asks the unit with `method`."""
        read = _READERS.get(method, _read_message)
        # Only an answer to predict may set the status of its HTTP answer.
        status_from_payload = method is Method.PREDICT

        async def handle(exchange: Exchange) -> Answer:
            request = read(exchange, await exchange.body())
            context, headers = self._context(exchange)
            message = await self._unit.answer(method, request, context)
            return self._answer(message, headers, status_from_payload)

        return handle

    def _context(self, exchange: Exchange) -> tuple[Context, answers.Headers]:
        """What the request carries beside its body, and the headers that its answer begins with."""
        given = exchange.headers.get(b"seldon-puid")
        if given:
            return Context(Transport.REST, exchange.raw_headers, given.decode("latin-1")), [(b"seldon-puid", given)]
        if self._options.issues_puid:
            puid = str(uuid.uuid4())
            return Context(Transport.REST, exchange.raw_headers, puid), [(b"seldon-puid", puid.encode())]
        return Context(Transport.REST, exchange.raw_headers), []

    def _answer(self, message: Message, headers: answers.Headers, status_from_payload: bool = False) -> Answer:
        status = 200
        if status_from_payload and isinstance(message, JsonMessage) and message.raw is None:
            status = _status_of(message.document)
        outgoing = json_codec.outgoing(message, self._options.json)
        kind = outgoing.content_type
        headers.append(JSON_TYPE if kind == JSON else (b"content-type", kind.encode("latin-1")))
        if outgoing.content_encoding:
            headers.append((b"content-encoding", outgoing.content_encoding.encode("latin-1")))
        return Answer(status, outgoing.body, headers)

    async def _health(self, exchange: Exchange) -> Answer:
        context, headers = self._context(exchange)
        return self._answer(await self._unit.health(context), headers)

    async def _metadata(self, exchange: Exchange) -> Answer:
        return Answer(200, orjson.dumps(dict(await self._unit.metadata())), [JSON_TYPE])

    async def _ready(self, exchange: Exchange) -> Answer:
        if await self._is_ready():
            return Answer(200, b"", [])
        return answers.of_fault(NotReady("the unit is not ready: it is still loading, or the server is stopping"))

    async def _node_metadata(self, request: WebRequest) -> Response:
        metadata = await self._unit.metadata(request.path_params["node"])
        return pages.response(Answer(200, orjson.dumps(dict(metadata)), [JSON_TYPE]))

    async def _node_status(self, request: WebRequest) -> Response:
        context = Context(Transport.REST, request.scope["headers"], request.headers.get("seldon-puid", ""))
        return pages.response(self._answer(await self._unit.status(request.path_params["node"], context), []))


def _status_of(document: object) -> int:
    """The HTTP status that a raw answer asks for in its `status.code`; 200 where it asks for none, 500 for nonsense."""
    status = document.get("status") if isinstance(document, dict) else None
    code = status.get("code") if isinstance(status, dict) else None
    if code is None:
        return 200
    try:
        number = int(code)
    except (TypeError, ValueError):
        return 500
    return number if 200 <= number <= 599 else 500


def _header(exchange: Exchange, name: bytes) -> str:
    return str(exchange.headers.get(name, b""), "latin-1")


def _encoding(exchange: Exchange) -> str:
    encoding = _header(exchange, b"content-encoding").strip().lower()
    return "" if encoding == "identity" else encoding.removeprefix("x-")


def _read_message(exchange: Exchange, body: bytes) -> JsonMessage:
    return JsonMessage(
        body,
        _header(exchange, b"content-type"),
        content_encoding=_encoding(exchange) if b"content-encoding" in exchange.headers else "",
        query=exchange.scope["query_string"],
        limit_bytes=exchange.options.message_limit_bytes,
    )


def _read_feedback(exchange: Exchange, body: bytes) -> JsonFeedback:
    return JsonFeedback(
        body,
        _header(exchange, b"content-type"),
        content_encoding=_encoding(exchange),
        query=exchange.scope["query_string"],
        limit_bytes=exchange.options.message_limit_bytes,
    )


def _read_messages(exchange: Exchange, body: bytes) -> list[Message]:
    return json_codec.decode_messages(
        body,
        _header(exchange, b"content-type"),
        content_encoding=_encoding(exchange),
        query=exchange.scope["query_string"],
        limit_bytes=exchange.options.message_limit_bytes,
    )


_READERS: dict[Method, Callable[[Exchange, bytes], Any]] = {
    Method.AGGREGATE: _read_messages,
    Method.SEND_FEEDBACK: _read_feedback,
}


async def _pong(exchange: Exchange) -> Answer:
    return Answer(200, b"pong", [(b"content-type", b"text/html; charset=utf-8")])


async def _live(exchange: Exchange) -> Answer:
    return Answer(200, b"", [])
