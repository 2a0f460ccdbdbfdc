"""A graph asked from Python: awaited, called, in scripts and inside a running loop."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest

from graph_units import Doing, Saying, node
from infergraph.errors import GraphError
from infergraph.graph.executor import Graph
from infergraph.local import message_of
from infergraph.message import Context, Encoding, Message, Method


class Counted(Saying):
    """Counts its starts and stops, and says in which thread it answered."""

    def __init__(self, name: str, **given: Any) -> None:
        super().__init__(name, **given)
        self.starts = self.stops = 0
        self.threads: set[str] = set()

    async def start(self) -> None:
        self.starts += 1

    async def stop(self) -> None:
        self.stops += 1

    async def answer(self, method: Method, request: Any, context: Context) -> Message:
        self.threads.add(threading.current_thread().name)
        return await super().answer(method, request, context)


def graph_of(unit: Saying) -> Graph:
    return Graph(node(unit.name), {unit.name: unit})


def test_plain_call_from_a_script() -> None:
    """A call starts the graph once, answers, and `close` stops it."""
    unit = Counted("a")
    graph = graph_of(unit)
    assert graph("x") == ["a", "predict", "x"]
    assert graph("y") == ["a", "predict", "y"]
    graph.close()
    graph.close()
    assert (unit.starts, unit.stops) == (1, 1)


def test_plain_call_inside_a_running_loop() -> None:
    """A notebook's cell can call the graph although its loop runs; the answer comes from the graph's own thread."""
    unit = Counted("a")
    graph = graph_of(unit)

    async def cell() -> Any:
        first = graph("x")
        second = await graph.predict("y")
        return first, second

    with graph:
        assert asyncio.run(cell()) == (["a", "predict", "x"], ["a", "predict", "y"])
    assert unit.threads == {"infergraph a"}
    assert (unit.starts, unit.stops) == (1, 1)


def test_awaited_where_it_was_started() -> None:
    """Started on this loop, the graph answers on it, and a plain call there says why it cannot."""
    unit = Counted("a")

    async def run() -> None:
        async with graph_of(unit) as graph:
            assert await graph.predict("x") == ["a", "predict", "x"]
            with pytest.raises(RuntimeError, match="await it"):
                graph("x")

    asyncio.run(run())
    assert unit.threads == {threading.current_thread().name}
    assert (unit.starts, unit.stops) == (1, 1)


def test_awaited_without_a_start() -> None:
    """Awaited before anybody started it, the graph starts by itself."""
    unit = Counted("a")
    graph = graph_of(unit)
    assert asyncio.run(graph.predict("x")) == ["a", "predict", "x"]
    assert graph("y") == ["a", "predict", "y"]
    graph.close()
    assert (unit.starts, unit.stops) == (1, 1)


def test_feedback_from_python() -> None:
    """What `ask` gave goes back with a reward to the router that chose."""
    router, a, b = Saying("r", route=1), Saying("a"), Saying("b")
    graph = Graph(node("r", "ROUTER", node("a"), node("b")), {"r": router, "a": a, "b": b})
    with graph:
        answer = graph.run(graph.ask([[1.0]]))
        graph.run(graph.feedback(0.5, request=[[1.0]], response=answer))
    assert [method for method, _ in router.asked] == [Method.ROUTE, Method.SEND_FEEDBACK]
    assert [method for method, _ in b.asked] == [Method.PREDICT, Method.SEND_FEEDBACK]
    assert not a.asked


def test_start_that_fails_reaches_the_caller() -> None:
    """A unit that cannot start is the fault of the first call, and of the next one again."""

    class Broken(Saying):
        async def start(self) -> None:
            raise GraphError("no model")

    graph = graph_of(Broken("a"))
    for _ in range(2):
        with pytest.raises(GraphError, match="no model"):
            graph("x")


def test_faults_reach_the_caller() -> None:
    """A fault of a unit is raised by the plain call as it is by the awaited one."""
    with graph_of(Saying("a", fault=GraphError("no"))) as graph, pytest.raises(GraphError, match="no"):
        graph("x")


def test_a_forgotten_graph_leaves_no_thread() -> None:
    """The thread of a graph that nobody holds any more ends."""
    graph = graph_of(Saying("forgotten"))
    graph("x")
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "infergraph forgotten"]
    del graph
    gc.collect()
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("data", "encoding", "payload"),
    [
        (np.array([[1, 2]]), Encoding.TENSOR, [[1, 2]]),
        (np.array([["a"]]), Encoding.NDARRAY, [["a"]]),
        ([[1, 2], [3, 4]], Encoding.NDARRAY, [[1, 2], [3, 4]]),
        ([[1], [2, 3]], Encoding.NDARRAY, [[1], [2, 3]]),
        ((1, 2), Encoding.NDARRAY, [1, 2]),
        ({"a": 1}, Encoding.JSON, {"a": 1}),
        ("x", Encoding.STR, "x"),
        (b"x", Encoding.BIN, b"x"),
        (bytearray(b"x"), Encoding.BIN, b"x"),
        (3, Encoding.JSON, 3),
        (None, Encoding.JSON, None),
    ],
)
def test_values_as_messages(data: Any, encoding: Encoding, payload: Any) -> None:
    """Every Python value has one encoding, and its content is kept."""
    message = message_of(data, meta={"puid": "p"})
    assert message.encoding is encoding
    assert (message.payload.tolist() if isinstance(message.payload, np.ndarray) else message.payload) == payload
    assert message.meta == {"puid": "p"}


def test_data_frames_and_messages() -> None:
    """A data frame gives its columns as names; a message is taken as it is."""
    message = message_of(pd.DataFrame({"a": [1.0], "b": [2.0]}))
    assert (list(message.names), message.payload.tolist()) == (["a", "b"], [[1.0, 2.0]])
    assert message_of(message) is message


def test_payload_comes_back_as_it_is() -> None:
    """Arrays go in and come out as arrays, without a detour over text."""
    unit = Doing("a", lambda array: array * 2, Encoding.TENSOR)
    with Graph(node("a"), {"a": unit}) as graph:
        answer = graph(np.array([[1.0, 2.0]]))
    assert isinstance(answer, np.ndarray)
    assert answer.tolist() == [[2.0, 4.0]]
