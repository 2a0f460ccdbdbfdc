"""What travels between units, and what a unit is.

    bytes ──wire──▶ Message ──▶ PredictiveUnit.answer(method, request, context) ──▶ Message ──wire──▶ bytes

A message that came off the wire keeps its bytes and is decoded once, when somebody first asks for its
content; the subclasses that know how live in `infergraph.wire`. A message that a unit made holds its content
and has no bytes until an edge encodes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from infergraph.errors import PayloadError
from infergraph.members import direct
from infergraph.runner import Runner


@direct
class Method(Enum):
    """The six things a unit can be asked; the value is the name of a component's hook."""

    __hash__ = object.__hash__  # members are single objects; Enum's own hash runs in Python, on every look-up

    PREDICT = "predict"
    TRANSFORM_INPUT = "transform_input"
    TRANSFORM_OUTPUT = "transform_output"
    ROUTE = "route"
    AGGREGATE = "aggregate"
    SEND_FEEDBACK = "send_feedback"


ONCE_ONLY = frozenset({Method.ROUTE, Method.SEND_FEEDBACK})
"""Never asked a second time: a router may draw or count, and a reward must count once."""


@direct
class Kind(Enum):
    """What a node of an inference graph is; the value is the protocol's name for it."""

    MODEL = "MODEL"
    ROUTER = "ROUTER"
    COMBINER = "COMBINER"
    TRANSFORMER = "TRANSFORMER"
    OUTPUT_TRANSFORMER = "OUTPUT_TRANSFORMER"


@direct
class Encoding(Enum):
    """The spelling of a payload; the value is its field name on the wire."""

    __hash__ = object.__hash__  # as for Method

    TENSOR = "tensor"
    NDARRAY = "ndarray"
    TFTENSOR = "tftensor"
    STR = "strData"
    BIN = "binData"
    JSON = "jsonData"
    CUSTOM = "customData"

    @property
    def is_array(self) -> bool:
        """Whether the payload is an array (it travels under `data`, with column names)."""
        return self in _ARRAYS


_ARRAYS = frozenset({Encoding.TENSOR, Encoding.NDARRAY, Encoding.TFTENSOR})


@direct
class Transport(Enum):
    """The protocol a request came in by."""

    REST = "rest"
    GRPC = "grpc"
    LOCAL = "local"


Meta: TypeAlias = dict[str, Any]
"""`puid`, `tags`, `routing`, `requestPath`, `metrics`, in the protocol's JSON spelling."""


class Content(NamedTuple):
    """A decoded message.

    `payload` is, by encoding: TENSOR, NDARRAY, TFTENSOR a `numpy.ndarray` of any shape and dtype (or, in an
    answer, a list, which NDARRAY keeps as it is); STR a str; BIN bytes; JSON any JSON value; CUSTOM a protobuf
    `Any`. `names` are the column names exactly as sent. `meta` is None where the message had none.
    """

    payload: Any
    encoding: Encoding
    names: Any = ()
    meta: Meta | None = None


class Message:
    """One payload with its encoding, column names and meta.

    Promises: content is decoded at most once and never by merely passing the message on.
    """

    __slots__ = ("_content",)

    raw: bytes | None = None
    """The bytes that it came in, perhaps compressed; None for one that was made here."""

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

        Raises: PayloadError if it came off the wire and cannot be read.
        """
        if self._content is None:
            self._content = self._decode()
        return self._content

    def _decode(self) -> Content:
        raise NotImplementedError("a message without content comes from a codec that can decode it")

    def decode_again(self) -> Content | None:
        """The content made anew, for a reader that may change it; None where there are no bytes to make it from.

        Raises: PayloadError as `content` does.
        """
        return None

    def share(self) -> None:
        """Keep the content for more than one reader; called before the first of them is given the message."""

    def with_meta(self, meta: Meta) -> Message:
        """The same message with another meta; all else that it holds is kept in its own spelling.

        Returns: the message itself where it has no place for a meta.
        Raises: PayloadError if it cannot be read.
        """
        return Message(self.content._replace(meta=meta))

    def chosen(self) -> Any:
        """What a router's answer holds: an array, a list or a number; None where it holds nothing, for all children.

        Raises: PayloadError if it holds something else, or cannot be read.
        """
        content = self.content
        if not content.encoding.is_array:
            raise PayloadError(f"it holds {content.encoding.value}, not an array with a number")
        return content.payload

    @property
    def is_bare(self) -> bool:
        """Whether it says nothing but, perhaps, its meta.

        Raises: PayloadError if it cannot be read.
        """
        return False

    @property
    def payload(self) -> Any:
        """The data (see `Content`)."""
        return self.content.payload

    @property
    def encoding(self) -> Encoding:
        """How the data was spelt."""
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
    """A message made here whose objects nobody else holds, so that the one unit that reads it may have them.

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
        """The content itself, which the message then no longer has; None where it is shared."""
        if self._is_shared:
            return None
        content, self._content = self.content, None
        return content

    def with_meta(self, meta: Meta) -> Message:
        """The same message with another meta, in place of this one, which is read no more."""
        changed = SoleMessage(self.content._replace(meta=meta))
        changed._is_shared = self._is_shared
        return changed

    def _decode(self) -> Content:
        raise RuntimeError("this message was given to a unit whole: share() it before it is read a second time")


class FeedbackContent(NamedTuple):
    """A decoded feedback: the request and answer it is about, its reward, perhaps the truth."""

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

        Raises: PayloadError if it came off the wire and cannot be read.
        """
        if self._content is None:
            self._content = self._decode()
        return self._content

    def _decode(self) -> FeedbackContent:
        raise NotImplementedError("a feedback without content comes from a codec that can decode it")

    raw: bytes | None = None
    """The bytes that it came in, perhaps compressed; None for one that was made here."""

    def echo(self) -> Message:
        """What a graph answers that takes no feedback: what came in, where that has bytes of a message's kind."""
        return Message.of([], Encoding.NDARRAY)

    def recorded(self) -> Mapping[str, Any]:
        """The recorded route as it was sent, for those who read nothing else of the feedback.

        Raises: PayloadError if it cannot be read.
        """
        return self.routing

    @property
    def routing(self) -> Mapping[str, int]:
        """The recorded route: node name to chosen child; empty where the answer carries none."""
        response = self.content.response
        meta = response.meta if response is not None else None
        routing = (meta or {}).get("routing")
        return routing if isinstance(routing, dict) else {}


Request: TypeAlias = Message | Sequence[Message] | Feedback
"""What a unit is asked with: a list of messages for AGGREGATE, a feedback for SEND_FEEDBACK, else a message."""


def share(request: Request) -> None:
    """Keep what is asked with for more than one reader (see `Message.share`)."""
    if isinstance(request, Message):
        request.share()
    elif not isinstance(request, Feedback):
        for message in request:
            message.share()


class Context:
    """What a request carries beside its content.

    Args:
        transport: the protocol it came in by.
        headers: request headers or gRPC metadata, lower-case names, raw bytes, in order, repeats kept.
        puid: the request's id; empty where nobody gave one.
        deadline: the loop time (`asyncio` clock, seconds) by which an answer is wanted; None for no limit.
        model: the model that the request's address names (open inference protocol, TensorFlow); empty for none.
        path: of its address, or `/package.Service/Method`; empty where it came by no network.
        query: of its address.
    """

    __slots__ = ("deadline", "headers", "model", "path", "puid", "query", "transport")

    def __init__(
        self,
        transport: Transport = Transport.LOCAL,
        headers: Sequence[tuple[bytes, bytes]] = (),
        puid: str = "",
        deadline: float | None = None,
        model: str = "",
        path: str = "",
        query: bytes = b"",
    ) -> None:
        self.transport = transport
        self.headers = headers
        self.puid = puid
        self.deadline = deadline
        self.model = model
        self.path = path
        self.query = query

    def due(self, deadline: float | None) -> Context:
        """The same with another deadline."""
        return Context(self.transport, self.headers, self.puid, deadline, self.model, self.path, self.query)

    def carrying(self, headers: Sequence[tuple[bytes, bytes]]) -> Context:
        """The same with other headers."""
        return Context(self.transport, headers, self.puid, self.deadline, self.model, self.path, self.query)


class UnitFacts(NamedTuple):
    """What a server has to know of the unit that it serves; each unit says what it knows, wherever it stands.

    Args:
        protocol: what a graph's front speaks: seldon, tensorflow or v2.
        deployment, namespace: whose graph it is.
        user_object: the component's own object, once it is constructed.
        methods: those that the component's object has.
    """

    protocol: str = "seldon"
    deployment: str = ""
    namespace: str = "default"
    user_object: Any = None
    methods: frozenset[Method] = frozenset()


Runners: TypeAlias = Mapping[Method, Runner | None]
"""What drives the answers of a unit, by method; None where they may wait."""


class PredictiveUnit(ABC):
    """Anything that answers messages: a component, a remote unit, a built-in, a whole graph, a unit around a unit.

    One call signature serves every layer, so that a unit around a unit is written once and not six times.
    """

    name: str

    async def start(self) -> None:
        """Get ready to answer (load the model, open connections).

        Raises: Fault with the reason if the unit cannot serve.
        """

    async def stop(self) -> None:
        """Let go of what `start` took. Idempotent."""

    @abstractmethod
    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """Answer one request.

        Args:
            method: what is asked.
            request: a sequence of messages for AGGREGATE, a Feedback for SEND_FEEDBACK, else one message.
            context: what the request carries beside its content.
        Raises: a Fault; anything else is a bug of the unit.
        """

    def runner(self, method: Method) -> Runner | None:
        """What drives an answer of `method` to its end; None where it may wait for something, and needs a task.

        Promises: asked once the unit has started, it stays the same. Where there is one, `answer` awaits nothing and
            does not ask for the current task, provided that it is driven by that runner and its context has no
            deadline.
        """
        return None

    async def ready(self) -> bool:
        """Whether the unit can answer now. Cheap; asked by readiness probes."""
        return True

    async def health(self, context: Context) -> Message:
        """The unit's own account of its health. Never waits behind an answer.

        Raises: a Fault if it is not healthy.
        """
        return Message.of("healthy", Encoding.STR)

    async def status(self, node: str, context: Context) -> Message:
        """The health of one node of a graph; a unit that is no graph tells its own."""
        return await self.health(context)

    @abstractmethod
    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The unit's metadata in the protocol's JSON spelling.

        Args:
            node: asks a graph about one of its nodes; "" about itself, as a node of another graph.
            context: of the request that wants it, if one does: its headers reach the remote units asked in turn.
        Raises: BadMetadata where the metadata cannot be had; GraphError for an unknown node.
        """

    @property
    def facts(self) -> UnitFacts:
        """What a server has to know of the unit, as far as it is known by now."""
        return UnitFacts()

    @property
    def task_rows(self) -> str | None:
        """How the started unit wants the lines of a task (a value of `RowMode`); None where it does not say."""
        return None


class Around(PredictiveUnit):
    """A unit around a unit that passes everything on; subclasses change what they are for."""

    def __init__(self, unit: PredictiveUnit) -> None:
        self.name = unit.name
        self.unit = unit

    async def start(self) -> None:
        """Start the unit within."""
        await self.unit.start()

    async def stop(self) -> None:
        """Stop the unit within."""
        await self.unit.stop()

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """What the unit within answers."""
        return await self.unit.answer(method, request, context)

    async def ready(self) -> bool:
        """Whether the unit within is."""
        return await self.unit.ready()

    async def health(self, context: Context) -> Message:
        """The account of the unit within."""
        return await self.unit.health(context)

    async def status(self, node: str, context: Context) -> Message:
        """The account of one node of the unit within."""
        return await self.unit.status(node, context)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The metadata of the unit within."""
        return await self.unit.metadata(node, context)

    @property
    def facts(self) -> UnitFacts:
        """Those of the unit within."""
        return self.unit.facts

    @property
    def task_rows(self) -> str | None:
        """What the unit within says."""
        return self.unit.task_rows
