from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infergraph.errors import ComponentError
from infergraph.message import Context, Encoding, Message, Method, PredictiveUnit, Request
from infergraph.observe.measured import Measured
from infergraph.observe.shared_metrics import SharedMetrics, read


class Echo(PredictiveUnit):
    """Answers with the request; refuses to route."""

    name = "echo"

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        if method is Method.ROUTE:
            raise ComponentError("no way")
        assert isinstance(request, Message)
        return request

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        return {"name": node or "echo"}


def counts(folder: Path) -> dict[tuple[str, str], float]:
    """How many values each histogram holds, by unit and method."""
    return {
        (one.series.labels["unit"], one.series.labels["method"]): sum(one.values[:-1])
        for one in read(folder)
        if one.series.name == "infergraph_unit_seconds"
    }


def test_every_answer_is_timed_also_a_failed_one(tmp_path: Path) -> None:
    """Answers and faults pass through unchanged and are counted by unit and method."""
    unit = Measured(Echo(), SharedMetrics(tmp_path, "worker-0"))
    message = Message.of("x", Encoding.STR)

    async def ask() -> None:
        for _ in range(3):
            assert await unit.answer(Method.PREDICT, message, Context()) is message
        with pytest.raises(ComponentError, match="no way"):
            await unit.answer(Method.ROUTE, message, Context())

    asyncio.run(ask())
    assert counts(tmp_path) == {("echo", "predict"): 3, ("echo", "route"): 1}
    faults = [(one.series.labels, one.values) for one in read(tmp_path) if one.series.name == "infergraph_unit_faults"]
    assert faults == [({"unit": "echo", "method": "route"}, [1.0])]


def test_whatever_else_is_asked_is_the_units_own(tmp_path: Path) -> None:
    """Name, readiness, health and metadata are those of the unit inside."""
    unit = Measured(Echo(), SharedMetrics(tmp_path, "worker-0"))
    assert unit.name == "echo"
    assert asyncio.run(unit.ready())
    assert asyncio.run(unit.metadata("n")) == {"name": "n"}
    assert asyncio.run(unit.health(Context())).payload == "healthy"


def test_a_started_unit_counts_as_loaded(tmp_path: Path) -> None:
    """The gauge of loaded units is 0 before start and 1 after."""

    def loaded() -> list[float]:
        return [value for one in read(tmp_path) if one.series.name == "infergraph_unit_loaded" for value in one.values]

    unit = Measured(Echo(), SharedMetrics(tmp_path, "worker-0"))
    assert loaded() == []
    asyncio.run(unit.start())
    assert loaded() == [1.0]


def test_a_unit_that_takes_over_counts_once(tmp_path: Path) -> None:
    """A second unit of one name starts before the first stops: one is left, and a further stop changes nothing."""
    shared_metrics = SharedMetrics(tmp_path, "worker-0")
    first, second = Measured(Echo(), shared_metrics), Measured(Echo(), shared_metrics)

    async def take_over() -> None:
        await first.start()
        await second.start()
        await first.stop()
        await first.stop()

    asyncio.run(take_over())
    [loaded] = [one.values for one in read(tmp_path) if one.series.name == "infergraph_unit_loaded"]
    assert loaded == [1.0]
