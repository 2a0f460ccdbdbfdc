"""Three models in a chain: in process, as remote nodes, and as Seldon-wrapped nodes called in turn by a bare client.

Also with only the middle one elsewhere, three times. Another runtime's graph of the same models is one
more entry of `GRAPHS`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.load import Load, Measured, measure_trees
from benchmarks.rows import ROWS
from benchmarks.servers import SERVERS, UNITS, Running, graph_server, running

SMALL = next(row for row in ROWS if row.name == "rest-small")
LENGTH = 3
REPLICAS = 3


class Graph(NamedTuple):
    """One way to answer; `measure` starts what it needs. `trees` names the process trees of its `cpu_us`, in order."""

    name: str
    title: str
    trees: tuple[str, ...]
    measure: Callable[[Load], Measured]


def _server(name: str) -> Any:
    return next(server for server in SERVERS if server.name == name)


def _one(load: Load) -> Measured:
    with running(_server("ours")) as one:
        return measure_trees(SMALL, [one], [one.ports.http], load, factor=2)


def _in_process(length: int, load: Load) -> Measured:
    component = f"{UNITS / 'doubler.py'}:Doubler"
    with _graph([{"component": component}] * length) as graph:
        return measure_trees(SMALL, [graph], [graph.ports.http], load, factor=2**length)


def _remote(load: Load) -> Measured:
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(_server("ours"))) for _ in range(LENGTH)]
        ends = [{"service_host": "127.0.0.1", "service_port": node.ports.http, "type": "REST"} for node in nodes]
        graph = stack.enter_context(_graph([{"endpoint": end} for end in ends]))
        return measure_trees(SMALL, [graph, *nodes], [graph.ports.http], load, factor=2**LENGTH)


def _replicated(kind: str, load: Load) -> Measured:
    """The middle model is served three times, and called over `kind` (REST or GRPC); the others are in process."""
    here = {"component": f"{UNITS / 'doubler.py'}:Doubler"}
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(_server("ours"))) for _ in range(REPLICAS)]
        hosts = [f"127.0.0.1:{node.ports.http if kind == 'REST' else node.ports.grpc}" for node in nodes]
        middle = {"endpoint": {"service_hosts": hosts, "type": kind}}
        graph = stack.enter_context(_graph([here, middle, here]))
        return measure_trees(SMALL, [graph, *nodes], [graph.ports.http], load, factor=2**LENGTH)


def _wrapped(load: Load) -> Measured:
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(_server("seldon"))) for _ in range(LENGTH)]
        ports = [node.ports.http for node in nodes]
        return measure_trees(SMALL, nodes, ports, load, factor=2**LENGTH, in_turn=True)


@contextmanager
def _graph(places: Sequence[dict[str, Any]]) -> Iterator[Running]:
    """Our server over a chain of models; `places` says of each node where it runs."""
    with tempfile.TemporaryDirectory(prefix="bench-graph-") as folder:
        file = Path(folder) / "chain.json"
        file.write_text(json.dumps(deployment(places)))
        with running(graph_server("graph", str(file))) as graph:
            yield graph


def deployment(places: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A SeldonDeployment whose models pass their answers on, the first place first."""
    node: dict[str, Any] | None = None
    for number, place in reversed(list(enumerate(places))):
        children = [] if node is None else [node]
        node = {"name": f"double-{number}", "type": "MODEL", **place, "children": children}
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "chain"},
        "spec": {"predictors": [{"name": "default", "replicas": 1, "graph": node}]},
    }


_REPLICATED = ("graph", *["node"] * REPLICAS)

GRAPHS = (
    Graph("graph-one", "one model served alone", ("server",), _one),
    Graph("graph-of-one", "a graph of one model", ("server",), partial(_in_process, 1)),
    Graph("graph-chain", "three models, in process", ("server",), partial(_in_process, LENGTH)),
    Graph("graph-remote", "three remote REST nodes of ours", ("graph", "node", "node", "node"), _remote),
    Graph("graph-replicas-rest", "the middle one at three REST addresses", _REPLICATED, partial(_replicated, "REST")),
    Graph("graph-replicas-grpc", "the middle one at three gRPC addresses", _REPLICATED, partial(_replicated, "GRPC")),
    Graph("graph-seldon", "three Seldon-wrapped nodes, called in turn", ("node", "node", "node"), _wrapped),
)
