"""A graph's answer as a stream: the last model on the way streams, and what stands above it is asked for each answer.

    message ─▶ input phase ─▶ route ─▶ the one child, streamed ─▶ output phase of each answer ─▶ answer, answer, …

Several children, and a combiner, make one answer of theirs, which is then the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any, NamedTuple

from infergraph.errors import Fault, GraphError
from infergraph.graph import routing
from infergraph.graph.meta import RequestState, answered, inject, meta_of
from infergraph.graph.plan import PlannedNode
from infergraph.message import Answers, Context, Message, Method
from infergraph.net.retry import is_refused
from infergraph.streams import begin, resumed


class Steps(NamedTuple):
    """The executor's steps for one request.

    Args:
        visit: the one answer of a node and its subtree.
        call: the answer of a node's own unit.
        enter: the route at a node with children; its shadows are not asked yet.
        gather: the one answer of the children on a route.
        shadow: asks the shadows of a node; nothing is compared with what they answer.
        merges, injects: see `MetaMode`.
    """

    visit: Callable[[PlannedNode, Message], Coroutine[Any, Any, Message]]
    call: Callable[[PlannedNode, Method, Message], Coroutine[Any, Any, Message]]
    enter: Callable[[PlannedNode, Message], Coroutine[Any, Any, int]]
    gather: Callable[[PlannedNode, int, Message], Coroutine[Any, Any, Message]]
    shadow: Callable[[PlannedNode, Message], None]
    merges: bool
    injects: bool


class StreamedVisit:
    """One request to a graph, answered with a stream."""

    def __init__(self, steps: Steps, context: Context, state: RequestState) -> None:
        self._steps = steps
        self._context = context
        self._state = state

    async def visit(self, planned: PlannedNode, message: Message) -> Answers:
        """The answers of a node and its subtree."""
        async with aclosing(self._inner(planned, message)) as answers:
            async for answer in answers:
                if planned.output and planned.primary is None:
                    answer = await self._steps.call(planned, Method.TRANSFORM_OUTPUT, answer)
                yield inject(answer, self._state) if self._steps.injects else answer

    def _inner(self, planned: PlannedNode, message: Message) -> Answers:
        """The answers without the node's output phase."""
        if planned.primary is not None:
            message.share()
            return self._or_stand_in(planned, self.visit(planned.primary, message), message)
        if planned.input is not None and self._steps.injects:
            self._state.routing[planned.name] = routing.ALL
        if planned.children:
            return self._below(planned, message)
        if planned.input is None:
            return _only(message)
        return self._own(planned, planned.input, message)

    async def _own(self, planned: PlannedNode, method: Method, message: Message) -> Answers:
        """The answers of a node's own unit, with what `Graph._call` adds to one answer."""
        unit, tap, context = planned.unit, planned.tap, self._context
        assert unit is not None
        given = meta_of(message) if self._steps.merges else None
        if tap is not None or planned.stand_in is not None:
            message.share()
        if tap is not None:
            tap.request(message, context)
        answers = self._named(planned, unit.stream(method, message, context))
        if planned.stand_in is not None:
            answers = self._or_stand_in(planned, answers, message)
        async with aclosing(answers):
            async for answer in answers:
                answer = answered(given, answer, message) if given else answer
                if tap is not None:
                    answer.share()
                    tap.response(answer, context)
                yield answer

    async def _named(self, planned: PlannedNode, answers: Answers) -> Answers:
        """The answers of a node, which is in the path with the first; a fault gets the node's name."""
        async with aclosing(answers):
            try:
                async for answer in answers:
                    if planned.label:
                        self._state.path[planned.name] = planned.label
                    yield answer
            except Fault as fault:
                fault.node = fault.node or planned.name
                raise

    async def _or_stand_in(self, planned: PlannedNode, answers: Answers, message: Message) -> Answers:
        """The answers; those of the fallback if there is a fault before the first one."""
        try:
            whole = resumed(await begin(answers))
        except Fault as fault:
            if is_refused(fault):
                raise
            planned.log_fallback(fault)
            stand_in = planned.stand_in
            assert stand_in is not None
            whole = _only(stand_in) if isinstance(stand_in, Message) else self.visit(stand_in, message)
        async with aclosing(whole):
            async for answer in whole:
                yield answer

    async def _below(self, planned: PlannedNode, message: Message) -> Answers:
        """The answers of a node's children."""
        steps = self._steps
        if planned.input is not None:
            message = await steps.call(planned, planned.input, message)
        if planned.chain:
            for child in planned.children[:-1]:
                message = await steps.visit(child, message)
            answers = self.visit(planned.children[-1], message)
        else:
            answers = self._routed(planned, message)
        async with aclosing(answers):
            async for answer in answers:
                yield answer

    async def _routed(self, planned: PlannedNode, message: Message) -> Answers:
        steps, tap = self._steps, planned.group_tap
        route = await steps.enter(planned, message)
        chosen = planned.children if route == routing.ALL else planned.children[route : route + 1]
        if route == routing.NONE or planned.combines or len(chosen) > 1:
            yield await steps.gather(planned, route, message)
            return
        steps.shadow(planned, message)
        async with aclosing(self.visit(chosen[0], message)) as answers:
            async for answer in answers:
                if planned.routes or steps.injects:
                    self._state.routing[planned.name] = route
                if tap is not None:
                    answer.share()
                    tap.response(answer, self._context)
                yield answer


async def _only(message: Message) -> Answers:
    yield message


def check(root: PlannedNode) -> None:
    """Refuse a combiner above a model that has nothing but a stream, of which it could combine no answers.

    Raises: GraphError that names both.
    """
    for planned in root.walk():
        below = [inner for inner in planned.walk() if inner is not planned] if planned.combines else []
        for inner in below:
            if inner.unit is not None and inner.unit.facts.only_streams:
                text = f"node {inner.name!r} has predict_stream alone, and {planned.name!r} combines whole answers"
                raise GraphError(f"{text}: give it predict too", node=inner.name)
