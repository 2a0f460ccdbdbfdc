"""Streams in a graph: who streams, who is asked for each answer, fallbacks, retries, deadlines, taps, shadows."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from graph_units import Doing, Saying, Streaming, Waiting, node
from infergraph.errors import ComponentError, DeadlinePassed, Fault, GraphError
from infergraph.graph.executor import Graph, GraphOptions
from infergraph.graph.meta import MetaMode
from infergraph.graph.resilience import Retried, Timed
from infergraph.graph.spec import Logger, Node
from infergraph.graph.split import Share, Split
from infergraph.message import Answers, Context, Encoding, Message, Method, PredictiveUnit, Request, UnitFacts
from infergraph.wire.v2.records import TensorSet
from infergraph.wire.v2.tensors import Datatype, Tensor

PASS = GraphOptions(meta=MetaMode.PASS)
INJECT = GraphOptions(meta=MetaMode.INJECT)
X = Message.of("x", Encoding.STR)


def graph_of(root: Node, *units: PredictiveUnit, options: GraphOptions = PASS, **more: Any) -> Graph:
    return Graph(root, {unit.name: unit for unit in units}, options, **more)


async def messages(unit: PredictiveUnit, context: Context | None = None, request: Message = X) -> list[Message]:
    return [answer async for answer in unit.stream(Method.PREDICT, request, context or Context())]


def streamed(unit: PredictiveUnit) -> list[Any]:
    return [message.payload for message in asyncio.run(messages(unit))]


def test_the_last_model_of_a_chain_streams() -> None:
    """The nodes before it answer once; their answer is its request."""
    first, last = Streaming("a"), Streaming("b", 2)
    given = ["a", "predict", "x"]
    assert streamed(graph_of(node("a", "MODEL", node("b")), first, last)) == [["b", 0, given], ["b", 1, given]]
    assert first.asked == [(Method.PREDICT, "x")]
    first, last = Streaming("a"), Streaming("b", 2)
    assert streamed(graph_of(node("n", "CHAIN", node("a"), node("b")), first, last))[1] == ["b", 1, given]


def test_an_output_transformer_is_asked_for_each_answer() -> None:
    """What stands above the stream sees its answers one by one, as they come."""
    above, model = Saying("t"), Streaming("m")

    async def run() -> None:
        graph = graph_of(node("t", "OUTPUT_TRANSFORMER", node("m")), above, model)
        async with aclosing(graph.stream(Method.PREDICT, X, Context())) as answers:
            first = await anext(answers)
            assert first.payload == ["t", "transform_output", ["m", 0, "x"]]
            assert len(above.asked) == model.given == 1
        assert model.is_closed

    asyncio.run(run())


def test_a_router_chooses_once_and_is_in_the_meta_of_every_answer() -> None:
    """The chosen child streams; its path and the route are told with each answer."""
    router = Saying("r", route=1, meta={"tags": {"by": "r"}})
    model = Streaming("b", 2, meta={})
    graph = graph_of(node("r", "ROUTER", node("a"), node("b")), router, Streaming("a"), model, options=GraphOptions())
    answers = asyncio.run(messages(graph, Context(puid="p")))
    assert [answer.payload[1] for answer in answers] == [0, 1]
    assert len(router.asked) == 1
    for answer in answers:
        assert answer.meta == {"tags": {"by": "r"}, "routing": {"r": 1}, "puid": "p"}


def test_the_injected_routing_of_a_stream_is_that_of_one_answer() -> None:
    """Every node with an input phase is in the routing of every answer, one without children too."""
    graph = graph_of(
        node("t", "TRANSFORMER", node("m")), Saying("t", meta={}), Streaming("m", 2, meta={}), options=INJECT
    )
    whole = asyncio.run(graph.answer(Method.PREDICT, X, Context()))
    assert whole.meta == {"routing": {"t": -1, "m": -1}}
    assert [answer.meta for answer in asyncio.run(messages(graph))] == [whole.meta, whole.meta]


def test_the_answers_to_a_request_in_tensors_are_in_tensors() -> None:
    """Each answer of a stream is passed on as one answer would be: as tensors, with what it lost of the meta."""

    class Arrays(Doing):
        async def stream(self, method: Method, request: Request, context: Context) -> Answers:
            for _ in range(2):
                yield await self.answer(method, request, context)

    given = TensorSet([Tensor("x", Datatype.FP64, np.array([1.0, 2.0]))])
    request = Message.of(given, Encoding.TENSORS, meta={"id": "i", "tags": {"a": 1}})
    unit = Arrays("m", lambda _: np.array([3.0]), Encoding.NDARRAY)
    graph = graph_of(node("m"), unit, options=GraphOptions())
    whole = asyncio.run(graph.answer(Method.PREDICT, request, Context()))
    for answer in (whole, *asyncio.run(messages(graph, request=request))):
        assert answer.holds_tensors
        assert [tensor.array.tolist() for tensor in answer.payload.tensors] == [[3.0]]
        assert answer.meta == whole.meta


@pytest.mark.parametrize("route", [-2, -1])
def test_no_child_and_all_children_are_one_answer(route: int) -> None:
    """A router that chooses none gives the request back; one that chooses all gives one answer."""
    graph = graph_of(node("r", "ROUTER", node("a"), node("b")), Saying("r", route=route), Streaming("a"), Saying("b"))
    assert streamed(graph) == (["x"] if route == -2 else [["a", "predict", "x"]])


def test_a_combiner_gives_one_answer() -> None:
    """Its children answer whole, and so does it."""
    graph = graph_of(node("c", "COMBINER", node("a"), node("b")), Saying("c"), Streaming("a"), Saying("b"))
    assert streamed(graph) == [["c", "aggregate", [["a", "predict", "x"], ["b", "predict", "x"]]]]


def test_a_combiner_above_a_stream_alone_is_refused_at_start() -> None:
    """The text names both nodes; what was started is stopped."""

    class OnlyStreams(Streaming):
        is_stopped = False

        @property
        def facts(self) -> UnitFacts:
            return UnitFacts(only_streams=True)

        async def stop(self) -> None:
            self.is_stopped = True

    unit = OnlyStreams("a")
    with pytest.raises(GraphError, match="'a' has predict_stream alone, and 'c' combines"):
        asyncio.run(graph_of(node("c", "COMBINER", node("a"), node("b")), Saying("c"), unit, Saying("b")).start())
    assert unit.is_stopped
    asyncio.run(graph_of(node("n", "CHAIN", node("a")), OnlyStreams("a")).start())


def test_a_fault_names_its_node() -> None:
    """The answers before it are there, and the fault has the name of the node that broke."""

    async def run() -> None:
        graph = graph_of(node("t", "OUTPUT_TRANSFORMER", node("m")), Saying("t"), Streaming("m", breaks_at=1))
        answers = graph.stream(Method.PREDICT, X, Context())
        assert (await anext(answers)).payload[2][1] == 0
        with pytest.raises(ComponentError) as caught:
            await anext(answers)
        assert caught.value.node == "m"

    asyncio.run(run())


@pytest.mark.parametrize("fallback", ["node", "constant"])
def test_a_fallback_answers_before_the_first_answer_alone(fallback: str) -> None:
    """A stream that breaks at once is answered by the fallback, which may stream; one that breaks later is not."""
    stand_in = node("f") if fallback == "node" else {"strData": "sorry"}
    wanted = [["f", 0, "x"], ["f", 1, "x"]] if fallback == "node" else ["sorry"]
    root = node("m", "MODEL", fallback=stand_in)
    assert streamed(graph_of(root, Streaming("m", breaks_at=0), Streaming("f", 2))) == wanted
    guarded = node("n", "CHAIN", node("m"), fallback=stand_in)
    assert streamed(graph_of(guarded, Streaming("m", breaks_at=0), Streaming("f", 2))) == wanted
    with pytest.raises(ComponentError, match="broke at 1"):
        streamed(graph_of(root, Streaming("m", breaks_at=1), Streaming("f", 2)))


def test_a_retry_begins_anew_before_the_first_answer_alone() -> None:
    """A stream that broke at once is asked again; one that has given an answer is not repeated."""

    async def no_wait(_: float) -> None:
        return None

    class Breaks(Streaming):
        def stream(self, method: Method, request: Request, context: Context) -> Answers:
            self.breaks_at = 0 if not self.asked else None
            return super().stream(method, request, context)

    first = Breaks("m", 2)
    assert len(streamed(Retried(first, 1, 0.1, rng=random.Random(1), sleep=no_wait))) == 2
    later = Streaming("m", 2, breaks_at=1)
    with pytest.raises(Fault):
        streamed(Retried(later, 1, 0.1, rng=random.Random(1), sleep=no_wait))
    assert len(later.asked) == 1


def test_the_deadline_of_the_graph_is_that_of_the_stream() -> None:
    """A stream whose next answer does not come is ended, and the graph is named."""

    class Stops(Streaming):
        async def stream(self, method: Method, request: Request, context: Context) -> Answers:
            try:
                yield Message.of("first", Encoding.STR)
                await asyncio.Event().wait()
            finally:
                self.is_closed = True

    for unit in (Stops("m"), Stops("m")):
        graph = graph_of(node("m"), unit, options=GraphOptions(meta=MetaMode.PASS, deadline_s=0.02))
        with pytest.raises(DeadlinePassed, match="graph m gave no answer within"):
            streamed(graph)
        assert unit.is_closed
    with pytest.raises(DeadlinePassed, match=r"node m gave no answer within 0\.01 s"):
        streamed(Timed(Stops("m"), 0.01))


def test_a_tap_sees_the_request_once_and_every_answer() -> None:
    """The log of a node has what it was asked, and each answer."""
    seen: list[tuple[str, Any]] = []

    class Sees:
        def request(self, message: Message, context: Context) -> None:
            seen.append(("request", message.payload))

        def response(self, message: Message, context: Context) -> None:
            seen.append(("response", message.payload[1]))

        def feedback(self, *_: Any) -> None:
            raise AssertionError

    root = node("m", "MODEL", logger=Logger(mode="all"))
    assert len(streamed(graph_of(root, Streaming("m", 2), taps={"m": Sees()}))) == 2
    assert seen == [("request", "x"), ("response", 0), ("response", 1)]


def test_a_shadow_is_asked_and_waits_for_nothing() -> None:
    """The live child streams; its shadow gets the request, and nothing is compared."""
    compared: list[Any] = []
    shadow, model = Waiting("s"), Streaming("m", 2)

    async def run() -> None:
        root = node("n", "CHAIN", node("w", None, node("m"), node("s", "MODEL", shadow=True)))
        graph = graph_of(root, model, shadow, on_shadow=compared.append)
        assert len(await messages(graph)) == 2
        shadow.let_go.set()
        await graph.settle()
        assert shadow.asked == [(Method.PREDICT, "x")]

    asyncio.run(run())
    assert not compared


def test_a_predictor_of_a_split_streams() -> None:
    """One is drawn for the whole stream, and each answer tells which; the shadow is asked too."""
    shadow = Saying("c")
    shares = [Share(Streaming("a", 2, meta={}), 0), Share(Streaming("b", 2, meta={}), 1), Share(shadow, shadow=True)]

    async def run() -> list[Message]:
        split = Split("d", shares, random.Random(1))
        answers = await messages(split)
        await split.settle()
        return answers

    answers = asyncio.run(run())
    assert [(answer.payload[:2], answer.meta) for answer in answers] == [
        (["b", number], {"routing": {"d": 1}}) for number in (0, 1)
    ]
    assert len(shadow.asked) == 1
