"""A remote node of the open inference protocol over REST.

    Message ─▶ its own bytes, an answer's outputs as inputs, or encoded ─▶ POST ─▶ 2xx: the body as a message

Source: the protocol's REST text; the orchestrator specification, sections 8, 18 and 19.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import Any

from infergraph.errors import PayloadError, RemoteError
from infergraph.graph.remote.rest import RestOptions, RestUnit, header_lines, line, unsent
from infergraph.graph.remote.v2_node import V2Node
from infergraph.message import ONCE_ONLY, Answers, Context, Feedback, Message, Method, Request, Transport
from infergraph.net.discovery import Discovery
from infergraph.net.http_client import Call, Reply
from infergraph.protocol import paths
from infergraph.protocol.headers import ANSWER_CODING, FORM, INFERENCE_HEADER_LENGTH, REQUEST_CODING
from infergraph.protocol.paths import Protocol
from infergraph.streams import or_whole
from infergraph.wire import json_codec
from infergraph.wire.v2 import hop
from infergraph.wire.v2.hop import Sent
from infergraph.wire.v2.messages import NodeAnswer, tensors_of
from infergraph.wire.v2.records import Spelling

_BINARY = "binary_tensor_data"
_JSON = "application/json"
_PLAIN = b"identity"
_NO_STREAM = frozenset({404, 405})


class V2RestUnit(RestUnit):
    """A remote predictive unit of the open inference protocol, over REST.

    Args:
        relays: see `V2Node`.
    Promises: a request received over REST is forwarded byte for byte; of an answer that becomes one only the names of
        members change.
    """

    _node_paths = (paths.V2_LIVE, paths.V2_SERVER)

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        options: RestOptions = RestOptions(protocol=Protocol.V2),  # noqa: B008  a frozen value
        *,
        probe_port: int = 0,
        path: str = "",
        discovery: Discovery = Discovery(),  # noqa: B008  a frozen value
        relays: Collection[Method] | None = None,
    ) -> None:
        super().__init__(name, host, port, options, probe_port=probe_port, path=path, discovery=discovery)
        self._node = V2Node(name, relays, partial(self.metadata, None))
        self._takes_binary: bool | None = None

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The node's answer, in the protocol of the request.

        Raises:
            PayloadError: the request has no form in the protocol.
            RemoteError, DeadlinePassed: as of any REST node; also if the answer cannot be read.
        """
        if isinstance(request, Feedback):
            return unsent(request)
        first = request if isinstance(request, Message) else request[0]
        is_relayed = self._node.is_relayed(method, first, context, Transport.REST)
        if isinstance(request, Message):
            sent = await self._sent(request, context, is_relayed=is_relayed)
        else:
            sent = self._listed(request)
        coding = _PLAIN if is_relayed else ANSWER_CODING if first.is_answer else REQUEST_CODING
        call = self._posted(method, sent, coding, context)
        reply = await self._succeeded(call, context, passes_body=method is not Method.ROUTE)
        if method is Method.ROUTE:
            return self._route(reply)
        return await self._node.finished(hop.rest_answer(reply.body, _spelling(reply), first), first)

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The node's answers to a prediction, as it sends them; its one answer where it has no streams.

        Raises: as `answer` does, perhaps after some answers.
        """
        if method is not Method.PREDICT or not isinstance(request, Message):
            return super().stream(method, request, context)
        whole = partial(self.answer, method, request, context)
        return or_whole(self._answers(request, context), whole, _has_no_streams)

    async def _answers(self, request: Message, context: Context) -> Answers:
        coding = ANSWER_CODING if request.is_answer else REQUEST_CODING
        call = self._posted(Method.PREDICT, await self._sent(request, context, is_relayed=False), coding, context)
        call = call._replace(path=f"{call.path}_stream")
        async with aclosing(self._events(call, context, partial(_read_event, request))) as answers:
            async for answer in answers:
                assert isinstance(answer, NodeAnswer)
                yield await self._node.finished(answer, request)

    async def _sent(self, message: Message, context: Context, *, is_relayed: bool) -> Sent:
        try:
            sent = hop.forwarded(message, is_last=is_relayed)
        except PayloadError as fault:
            raise RemoteError(fault.text, node=self.name) from fault
        if sent is not None:
            return sent
        given = tensors_of(message)
        unnamed = await self._node.unnamed(message, given, context)
        request = hop.request_of(message, given, unnamed, context.puid, is_last=is_relayed)
        is_binary = not hop.is_small(request) and await self._reads_binary(context)
        try:
            return hop.encode_rest(request, given.form, is_binary=is_binary, asks_binary=is_binary and not is_relayed)
        except PayloadError as fault:  # the node has no binary extension
            raise RemoteError(f"node {self.name} cannot be asked: {fault.text}", node=self.name) from fault

    def _listed(self, messages: Sequence[Message]) -> Sent:
        """The children's answers as one JSON list."""
        try:
            return Sent(hop.encode_list(messages), Spelling(content_type=_JSON, form=hop.forms_of(messages)))
        except PayloadError as fault:
            raise RemoteError(f"Data is not JSON: {fault.text}", node=self.name) from fault

    def _posted(self, method: Method, sent: Sent, coding: bytes, context: Context) -> Call:
        spelling = sent.spelling
        path = self._path + paths.method_path(Protocol.V2, method, context.model or self.name)
        head = header_lines(context, coding) + line(b"content-type", spelling.content_type)
        if spelling.coding:
            head += line(b"content-encoding", spelling.coding)
        if spelling.header_length is not None:
            head += line(INFERENCE_HEADER_LENGTH, spelling.header_length)
        if spelling.form:
            head += line(FORM, spelling.form)
        return Call("POST", path, head, sent.raw, method not in ONCE_ONLY)

    def _failure(self, url: str, reply: Reply, *, passes_body: bool) -> RemoteError:
        """The fault of a refusal; its text is the node's own, where it says one in a protocol's form."""
        fault = super()._failure(url, reply, passes_body=passes_body)
        text = json_codec.error_text(_object_of(reply.body))
        if not text:
            return fault
        return RemoteError(text, node=self.name, status=fault.status, body=fault.body, content_type=fault.content_type)

    def _route(self, reply: Reply) -> Message:
        """The answer of a router: one of Seldon's protocol, a list, or one of this protocol."""
        spelling = _spelling(reply)
        if spelling.header_length is None and not isinstance(_object_of(reply.body).get("outputs"), list):
            return json_codec.received(reply.body)
        return self._node.readable(lambda: hop.routed(hop.read_rest(reply.body, spelling.header_length)))

    async def _reads_binary(self, context: Context) -> bool:
        """Whether the node's server lists the binary extension; asked once."""
        if self._takes_binary is not None:
            return self._takes_binary
        call = Call("GET", self._path + paths.V2_SERVER, header_lines(context), None)
        try:
            reply = await self._succeeded(call, context)
        except RemoteError as fault:
            if fault.body is None:  # no answer of the node
                raise
            if fault.status == HTTPStatus.NOT_FOUND:
                self._takes_binary = False
            return False
        extensions = _object_of(reply.body).get("extensions")
        self._takes_binary = isinstance(extensions, list) and _BINARY in extensions
        return self._takes_binary


def _has_no_streams(fault: RemoteError) -> bool:
    return fault.status in _NO_STREAM


def _read_event(request: Message, body: bytes, content_type: str) -> Message:
    return hop.rest_answer(body, Spelling(content_type=content_type), request)


def _spelling(reply: Reply) -> Spelling:
    length = reply.header(INFERENCE_HEADER_LENGTH) or None
    return Spelling(content_type=reply.content_type, header_length=length, form=reply.header(FORM))


def _object_of(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a body; an empty one where it is none."""
    try:
        document = json_codec.value_of(body)
    except PayloadError:
        return {}
    return document if isinstance(document, dict) else {}
