from __future__ import annotations

import asyncio

import pytest

from graph_units import Saying
from infergraph.errors import ComponentError
from infergraph.message import Context, Encoding, Message, Method, PredictiveUnit
from infergraph.observe.measured import Measured
from infergraph.observe.node_times import collect_node_times, node_times
from infergraph.observe.shared_metrics import PrivateMetrics

ASKED = Message.of("x", Encoding.STR)


def timed(unit: PredictiveUnit) -> Measured:
    """The unit, measured."""
    return Measured(unit, PrivateMetrics())


def test_branches_of_a_request_share_one_account() -> None:
    """Nodes that answer in tasks of their own, several times or with a fault, are all in their request's times."""
    first, second = timed(Saying("a")), timed(Saying("b", fault=ComponentError("no")))

    async def request() -> dict[str, float]:
        collect_node_times()
        await first.answer(Method.TRANSFORM_INPUT, ASKED, Context())
        before = node_times()["a"]
        branches = [asyncio.create_task(unit.answer(Method.PREDICT, ASKED, Context())) for unit in (first, second)]
        await asyncio.gather(*branches, return_exceptions=True)
        assert node_times()["a"] >= before
        return dict(node_times())

    times = asyncio.run(request())
    assert list(times) == ["a", "b"]
    assert all(milliseconds >= 0 for milliseconds in times.values())


def test_requests_do_not_share_their_times() -> None:
    """Requests side by side, each in its task, see their own nodes alone; one that collects nothing has none."""

    async def request(name: str) -> list[str]:
        collect_node_times()
        for _ in range(3):
            await timed(Saying(name)).answer(Method.PREDICT, ASKED, Context())
            await asyncio.sleep(0)
        return list(node_times())

    async def silent() -> list[str]:
        with pytest.raises(ComponentError):
            await timed(Saying("c", fault=ComponentError("no"))).answer(Method.PREDICT, ASKED, Context())
        return list(node_times())

    async def all_of_them() -> list[list[str]]:
        return await asyncio.gather(request("a"), request("b"), silent())

    assert asyncio.run(all_of_them()) == [["a"], ["b"], []]
