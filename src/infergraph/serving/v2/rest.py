"""The REST edge of the open inference protocol: its paths over the served model."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple, TypeAlias

import msgspec
import orjson
from msgspec.structs import replace

from infergraph import __version__
from infergraph.errors import PayloadError
from infergraph.message import Context
from infergraph.observe.node_times import server_timing
from infergraph.protocol import paths
from infergraph.protocol.headers import (
    ACCEPT_ENCODING,
    FORM,
    HOP_CODINGS,
    INFERENCE_HEADER_LENGTH,
    is_header_id,
)
from infergraph.serving.http.app import Dialect, Endpoint, Handler, Paths
from infergraph.serving.http.error_responses import JSON_TYPE, Answer
from infergraph.serving.http.exchange import Exchange
from infergraph.serving.v2 import hops
from infergraph.serving.v2.model import Model
from infergraph.serving.v2.repository import Repository
from infergraph.serving.v2.statistics import Statistics
from infergraph.wire import json_slices
from infergraph.wire.bodies_memory import BodiesMemory, ValuesAccount
from infergraph.wire.json_slices import LARGE_BYTES
from infergraph.wire.json_text import JsonOptions
from infergraph.wire.v2 import generate, hop, json
from infergraph.wire.v2.generate import GenerateRequest
from infergraph.wire.v2.messages import InferMessage
from infergraph.wire.v2.metadata import ModelMetadata
from infergraph.wire.v2.records import InferRequest, InferResponse, Spelling
from infergraph.wire.v2.tensors import Buffer, Parameters, brief

EXTENSIONS = (
    "binary_tensor_data",
    "parameters",
    "statistics",
    "model_repository",
    "model_configuration",
    "generate",
    "classification",
    "sequence",
)
_OCTETS = (b"content-type", b"application/octet-stream")
_LARGE_BYTES = 256 * 1024
_POST = frozenset({"POST"})
_READ = frozenset({"GET", "HEAD"})
_REPOSITORY = "/v2/repository/models/(?P<model>[^/]+)"
_VERSIONED = "/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"


_JSON_ALONE = InferRequest(inputs=())

_Reader: TypeAlias = "Callable[[Exchange, ModelMetadata, str], Callable[[Buffer], InferRequest]]"
"""Gives what decodes the body of a request to a model, perhaps to a version of it."""


class V2Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the protocol's edges.

    Args:
        json: how JSON answers are written.
        limit_bytes: maximum size of a decompressed body.
        memory: is charged for the memory of large bodies' values.
        server_name: in the server's metadata.
    """

    json: JsonOptions = JsonOptions()
    limit_bytes: int = 0
    memory: BodiesMemory | None = None
    server_name: str = "infergraph"


class V2Parts(NamedTuple):
    """What both edges of the protocol serve.

    Args:
        is_ready: whether the model can answer now.
        is_server_ready: whether the server can, which needs no model after one was unloaded.
    """

    model: Model
    repository: Repository
    statistics: Statistics
    options: V2Options
    is_ready: Callable[[], Awaitable[bool]]
    is_server_ready: Callable[[], Awaitable[bool]]

    async def statistics_of(self, name: str, version: str = "") -> dict[str, Any]:
        """The statistics of the model; with an empty name those of all models, which is none after it was unloaded.

        Raises: UnknownModel.
        """
        model = self.model
        if not name and not model.is_there:
            return {"model_stats": []}
        metadata = await model.check(name or model.name, version)
        method = model.method.value
        return {"model_stats": [await asyncio.to_thread(self.statistics.of, metadata.name, metadata.version, method)]}


class _Received(NamedTuple):
    """A request, what it holds, its context, and the metadata of the model that it is for."""

    message: InferMessage
    request: InferRequest
    context: Context
    metadata: ModelMetadata


class V2Rest:
    """The paths of the protocol.

    Args:
        dialect: of the protocol.
        describe: the OpenAPI document.
    """

    def __init__(self, parts: V2Parts, dialect: Dialect, describe: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._parts = parts
        self._model = parts.model
        self._repository = parts.repository
        self._options = parts.options
        self._dialect = dialect
        self._describe = describe

    def paths(self) -> Paths:
        """The routes."""
        exact = {
            "/v2": self._probe(self._server_metadata, "metadata"),
            "/v2/health/live": self._probe(_live, "live"),
            "/v2/health/ready": self._probe(self._ready, "ready"),
            "/v2/models": self._probe(self._models, "metadata"),
            "/v2/models/stats": self._probe(self._all_statistics, "statistics"),
            "/v2/repository/index": self._control(self._index, "index"),
            "/v2/docs": self._probe(self._to_page, "docs"),
            "/v2/docs/dataplane.json": self._probe(self._document, "docs"),
        }
        infer = self._endpoint(_POST, self._infer, "infer", self._model.runner)._replace(padding=_padding)
        infer_stream, generate_stream = (
            self._endpoint(_POST, functools.partial(self._stream, reader), "infer_stream")
            for reader in (self._reader, self._either_reader)
        )
        exact[f"/v2/models/{self._model.name}/infer"] = infer
        if self._model.is_graph:
            exact[paths.V2_GRAPH_INFER] = infer
        exact |= {f"{path}/": endpoint for path, endpoint in exact.items() if path == "/v2"}
        patterns = {
            f"{_VERSIONED}/infer": infer,
            f"{_VERSIONED}/infer_stream": infer_stream,
            f"{_VERSIONED}/generate": self._endpoint(_POST, self._generate, "infer", self._model.runner),
            f"{_VERSIONED}/generate_stream": generate_stream,
            f"{_VERSIONED}/ready": self._probe(self._model_ready, "ready"),
            f"{_VERSIONED}/stats": self._probe(self._statistics, "statistics"),
            f"{_VERSIONED}/config": self._endpoint(_READ, self._configuration, "metadata"),
            f"{_VERSIONED}/docs": self._probe(self._to_page, "docs"),
            f"{_VERSIONED}/docs/dataplane.json": self._probe(self._document, "docs"),
            f"{_REPOSITORY}/load": self._control(self._load, "load"),
            f"{_REPOSITORY}/unload": self._control(self._unload, "unload"),
            _VERSIONED: self._endpoint(_READ, self._model_metadata, "metadata"),
        }
        return Paths(exact, [(re.compile(path), endpoint) for path, endpoint in patterns.items()])

    def _endpoint(self, verbs: frozenset[str], handler: Handler, name: str, *runner: Any) -> Endpoint:
        return self._ours(Endpoint(verbs, handler, name, True, *runner))

    def _probe(self, handler: Handler, name: str) -> Endpoint:
        return self._ours(Endpoint(_READ, handler, name, gated=False))

    def _control(self, handler: Handler, name: str) -> Endpoint:
        """An endpoint without time limit: loading may take long."""
        return self._ours(Endpoint(_POST, handler, name, gated=False))

    def _ours(self, endpoint: Endpoint) -> Endpoint:
        return endpoint._replace(dialect=self._dialect, protocol="v2")

    async def _infer(self, exchange: Exchange) -> Answer:
        if self._model.relays:
            answer = await self._relay(exchange)
        else:
            received = self._at_once(exchange) or await self._received(exchange, self._reader)
            message, request, context, metadata = received
            for_graph = is_hop(exchange)
            response = await self._model.infer(message, context, metadata, exchange, is_hop=for_graph)
            if _blocks(exchange):
                body = await asyncio.to_thread(json.encode, response, request, self._options.json, is_hop=for_graph)
            else:
                body = json.encode(response, request, self._options.json, is_hop=for_graph)
            answer = answer_of(body, response.form)
        if exchange.times_nodes:
            answer.headers.append((b"server-timing", server_timing()))
        return answer

    async def _generate(self, exchange: Exchange) -> Answer:
        """The answer to a request of infer, or to one in Triton's generate form."""
        message, request, context, metadata = await self._received(exchange, self._either_reader)
        response = await self._model.infer(message, context, metadata, exchange)
        if isinstance(request, GenerateRequest):
            return Answer(200, generate.encode(response, self._options.json), [JSON_TYPE])
        return answer_of(json.encode(response, request, self._options.json))

    async def _stream(self, reader: _Reader, exchange: Exchange) -> Answer:
        """The answers to a request, an event each."""
        message, request, context, metadata = await self._received(exchange, reader)
        options = replace(self._options.json, pretty=False)
        async with aclosing(self._model.stream(message, context, metadata)) as responses:
            async for response in responses:
                await exchange.send_event(_event(response, request, options))
        return exchange.end_events()

    def _at_once(self, exchange: Exchange) -> _Received | None:
        """A small request to a loaded model, read without waiting for anything; None for another one."""
        model = self._model
        if model.is_graph or _blocks(exchange):
            return None
        name, version = _named(exchange, model.name)
        model.check_name(name)
        metadata = model.known(version)
        if metadata is None:
            return None
        body, read = _body(exchange), self._reader(exchange, metadata, version)
        return self._taken(exchange, body, read, read(body), name, metadata)

    async def _received(self, exchange: Exchange, reader: _Reader) -> _Received:
        name, version = _named(exchange, self._model.name)
        metadata = await self._model.check(name, version)
        if self._model.is_graph and self._is_told_by_metadata(exchange, reader):
            metadata = await self._model.metadata()
        body, read = _body(exchange), reader(exchange, metadata, version)
        request = await asyncio.to_thread(read, body) if _blocks(exchange) else read(body)
        return self._taken(exchange, body, read, request, name, metadata)

    def _taken(
        self,
        exchange: Exchange,
        body: Buffer,
        read: Callable[[Buffer], InferRequest],
        request: InferRequest,
        name: str,
        metadata: ModelMetadata,
    ) -> _Received:
        message = InferMessage(body, read, request, spelling=self._spelling(exchange))
        puid = request.id
        if is_header_id(puid):
            exchange.puid = puid
        model = self._model.address(name) if self._model.is_graph else name
        return _Received(message, request, hops.context_of(exchange, model), metadata)

    async def _relay(self, exchange: Exchange) -> Answer:
        """The last node's bytes as they came; those of another protocol, or of a node of this process, are written."""
        model, version = _named(exchange, self._model.name)
        metadata = await self._model.check(model, version)
        read = self._reader(exchange, metadata, version)
        message = InferMessage(_body(exchange), read, spelling=self._spelling(exchange))
        try:
            limit_s = hop.check_request(message)
        except hop.NoRequest:
            return hops.unchained()
        context = hops.context_of(exchange, self._model.address(model))
        if limit_s:
            answer = await self._model.answer_within(limit_s, message, context, exchange)
        else:
            answer = await self._model.answer(message, context)
        if (relayed := hops.relayed(answer)) is not None:
            return relayed
        request = message.read()
        response = await self._model.finished(answer, request, metadata)
        return answer_of(json.encode(response, request, self._options.json))

    def _spelling(self, exchange: Exchange) -> Spelling | None:
        """How the body is spelled, where it may go on to a node, or came from a graph of this runtime."""
        if not self._model.is_graph and FORM not in exchange.headers:
            return None
        return hops.spelling_of(exchange, self._options.limit_bytes)

    def _reader(self, exchange: Exchange, model: ModelMetadata, version: str) -> Callable[[Buffer], InferRequest]:
        headers, options = exchange.headers, self._options
        length = hops.header_length_of(exchange) if INFERENCE_HEADER_LENGTH in headers else None
        coding = hops.coding_of(exchange) if b"content-encoding" in headers else ""
        account = account_of(exchange, self._options)

        def read(body: Buffer) -> InferRequest:
            plain = json.unpacked(bytes(body), coding, options.limit_bytes) if coding else body
            if length == "0":
                return json.decode_raw(plain, model.inputs, model=model.name, version=version, puid=exchange.puid)
            return json.decode(
                plain,
                length,
                model=model.name,
                version=version,
                puid=exchange.puid,
                account=account,
            )

        return read

    def _is_told_by_metadata(self, exchange: Exchange, reader: _Reader) -> bool:
        """Whether only the declared inputs say what a body is: raw bytes alone, or the members of a generate form."""
        return reader == self._either_reader or hops.header_length_of(exchange) == "0"

    def _either_reader(
        self, exchange: Exchange, model: ModelMetadata, version: str
    ) -> Callable[[Buffer], InferRequest]:
        """Reads a request of infer, or one in Triton's generate form, which has no `inputs`."""
        if INFERENCE_HEADER_LENGTH in exchange.headers:
            return self._reader(exchange, model, version)
        coding = hops.coding_of(exchange)
        account = account_of(exchange, self._options)
        named: dict[str, str] = {"model": model.name, "version": version, "puid": exchange.puid}

        def read(body: Buffer) -> InferRequest:
            plain = json.unpacked(bytes(body), coding, self._options.limit_bytes)
            document = None if b'"inputs"' in plain else json_slices.read(plain, account=account)
            if isinstance(document, dict) and "inputs" not in document:
                return generate.decode(document, model.inputs, **named)
            return json.decode(plain, account=account, **named)

        return read

    async def _server_metadata(self, exchange: Exchange) -> Answer:
        return _json({"name": self._options.server_name, "version": __version__, "extensions": list(EXTENSIONS)})

    async def _models(self, exchange: Exchange) -> Answer:
        return _json({"models": self._model.names() if self._model.is_there else []})

    async def _model_metadata(self, exchange: Exchange) -> Answer:
        return _json((await self._model.described(*_named(exchange, ""))).document())

    async def _model_ready(self, exchange: Exchange) -> Answer:
        name, version = _named(exchange, "")
        if not await self._model.is_ready(name, version, self._parts.is_ready):
            return _not_ready(f"model {name!r} is not ready")
        return _json({"name": name, "ready": True})

    async def _ready(self, exchange: Exchange) -> Answer:
        if not await self._parts.is_server_ready():
            return _not_ready("the server is not ready")
        return hops.ready() if self._model.relays else _json({"ready": True})

    async def _all_statistics(self, exchange: Exchange) -> Answer:
        return _json(await self._parts.statistics_of(""))

    async def _statistics(self, exchange: Exchange) -> Answer:
        return _json(await self._parts.statistics_of(*_named(exchange, "")))

    async def _configuration(self, exchange: Exchange) -> Answer:
        return _json((await self._model.described(*_named(exchange, ""))).configuration())

    async def _index(self, exchange: Exchange) -> Answer:
        only_ready = json.object_of(plain_body(exchange, self._options)).get("ready")
        if not isinstance(only_ready, bool | None):
            raise PayloadError(f"ready must be true or false, not {brief(only_ready)}")
        return _json(await self._repository.index(only_ready=only_ready is True))

    async def _load(self, exchange: Exchange) -> Answer:
        name = exchange.parameters["model"]
        await self._repository.load(name, self._load_parameters(exchange))
        return _json({"name": name, "load": True})

    async def _unload(self, exchange: Exchange) -> Answer:
        name = exchange.parameters["model"]
        self._load_parameters(exchange)
        await self._repository.unload(name)
        return _json({"name": name, "unload": True})

    def _load_parameters(self, exchange: Exchange) -> Parameters:
        return json.parameters_of(plain_body(exchange, self._options))

    async def _document(self, exchange: Exchange) -> Answer:
        await self._check_path(exchange)
        return _json(await self._describe())

    async def _to_page(self, exchange: Exchange) -> Answer:
        await self._check_path(exchange)
        up = "../" * (exchange.path.rstrip("/").count("/") - 1)  # relative: an ingress may have removed a prefix
        return Answer(302, b"", [(b"location", f"{up}docs".encode())])

    async def _check_path(self, exchange: Exchange) -> None:
        if exchange.parameters:
            await self._model.check(*_named(exchange, ""))


def _body(exchange: Exchange) -> Buffer:
    return memoryview(exchange.body)[exchange.padding :] if exchange.padding else exchange.body


def _blocks(exchange: Exchange) -> bool:
    """Whether a request should be read, and its answer written, off the event loop."""
    return exchange.runner is None and len(exchange.body) > _LARGE_BYTES


def _event(response: InferResponse, request: InferRequest, options: JsonOptions) -> bytes:
    """An answer as JSON alone, for events have no place for raw bytes."""
    if isinstance(request, GenerateRequest):
        return generate.encode(response, options)
    return json.encode(response, _JSON_ALONE, options).head


def plain_body(exchange: Exchange, options: V2Options) -> bytes:
    """The body without its content encoding.

    Raises: UnsupportedBody, PayloadError, UploadTooLarge as `json.unpacked` does.
    """
    return json.unpacked(exchange.body, hops.coding_of(exchange), options.limit_bytes)


def account_of(exchange: Exchange, options: V2Options) -> ValuesAccount | None:
    """What is charged for the values of a body; None for a small one."""
    if options.memory is None or (len(exchange.body) < LARGE_BYTES and b"content-encoding" not in exchange.headers):
        return None
    return ValuesAccount(options.memory)


def is_hop(exchange: Exchange) -> bool:
    """Whether the client is a graph of this runtime."""
    return exchange.headers.get(ACCEPT_ENCODING) in HOP_CODINGS


def answer_of(body: json.Body, form: str = "") -> Answer:
    """The HTTP answer with an encoded body; `form` is that of its tensors, for a hop."""
    headers = [JSON_TYPE]
    if body.header_length is not None:
        headers = [_OCTETS, (INFERENCE_HEADER_LENGTH, b"%d" % body.header_length)]
    if form:
        headers.append((FORM, form.encode()))
    return Answer(200, body.head, headers, body.blobs)


def _padding(headers: Mapping[bytes, bytes]) -> int | None:
    """The bytes before a body by which its first raw tensor begins at a multiple of eight, and need not be copied."""
    length = headers.get(INFERENCE_HEADER_LENGTH)
    if length is None:
        return None
    return -int(length) % 8 if length.isdigit() and len(length) < 19 else 0


def _not_ready(text: str) -> Answer:
    return Answer(503, orjson.dumps({"error": text}), [JSON_TYPE, (b"retry-after", b"1")])


async def _live(exchange: Exchange) -> Answer:
    return _json({"live": True})


def _named(exchange: Exchange, default: str) -> tuple[str, str]:
    """Model and version of the path."""
    parameters = exchange.parameters
    return (parameters["model"], parameters.get("version") or "") if parameters else (default, "")


def _json(value: Any) -> Answer:
    return Answer(200, orjson.dumps(value), [JSON_TYPE])
