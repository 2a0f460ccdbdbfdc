"""Run an inference graph: one recursive function over a table of places.

    message ─▶ input phase ─▶ route ─▶ children, side by side ─▶ combine ─▶ output phase ─▶ answer

The graph receives its units and never builds one; it is a predictive unit itself, so every edge can serve it.
Source: the orchestrator specification, sections 6 to 10.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from infergraph.errors import DeadlinePassed, Fault, MethodMissing, NotReady
from infergraph.graph import description, routing
from infergraph.graph.meta import Flight, MetaMode, carry, finish, inject, join, meta_of
from infergraph.graph.parallel import side_by_side
from infergraph.graph.plan import Parts, PlannedNode, calls_in_turn, plan
from infergraph.graph.shadows import Comparison, Shadows
from infergraph.graph.spec import Node
from infergraph.graph.taps import Tap
from infergraph.local import LocalCalls
from infergraph.message import Context, Feedback, Message, Meta, Method, PredictiveUnit, Request, UnitFacts, share
from infergraph.net.retry import is_refused
from infergraph.runner import Runner


class GraphOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a graph runs.

    Args:
        meta: see `MetaMode`.
        deadline_s: longest time for one request; 0 for no limit of the graph's own.
        ready_timeout_s: longest time for the readiness of all nodes.
        shadow_limit: shadow calls in flight at most; further ones are left out.
        protocol: seldon, tensorflow or v2: what the graph's front speaks.
        deployment, namespace: whose graph it is, for its front.
    """

    meta: MetaMode = MetaMode.MERGE
    deadline_s: float = 0.0
    ready_timeout_s: float = 5.0
    shadow_limit: int = 64
    protocol: str = "seldon"
    deployment: str = ""
    namespace: str = "default"


class Graph(LocalCalls, PredictiveUnit):
    """A tree of nodes as one predictive unit.

    Args:
        root: the tree.
        units: for each node that calls something, its unit by node name.
        options: how it runs.
        name: the predictor's name, as graph metadata shows it.
        taps: for each node with a logger, what its payloads are shown to.
        rng: draws the waits between retries.
        on_shadow: gets what each shadow did beside the live answer.
    Raises: GraphError where a node lacks its unit, or the tree cannot run; the text names the node.
    Promises: nothing that a client or a node sends ends the process; a cancelled request cancels its node calls.
    """

    def __init__(
        self,
        root: Node,
        units: Mapping[str, PredictiveUnit],
        options: GraphOptions = GraphOptions(),  # noqa: B008  a frozen value
        *,
        name: str = "",
        taps: Mapping[str, Tap] | None = None,
        rng: random.Random | None = None,
        on_shadow: Callable[[Comparison], None] | None = None,
    ) -> None:
        super().__init__()
        self.name = name or root.name
        self.options = options
        self._root = plan(root, Parts(units, taps or {}, rng or random.Random()))
        self._units = list({id(unit): unit for unit in units.values()}.values())
        self._shadows = Shadows(options.shadow_limit, on_shadow)
        self._merges = options.meta is MetaMode.MERGE
        self._injects = options.meta is MetaMode.INJECT
        self._calls = None if self._injects else calls_in_turn(self._root)

    async def start(self) -> None:
        """Start all units side by side.

        Raises: the fault of the first that cannot start; the others are stopped again.
        """
        self._lives(here=True)
        results = await asyncio.gather(*(unit.start() for unit in self._units), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            await self.stop()
            raise failures[0]

    async def stop(self) -> None:
        """Stop all units."""
        await self._shadows.stop()
        await asyncio.gather(*(unit.stop() for unit in self._units), return_exceptions=True)
        self._lives(here=False)

    @property
    def facts(self) -> UnitFacts:
        """What the graph's front speaks, and whose graph it is."""
        options = self.options
        return UnitFacts(options.protocol, options.deployment, options.namespace)

    @property
    def task_rows(self) -> str | None:
        """What the first of its units says that says anything: those on the way in come before those behind them."""
        units = (place.unit for place in self._root.walk() if place.unit is not None)
        return next((unit.task_rows for unit in units if unit.task_rows is not None), None)

    async def settle(self) -> None:
        """Wait until no shadow call is in flight."""
        await self._shadows.settle()

    def runner(self, method: Method) -> Runner | None:
        """The one runner of all its nodes, where they are asked one after the other: a chain costs one hop."""
        if method is not Method.PREDICT or not self._calls or self.options.deadline_s:
            return None
        if any(place.tap is not None for place, _ in self._calls):
            return None  # what watches payloads lives on the event loop
        runners = {None if place.unit is None else place.unit.runner(asked) for place, asked in self._calls}
        return runners.pop() if len(runners) == 1 else None

    def answer(self, method: Method, request: Request, context: Context) -> Coroutine[Any, Any, Message]:
        """Answer a prediction or take a feedback.

        Raises:
            MethodMissing: for any other method.
            DeadlinePassed: the graph's or the context's deadline is over.
            Fault: the one of the node that failed; `fault.node` names it.
        """
        work: Callable[[Any, Context], Coroutine[Any, Any, Message]]
        given: Any = request
        if method is Method.PREDICT and isinstance(request, Message):
            work = self._predict
        elif method is Method.SEND_FEEDBACK and isinstance(request, Feedback):
            work = self._feedback
        else:
            raise MethodMissing(f"a graph answers predictions and takes feedback, not {method.value}", node=self.name)
        if not self.options.deadline_s and context.deadline is None:
            return work(given, context)
        return self._within_deadline(work, given, context)

    async def ready(self) -> bool:
        """Whether every node's unit can answer now; asked side by side, false when that takes too long."""
        try:
            async with asyncio.timeout(self.options.ready_timeout_s):
                return all(await asyncio.gather(*(unit.ready() for unit in self._units)))
        except (TimeoutError, Fault):
            return False

    async def health(self, context: Context) -> Message:
        """That every node can answer.

        Raises: NotReady if one cannot.
        """
        if await self.ready():
            return await super().health(context)
        raise NotReady(f"a node of graph {self.name} cannot answer")

    async def status(self, node: str, context: Context) -> Message:
        """One node's own account of its health.

        Raises: GraphError for an unknown node; the node's fault.
        """
        place = description.find(self._root, node)
        return await super().health(context) if place.unit is None else await place.unit.health(context)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The graph's metadata (`name`, `models`, `graphinputs`, `graphoutputs`), or one node's own.

        Of "" the graph's own as a node of another graph has it.
        Raises: GraphError for an unknown node; the fault of a node that has no metadata.
        """
        if node is None:
            return await description.describe(self._root, self.name, context)
        if not node:
            return description.as_node(await description.describe(self._root, self.name, context))
        place = description.find(self._root, node)
        return {"name": node} if place.unit is None else await place.unit.metadata(context=context)

    async def _within_deadline(
        self, work: Callable[[Any, Context], Awaitable[Message]], request: Request, context: Context
    ) -> Message:
        now = asyncio.get_running_loop().time()
        limits = [context.deadline] if context.deadline is not None else []
        if self.options.deadline_s:
            limits.append(now + self.options.deadline_s)
        deadline = min(limits)
        timed = context.due(deadline)
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await work(request, timed)
        except TimeoutError:
            if not limit.expired():
                raise
            text = f"graph {self.name} gave no answer within {max(deadline - now, 0):.3f} s"
            raise DeadlinePassed(text) from None

    async def _predict(self, message: Message, context: Context) -> Message:
        flight = Flight()
        if self._calls is None:
            answer = await self._visit(self._root, message, context, flight)
        else:
            answer = message
            for place, method in self._calls:
                answer = await self._call(place, method, answer, context, flight)
        return finish(answer, flight, context.puid) if self._merges else answer

    async def _visit(self, place: PlannedNode, message: Message, context: Context, flight: Flight) -> Message:
        """The answer of a node and all below it."""
        if place.guarded is not None:
            return await self._visit_guarded(place, place.guarded, message, context, flight)
        if place.input is not None:
            if self._injects:
                flight.routing[place.name] = routing.ALL
            message = await self._call(place, place.input, message, context, flight)
        if place.children:
            message = await self._descend(place, message, context, flight)
        if place.output:
            message = await self._call(place, Method.TRANSFORM_OUTPUT, message, context, flight)
        return inject(message, flight) if self._injects else message

    def _call(
        self, place: PlannedNode, method: Method, message: Message, context: Context, flight: Flight
    ) -> Coroutine[Any, Any, Message]:
        """The answer of a node's own unit to one message."""
        given = meta_of(message) if self._merges else None
        if place.tap is None:
            return self._own(place, method, message, context, flight, given)
        return self._tapped(place.tap, self._own(place, method, message, context, flight, given), message, context)

    async def _tapped(
        self, tap: Tap, asked: Coroutine[Any, Any, Message], message: Message, context: Context
    ) -> Message:
        message.share()
        tap.request(message, context)
        answer = await asked
        answer.share()
        tap.response(answer, context)
        return answer

    async def _own(
        self,
        place: PlannedNode,
        method: Method,
        request: Request,
        context: Context,
        flight: Flight | None,
        given: Meta | None = None,
    ) -> Message:
        """What a node's own unit answers, or its stand-in where it failed; a fault leaves with the node's name.

        Args:
            given: the meta of the request, which the answer has to carry on.
        """
        unit = place.unit
        assert unit is not None
        if place.stand_in is not None:
            share(request)
        try:
            answer = await unit.answer(method, request, context)
        except Fault as fault:
            if not fault.node:
                fault.node = place.name
            if place.stand_in is None or flight is None or is_refused(fault):
                raise
            answer = await self._stand_in(place, method, request, context, flight, fault)
        else:
            if place.label and flight is not None:
                flight.path[place.name] = place.label
        return carry(given, answer) if given else answer

    async def _stand_in(
        self, place: PlannedNode, method: Method, request: Request, context: Context, flight: Flight, fault: Fault
    ) -> Message:
        stand_in = place.stand_in
        place.log_fallback(fault)
        if isinstance(stand_in, Message):
            return stand_in
        assert stand_in is not None
        if isinstance(request, Message) and method is not Method.ROUTE:
            return await self._visit(stand_in, request, context, flight)
        if stand_in.unit is None:
            raise fault
        return await self._own(stand_in, method, request, context, flight)

    async def _visit_guarded(
        self, guard: PlannedNode, place: PlannedNode, message: Message, context: Context, flight: Flight
    ) -> Message:
        message.share()
        try:
            return await self._visit(place, message, context, flight)
        except Fault as fault:
            if is_refused(fault):
                raise
            return await self._stand_in(guard, Method.PREDICT, message, context, flight, fault)

    async def _descend(self, place: PlannedNode, message: Message, context: Context, flight: Flight) -> Message:
        """The joint answer of a node's children."""
        if place.chain:
            for child in place.children:
                message = await self._visit(child, message, context, flight)
            return message
        if place.is_read_twice:
            message.share()
        tap = place.group_tap
        if tap is not None:
            tap.request(message, context)
        route = await self._route(place, message, context, flight)
        if route == routing.NONE:
            flight.routing[place.name] = route
            return message
        chosen = place.children if route == routing.ALL else place.children[route : route + 1]
        if place.shadows:
            answers = await self._beside_shadows(place, chosen, message, context, flight)
        else:
            answers = await self._ask(chosen, message, context, flight)
        if place.routes or self._injects:  # only now: injected routing shows a node no choice made above it
            flight.routing[place.name] = route
        answer = answers[0] if not place.combines else await self._combine(place, answers, context, flight)
        if tap is not None:
            answer.share()
            tap.response(answer, context)
        return answer

    async def _ask(
        self, children: Sequence[PlannedNode], message: Message, context: Context, flight: Flight
    ) -> Sequence[Message]:
        if len(children) == 1:
            return (await self._visit(children[0], message, context, flight),)
        return await side_by_side([self._visit(child, message, context, flight) for child in children])

    async def _beside_shadows(
        self, place: PlannedNode, children: Sequence[PlannedNode], message: Message, context: Context, flight: Flight
    ) -> Sequence[Message]:
        calls = {shadow.name: partial(self._visit, shadow, message, context, Flight()) for shadow in place.shadows}
        watched = self._shadows.begin(calls)
        try:
            answers = await self._ask(children, message, context, flight)
        except BaseException:
            watched.give_up()
            raise
        answers[0].share()
        watched.compare(answers[0])
        return answers

    async def _route(self, place: PlannedNode, message: Message, context: Context, flight: Flight) -> int:
        if not place.routes:
            return routing.ALL
        answer = await self._own(place, Method.ROUTE, message, context, flight)
        route = routing.check_route(routing.route_value(answer, place.name), len(place.children), place.name)
        if self._merges and (meta := meta_of(answer)):
            flight.asides.append(meta)
        return route

    async def _combine(
        self, place: PlannedNode, answers: Sequence[Message], context: Context, flight: Flight
    ) -> Message:
        if self._injects:
            flight.routing[place.name] = routing.ALL
        given = join([meta_of(one) for one in answers]) if self._merges else None
        return await self._own(place, Method.AGGREGATE, answers, context, flight, given)

    async def _feedback(self, feedback: Feedback, context: Context) -> Message:
        answer = await self._visit_feedback(self._root, feedback, context)
        return answer if answer is not None else feedback.echo()

    async def _visit_feedback(self, place: PlannedNode, feedback: Feedback, context: Context) -> Message | None:
        """Give feedback to the children that answered, then to the node itself.

        Returns: the node's own answer; None where it takes no feedback.
        """
        place = place.guarded or place
        if place.tap is not None:
            place.tap.feedback(feedback, context)
        if place.children:
            chosen = _rewarded(place, feedback)
            if chosen:
                await side_by_side([self._visit_feedback(child, feedback, context) for child in chosen])
        if not place.feedback:
            return None
        return await self._own(place, Method.SEND_FEEDBACK, feedback, context, None)


def _rewarded(place: PlannedNode, feedback: Feedback) -> Sequence[PlannedNode]:
    """The children that a feedback is for."""
    if place.chain:
        return place.children
    route = routing.check_route(routing.feedback_route(feedback, place.name), len(place.children), place.name)
    if route == routing.NONE:
        return ()
    return place.children if route == routing.ALL else place.children[route : route + 1]
