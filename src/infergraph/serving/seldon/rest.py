"""Seldon's protocol over REST: paths to methods of a unit, bodies to messages, messages to bodies.

A component is served at the paths of the microservice interface, a graph at those of the external one.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import orjson
from msgspec.structs import replace

from infergraph.errors import ComponentError, NestedTooDeeply, PayloadError
from infergraph.message import Context, Feedback, Message, Method, PredictiveUnit, Runners, Transport
from infergraph.observe.node_times import server_timing
from infergraph.protocol.headers import ACCEPT_ENCODING, ANSWER_CODING, HOP_CODINGS
from infergraph.protocol.paths import (
    API,
    EXTERNAL,
    HEALTH,
    INTERNAL,
    LIVE,
    METADATA,
    MODEL_PATHS,
    OLD_EXTERNAL,
    OLD_INTERNAL,
    PING,
    READY,
    STATUS,
    Protocol,
)
from infergraph.serving.http.app import Endpoint, Handler, Paths
from infergraph.serving.http.error_responses import JSON_TYPE, Answer
from infergraph.serving.http.exchange import Exchange
from infergraph.wire import json_codec, npy_codec
from infergraph.wire.bodies_memory import BodiesMemory, ValuesAccount
from infergraph.wire.json_slices import LARGE_BYTES
from infergraph.wire.json_text import LITERAL, JsonOptions
from infergraph.wire.npy_codec import NPY_TYPE
from infergraph.wire.wire_message import blamed

JSON = "application/json"
_NPY_TYPE = (b"content-type", NPY_TYPE.encode())
"""What a client that is a graph of this runtime accepts."""

_LARGE_BYTES = 256 * 1024
_POST = frozenset({"POST"})
_GET = frozenset({"GET"})
_READ = frozenset({"GET", "HEAD"})
_EITHER = frozenset({"GET", "HEAD", "POST"})

EXTERNAL_PATHS: dict[str, tuple[Method, frozenset[str]]] = {
    **{path: (method, _POST) for method, path in EXTERNAL.items()},
    **{path: (method, _POST) for path, method in OLD_EXTERNAL.items()},
}
"""Paths of the external API, which a graph serves, with their HTTP methods."""

PATHS: dict[str, tuple[Method, frozenset[str]]] = {
    **{path: (method, _EITHER) for method, path in INTERNAL.items()},
    **{path: (method, _EITHER) for path, method in OLD_INTERNAL.items()},
    **EXTERNAL_PATHS,
}
"""Paths of the internal and external API, which a component serves, with their HTTP methods."""

_MODEL = "(?P<model>[^/]+)"
_NO_RUNNERS: Runners = {}


class RestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the protocol over REST.

    Args:
        json: how JSON answers are written.
        limit_bytes: maximum size of a decompressed body.
        memory: is charged what the values of large bodies take.
        opaque: a node's answer is passed on unchanged, whatever it is, as a graph does.
    """

    json: JsonOptions = JsonOptions()
    limit_bytes: int = 0
    memory: BodiesMemory | None = None
    opaque: bool = False


class SeldonRest:
    """The endpoints over one unit.

    Args:
        is_ready: the readiness probe.
        runners: the runner of each method, once known.
    """

    def __init__(
        self,
        unit: PredictiveUnit,
        options: RestOptions,
        is_ready: Callable[[], Awaitable[bool]],
        runners: Runners = _NO_RUNNERS,
    ) -> None:
        self._unit = unit
        self._runners = runners
        self._options = options
        self._event_json = replace(options.json, pretty=False)
        self._is_ready = is_ready

    def microservice_paths(self) -> Paths:
        """The routes of a component."""
        ready = Endpoint(_EITHER, self._ready, "ready", gated=False)
        exact = {
            **self._method_endpoints(PATHS),
            LIVE: Endpoint(_EITHER, _live, "live", gated=False),
            READY: ready,
            STATUS: ready,
            PING: Endpoint(_READ, _pong, "ping", gated=False),
        }
        for path in (HEALTH, API + HEALTH):
            exact[path] = Endpoint(_READ, self._health, "health")
        for path in (METADATA, API + METADATA):
            exact[path] = Endpoint(_READ, self._metadata, "metadata")
        return Paths(exact)

    def external_paths(self, protocol: str) -> Paths:
        """The routes of a graph in Seldon's protocol, or in TensorFlow's if that is its `protocol`."""
        exact = {
            LIVE: Endpoint(None, _live, "live", gated=False),
            READY: Endpoint(None, self._ready, "ready", gated=False),
        }
        if Protocol.named(protocol) is Protocol.TENSORFLOW:
            return self._paths_of_models(exact)
        exact |= self._method_endpoints(EXTERNAL_PATHS) | self._paths_of_a_node()
        exact[API + METADATA] = Endpoint(_GET, self._metadata, "metadata")
        for path in (STATUS, API + HEALTH):
            exact[path] = Endpoint(_GET, self._ready, "status", gated=False)
        version = "/api/v(?:1[.]0|0[.]1)"
        return Paths(exact, self._model_paths(f"{version}/status/{_MODEL}", f"{version}/metadata/{_MODEL}"))

    def _paths_of_a_node(self) -> dict[str, Endpoint]:
        """The routes by which another graph calls this one as its node, as over gRPC."""
        return {
            **{INTERNAL[method]: self._endpoint(method, _POST) for method in EXTERNAL},
            HEALTH: Endpoint(_GET, self._health, "health"),
            PING: Endpoint(_GET, _pong, "ping", gated=False),
            METADATA: Endpoint(_GET, self._node_metadata, "metadata"),
        }

    def _paths_of_models(self, exact: dict[str, Endpoint]) -> Paths:
        paths = MODEL_PATHS[Protocol.TENSORFLOW]
        model = "(?P<model>[^/:]+)"  # the verb follows a colon
        predict = self._endpoint(Method.PREDICT, _POST)
        exact["/v1/models/:predict"] = exact["/v1/models:predict"] = predict
        exact[EXTERNAL[Method.SEND_FEEDBACK]] = self._endpoint(Method.SEND_FEEDBACK, _POST)
        ask = paths.ask.replace(":", "/?:").format(model=model, verb=paths.predict)
        models = self._model_paths(paths.health.format(model=model), paths.metadata.format(model=_MODEL))
        return Paths(exact, [(re.compile(ask), predict), *models])

    def _model_paths(self, status: str, metadata: str) -> list[tuple[re.Pattern[str], Endpoint]]:
        return [
            (re.compile(status), Endpoint(_GET, self._model_status, "status")),
            (re.compile(metadata), Endpoint(_GET, self._model_metadata, "metadata")),
        ]

    def _method_endpoints(self, paths: dict[str, tuple[Method, frozenset[str]]]) -> dict[str, Endpoint]:
        return {path: self._endpoint(method, verbs) for path, (method, verbs) in paths.items()}

    def _endpoint(self, method: Method, verbs: frozenset[str]) -> Endpoint:
        runner = functools.partial(self._runners.get, method)
        stream = self._stream if method is Method.PREDICT else None
        return Endpoint(verbs, self._method_handler(method), method.value, runner=runner, stream=stream)

    def _method_handler(self, method: Method) -> Handler:
        """The handler that calls `method` of the unit."""
        read = _READERS.get(method, _read_message)
        options = self._options

        async def handle(exchange: Exchange) -> Answer:
            request = read(exchange, options)
            try:
                message = await self._unit.answer(method, request, _context(exchange))
                if exchange.runner is None and len(exchange.body) > _LARGE_BYTES:  # its answer is likely to be large
                    answer = await asyncio.to_thread(self._reply, method, message, exchange)
                else:
                    answer = self._reply(method, message, exchange)
            except NestedTooDeeply as fault:
                raise blamed(fault, request) from fault
            if exchange.times_nodes:
                answer.headers.append((b"server-timing", server_timing()))
            return answer

        return handle

    async def _stream(self, exchange: Exchange) -> Answer:
        """The unit's answers to a prediction, an event each."""
        request = _read_message(exchange, self._options)
        is_hop = exchange.headers.get(ACCEPT_ENCODING) in HOP_CODINGS
        async with aclosing(self._unit.stream(Method.PREDICT, request, _context(exchange))) as answers:
            async for message in answers:
                await exchange.send_event(self._event(message, is_hop=is_hop))
        return exchange.end_events()

    def _event(self, message: Message, *, is_hop: bool) -> bytes:
        try:
            return json_codec.encode(message, LITERAL if is_hop else self._event_json)
        except PayloadError as error:  # of the answer, which is not the caller's
            raise ComponentError(f"the answer cannot be read: {error}") from error

    def _reply(self, method: Method, message: Message, exchange: Exchange) -> Answer:
        """The unit's answer in the format that the client accepts."""
        headers = exchange.headers
        try:
            wants_array = b"accept" in headers and npy_codec.is_npy(_header(exchange, b"accept"))
            if wants_array and (array := npy_codec.encode(message)) is not None:
                return Answer(200, array, [_NPY_TYPE])
            # Only an answer to predict may set the status of its HTTP answer.
            is_hop = headers.get(ACCEPT_ENCODING) in HOP_CODINGS
            return self._answer(message, method is Method.PREDICT, is_hop=is_hop)
        except PayloadError as error:  # of the answer, which is not the caller's
            raise ComponentError(f"the answer cannot be read: {error}") from error

    def _answer(self, message: Message, status_from_payload: bool = False, *, is_hop: bool = False) -> Answer:
        options = self._options
        status = _status_of(json_codec.whole_document(message)) if status_from_payload else 200
        outgoing = json_codec.reply(message, options.json, is_opaque=options.opaque, is_hop=is_hop)
        kind = outgoing.content_type
        headers = [JSON_TYPE if kind == JSON else (b"content-type", kind.encode("latin-1"))]
        if outgoing.content_encoding:
            headers.append((b"content-encoding", outgoing.content_encoding.encode("latin-1")))
        return Answer(status, outgoing.body, headers)

    async def _health(self, exchange: Exchange) -> Answer:
        return self._answer(await self._unit.health(_context(exchange)))

    async def _metadata(self, exchange: Exchange) -> Answer:
        return Answer(200, orjson.dumps(dict(await self._unit.metadata(context=_context(exchange)))), [JSON_TYPE])

    async def _node_metadata(self, exchange: Exchange) -> Answer:
        return Answer(200, orjson.dumps(dict(await self._unit.metadata("", _context(exchange)))), [JSON_TYPE])

    async def _ready(self, exchange: Exchange) -> Answer:
        if await self._is_ready():
            return Answer(200, b"", [])
        return Answer(503, b"", [(b"retry-after", b"1")])

    async def _model_metadata(self, exchange: Exchange) -> Answer:
        metadata = await self._unit.metadata(exchange.parameters["model"], _context(exchange))
        return Answer(200, orjson.dumps(dict(metadata)), [JSON_TYPE])

    async def _model_status(self, exchange: Exchange) -> Answer:
        return self._answer(await self._unit.status(exchange.parameters["model"], _context(exchange)))


def _context(exchange: Exchange) -> Context:
    """The request's context: headers, id, path, query."""
    model = exchange.parameters.get("model", "") if exchange.parameters else ""
    return Context(Transport.REST, exchange.raw_headers, exchange.puid, None, model, exchange.path, exchange.query)


def _status_of(document: object) -> int:
    """The HTTP status that a raw answer sets in its `status.code`; 200 if it sets none, 500 if that is not valid."""
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


def _query(exchange: Exchange, options: RestOptions) -> bytes:
    """The query string, which may carry the body as `?json=`; ignored by a graph, whose bodies are opaque."""
    return b"" if options.opaque else exchange.query


def _account(exchange: Exchange, options: RestOptions) -> ValuesAccount | None:
    is_large = len(exchange.body) >= LARGE_BYTES or b"content-encoding" in exchange.headers
    return ValuesAccount(options.memory) if is_large and options.memory is not None else None


def _read_message(exchange: Exchange, options: RestOptions) -> Message:
    headers = exchange.headers
    kind = JSON if headers.get(b"content-type") == JSON_TYPE[1] else _header(exchange, b"content-type")
    if kind is not JSON and npy_codec.is_npy(kind):
        return npy_codec.received(exchange.body)
    return json_codec.received(
        exchange.body,
        kind,
        content_encoding=_encoding(exchange) if b"content-encoding" in headers else "",
        query=_query(exchange, options),
        limit_bytes=options.limit_bytes,
        is_answer=headers.get(ACCEPT_ENCODING) == ANSWER_CODING,
        account=_account(exchange, options),
    )


def _read_feedback(exchange: Exchange, options: RestOptions) -> Feedback:
    return json_codec.received_feedback(
        exchange.body,
        _header(exchange, b"content-type"),
        content_encoding=_encoding(exchange),
        query=_query(exchange, options),
        limit_bytes=options.limit_bytes,
        account=_account(exchange, options),
    )


def _read_messages(exchange: Exchange, options: RestOptions) -> Sequence[Message]:
    return json_codec.decode_messages(
        exchange.body,
        _header(exchange, b"content-type"),
        content_encoding=_encoding(exchange),
        query=_query(exchange, options),
        limit_bytes=options.limit_bytes,
        is_answer=exchange.headers.get(ACCEPT_ENCODING) == ANSWER_CODING,
        account=_account(exchange, options),
    )


_READERS: dict[Method, Callable[[Exchange, RestOptions], Any]] = {
    Method.AGGREGATE: _read_messages,
    Method.SEND_FEEDBACK: _read_feedback,
}


async def _pong(exchange: Exchange) -> Answer:
    return Answer(200, b"pong", [(b"content-type", b"text/html; charset=utf-8")])


async def _live(exchange: Exchange) -> Answer:
    return Answer(200, b"", [])


def behind_gateway(paths: Paths, deployment: str) -> Paths:
    """`paths`, also behind an ingress: `/seldon/<namespace>/<deployment>/…` and `/seldon/<deployment>/…`."""
    prefix = f"/seldon/(?:[^/]+/)?{re.escape(deployment)}"
    moved = [(re.compile(prefix + re.escape(path)), endpoint) for path, endpoint in paths.exact.items()]
    moved += [(re.compile(prefix + pattern.pattern), endpoint) for pattern, endpoint in paths.patterns]
    return paths._replace(patterns=[*paths.patterns, *moved])
