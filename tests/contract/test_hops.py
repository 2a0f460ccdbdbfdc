"""A node is handed the same thing wherever its neighbour runs: in process, over REST, over gRPC, with real servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from served import Reply, Served, served

BUGS = Path(__file__).parent / "cases" / "bugs"
TRANSPORTS = ("local", "rest", "grpc")
ND = {"data": {"ndarray": [[1, 2]]}}


@contextmanager
def graph(case: str, transport: str, remote: Sequence[str] = (), file: str = "deployment.yaml") -> Iterator[Served]:
    """The graph of a case's file, the nodes of `remote` (`name=file.py:Class`) behind servers of their own."""
    folder = BUGS / case
    with ExitStack() as stack:
        nodes = {}
        for name, target in (each.split("=") for each in (remote if transport != "local" else ())):
            there = stack.enter_context(served(target, folder=folder))
            port = there.http_port if transport == "rest" else there.grpc_port
            nodes[name] = f"{'http' if transport == 'rest' else 'grpc'}://127.0.0.1:{port}"
        yield stack.enter_context(served(file, folder=folder, nodes=nodes))


def ask(there: Served, body: Any) -> Reply:
    return there.post("/api/v1.0/predictions", body)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("body", [ND, {"data": {"tensor": {"shape": [1, 2], "values": [1, 2]}}}])
def test_a_list_reaches_the_next_node_as_an_array(transport: str, body: Any) -> None:
    """A node that returns a list hands the next one an array, whatever the caller's spelling."""
    with graph("a1-list-to-next-node", transport, ["spread=parts.py:Spread"]) as there:
        data = ask(there, body).json["data"]
    values = data["ndarray"] if "ndarray" in data else data["tensor"]["values"]
    assert values == pytest.approx([0.4054651081081643])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_siblings_do_not_share_their_input(transport: str) -> None:
    """What one child of a combiner does to its array is not seen by the other."""
    with graph("a2-siblings-share-input", transport, ["centred=siblings.py:Centred"]) as there:
        reply = ask(there, {"data": {"ndarray": [[1.0, 2.0], [3.0, 6.0]]}})
    assert reply.json["data"]["ndarray"] == [[-3.0, 3.0], [3.0, 9.0]]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_siblings_do_not_share_their_document(transport: str) -> None:
    """What one child of a combiner does to its JSON is not seen by the other."""
    with graph("a2-siblings-share-input", transport, ["drop=siblings.py:Drop"], "documents.yaml") as there:
        reply = ask(there, {"jsonData": {"id": 7, "a": 1}})
    assert reply.json["jsonData"] == {"answers": [{"fields": ["a"]}, {"fields": ["a", "id"]}]}
