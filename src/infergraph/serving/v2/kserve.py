"""KServe's first protocol: `{"instances": [...]}` to `{"predictions": [...]}` over the served model.

instances ─▶ a message of rows, as Seldon's `ndarray` ─▶ unit ─▶ its payload as predictions

Source: the KServe documents, "V1 protocol". Errors are those of the open inference protocol.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import numpy as np
import orjson

from infergraph.errors import ComponentError, PayloadError
from infergraph.message import Context, Encoding, Message, Transport
from infergraph.serving.http.app import Dialect, Endpoint, Paths
from infergraph.serving.http.error_responses import JSON_TYPE, Answer
from infergraph.serving.http.exchange import Exchange
from infergraph.serving.v2.rest import V2Parts, plain_body
from infergraph.wire import arrays, json_text
from infergraph.wire.bodies_memory import ValuesAccount
from infergraph.wire.json_slices import LARGE_BYTES
from infergraph.wire.v2 import json

_READ = frozenset({"GET", "HEAD"})
_MODEL = "/v1/models/(?P<model>[^/]+)"


class KServe:
    """The paths of the protocol.

    Args:
        dialect: of the open inference protocol, whose errors it shares.
    """

    def __init__(self, parts: V2Parts, dialect: Dialect) -> None:
        self._parts = parts
        self._model = parts.model
        self._dialect = dialect

    def paths(self) -> Paths:
        """The routes."""
        predict = Endpoint(
            frozenset({"POST"}), self._predict, "infer", True, self._model.runner, self._dialect, protocol="v2"
        )
        models = self._probe(self._models, "metadata")
        ready = self._probe(self._ready, "ready")
        return Paths({"/v1/models": models}, [(re.compile(f"{_MODEL}:predict"), predict), (re.compile(_MODEL), ready)])

    def _probe(self, handler: Any, name: str) -> Endpoint:
        return Endpoint(_READ, handler, name, gated=False, dialect=self._dialect, protocol="v2")

    async def _models(self, exchange: Exchange) -> Answer:
        return _answer({"models": self._model.names() if self._model.is_there else []})

    async def _ready(self, exchange: Exchange) -> Answer:
        name = exchange.parameters["model"]
        self._model.check_name(name)
        is_ready = await self._parts.is_ready()
        return _answer({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    async def _predict(self, exchange: Exchange) -> Answer:
        name = exchange.parameters["model"]
        await self._model.check(name)
        options = self._parts.options
        account = None if options.memory is None else ValuesAccount(options.memory)
        body = plain_body(exchange, options)
        blocks = exchange.runner is None and len(body) > LARGE_BYTES
        message = await asyncio.to_thread(_message, body, account) if blocks else _message(body, account)
        context = Context(
            Transport.REST, exchange.raw_headers, exchange.puid, None, self._model.address(name), exchange.path
        )
        answer = await self._model.answer(message, context)
        written = json_text.write({"predictions": _predictions(answer)}, options.json)
        return Answer(200, written, [JSON_TYPE])


def _message(body: bytes, account: ValuesAccount | None) -> Message:
    """The message of a body.

    Raises: PayloadError that names `instances`.
    """
    instances = json.object_of(body, account).get("instances")
    if not isinstance(instances, list):
        raise PayloadError("instances must be a list")
    if any(isinstance(instance, dict) for instance in instances):
        return Message.of(instances, Encoding.JSON)
    values = arrays.array_of(instances, "instances")
    return Message.of(values if values.size else arrays.check_empty(values, "instances"), Encoding.NDARRAY)


def _predictions(answer: Message) -> Any:
    """The payload of an answer in JSON's values.

    Raises: ComponentError for bytes and for protobuf, which have no form in it.
    """
    content = answer.content
    if content.encoding in (Encoding.BIN, Encoding.CUSTOM):
        raise ComponentError(f"an answer of {content.encoding.value} has no form in the predict protocol")
    payload = content.payload
    return payload if not isinstance(payload, np.ndarray) or payload.ndim else [payload.item()]


def _answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value), [JSON_TYPE])
