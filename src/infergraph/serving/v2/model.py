"""The served unit as a model of the open inference protocol: its name, versions and tensors, and `infer`.

InferMessage ─▶ Model.infer ─▶ unit.answer ─▶ InferResponse
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from time import perf_counter

from infergraph.errors import DeadlinePassed, UnknownModel
from infergraph.message import Context, Message, Method
from infergraph.runner import Runner
from infergraph.serving.call import Call
from infergraph.serving.readiness_gate import ReadinessGate
from infergraph.streams import within
from infergraph.wire.v2 import classification, messages
from infergraph.wire.v2.messages import InferMessage
from infergraph.wire.v2.metadata import ModelMetadata, metadata_of
from infergraph.wire.v2.records import InferRequest, InferResponse


class Model:
    """The unit as one model; `GraphModel` is that of a graph. `method` is the one of the unit that answers `infer`.

    Args:
        unit: answers it, once it is loaded.
        name: under which it is served.
        is_strict: whether inputs must be as the metadata declare them.
    """

    is_graph = False
    relays = False
    """Whether bodies of a graph's remote nodes pass through it as they are."""

    def __init__(self, unit: ReadinessGate, name: str, *, is_strict: bool = False) -> None:
        self._unit = unit
        self._is_strict = is_strict
        self.name = name
        self.method = Method.PREDICT
        self._metadata: ModelMetadata | None = None
        self._loads = 0

    async def metadata(self) -> ModelMetadata:
        """Versions, platform, inputs and outputs, as the unit declares them.

        Raises: NotReady until it is loaded.
        """
        while (known := self._metadata) is None:
            loaded = self._loads
            told = await self._unit.metadata()
            facts = self._unit.facts
            if loaded == self._loads:  # otherwise it was reloaded meanwhile
                self.method = facts.infer_method
                self._metadata = metadata_of(self.name, told, facts.v2_metadata)
        return known

    def runner(self) -> Runner | None:
        """The runner of `infer`; None if it may wait."""
        return None if self._metadata is None else self._unit.runners.get(self.method)

    @property
    def is_there(self) -> bool:
        """Whether it is known to clients, loaded or about to be; one that was unloaded is not."""
        return not self._unit.is_unloaded

    def forget(self) -> None:
        """Read the metadata again, since the unit is another one."""
        self._metadata = None
        self._loads += 1

    def names(self) -> list[str]:
        """The models that answer `infer`."""
        return [self.name]

    def address(self, name: str) -> str:
        """What a graph is told of the model that a request names; of other units nothing."""
        return ""

    def check_name(self, name: str) -> None:
        """Refuse another model, and one that was unloaded.

        Raises: UnknownModel.
        """
        self._check_there(name)
        if name != self.name:
            raise UnknownModel(f"Request for unknown model: {name!r} is not found")

    def _check_there(self, name: str) -> None:
        if not self.is_there:
            raise UnknownModel(f"Request for unknown model: {name!r} is not found")

    async def check(self, name: str, version: str = "") -> ModelMetadata:
        """The metadata of the model of that name and version.

        Raises: UnknownModel if it is another one.
        """
        self.check_name(name)
        return self.known(version) or self._of_version(await self.metadata(), version)

    def known(self, version: str) -> ModelMetadata | None:
        """The metadata of that version; None until the unit is loaded.

        Raises: UnknownModel if there is no such version.
        """
        return self._metadata and self._of_version(self._metadata, version)

    def _of_version(self, metadata: ModelMetadata, version: str) -> ModelMetadata:
        if version and version != metadata.version:
            raise UnknownModel(f"Request for unknown model: {self.name!r} version {version} is not found")
        return metadata

    async def described(self, name: str, version: str = "") -> ModelMetadata:
        """The metadata to show of the model of that name and version.

        Raises: UnknownModel if it is another one.
        """
        return await self.check(name, version)

    async def is_ready(self, name: str, version: str, probe: Callable[[], Awaitable[bool]]) -> bool:
        """Whether the model of that name and version can answer.

        Args:
            probe: whether the server can.
        Raises: UnknownModel if it is another one.
        """
        self.check_name(name)
        if not await probe():
            return False
        await self.check(name, version)
        return True

    async def infer(
        self, message: InferMessage, context: Context, metadata: ModelMetadata, call: Call, *, is_hop: bool = False
    ) -> InferResponse:
        """The answer to a request.

        Args:
            call: by which it came.
            is_hop: it is for a graph of this runtime.
        Raises: a Fault.
        """
        request = message.read()
        if self._is_strict or request.outputs:
            self._check(request, metadata)
        if request.parameters and request.timeout_s:
            answer = await self.answer_within(request.timeout_s, message, context, call)
        else:
            answer = await self._unit.answer(self.method, message, context)
        if self.is_graph:
            return await self.finished(answer, request, metadata, is_hop=is_hop)
        return self._respond(answer, request, metadata, is_hop=is_hop)

    async def stream(
        self, message: InferMessage, context: Context, metadata: ModelMetadata
    ) -> AsyncGenerator[InferResponse, None]:
        """The answers to a request, as they come.

        Raises: a Fault, perhaps after some answers.
        """
        request = message.read()
        self._check(request, metadata)
        answers = self._unit.stream(self.method, message, context)
        if request.parameters and (limit_s := request.timeout_s):
            deadline = asyncio.get_running_loop().time() + limit_s
            answers = within(answers, lambda: asyncio.timeout_at(deadline), lambda: _late(limit_s))
        async with aclosing(answers):
            async for answer in answers:
                yield await self.finished(answer, request, metadata)

    def _check(self, request: InferRequest, metadata: ModelMetadata) -> None:
        if self._is_strict:
            metadata.check(request.inputs)
        if request.outputs:
            classification.check(request)

    async def finished(
        self, answer: Message, request: InferRequest, metadata: ModelMetadata, *, is_hop: bool = False
    ) -> InferResponse:
        """The unit's answer in the form of the protocol.

        Raises: PayloadError for a requested output that there is not; ComponentError for what is no output.
        """
        return self._respond(answer, request, metadata, is_hop=is_hop)

    def _respond(
        self, answer: Message, request: InferRequest, metadata: ModelMetadata, *, is_hop: bool
    ) -> InferResponse:
        version, declared = metadata.version, metadata.only_output
        return messages.response_of(answer, request, name=self.name, version=version, declared=declared, is_hop=is_hop)

    async def answer(self, message: Message, context: Context) -> Message:
        """The unit's answer to a message of any protocol.

        Raises: a Fault.
        """
        return await self._unit.answer(self.method, message, context)

    async def route(self, message: InferMessage, context: Context) -> Message:
        """The child that the unit chooses as a router."""
        return await self._unit.answer(Method.ROUTE, message, context)

    async def aggregate(
        self,
        children: Sequence[Message],
        request: InferRequest,
        context: Context,
        metadata: ModelMetadata,
        *,
        is_hop: bool,
    ) -> InferResponse:
        """The unit's answer as a combiner."""
        answer = await self._unit.answer(Method.AGGREGATE, children, context)
        return await self.finished(answer, request, metadata, is_hop=is_hop)

    async def answer_within(self, limit_s: float, message: InferMessage, context: Context, call: Call) -> Message:
        """The unit's answer, if it comes in time.

        Raises: DeadlinePassed. Code of a component that runs in its thread is not interrupted.
        """
        late = _late(limit_s)
        left_s = limit_s - (perf_counter() - call.begun)
        if left_s <= 0:
            raise late
        if call.runner is not None:
            answer = await self.answer(message, context)
            if perf_counter() - call.begun > limit_s:
                raise late
            return answer
        deadline = asyncio.get_running_loop().time() + left_s
        context = context.due(deadline if context.deadline is None else min(deadline, context.deadline))
        try:
            async with asyncio.timeout(left_s) as limit:
                return await self.answer(message, context)
        except TimeoutError:
            if limit.expired():
                raise late from None
            raise


def _late(limit_s: float) -> DeadlinePassed:
    return DeadlinePassed(f"no answer within the {limit_s:g} s of the request's parameter timeout")
