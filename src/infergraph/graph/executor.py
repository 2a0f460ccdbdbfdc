"""The graph executor: one recursive function over the execution plan.

    message ─▶ input phase ─▶ route ─▶ children, concurrently ─▶ combine ─▶ output phase ─▶ answer

The graph receives its units and never builds one; it is a predictive unit itself, so every edge can serve it.
Source: the orchestrator specification, sections 6 to 10.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import msgspec

from infergraph.errors import DeadlinePassed, Fault, GraphError, MethodMissing, NotReady
from infergraph.graph import description, routing, streaming
from infergraph.graph.meta import MetaMode, RequestState, answered, finish, inject, join, meta_of
from infergraph.graph.parallel import side_by_side
from infergraph.graph.plan import Parts, PlannedNode, calls_in_turn, plan
from infergraph.graph.shadows import Comparison, Shadows, Watched
from infergraph.graph.spec import Node
from infergraph.graph.streaming import Steps, StreamedVisit
from infergraph.graph.taps import Tap
from infergraph.local import LocalCalls
from infergraph.message import (
    Answers,
    Context,
    Feedback,
    Message,
    Meta,
    Method,
    PredictiveUnit,
    Request,
    UnitFacts,
    share,
)
from infergraph.net.retry import is_refused
from infergraph.runner import Runner
from infergraph.streams import within


class GraphOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a graph.

    Args:
        meta: see `MetaMode`.
        deadline_s: time limit of one request; 0 for none.
        ready_timeout_s: time-out of the readiness check of all nodes.
        shadow_limit: maximum of shadow calls in flight; further ones are dropped.
        protocol: seldon, tensorflow or v2: the protocol in which the graph is served.
        deployment, namespace: of the graph, for its external API.
        relays: whether the bodies of remote nodes of the open inference protocol are passed on as they are.
    """

    meta: MetaMode = MetaMode.MERGE
    deadline_s: float = 0.0
    ready_timeout_s: float = 5.0
    shadow_limit: int = 64
    protocol: str = "seldon"
    deployment: str = ""
    namespace: str = "default"
    relays: bool = False


class Graph(LocalCalls, PredictiveUnit):
    """A tree of nodes as one predictive unit.

    Args:
        root: the tree.
        units: the unit of each node that calls something, by node name.
        options: time limits, meta mode, protocol.
        name: the predictor's name, as graph metadata shows it.
        taps: the payload tap of each node with a logger.
        rng: randomizes the waits between retries.
        on_shadow: called with each comparison of a shadow with the live answer.
    Raises: GraphError if a node lacks its unit, or the tree cannot run; the text names the node.
    Promises: no request or answer of a node ends the process; a cancelled request cancels its node calls.
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
        """Start all units concurrently.

        Raises: the fault of the first that cannot start; GraphError for a combiner of streams. All are stopped again.
        """
        self._lives(here=True)
        results = await asyncio.gather(*(unit.start() for unit in self._units), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            await self.stop()
            raise failures[0]
        try:
            streaming.check(self._root)
        except GraphError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all units."""
        await self._shadows.stop()
        await asyncio.gather(*(unit.stop() for unit in self._units), return_exceptions=True)
        self._lives(here=False)

    @property
    def facts(self) -> UnitFacts:
        """The protocol in which the graph is served, its deployment, its nodes, and whether one of them streams."""
        options = self.options
        nodes = self._root.walk()
        return UnitFacts(
            options.protocol,
            options.deployment,
            options.namespace,
            nodes=tuple(planned.name for planned in nodes),
            relays=options.relays,
            streams=any(planned.unit is not None and planned.unit.facts.streams for planned in nodes),
        )

    @property
    def task_rows(self) -> str | None:
        """The row mode of the first unit that declares one, parents before children."""
        units = (planned.unit for planned in self._root.walk() if planned.unit is not None)
        return next((unit.task_rows for unit in units if unit.task_rows is not None), None)

    async def settle(self) -> None:
        """Wait until no shadow call is in flight."""
        await self._shadows.settle()

    def runner(self, method: Method) -> Runner | None:
        """The common runner of all its nodes, if they are called in sequence: a chain costs one hop."""
        if method is not Method.PREDICT or not self._calls or self.options.deadline_s:
            return None
        if any(planned.tap is not None for planned, _ in self._calls):
            return None  # payload taps run on the event loop
        runners = {None if planned.unit is None else planned.unit.runner(asked) for planned, asked in self._calls}
        return runners.pop() if len(runners) == 1 else None

    def answer(self, method: Method, request: Request, context: Context) -> Coroutine[Any, Any, Message]:
        """Answer a prediction or take a feedback.

        Raises:
            MethodMissing: for any other method.
            DeadlinePassed: the graph's or the context's deadline has passed.
            Fault: of the node that failed; `fault.node` names it.
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

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """Answer a prediction with a stream (see `graph.streaming`); anything else with the one answer."""
        if method is not Method.PREDICT or not isinstance(request, Message):
            return super().stream(method, request, context)
        if not self.options.deadline_s and context.deadline is None:
            return self._streamed(request, context)
        begin, deadline = self._deadline(context)
        timed = self._streamed(request, context.due(deadline))
        return within(timed, lambda: asyncio.timeout_at(deadline), lambda: self._late(deadline - begin))

    async def ready(self) -> bool:
        """Whether every node's unit can answer now; checked concurrently, False on time-out."""
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
        """The health of one node.

        Raises: GraphError for an unknown node; the node's fault.
        """
        planned = description.find(self._root, node)
        return await super().health(context) if planned.unit is None else await planned.unit.health(context)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The graph's metadata (`name`, `models`, `graphinputs`, `graphoutputs`), or one node's own.

        For "" the graph's own, in the form of a node of another graph.
        Raises: GraphError for an unknown node; the fault of a node that has no metadata.
        """
        if node is None:
            return await description.describe(self._root, self.name, context)
        if not node:
            return description.as_node(await description.describe(self._root, self.name, context))
        planned = description.find(self._root, node)
        return {"name": node} if planned.unit is None else await planned.unit.metadata(context=context)

    async def _within_deadline(
        self, work: Callable[[Any, Context], Awaitable[Message]], request: Request, context: Context
    ) -> Message:
        begin, deadline = self._deadline(context)
        timed = context.due(deadline)
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await work(request, timed)
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._late(deadline - begin) from None

    def _deadline(self, context: Context) -> tuple[float, float]:
        """Now, and when the request expires, on the event loop's clock."""
        now = asyncio.get_running_loop().time()
        limits = [context.deadline] if context.deadline is not None else []
        if self.options.deadline_s:
            limits.append(now + self.options.deadline_s)
        return now, min(limits)

    def _late(self, limit_s: float) -> DeadlinePassed:
        return DeadlinePassed(f"graph {self.name} gave no answer within {max(limit_s, 0):.3f} s")

    async def _streamed(self, message: Message, context: Context) -> Answers:
        state = RequestState()
        steps = Steps(
            visit=lambda planned, given: self._visit(planned, given, context, state),
            call=lambda planned, method, given: self._call(planned, method, given, context, state),
            enter=lambda planned, given: self._enter(planned, given, context, state),
            gather=lambda planned, route, given: self._gather(planned, route, given, context, state),
            shadow=lambda planned, given: self._ask_shadows(planned, given, context).give_up(),
            merges=self._merges,
            injects=self._injects,
        )
        async with aclosing(StreamedVisit(steps, context, state).visit(self._root, message)) as answers:
            async for answer in answers:
                yield finish(answer, state, context.puid) if self._merges else answer

    async def _predict(self, message: Message, context: Context) -> Message:
        state = RequestState()
        if self._calls is None:
            answer = await self._visit(self._root, message, context, state)
        else:
            answer = message
            for planned, method in self._calls:
                answer = await self._call(planned, method, answer, context, state)
        return finish(answer, state, context.puid) if self._merges else answer

    async def _visit(self, planned: PlannedNode, message: Message, context: Context, state: RequestState) -> Message:
        """The answer of a node and its subtree."""
        if planned.primary is not None:
            return await self._visit_with_fallback(planned, planned.primary, message, context, state)
        if planned.input is not None:
            if self._injects:
                state.routing[planned.name] = routing.ALL
            message = await self._call(planned, planned.input, message, context, state)
        if planned.children:
            message = await self._descend(planned, message, context, state)
        if planned.output:
            message = await self._call(planned, Method.TRANSFORM_OUTPUT, message, context, state)
        return inject(message, state) if self._injects else message

    def _call(
        self, planned: PlannedNode, method: Method, message: Message, context: Context, state: RequestState
    ) -> Coroutine[Any, Any, Message]:
        """The answer of a node's own unit to one message."""
        given = meta_of(message) if self._merges else None
        if planned.tap is None:
            return self._own(planned, method, message, context, state, given)
        return self._tapped(planned.tap, self._own(planned, method, message, context, state, given), message, context)

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
        planned: PlannedNode,
        method: Method,
        request: Request,
        context: Context,
        state: RequestState | None,
        given: Meta | None = None,
    ) -> Message:
        """The answer of a node's own unit, or of its fallback if it failed; a fault gets the node's name.

        Args:
            given: the meta of the request, which the answer has to carry.
        """
        unit = planned.unit
        assert unit is not None
        if planned.stand_in is not None:
            share(request)
        try:
            answer = await unit.answer(method, request, context)
        except Fault as fault:
            if not fault.node:
                fault.node = planned.name
            if planned.stand_in is None or state is None or is_refused(fault):
                raise
            answer = await self._stand_in(planned, method, request, context, state, fault)
        else:
            if planned.label and state is not None:
                state.path[planned.name] = planned.label
        return answered(given, answer, request) if given else answer

    async def _stand_in(
        self,
        planned: PlannedNode,
        method: Method,
        request: Request,
        context: Context,
        state: RequestState,
        fault: Fault,
    ) -> Message:
        stand_in = planned.stand_in
        planned.log_fallback(fault)
        if isinstance(stand_in, Message):
            return stand_in
        assert stand_in is not None
        if isinstance(request, Message) and method is not Method.ROUTE:
            return await self._visit(stand_in, request, context, state)
        if stand_in.unit is None:
            raise fault
        return await self._own(stand_in, method, request, context, state)

    async def _visit_with_fallback(
        self, guard: PlannedNode, planned: PlannedNode, message: Message, context: Context, state: RequestState
    ) -> Message:
        message.share()
        try:
            return await self._visit(planned, message, context, state)
        except Fault as fault:
            if is_refused(fault):
                raise
            return await self._stand_in(guard, Method.PREDICT, message, context, state, fault)

    async def _descend(self, planned: PlannedNode, message: Message, context: Context, state: RequestState) -> Message:
        """The combined answer of a node's children."""
        if planned.chain:
            for child in planned.children:
                message = await self._visit(child, message, context, state)
            return message
        route = await self._enter(planned, message, context, state)
        return await self._gather(planned, route, message, context, state)

    async def _enter(self, planned: PlannedNode, message: Message, context: Context, state: RequestState) -> int:
        """The route of a request below a node."""
        if planned.is_read_twice:
            message.share()
        if planned.group_tap is not None:
            planned.group_tap.request(message, context)
        return await self._route(planned, message, context, state)

    async def _gather(
        self, planned: PlannedNode, route: int, message: Message, context: Context, state: RequestState
    ) -> Message:
        """The combined answer of the children on a route."""
        if route == routing.NONE:
            state.routing[planned.name] = route
            return message
        chosen = planned.children if route == routing.ALL else planned.children[route : route + 1]
        if planned.shadows:
            answers = await self._beside_shadows(planned, chosen, message, context, state)
        else:
            answers = await self._ask(chosen, message, context, state)
        if planned.routes or self._injects:  # after the children: they must not see it in injected routing
            state.routing[planned.name] = route
        answer = answers[0] if not planned.combines else await self._combine(planned, answers, context, state)
        if planned.group_tap is not None:
            answer.share()
            planned.group_tap.response(answer, context)
        return answer

    async def _ask(
        self, children: Sequence[PlannedNode], message: Message, context: Context, state: RequestState
    ) -> Sequence[Message]:
        if len(children) == 1:
            return (await self._visit(children[0], message, context, state),)
        return await side_by_side([self._visit(child, message, context, state) for child in children])

    async def _beside_shadows(
        self,
        planned: PlannedNode,
        children: Sequence[PlannedNode],
        message: Message,
        context: Context,
        state: RequestState,
    ) -> Sequence[Message]:
        watched = self._ask_shadows(planned, message, context)
        try:
            answers = await self._ask(children, message, context, state)
        except BaseException:
            watched.give_up()
            raise
        answers[0].share()
        watched.compare(answers[0])
        return answers

    def _ask_shadows(self, planned: PlannedNode, message: Message, context: Context) -> Watched:
        calls = {
            shadow.name: partial(self._visit, shadow, message, context, RequestState()) for shadow in planned.shadows
        }
        return self._shadows.begin(calls)

    async def _route(self, planned: PlannedNode, message: Message, context: Context, state: RequestState) -> int:
        if not planned.routes:
            return routing.ALL
        answer = await self._own(planned, Method.ROUTE, message, context, state)
        route = routing.check_route(routing.route_value(answer, planned.name), len(planned.children), planned.name)
        if self._merges and (meta := meta_of(answer)):
            state.asides.append(meta)
        return route

    async def _combine(
        self, planned: PlannedNode, answers: Sequence[Message], context: Context, state: RequestState
    ) -> Message:
        if self._injects:
            state.routing[planned.name] = routing.ALL
        given = join([meta_of(one) for one in answers]) if self._merges else None
        return await self._own(planned, Method.AGGREGATE, answers, context, state, given)

    async def _feedback(self, feedback: Feedback, context: Context) -> Message:
        answer = await self._visit_feedback(self._root, feedback, context)
        return answer if answer is not None else feedback.echo()

    async def _visit_feedback(self, planned: PlannedNode, feedback: Feedback, context: Context) -> Message | None:
        """Send feedback to the children that answered, then to the node itself.

        Returns: the node's own answer; None where it takes no feedback.
        """
        planned = planned.primary or planned
        if planned.tap is not None:
            planned.tap.feedback(feedback, context)
        if planned.children:
            chosen = _rewarded(planned, feedback)
            if chosen:
                await side_by_side([self._visit_feedback(child, feedback, context) for child in chosen])
        if not planned.feedback:
            return None
        return await self._own(planned, Method.SEND_FEEDBACK, feedback, context, None)


def _rewarded(planned: PlannedNode, feedback: Feedback) -> Sequence[PlannedNode]:
    """The children that a feedback is for."""
    if planned.chain:
        return planned.children
    route = routing.check_route(routing.feedback_route(feedback, planned.name), len(planned.children), planned.name)
    if route == routing.NONE:
        return ()
    return planned.children if route == routing.ALL else planned.children[route : route + 1]
