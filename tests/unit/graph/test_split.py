"""Several predictors behind one address: shares, feedback, shadows."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from graph_units import Saying, Waiting, node
from infergraph.errors import GraphError, NotReady, RoutingError
from infergraph.graph.executor import Graph, GraphOptions
from infergraph.graph.shadows import Comparison
from infergraph.graph.split import Share, Split
from infergraph.message import Context, Encoding, Feedback, FeedbackContent, Message, Method

X = Message.of("x", Encoding.STR)


def graphs(*traffic: int, shadow: int | None = None, **more: Any) -> tuple[Split, list[Saying]]:
    """A split over graphs of one model each; the shadow is given by its index."""
    units = [Saying(f"m{index}") for index in range(len(traffic))]
    shares = [
        Share(Graph(node(unit.name), {unit.name: unit}, name=f"p{index}"), share, index == shadow)
        for index, (unit, share) in enumerate(zip(units, traffic, strict=True))
    ]
    return Split("dep", shares, random.Random(3), **more), units


async def drawn(split: Split, times: int) -> Counter[str]:
    return Counter([(await split.answer(Method.PREDICT, X, Context())).payload[0] for _ in range(times)])


@pytest.mark.parametrize(
    ("traffic", "shares"),
    [((75, 25), (0.75, 0.25)), ((0, 0), (0.5, 0.5)), ((100, 0), (1.0, 0.0)), ((10, 20, 70), (0.1, 0.2, 0.7))],
)
def test_shares(traffic: tuple[int, ...], shares: tuple[float, ...]) -> None:
    """Each predictor gets its share of the requests; with no traffic given all are alike."""
    split, _ = graphs(*traffic)
    counts = asyncio.run(drawn(split, 2000))
    for index, share in enumerate(shares):
        assert counts[f"m{index}"] / 2000 == pytest.approx(share, abs=0.05)


def test_feedback_finds_the_predictor() -> None:
    """The answer names the predictor that gave it, and its reward goes there and nowhere else."""
    split, units = graphs(50, 50)

    async def run() -> None:
        for _ in range(10):
            answer = await split.answer(Method.PREDICT, X, Context())
            for unit in units:
                unit.asked.clear()
            feedback = Feedback(FeedbackContent(None, answer, 1.0, None))
            await split.answer(Method.SEND_FEEDBACK, feedback, Context())
            assert [unit.name for unit in units if unit.asked] == [answer.payload[0]]

    asyncio.run(run())


def test_feedback_that_names_no_predictor() -> None:
    """Without a predictor named all of them are told; one that is not there is a RoutingError."""
    split, units = graphs(50, 50, 0, shadow=2)

    def told(routing: dict[str, int]) -> list[str]:
        for unit in units:
            unit.asked.clear()
        response = Message.of("", Encoding.STR, meta={"routing": routing})
        feedback = Feedback(FeedbackContent(None, response, 1.0, None))
        asyncio.run(split.answer(Method.SEND_FEEDBACK, feedback, Context()))
        return [unit.name for unit in units if unit.asked]

    assert told({}) == ["m0", "m1"]
    assert told({"dep": 1}) == ["m1"]
    with pytest.raises(RoutingError):
        told({"dep": 2})


def test_a_single_predictor_is_not_marked() -> None:
    """With one live predictor there is nothing to say about which."""
    split, _ = graphs(0)
    assert (asyncio.run(split.answer(Method.PREDICT, X, Context())).meta or {}) == {}


def test_shadow_predictor() -> None:
    """A shadow gets every request and never delays or changes the answer."""

    async def run() -> None:
        seen: list[Comparison] = []
        shadow = Waiting("s")
        live = Saying("a")
        shares = [
            Share(Graph(node("s"), {"s": shadow}, name="copy"), 0, True),
            Share(Graph(node("a"), {"a": live}, name="live"), 0),
        ]
        split = Split("dep", shares, random.Random(1), on_shadow=seen.append)
        answer = await split.answer(Method.PREDICT, X, Context())
        assert answer.payload[0] == "a"
        shadow.let_go.set()
        await split.settle()
        assert seen == [Comparison("copy", same=False)]

    asyncio.run(run())


def test_only_shadows() -> None:
    """A deployment of shadows alone cannot answer and is refused."""
    with pytest.raises(GraphError, match="no predictor that is not a shadow"):
        graphs(0, shadow=0)


def test_readiness_and_description() -> None:
    """Ready when every live predictor is; described by the one with the most traffic; nodes are found in any."""

    async def run() -> None:
        split, units = graphs(20, 70, 10, shadow=2)
        assert (await split.metadata())["name"] == "p1"
        assert (await split.metadata("m0"))["name"] == "m0"
        assert (await split.status("m0", Context())).payload == "healthy"
        with pytest.raises(GraphError, match="Failed to find model m2"):
            await split.metadata("m2")
        units[2].is_ready = False
        assert await split.ready()
        units[0].is_ready = False
        assert not await split.ready()
        with pytest.raises(NotReady):
            await split.health(Context())

    asyncio.run(run())


def test_protocol() -> None:
    """A split's front speaks what its predictors do."""
    options = GraphOptions(protocol="v2")
    graph = Graph(node("a"), {"a": Saying("a")}, options)
    assert Split("d", [Share(graph)], random.Random(1)).facts.protocol == "v2"


def test_plain_call() -> None:
    """A split is asked from Python like a graph."""
    split, _ = graphs(100, 0)
    with split:
        assert split("x") == ["m0", "predict", "x"]
