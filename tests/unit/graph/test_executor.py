"""The executor: phases, routes, branches, faults, feedback, deadlines, shadows and fallbacks, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_units import Doing, Failing, Saying, Waiting, node
from infergraph.errors import (
    ComponentError,
    DeadlinePassed,
    Fault,
    GraphError,
    MethodMissing,
    NotReady,
    PayloadError,
    RemoteError,
    RoutingError,
)
from infergraph.graph.executor import Graph, GraphOptions
from infergraph.graph.meta import MetaMode
from infergraph.graph.shadows import Comparison
from infergraph.graph.spec import Node
from infergraph.message import Context, Encoding, Feedback, FeedbackContent, Message, Method, PredictiveUnit

PASS = GraphOptions(meta=MetaMode.PASS)
X = Message.of("x", Encoding.STR)


def graph_of(root: Node, *units: PredictiveUnit, options: GraphOptions = PASS, **more: Any) -> Graph:
    return Graph(root, {unit.name: unit for unit in units}, options, **more)


def ask(graph: Graph, message: Message = X) -> Any:
    return asyncio.run(graph.answer(Method.PREDICT, message, Context())).payload


def streamed(graph: Graph, message: Message = X) -> list[Any]:
    async def run() -> list[Any]:
        return [answer.payload async for answer in graph.stream(Method.PREDICT, message, Context())]

    return asyncio.run(run())


def reward(graph: Graph, routing: Mapping[str, Any]) -> Message:
    response = Message.of("", Encoding.STR, meta={"routing": dict(routing)})
    feedback = Feedback(FeedbackContent(None, response, 1.0, None))
    return asyncio.run(graph.answer(Method.SEND_FEEDBACK, feedback, Context()))


# ── phases ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_chain_of_models() -> None:
    """A model's answer is its child's request."""
    graph = graph_of(node("a", "MODEL", node("b")), Saying("a"), Saying("b"))
    assert ask(graph) == ["b", "predict", ["a", "predict", "x"]]


def test_every_phase_of_one_node() -> None:
    """One node may take part in all phases, in the order input, route, children, combine, output."""
    methods = ("TRANSFORM_INPUT", "ROUTE", "AGGREGATE", "TRANSFORM_OUTPUT")
    unit = Saying("n", route=1)
    graph = graph_of(node("n", "MODEL", node("a"), node("b"), methods=methods), unit, Saying("a"), Saying("b"))
    ask(graph)
    assert [method.value for method, _ in unit.asked] == ["transform_input", "route", "aggregate", "transform_output"]
    assert unit.asked[2][1] == [["b", "predict", ["n", "transform_input", "x"]]]


@pytest.mark.parametrize("kind", [None, "UNKNOWN_TYPE", "SOMETHING", "ROUTER", "COMBINER"])
def test_leaf_that_calls_nothing(kind: str | None) -> None:
    """A leaf without a phase of its own gives the request back, the very same message."""
    units = [Saying("n")] if kind == "ROUTER" else []
    graph = graph_of(node("n", kind), *units)
    answer = asyncio.run(graph.answer(Method.PREDICT, X, Context()))
    assert answer is X


def test_children_without_a_combiner() -> None:
    """All children are asked and the first one's answer is taken."""
    a, b = Saying("a"), Saying("b")
    assert ask(graph_of(node("n", None, node("a"), node("b")), a, b))[0] == "a"
    assert len(a.asked) == len(b.asked) == 1


def test_chain_type() -> None:
    """The children of a CHAIN run one after the other, so that something can follow a combiner."""
    root = node("n", "CHAIN", node("c", "COMBINER", node("a"), node("b")), node("after"))
    graph = graph_of(root, Saying("a"), Saying("b"), Saying("c"), Saying("after"))
    assert ask(graph) == ["after", "predict", ["c", "aggregate", [["a", "predict", "x"], ["b", "predict", "x"]]]]


def test_message_is_passed_itself() -> None:
    """Units of one process are handed the very message that the unit before them made."""
    made: list[Message] = []
    seen: list[Message] = []

    class Makes(Saying):
        async def answer(self, method: Method, request: Any, context: Context) -> Message:
            made.append(await super().answer(method, request, context))
            return made[-1]

    class Sees(Saying):
        async def answer(self, method: Method, request: Any, context: Context) -> Message:
            seen.append(request)
            return await super().answer(method, request, context)

    ask(graph_of(node("a", "MODEL", node("b")), Makes("a"), Sees("b")))
    assert seen[0] is made[0]


# ── routes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("route", "called"),
    [(0, ["a"]), (1, ["b"]), (-1, ["a", "b"]), (-2, []), (1.0, ["b"]), (np.int64(1), ["b"]), (np.float32(0), ["a"])],
)
def test_route(route: Any, called: list[str]) -> None:
    """A route names one child, all of them or none; whole numbers of any type do."""
    a, b = Saying("a"), Saying("b")
    answer = ask(graph_of(node("r", "ROUTER", node("a"), node("b")), Saying("r", route=route), a, b))
    assert [unit.name for unit in (a, b) if unit.asked] == called
    assert answer == ([called[0], "predict", "x"] if called else "x")


@pytest.mark.parametrize("route", [2, -3, 1.5, float("nan"), float("inf"), True, "1", None, [], 10**30])
def test_route_that_names_no_child(route: Any) -> None:
    """Any other answer of a router is a RoutingError with the router's name, and no child is asked."""
    a, b = Saying("a"), Saying("b")
    with pytest.raises(RoutingError) as caught:
        ask(graph_of(node("r", "ROUTER", node("a"), node("b")), Saying("r", route=route), a, b))
    assert caught.value.node == "r"
    assert not a.asked
    assert not b.asked


# ── faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fault_of_the_first_child_in_order() -> None:
    """Whichever child fails first in time, the fault of the first in order is raised, after all are done."""

    async def run() -> None:
        a, c = Waiting("a", fault=ComponentError("from a")), Waiting("c")
        b = Saying("b", fault=ComponentError("from b"))
        graph = graph_of(node("n", None, node("a"), node("b"), node("c")), a, b, c)
        asking = asyncio.ensure_future(graph.answer(Method.PREDICT, X, Context()))
        await c.begun.wait()
        a.let_go.set()
        await asyncio.wait([asking], timeout=0.01)
        assert not asking.done()  # c is still at work
        c.let_go.set()
        with pytest.raises(ComponentError, match="from a") as caught:
            await asking
        assert caught.value.node == "a"

    asyncio.run(run())


def test_branch_cancelled_from_within() -> None:
    """A unit whose own work was cancelled fails its branch, not the process, and the request ends with a fault."""

    class Cancels(Saying):
        async def answer(self, method: Method, request: Any, context: Context) -> Message:
            raise asyncio.CancelledError

    with pytest.raises(Fault, match="cancelled"):
        ask(graph_of(node("n", None, node("a"), node("b")), Saying("a"), Cancels("b")))


def test_foreign_exception_passes() -> None:
    """What is no Fault is somebody's bug and leaves as it is, also from a branch."""
    with pytest.raises(ZeroDivisionError):
        ask(graph_of(node("n", None, node("a"), node("b")), Saying("a"), Saying("b", fault=ZeroDivisionError())))


@pytest.mark.parametrize("method", [Method.ROUTE, Method.AGGREGATE, Method.TRANSFORM_INPUT, Method.TRANSFORM_OUTPUT])
def test_methods_that_a_graph_lacks(method: Method) -> None:
    """A graph predicts and takes feedback; anything else is MethodMissing."""
    with pytest.raises(MethodMissing):
        asyncio.run(graph_of(node("a"), Saying("a")).answer(method, X, Context()))


def test_tree_that_cannot_run() -> None:
    """A node without its unit, two different nodes of one name, and a shadow in a CHAIN are refused when built."""
    with pytest.raises(GraphError, match="node 'a' has nothing to call"):
        Graph(node("a"), {})
    with pytest.raises(GraphError, match="two nodes are named 'a'"):
        graph_of(node("a", "MODEL", node("a", component="m:Other")), Saying("a"))
    with pytest.raises(GraphError, match="shadow"):
        graph_of(node("n", "CHAIN", node("a"), node("b", shadow=True)), Saying("a"), Saying("b"))


# ── deadlines and cancellation ──────────────────────────────────────────────────────────────────────────────────────


def test_cancellation_reaches_all_branches() -> None:
    """When the request is cancelled, so is every unit at work on it."""

    async def run() -> None:
        a, b = Waiting("a"), Waiting("b")
        graph = graph_of(node("n", None, node("a"), node("b")), a, b)
        asking = asyncio.ensure_future(graph.answer(Method.PREDICT, X, Context()))
        await a.begun.wait()
        await b.begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert a.cancelled
        assert b.cancelled

    asyncio.run(run())


@pytest.mark.parametrize("by", ["option", "context"])
def test_deadline(by: str) -> None:
    """At the graph's or the request's deadline the units are cancelled and the fault says how long was waited."""

    async def run() -> None:
        unit = Waiting("a")
        options = GraphOptions(meta=MetaMode.PASS, deadline_s=0.01 if by == "option" else 30.0)
        graph = graph_of(node("a"), unit, options=options)
        deadline = asyncio.get_running_loop().time() + 0.01 if by == "context" else None
        with pytest.raises(DeadlinePassed, match=r"graph a gave no answer within 0\.0"):
            await graph.answer(Method.PREDICT, X, Context(deadline=deadline))
        assert unit.cancelled

    asyncio.run(run())


def test_deadline_is_told_to_units() -> None:
    """Units see the earlier of the request's and the graph's deadline, and all else of the context."""
    seen: list[Context] = []

    class Sees(Saying):
        async def answer(self, method: Method, request: Any, context: Context) -> Message:
            seen.append(context)
            return await super().answer(method, request, context)

    async def run() -> float:
        now = asyncio.get_running_loop().time()
        graph = graph_of(node("a"), Sees("a"), options=GraphOptions(deadline_s=50))
        await graph.answer(Method.PREDICT, X, Context(headers=((b"h", b"1"),), puid="p", deadline=now + 5, model="m"))
        return now + 5

    deadline = asyncio.run(run())
    (context,) = seen
    assert (context.deadline, context.headers, context.puid, context.model) == (deadline, ((b"h", b"1"),), "p", "m")


# ── feedback ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _router() -> tuple[Graph, dict[str, Saying]]:
    units = {name: Saying(name) for name in "rabc"}
    root = node("r", "ROUTER", node("a", "MODEL", node("c")), node("b"))
    return graph_of(root, *units.values()), units


@pytest.mark.parametrize(
    ("routing", "told"),
    [({"r": 0}, "rac"), ({"r": 1}, "rb"), ({"r": -1}, "rabc"), ({"r": -2}, "r"), ({}, "rabc"), ({"z": 1}, "rabc"),
     ({"r": "1"}, "rb"), ({"r": 1.0}, "rb")],
)  # fmt: skip
def test_feedback_follows_the_recorded_route(routing: dict[str, Any], told: str) -> None:
    """A reward goes to the children on the recorded route, or to all, and then to the node itself."""
    graph, units = _router()
    answer = reward(graph, routing)
    assert sorted(name for name, unit in units.items() if unit.asked) == sorted(told)
    assert answer.payload == ["r", "send_feedback", 1.0]


@pytest.mark.parametrize("route", [2, -3, 0.5, "x", None, True])
def test_feedback_route_that_names_no_child(route: Any) -> None:
    """A recorded route that names no child is a RoutingError, and nobody is told."""
    graph, units = _router()
    with pytest.raises(RoutingError):
        reward(graph, {"r": route})
    assert not any(unit.asked for unit in units.values())


def test_feedback_order() -> None:
    """Children are told before their parent, and a child's fault stops the parent."""
    told: list[str] = []

    class Notes(Saying):
        async def answer(self, method: Method, request: Any, context: Context) -> Message:
            told.append(self.name)
            return await super().answer(method, request, context)

    root = node("a", "MODEL", node("b", "MODEL", node("c")))
    reward(graph_of(root, Notes("a"), Notes("b"), Notes("c")), {})
    assert told == ["c", "b", "a"]
    told.clear()
    with pytest.raises(ComponentError):
        reward(graph_of(root, Notes("a"), Notes("b", fault=ComponentError("no")), Notes("c")), {})
    assert told == ["c", "b"]


def test_feedback_for_a_root_that_takes_none() -> None:
    """A root that takes no feedback answers nothing, after its children were told."""
    a, c = Saying("a"), Saying("c")
    answer = reward(graph_of(node("c", "COMBINER", node("a")), a, c), {})
    assert a.asked
    assert not c.asked
    assert answer.payload == []


# ── fallbacks, retries, time limits ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault", [ComponentError("bug"), RemoteError("down"), RemoteError("", status=503), DeadlinePassed("late")]
)
def test_constant_fallback(fault: Fault) -> None:
    """A failed node answers its constant, and the graph goes on below it."""
    root = node("a", "TRANSFORMER", node("b"), fallback={"strData": "none"})
    assert ask(graph_of(root, Saying("a", fault=fault), Saying("b"))) == ["b", "predict", "none"]


@pytest.mark.parametrize(
    "fault",
    [PayloadError("bad"), RemoteError("", status=422), ComponentError("", status=404), RemoteError("", grpc_code=3)],
)
def test_no_fallback_for_the_callers_mistake(fault: Fault) -> None:
    """A node that finds fault with the request did not fail, so its fault reaches the caller."""
    with pytest.raises(type(fault)):
        ask(graph_of(node("a", fallback={"strData": "none"}), Saying("a", fault=fault)))


def test_fallback_node() -> None:
    """A fallback may be a node with children of its own."""
    root = node("a", fallback=node("b", "MODEL", node("c")))
    graph = graph_of(root, Saying("a", fault=RemoteError("down")), Saying("b"), Saying("c"))
    assert ask(graph) == ["c", "predict", ["b", "predict", "x"]]


def test_fallback_of_a_router_and_a_combiner() -> None:
    """A router's constant is its route, a combiner's other node gets the list."""
    root = node("r", "ROUTER", node("a"), node("b"), fallback={"data": {"ndarray": [1]}})
    assert ask(graph_of(root, Saying("r", fault=RemoteError("down")), Saying("a"), Saying("b")))[0] == "b"
    root = node("c", "COMBINER", node("a"), node("b"), fallback=node("d", "COMBINER", node("d1")))
    graph = graph_of(root, Saying("c", fault=RemoteError("")), *(Saying(name) for name in ("a", "b", "d", "d1")))
    assert ask(graph) == ["d", "aggregate", [["a", "predict", "x"], ["b", "predict", "x"]]]


def test_fallback_of_a_group() -> None:
    """The fallback of a node that calls nothing stands for all below it."""
    root = node("g", "CHAIN", node("a"), node("b"), fallback={"strData": "none"})
    assert ask(graph_of(root, Saying("a"), Saying("b", fault=RemoteError("down")))) == "none"


def test_retries() -> None:
    """A failed call is made again as often as asked, and no more."""
    unit = Failing("a", [RemoteError("1"), ComponentError("2")])
    root = node("a", retries=2, retry_backoff_ms=0)
    assert ask(graph_of(root, unit)) == ["a", "predict", "x"]
    assert len(unit.asked) == 3
    with pytest.raises(ComponentError, match="2"):
        ask(graph_of(node("a", retries=1, retry_backoff_ms=0), Failing("a", [RemoteError("1"), ComponentError("2")])))


def test_no_retry_of_a_route_or_a_reward() -> None:
    """What must happen once is not repeated."""
    unit = Failing("r", [RemoteError("down")])
    root = node("r", "ROUTER", node("a"), retries=5, retry_backoff_ms=0)
    with pytest.raises(RemoteError):
        ask(graph_of(root, unit, Saying("a")))
    unit.faults = [RemoteError("down")]
    with pytest.raises(RemoteError):
        reward(graph_of(root, unit, Saying("a")), {})
    assert len(unit.asked) == 2


def test_time_limit_of_a_node() -> None:
    """A node over its own limit is cancelled; its name is in the fault, and its fallback answers."""

    async def run() -> None:
        unit = Waiting("a")
        graph = graph_of(node("a", timeout_ms=5), unit)
        with pytest.raises(DeadlinePassed, match=r"node a gave no answer within 0\.005 s"):
            await graph.answer(Method.PREDICT, X, Context())
        assert unit.cancelled
        graph = graph_of(node("a", timeout_ms=5, fallback={"strData": "late"}), Waiting("a"))
        assert (await graph.answer(Method.PREDICT, X, Context())).payload == "late"

    asyncio.run(run())


# ── shadows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_shadow_never_delays_the_answer() -> None:
    """The live answer leaves while the shadow is still at work; the comparison follows."""

    async def run() -> None:
        seen: list[Comparison] = []
        shadow = Waiting("s")
        root = node("n", None, node("s", shadow=True), node("a"))
        graph = graph_of(root, Saying("a"), shadow, on_shadow=seen.append)
        answer = await graph.answer(Method.PREDICT, X, Context())
        assert answer.payload[0] == "a"
        assert seen == []
        shadow.let_go.set()
        await graph.settle()
        assert seen == [Comparison("s", same=False)]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("live", "shadow", "same", "difference"),
    [([1.0, 2.0], [1.0, 2.0], True, 0.0), ([1.0, 2.0], [1.0, 2.5], False, 0.5), ([1.0], [1.0, 2.0], False, None)],
)
def test_shadow_comparison(live: Any, shadow: Any, same: bool, difference: float | None) -> None:
    """Two arrays are compared by shape and by their largest difference."""

    async def run() -> None:
        seen: list[Comparison] = []
        root = node("n", None, node("a"), node("s", shadow=True))
        units = [
            Doing(name, lambda _, v=values: np.array(v), Encoding.TENSOR)
            for name, values in (("a", live), ("s", shadow))
        ]
        graph = graph_of(root, *units, on_shadow=seen.append)
        await graph.answer(Method.PREDICT, X, Context())
        await graph.settle()
        assert seen == [Comparison("s", same=same, difference=difference)]

    asyncio.run(run())


def test_shadow_faults_stay_with_the_shadow() -> None:
    """A shadow that fails, or is broken, is reported and changes nothing for the caller."""

    async def run(fault: Exception, text: str) -> None:
        seen: list[Comparison] = []
        root = node("n", None, node("a"), node("s", shadow=True))
        graph = graph_of(root, Saying("a"), Saying("s", fault=fault), on_shadow=seen.append)
        assert (await graph.answer(Method.PREDICT, X, Context())).payload[0] == "a"
        await graph.settle()
        assert seen == [Comparison("s", same=False, fault=text)]

    asyncio.run(run(RemoteError("down"), "down"))
    asyncio.run(run(ZeroDivisionError(), "ZeroDivisionError()"))


def test_shadows_do_not_count_as_children() -> None:
    """A router's numbers name the live children, wherever the shadow stands, and feedback leaves shadows alone."""
    shadow, b = Saying("s"), Saying("b")
    root = node("r", "ROUTER", node("s", shadow=True), node("a"), node("b"))
    graph = graph_of(root, Saying("r", route=1), shadow, Saying("a"), b)
    assert ask(graph)[0] == "b"
    shadow.asked.clear()
    reward(graph, {"r": 1})
    assert not shadow.asked
    assert len(b.asked) == 2


@pytest.mark.parametrize(
    ("root", "text"),
    [
        (node("m", "MODEL", node("s", shadow=True)), "'m' has no child beside its shadow 's'"),
        (node("m", shadow=True), "root 'm' cannot be a shadow"),
        (node("c", "CHAIN", node("a"), node("s", shadow=True)), "shadow cannot stand in a CHAIN"),
        (node("r", "ROUTER", node("a"), fallback={"strData": "x"}), "fallback of node 'r' is not a route"),
        (node("r", "ROUTER", node("a"), fallback={"data": {"ndarray": [1]}}), "fallback of node 'r' is not a route"),
    ],
)
def test_what_could_never_work_is_told_at_start(root: Node, text: str) -> None:
    """A shadow with nothing to be compared with and a router's constant that names no child are refused by name."""
    with pytest.raises(GraphError, match=text):
        graph_of(root, *(Saying(each.name) for each in root.walk()))


def test_shadow_calls_are_bounded() -> None:
    """Beyond the limit of shadow calls in flight, further ones are left out."""

    async def run() -> None:
        shadow = Waiting("s")
        root = node("n", None, node("a"), node("s", shadow=True))
        graph = graph_of(root, Saying("a"), shadow, options=GraphOptions(shadow_limit=2))
        for _ in range(5):
            await graph.answer(Method.PREDICT, X, Context())
        shadow.let_go.set()
        await graph.settle()
        assert len(shadow.asked) == 2

    asyncio.run(run())


# ── readiness and description ───────────────────────────────────────────────────────────────────────────────────────


def test_readiness() -> None:
    """A graph is ready when all its nodes are; one that never says so counts as no."""

    class Silent(Saying):
        async def ready(self) -> bool:
            await asyncio.Event().wait()
            return True

    async def run() -> None:
        a, b = Saying("a"), Saying("b")
        graph = graph_of(node("a", "MODEL", node("b")), a, b)
        assert await graph.ready()
        assert (await graph.health(Context())).payload == "healthy"
        b.is_ready = False
        assert not await graph.ready()
        with pytest.raises(NotReady):
            await graph.health(Context())
        assert not await graph_of(node("a"), Silent("a"), options=GraphOptions(ready_timeout_s=0.01)).ready()

    asyncio.run(run())


def test_metadata_of_a_chain_type_and_of_one_node() -> None:
    """A CHAIN takes in what its first child does and gives out what its last does; a node is found by name."""
    root = node("n", "CHAIN", node("a"), node("b"))
    graph = graph_of(root, Saying("a"), Saying("b"), name="p")
    described = asyncio.run(graph.metadata())
    assert (described["name"], described["graphinputs"], described["graphoutputs"]) == ("p", ["a-in"], ["b-out"])
    assert asyncio.run(graph.metadata("b"))["name"] == "b"
    assert asyncio.run(graph.metadata("n")) == {"name": "n"}
    with pytest.raises(GraphError, match="Failed to find model z"):
        asyncio.run(graph.metadata("z"))
    with pytest.raises(GraphError, match="Failed to find model z"):
        asyncio.run(graph.status("z", Context()))


def test_start_that_fails() -> None:
    """When one unit cannot start, the others are stopped again and its fault is raised."""
    stopped: list[str] = []

    class Starts(Saying):
        async def start(self) -> None:
            if self.fault:
                raise self.fault

        async def stop(self) -> None:
            stopped.append(self.name)

    graph = graph_of(node("a", "MODEL", node("b")), Starts("a"), Starts("b", fault=GraphError("no model")))
    with pytest.raises(GraphError, match="no model"):
        asyncio.run(graph.start())
    assert sorted(stopped) == ["a", "b"]


# ── any tree ────────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def trees(draw: st.DrawFn, depth: int = 0) -> Node:
    """Trees of all types, each node with a name of its own by its place."""
    count = draw(st.integers(0, 3)) if depth < 3 else 0
    kinds = ["MODEL", "TRANSFORMER", "OUTPUT_TRANSFORMER", "ROUTER", "COMBINER", "CHAIN", "UNKNOWN_TYPE", None]
    methods = st.sets(st.sampled_from(["TRANSFORM_INPUT", "TRANSFORM_OUTPUT", "ROUTE", "AGGREGATE"]), max_size=2)
    children = tuple(draw(trees(depth=depth + 1)) for _ in range(count))
    return Node(
        name=f"n{draw(st.uuids())}",
        type=draw(st.sampled_from(kinds)),
        methods=tuple(sorted(draw(methods))),
        children=children,
    )


def reference(tree: Node, payload: Any, routes: Mapping[str, int], broken: set[str]) -> Any:
    """What a tree answers, in a dozen plain lines; a broken node raises its name."""

    def call(method: str, given: Any) -> Any:
        if tree.name in broken:
            raise LookupError(tree.name)
        return [tree.name, method, given]

    if tree.type == "TRANSFORMER" or "TRANSFORM_INPUT" in tree.methods:
        payload = call("transform_input", payload)
    elif tree.type == "MODEL":
        payload = call("predict", payload)
    if tree.type == "CHAIN":
        for child in tree.children:
            payload = reference(child, payload, routes, broken)
    elif tree.children:
        route = -1
        if tree.type == "ROUTER" or "ROUTE" in tree.methods:
            call("route", payload)
            route = routes[tree.name]
            if not -2 <= route < len(tree.children):
                raise LookupError(tree.name)
        if route != -2:
            chosen = tree.children if route == -1 else [tree.children[route]]
            answers = [reference(child, payload, routes, broken) for child in chosen]
            combines = tree.type == "COMBINER" or "AGGREGATE" in tree.methods
            payload = call("aggregate", answers) if combines else answers[0]
    if tree.type == "OUTPUT_TRANSFORMER" or "TRANSFORM_OUTPUT" in tree.methods:
        payload = call("transform_output", payload)
    return payload


def outcome(tree: Node, routes: Mapping[str, int], broken: set[str]) -> tuple[Any, str | None]:
    """The reference's answer, or the node at which it fails."""
    try:
        return reference(tree, "x", routes, broken), None
    except LookupError as failure:
        return None, failure.args[0]


@given(data=st.data(), mode=st.sampled_from(list(MetaMode)), tree=trees())
@settings(max_examples=150, deadline=None)
def test_any_tree_answers_as_the_plain_reference(data: st.DataObject, mode: MetaMode, tree: Node) -> None:
    """For any tree, any routes and any broken nodes, in every meta mode, the executor answers what a plain recursion
    does, or fails at the same node; as a stream of units that do not stream it is the same."""
    names = [place.name for place in tree.walk()]
    routes = {name: data.draw(st.integers(-3, 3)) for name in names}
    broken = set(data.draw(st.lists(st.sampled_from(names), max_size=1)))
    units = {
        name: Saying(name, route=routes[name], fault=ComponentError(name) if name in broken else None, meta={})
        for name in names
    }
    graph = Graph(tree, units, GraphOptions(meta=mode))
    expected, fails_at = outcome(tree, routes, broken)
    if fails_at is None:
        assert ask(graph) == expected
        assert streamed(graph) == [expected]
        return
    for way in (ask, streamed):
        with pytest.raises((ComponentError, RoutingError)) as caught:
            way(graph)
        assert caught.value.node == fails_at
