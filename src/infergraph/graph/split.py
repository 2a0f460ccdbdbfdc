"""Traffic split: several predictors behind one address, with weights and shadows.

    message ─▶ one live graph, chosen at random by traffic ─▶ answer
            └▶ shadows, in the background: compared, logged, dropped

The reference leaves this to a service mesh.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import msgspec

from infergraph.errors import GraphError, NotReady
from infergraph.graph import routing
from infergraph.graph.meta import meta_of
from infergraph.graph.parallel import side_by_side
from infergraph.graph.shadows import Comparison, Shadows, Watched
from infergraph.local import LocalCalls
from infergraph.message import Answers, Context, Feedback, Message, Method, PredictiveUnit, Request, UnitFacts, share


class Share(msgspec.Struct, frozen=True):
    """One graph of a split.

    Args:
        unit: the graph; its name is the predictor's.
        traffic: its weight.
        shadow: gets a copy of every request; its answers are compared, logged and dropped.
    """

    unit: PredictiveUnit
    traffic: int = 0
    shadow: bool = False


class Split(LocalCalls, PredictiveUnit):
    """The predictors of one deployment as one predictive unit.

    Args:
        name: the deployment's name.
        shares: the predictors; those that are not shadows are numbered from 0.
        rng: chooses the predictor of each request.
        marks: write the chosen predictor into the answer's `meta.routing` under `name`, so that feedback finds it.
        shadow_limit: maximum of shadow calls in flight.
        on_shadow: called with each comparison of a shadow with the live answer.
    Raises: GraphError if all are shadows.
    """

    def __init__(
        self,
        name: str,
        shares: Sequence[Share],
        rng: random.Random,
        *,
        marks: bool = True,
        shadow_limit: int = 64,
        on_shadow: Callable[[Comparison], None] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.marks = marks
        self._live = [share.unit for share in shares if not share.shadow]
        self._copies = [share.unit for share in shares if share.shadow]
        if not self._live:
            raise GraphError(f"deployment {name!r} has no predictor that is not a shadow")
        self._relays = all(unit.facts.relays for unit in self._live)
        traffic = [max(share.traffic, 0) for share in shares if not share.shadow]
        self._traffic = traffic if any(traffic) else [1] * len(traffic)
        self._rng = rng
        self._shadows = Shadows(shadow_limit, on_shadow)

    @property
    def facts(self) -> UnitFacts:
        """The predictors' facts, which are the same for all of a deployment, and the names of the predictors."""
        names = tuple(unit.name for unit in self._live) if len(self._live) > 1 else ()
        return self._live[0].facts._replace(predictors=names, relays=self._relays)

    async def start(self) -> None:
        """Start all predictors.

        Raises: the fault of the first that cannot start; the others are stopped again.
        """
        self._lives(here=True)
        started = (unit.start() for unit in (*self._live, *self._copies))
        failures = [one for one in await asyncio.gather(*started, return_exceptions=True) if one is not None]
        if failures:
            await self.stop()
            raise failures[0]

    async def stop(self) -> None:
        """Stop all predictors."""
        await self._shadows.stop()
        await asyncio.gather(*(unit.stop() for unit in (*self._live, *self._copies)), return_exceptions=True)
        self._lives(here=False)

    @property
    def task_rows(self) -> str | None:
        """The row mode of the first predictor that declares one."""
        return next((unit.task_rows for unit in self._live if unit.task_rows is not None), None)

    async def settle(self) -> None:
        """Wait until no shadow call is in flight."""
        await self._shadows.settle()

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The answer of the predictor that the request names as its model, else of a chosen one.

        A feedback goes to the predictor whose answer it is for, else to all.
        """
        if isinstance(request, Feedback):
            return await self._feedback(request, context)
        named = self._named(context.model)
        if named is not None:
            return await named.answer(method, request, context.addressed(""))
        drawn = self._draw()
        answer = await self._beside_shadows(self._live[drawn], method, request, context)
        return self._marked(answer, drawn) if self.marks and len(self._live) > 1 else answer

    async def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The answers of that predictor; shadows are asked for one, with which nothing is compared."""
        drawn, unit = 0, self._named(context.model)
        marks = unit is None and self.marks and len(self._live) > 1
        if unit is None:
            drawn = self._draw()
            unit = self._live[drawn]
            self._ask_shadows(method, request, context).give_up()
        else:
            context = context.addressed("")
        async with aclosing(unit.stream(method, request, context)) as answers:
            async for answer in answers:
                yield self._marked(answer, drawn) if marks else answer

    def _named(self, name: str) -> PredictiveUnit | None:
        """The predictor of a name, such as the model that a request names; None for an empty one."""
        return next((unit for unit in self._live if name and unit.name == name), None)

    def _draw(self) -> int:
        return 0 if len(self._live) == 1 else self._rng.choices(range(len(self._live)), self._traffic)[0]

    async def ready(self) -> bool:
        """Whether every live predictor can answer."""
        return all(await asyncio.gather(*(unit.ready() for unit in self._live)))

    async def health(self, context: Context) -> Message:
        """The health of the first predictor, if all are ready.

        Raises: NotReady if one is not.
        """
        if not await self.ready():
            raise NotReady(f"a predictor of {self.name} cannot answer")
        return await self._live[0].health(context)

    async def status(self, node: str, context: Context) -> Message:
        """The health of one node, from the first predictor that has it.

        Raises: GraphError if none has.
        """
        found: Message = await self._first(node, lambda unit: unit.status(node, context))
        return found

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The metadata of the predictor with the most traffic, or of the first node, or predictor, of that name.

        Raises: GraphError for an unknown name; the fault of a node that has no metadata.
        """
        if not node:
            return await self._live[self._traffic.index(max(self._traffic))].metadata(node, context)
        try:
            found: Mapping[str, Any] = await self._first(node, lambda unit: unit.metadata(node, context))
        except GraphError:
            named = self._named(node)
            if named is None:
                raise
            return await named.metadata(None, context)
        return found

    async def _first(self, node: str, ask: Callable[[PredictiveUnit], Any]) -> Any:
        for unit in self._live:
            try:
                return await ask(unit)
            except GraphError:
                continue
        raise GraphError(f"Failed to find model {node}")

    async def _beside_shadows(
        self, live: PredictiveUnit, method: Method, request: Request, context: Context
    ) -> Message:
        if not self._copies:
            return await live.answer(method, request, context)
        watched = self._ask_shadows(method, request, context)
        try:
            answer = await live.answer(method, request, context)
        except BaseException:
            watched.give_up()
            raise
        answer.share()
        watched.compare(answer)
        return answer

    def _ask_shadows(self, method: Method, request: Request, context: Context) -> Watched:
        if self._copies:
            share(request)
        calls = {unit.name: partial(_coroutine, unit, method, request, context) for unit in self._copies}
        return self._shadows.begin(calls)

    def _marked(self, answer: Message, drawn: int) -> Message:
        meta = None if self._relays else meta_of(answer)
        if meta is None:
            return answer
        return answer.with_meta({**meta, "routing": {**(meta.get("routing") or {}), self.name: drawn}})

    async def _feedback(self, feedback: Feedback, context: Context) -> Message:
        route = routing.check_route(routing.feedback_route(feedback, self.name), len(self._live), self.name)
        chosen = self._live if route < 0 else self._live[route : route + 1]
        answers = await side_by_side([_coroutine(unit, Method.SEND_FEEDBACK, feedback, context) for unit in chosen])
        return answers[0]


async def _coroutine(unit: PredictiveUnit, method: Method, request: Request, context: Context) -> Message:
    return await unit.answer(method, request, context)
