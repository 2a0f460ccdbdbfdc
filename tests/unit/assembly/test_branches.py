"""Which nodes of a graph share a thread."""

from __future__ import annotations

import threading
from typing import Any

from infergraph.component.execution import ComponentThread
from infergraph.flow import combiner, model, run, transformer
from infergraph.message import Method
from infergraph.runner import INLINE


class Notes:
    """A model or transformer that adds the thread it runs in to what it is asked with."""

    def predict(self, X: Any, names: Any = None) -> Any:
        return [*X, threading.get_ident()]

    transform_input = predict


class Joins:
    """A combiner that puts its children's answers behind each other."""

    def aggregate(self, Xs: Any, names: Any = None) -> Any:
        return [thread for X in Xs for thread in X] + [threading.get_ident()]


class Inline(Notes):
    """The same on the event loop."""

    execution = "inline"


def threads_of(graph: Any) -> list[int]:
    with graph:
        return [int(thread) for thread in graph([])]


def test_a_chain_shares_one_thread_and_costs_one_hop() -> None:
    """Nodes that are asked one after the other run in one thread, which drives the whole graph."""
    graph = run(transformer("first", Notes(), transformer("second", Notes(), model("third", Notes()))))
    with graph:
        assert isinstance(graph.runner(Method.PREDICT), ComponentThread)
        used = [int(thread) for thread in graph([])]
    assert len(used) == 3
    assert len(set(used)) == 1
    assert used[0] != threading.get_ident()


def test_branches_have_a_thread_each() -> None:
    """Children that are asked side by side do not hold each other up."""
    used = threads_of(run(combiner("join", Joins(), model("a", Notes()), model("b", Notes()))))
    assert len(used) == len(set(used)) == 3


def test_inline_nodes_are_driven_where_they_are_asked() -> None:
    """A chain of inline nodes costs no hop; one with a node in a thread needs a task."""
    graph = run(transformer("first", Inline(), model("second", Inline())))
    with graph:
        assert graph.runner(Method.PREDICT) is INLINE
        assert len(set(graph([]))) == 1
    mixed = run(transformer("first", Inline(), model("second", Notes())))
    with mixed:
        assert mixed.runner(Method.PREDICT) is None
        assert len(set(mixed([]))) == 2
