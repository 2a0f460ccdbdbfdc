"""Small predictive units for graph tests: they say what they did, and do it when they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infergraph.errors import ComponentError, Fault
from infergraph.graph.spec import Node, Parameter
from infergraph.message import Answers, Context, Encoding, Feedback, Message, Meta, Method, PredictiveUnit, Request


class Saying(PredictiveUnit):
    """Answers its name, what it was asked and with what; a router answers the child it was given.

    Args:
        name: of the node.
        route: the child it chooses.
        fault: raised instead of any answer.
        meta: of its answers.
    """

    def __init__(self, name: str, *, route: Any = 0, fault: Exception | None = None, meta: Meta | None = None) -> None:
        self.name = name
        self.route = route
        self.fault = fault
        self.meta = meta
        self.asked: list[tuple[Method, Any]] = []
        self.is_ready = True

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        self.asked.append((method, payloads(request)))
        if self.fault is not None:
            raise self.fault
        if method is Method.ROUTE:
            return Message.of([[self.route]], Encoding.NDARRAY, meta=self.meta)
        return Message.of([self.name, method.value, payloads(request)], Encoding.JSON, meta=self.meta)

    async def ready(self) -> bool:
        return self.is_ready

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        return {"name": self.name, "inputs": [f"{self.name}-in"], "outputs": [f"{self.name}-out"]}


class Waiting(Saying):
    """Answers only once it is let go, and says whether it was cancelled."""

    def __init__(self, name: str, **given: Any) -> None:
        super().__init__(name, **given)
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()
        self.cancelled = False

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        self.begun.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return await super().answer(method, request, context)


class Failing(Saying):
    """Fails so many times, then answers."""

    def __init__(self, name: str, faults: Sequence[Fault], **given: Any) -> None:
        super().__init__(name, **given)
        self.faults = list(faults)

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        if self.faults:
            self.asked.append((method, None))
            raise self.faults.pop(0)
        return await super().answer(method, request, context)


class Streaming(Saying):
    """Answers predict with a stream: its name and a number each.

    Args:
        count: how many answers there are.
        breaks_at: raises instead of the answer of this number.
    """

    def __init__(self, name: str, count: int = 3, *, breaks_at: int | None = None, **given: Any) -> None:
        super().__init__(name, **given)
        self.count = count
        self.breaks_at = breaks_at
        self.given = 0
        self.is_closed = False

    async def stream(self, method: Method, request: Request, context: Context) -> Answers:
        self.asked.append((method, payloads(request)))
        try:
            for number in range(self.count):
                if number == self.breaks_at:
                    raise ComponentError(f"broke at {number}")
                self.given += 1
                yield Message.of([self.name, number, payloads(request)], Encoding.JSON, meta=self.meta)
        finally:
            self.is_closed = True


class Doing(PredictiveUnit):
    """Answers what a function makes of the payload."""

    def __init__(self, name: str, function: Callable[[Any], Any], encoding: Encoding = Encoding.JSON) -> None:
        self.name = name
        self.function = function
        self.encoding = encoding

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        return Message.of(self.function(payloads(request)), self.encoding, meta={})

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        return {}


def payloads(request: Request) -> Any:
    """What a unit was asked with."""
    if isinstance(request, Feedback):
        return request.content.reward
    return request.payload if isinstance(request, Message) else [message.payload for message in request]


def node(name: str, type: str | None = "MODEL", *children: Node, **more: Any) -> Node:
    """One node of a tree."""
    parameters = tuple(Parameter(key, str(value), "STRING") for key, value in more.pop("parameters", {}).items())
    return Node(name=name, type=type, children=children, parameters=parameters, **more)
