"""The two core interfaces: `Message`, which units exchange, and `PredictiveUnit`.

    bytes ──wire──▶ Message ──▶ PredictiveUnit.answer(method, request, context) ──▶ Message ──wire──▶ bytes

A message received from the network keeps its bytes and is decoded once, when its content is first accessed; the
subclasses that do so are in `infergraph.wire`. A message that a unit made holds its content and has no bytes until an
edge encodes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from infergraph.errors import PayloadError
from infergraph.fast_enums import direct
from infergraph.runner import Runner


@direct
class Method(Enum):
    """The six methods of a unit; the value is the name of a component's hook."""

    __hash__ = object.__hash__  # members are single objects; Enum's own hash runs in Python, on every look-up

    PREDICT = "predict"
    TRANSFORM_INPUT = "transform_input"
    TRANSFORM_OUTPUT = "transform_output"
    ROUTE = "route"
    AGGREGATE = "aggregate"
    SEND_FEEDBACK = "send_feedback"


ONCE_ONLY = frozenset({Method.ROUTE, Method.SEND_FEEDBACK})
"""Methods that are never retried: a router may draw or count, and a reward must count once."""


@direct
class Encoding(Enum):
    """The encoding of a payload; the value is its field name on the wire."""

    __hash__ = object.__hash__  # as for Method

    TENSOR = "tensor"
    NDARRAY = "ndarray"
    TFTENSOR = "tftensor"
    STR = "strData"
    BIN = "binData"
    JSON = "jsonData"
    CUSTOM = "customData"
    TENSORS = "tensors"

    @property
    def is_array(self) -> bool:
        """Whether the payload is an array (it travels under `data`, with column names)."""
        return self in _ARRAYS


_ARRAYS = frozenset({Encoding.TENSOR, Encoding.NDARRAY, Encoding.TFTENSOR})


@direct
class Transport(Enum):
    """The protocol of a request."""

    REST = "rest"
    GRPC = "grpc"
    LOCAL = "local"


Meta: TypeAlias = dict[str, Any]
"""`puid`, `tags`, `routing`, `requestPath`, `metrics`, in the protocol's JSON spelling."""


class Content(NamedTuple):
    """A decoded message.

    `payload` is, by encoding: TENSOR, NDARRAY, TFTENSOR a `numpy.ndarray` of any shape and dtype (or, in an
    answer, a list, which NDARRAY keeps as it is); STR a str; BIN bytes; JSON any JSON value; CUSTOM a protobuf
    `Any`; TENSORS the named tensors of the open inference protocol (`infergraph.wire.v2`). `names` are the column
    names exactly as sent. `meta` is None where the message had none.
    """

    payload: Any
    encoding: Encoding
    names: Any = ()
    meta: Meta | None = None


class Message:
    """One payload with its encoding, column names and meta.

    Promises: content is decoded at most once, and not at all if the message is only passed on.
    """

    __slots__ = ("_content",)

    raw: bytes | None = None
    """The received bytes, possibly compressed; None for one that was made here."""

    is_answer = True
    """Whether a unit answered it, and no client sent it; a codec's message says so for itself."""

    lists_are_arrays = False
    """Whether a list that user code returns for it becomes an array, as its protocol has no lists of mixed values."""

    def __init__(self, content: Content | None) -> None:
        self._content = content

    @classmethod
    def of(
        cls,
        payload: Any,
        encoding: Encoding,
        *,
        names: Sequence[str] = (),
        meta: Meta | None = None,
    ) -> Message:
        """A message made here, of `payload` in `encoding`."""
        return Message(Content(payload, encoding, names, meta))

    @property
    def content(self) -> Content:
        """The decoded message.

        Raises: PayloadError if it was received and cannot be read.
        """
        if self._content is None:
            self._content = self._decode()
        return self._content

    def _decode(self) -> Content:
        raise NotImplementedError("a message without content comes from a codec that can decode it")

    def decode_again(self) -> Content | None:
        """A fresh copy of the content, for a reader that may change it; None if there are no bytes to decode again.

        Raises: PayloadError as `content` does.
        """
        return None

    def share(self) -> None:
        """Keep the content for more than one reader; called before the first of them is given the message."""

    def with_meta(self, meta: Meta) -> Message:
        """The same message with another meta; everything else is kept in its own encoding.

        Returns: the message itself where it has no place for a meta.
        Raises: PayloadError if it cannot be read.
        """
        payload, encoding, names, _ = self.content
        return Message(Content(payload, encoding, names, meta))

    def chosen(self) -> Any:
        """The route in a router's answer: an array, a list or a number; None if it is empty, for all children.

        Of named tensors it is the first one.

        Raises: PayloadError if it holds something else, or cannot be read.
        """
        content = self.content
        if content.encoding is Encoding.TENSORS and content.payload.tensors:
            return content.payload.tensors[0].array
        if not content.encoding.is_array:
            raise PayloadError(f"it holds {content.encoding.value}, not an array with a number")
        return content.payload

    @property
    def holds_tensors(self) -> bool:
        """Whether it is one of the open inference protocol; known without decoding it."""
        return self._content is not None and self._content.encoding is Encoding.TENSORS

    @property
    def is_bare(self) -> bool:
        """Whether it has no payload; it may have a meta.

        Raises: PayloadError if it cannot be read.
        """
        return False

    @property
    def payload(self) -> Any:
        """The data (see `Content`)."""
        return self.content.payload

    @property
    def encoding(self) -> Encoding:
        """The encoding of the data."""
        return self.content.encoding

    @property
    def names(self) -> Any:
        """Column names exactly as sent."""
        return self.content.names

    @property
    def meta(self) -> Meta | None:
        """The protocol's meta; None where the message had none."""
        content = self._content
        return content.meta if content is not None else self.content.meta


class SoleMessage(Message):
    """A message made here whose objects have no other reference, so that its only reader may take them over.

    Args:
        content: its payload, names and meta belong to the message alone.
    """

    __slots__ = ("_is_shared",)

    def __init__(self, content: Content) -> None:
        self._content = content
        self._is_shared = False

    def share(self) -> None:
        """Keep the content for more than one reader."""
        self._is_shared = True

    def take(self) -> Content | None:
        """Take over the content, which the message then no longer has; None if it is shared."""
        if self._is_shared:
            return None
        content, self._content = self.content, None
        return content

    def with_meta(self, meta: Meta) -> Message:
        """The same message with another meta; it replaces this one, which must not be read again."""
        payload, encoding, names, _ = self.content
        changed = SoleMessage(Content(payload, encoding, names, meta))
        changed._is_shared = self._is_shared
        return changed

    def _decode(self) -> Content:
        raise RuntimeError("this message was given to a unit whole: share() it before it is read a second time")


class FeedbackContent(NamedTuple):
    """A decoded feedback: a request, its answer, the reward, and optionally the truth."""

    request: Message | None
    response: Message | None
    reward: float
    truth: Message | None


class Feedback:
    """A reward for an answer. Lazy like `Message`.

    Promises: passing it on copies nothing.
    """

    __slots__ = ("_content",)

    def __init__(self, content: FeedbackContent | None) -> None:
        self._content = content

    @property
    def content(self) -> FeedbackContent:
        """The decoded feedback.

        Raises: PayloadError if it was received and cannot be read.
        """
        if self._content is None:
            self._content = self._decode()
        return self._content

    def _decode(self) -> FeedbackContent:
        raise NotImplementedError("a feedback without content comes from a codec that can decode it")

    raw: bytes | None = None
    """The received bytes, possibly compressed; None for one that was made here."""

    def echo(self) -> Message:
        """The answer of a graph whose nodes take no feedback: the feedback's own body, if it is one of a message."""
        return Message.of([], Encoding.NDARRAY)

    def recorded(self) -> Mapping[str, Any]:
        """The recorded route as it was sent, without decoding the rest of the feedback.

        Raises: PayloadError if it cannot be read.
        """
        return self.routing

    @property
    def routing(self) -> Mapping[str, int]:
        """The recorded route: node name to chosen child; empty if the answer has none."""
        response = self.content.response
        meta = response.meta if response is not None else None
        routing = (meta or {}).get("routing")
        return routing if isinstance(routing, dict) else {}


Request: TypeAlias = Message | Sequence[Message] | Feedback
"""The argument of a method: a list of messages for AGGREGATE, a feedback for SEND_FEEDBACK, else a message."""


def share(request: Request) -> None:
    """Keep the request's content for more than one reader (see `Message.share`)."""
    if isinstance(request, Message):
        request.share()
    elif not isinstance(request, Feedback):
        for message in request:
            message.share()


class Context(msgspec.Struct, frozen=True, eq=False):
    """The context of a request: transport, headers, id, deadline, path.

    Args:
        transport: its protocol.
        headers: request headers or gRPC metadata, lower-case names, raw bytes, in order, repeats kept.
        puid: the request's id; empty if it has none.
        deadline: the time on the event loop's clock, in seconds, at which the request expires; None for no limit.
        model: the model named in the request's path (open inference protocol, TensorFlow); empty for none.
        path: the URL path, or `/package.Service/Method`; empty if it did not come over the network.
        query: the query string.
    """

    transport: Transport = Transport.LOCAL
    headers: Sequence[tuple[bytes, bytes]] = ()
    puid: str = ""
    deadline: float | None = None
    model: str = ""
    path: str = ""
    query: bytes = b""

    def due(self, deadline: float | None) -> Context:
        """A copy with another deadline."""
        return replace(self, deadline=deadline)

    def addressed(self, model: str) -> Context:
        """A copy for another model."""
        return replace(self, model=model)

    def carrying(self, headers: Sequence[tuple[bytes, bytes]]) -> Context:
        """A copy with other headers."""
        return replace(self, headers=headers)


class UnitFacts(NamedTuple):
    """What a server needs to know of its unit; every unit reports what it knows, also one inside another.

    Args:
        protocol: the protocol in which a graph is served: seldon, tensorflow or v2.
        deployment, namespace: of a graph.
        user_object: the instance of the user's class, once constructed.
        methods: the methods that this object implements.
        v2_metadata: platform and tensors that it has in the open inference protocol where its metadata declare none.
        nodes: the names of a graph's nodes, parents first.
        relays: of a graph, whether it passes bodies of remote nodes of the open inference protocol on as they are.
        predictors: the names of a deployment's predictors, if there are several.
        streams: whether it may answer a prediction with a stream of several answers.
        only_streams: whether it has no other answers to predict.
    """

    protocol: str = "seldon"
    deployment: str = ""
    namespace: str = "default"
    user_object: Any = None
    methods: frozenset[Method] = frozenset()
    nodes: tuple[str, ...] = ()
    relays: bool = False
    predictors: tuple[str, ...] = ()
    v2_metadata: Mapping[str, Any] = MappingProxyType({})
    streams: bool = False
    only_streams: bool = False

    @property
    def infer_method(self) -> Method:
        """The method that answers `infer` of the open inference protocol: a transformer answers it too."""
        return next((method for method in _ANSWER_INFER if method in self.methods), Method.PREDICT)


_ANSWER_INFER = (Method.PREDICT, Method.TRANSFORM_INPUT, Method.TRANSFORM_OUTPUT)


Answers: TypeAlias = AsyncGenerator[Message, None]
"""The messages that answer one request, one after the other."""

Runners: TypeAlias = Mapping[Method, Runner | None]
"""The runner of each method of a unit; None if an answer may wait."""


class PredictiveUnit(ABC):
    """Anything that answers messages: a component, a remote unit, a built-in, a graph, a unit around a unit.

    One call signature serves every layer, so that a unit around a unit is written once and not six times.
    """

    name: str

    async def start(self) -> None:
        """Get ready to answer (load the model, open connections).

        Raises: Fault with the reason if the unit cannot serve.
        """

    async def stop(self) -> None:
        """Release what `start` acquired. Idempotent."""

    @abstractmethod
    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """Answer one request.

        Args:
            method: the method to call.
            request: a sequence of messages for AGGREGATE, a Feedback for SEND_FEEDBACK, else one message.
            context: the context of the request.
        Raises: a Fault; anything else is a bug of the unit.
        """

    async def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """Answer one request with messages as they come; by default with the only answer.

        Args: as for `answer`.
        Raises: a Fault, perhaps after some messages; anything else is a bug of the unit.
        Promises: nothing runs before the first message is asked for, and the next one is made when it is asked for, or
            a few ahead. The caller closes the generator (`contextlib.aclosing`), which ends the work for it.
        """
        yield await self.answer(method, request, context)

    def runner(self, method: Method) -> Runner | None:
        """The runner for answers of `method`; None if they may wait for something, and so need a task.

        Promises: constant once the unit has started. If there is one, `answer` never suspends and does not use the
            current task, provided that it is run by that runner and its context has no deadline.
        """
        return None

    async def ready(self) -> bool:
        """Whether the unit can answer now. Cheap; called by readiness probes."""
        return True

    async def health(self, context: Context) -> Message:
        """The unit's own report of its health. Never waits behind an answer.

        Raises: a Fault if it is not healthy.
        """
        return Message.of("healthy", Encoding.STR)

    async def status(self, node: str, context: Context) -> Message:
        """The health of one node of a graph; a unit that is not a graph returns its own."""
        return await self.health(context)

    @abstractmethod
    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The unit's metadata in the protocol's JSON spelling.

        Args:
            node: asks a graph about one of its nodes; "" about itself, as a node of another graph.
            context: of the request for it, if there is one: its headers are forwarded to remote units.
        Raises: BadMetadata if it is not available; GraphError for an unknown node.
        """

    @property
    def facts(self) -> UnitFacts:
        """What a server needs to know of the unit, as far as it is known yet."""
        return UnitFacts()

    @property
    def task_rows(self) -> str | None:
        """How the started unit takes the lines of a task (a value of `RowMode`); None if it does not say."""
        return None


class Around(PredictiveUnit):
    """A unit around a unit that passes everything on; subclasses override what they change."""

    def __init__(self, unit: PredictiveUnit) -> None:
        self.name = unit.name
        self.unit = unit

    async def start(self) -> None:
        """Start the wrapped unit."""
        await self.unit.start()

    async def stop(self) -> None:
        """Stop the wrapped unit."""
        await self.unit.stop()

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The wrapped unit's answer."""
        return await self.unit.answer(method, request, context)

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The wrapped unit's answers."""
        return self.unit.stream(method, request, context)

    async def ready(self) -> bool:
        """Whether the wrapped unit is ready."""
        return await self.unit.ready()

    async def health(self, context: Context) -> Message:
        """The wrapped unit's health."""
        return await self.unit.health(context)

    async def status(self, node: str, context: Context) -> Message:
        """The health of one node of the wrapped unit."""
        return await self.unit.status(node, context)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The wrapped unit's metadata."""
        return await self.unit.metadata(node, context)

    @property
    def facts(self) -> UnitFacts:
        """The wrapped unit's facts."""
        return self.unit.facts

    @property
    def task_rows(self) -> str | None:
        """The wrapped unit's row mode."""
        return self.unit.task_rows
