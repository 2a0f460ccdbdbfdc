"""The paths of the open inference protocol by which a graph asks a router or a combiner over REST.

    POST …/route      a request ─▶ {"data": {"ndarray": [[child]]}}
    POST …/aggregate  a JSON list of answers ─▶ an answer

Source: the orchestrator specification, sections 8 and 19.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from infergraph.message import Message, Method
from infergraph.protocol.headers import FORM, is_header_id
from infergraph.serving.http.app import Dialect, Endpoint, Handler, Paths
from infergraph.serving.http.error_responses import JSON_TYPE, Answer
from infergraph.serving.http.exchange import Exchange
from infergraph.serving.v2 import hops
from infergraph.serving.v2.rest import V2Parts, account_of, answer_of, is_hop, plain_body
from infergraph.wire import json_codec
from infergraph.wire.v2 import hop, json
from infergraph.wire.v2.messages import InferMessage
from infergraph.wire.v2.records import InferRequest
from infergraph.wire.v2.tensors import Buffer

_MODEL = "/v2/models/(?P<model>[^/]+)"


class NodeRest:
    """The paths of a router and of a combiner.

    Args:
        dialect: of the protocol.
    """

    def __init__(self, parts: V2Parts, dialect: Dialect) -> None:
        self._model = parts.model
        self._options = parts.options
        self._dialect = dialect

    def paths(self) -> Paths:
        """The routes."""
        route = re.compile(f"{_MODEL}/route"), self._endpoint(Method.ROUTE, self._route)
        aggregate = re.compile(f"{_MODEL}/aggregate"), self._endpoint(Method.AGGREGATE, self._aggregate)
        return Paths({}, [route, aggregate])

    def _endpoint(self, method: Method, handler: Handler) -> Endpoint:
        return Endpoint(frozenset({"POST"}), handler, method.value, dialect=self._dialect, protocol="v2")

    async def _route(self, exchange: Exchange) -> Answer:
        name = exchange.parameters["model"]
        self._model.check_name(name)
        chosen = await self._model.route(self._message(exchange), hops.context_of(exchange, name))
        return Answer(200, json_codec.encode(chosen), [JSON_TYPE])

    def _message(self, exchange: Exchange) -> InferMessage:
        spelling = hops.spelling_of(exchange, self._options.limit_bytes)
        account = account_of(exchange, self._options)
        name, puid = self._model.name, exchange.puid

        def read(body: Buffer) -> InferRequest:
            plain = json.unpacked(bytes(body), spelling.coding, spelling.limit_bytes) if spelling.coding else body
            return json.decode(plain, spelling.header_length, model=name, puid=puid, account=account)

        return InferMessage(exchange.body, read, spelling=spelling)

    async def _aggregate(self, exchange: Exchange) -> Answer:
        name = exchange.parameters["model"]
        metadata = await self._model.check(name)
        body = plain_body(exchange, self._options)
        account = account_of(exchange, self._options)
        children = hop.rest_children(bytes(body), hops.text(exchange, FORM), exchange.puid, account=account)
        request, for_graph = InferRequest(id=_id_of(children), inputs=()), is_hop(exchange)
        if is_header_id(request.id):
            exchange.puid = request.id
        context = hops.context_of(exchange, name)
        response = await self._model.aggregate(children, request, context, metadata, is_hop=for_graph)
        return answer_of(json.encode(response, request, self._options.json, is_hop=for_graph), response.form)


def _id_of(children: Sequence[Message]) -> str:
    """The id of the request that the children have answered."""
    return str((children[0].meta or {})["puid"])
