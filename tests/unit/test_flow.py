"""Graphs composed in Python."""

import asyncio
from pathlib import Path

import numpy as np

from infergraph.flow import built_in, model, router, run, transformer
from infergraph.graph import spec


class Add:
    """Adds a constant."""

    def __init__(self, constant: float = 1) -> None:
        self.constant = constant

    def predict(self, X, names=None):
        return np.asarray(X) + self.constant

    def transform_input(self, X, names=None):
        return np.asarray(X) * 10


class First:
    """Always chooses child 0."""

    def route(self, X, names=None):
        return 0


def test_a_flow_answers_a_plain_call_and_an_await() -> None:
    """The same flow gives the same answer from a script and inside an event loop, without sockets."""
    flow = transformer("scale", Add(), router("choose", First(), model("a", Add(1)), model("b", Add(2))))
    with run(flow) as graph:
        assert graph([[1, 2]]).tolist() == [[11, 21]]

    async def scenario() -> object:
        async with run(flow) as graph:
            return (await graph.predict([[1, 2]])).tolist()

    assert asyncio.run(scenario()) == [[11, 21]]


def test_the_route_is_in_the_answer() -> None:
    """The meta of an in-process graph's answer tells which child was chosen and what answered."""
    flow = router("choose", First(), model("a", Add(1)), model("b", Add(2)))
    with run(flow) as graph:
        meta = graph.run(graph.ask([[1]])).meta
    assert meta["routing"] == {"choose": 0}
    assert set(meta["requestPath"]) == {"choose", "a"}


def test_a_flow_can_be_written_and_read_back(tmp_path: Path) -> None:
    """What a flow writes is a valid deployment file."""
    flow = built_in("mean", "AVERAGE_COMBINER", model("a", Add), model("b", Add))
    (deployment,) = spec.read(flow.to_yaml("written"), source="written.yaml")
    assert deployment.name == "written"
    assert [node.name for node in deployment.predictors[0].graph.walk()] == ["mean", "a", "b"]
