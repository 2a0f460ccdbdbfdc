"""Scenes: graph files as plain data, without anything being built."""

from __future__ import annotations

from pathlib import Path

import pytest

from infergraph.assembly.source_topology import graph_topology
from infergraph.topology import Role, Where, component_topology, rows_of
from infergraph.unit_source import UnitSource

EXAMPLES = Path(__file__).parents[2] / "examples" / "graphs"

GRAPH = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: many}
spec:
  predictors:
  - name: main
    traffic: 80
    graph:
      name: r
      type: ROUTER
      component: a:B
      children:
      - {name: far, type: MODEL, endpoint: {service_host: "user:secret@10.0.0.1", service_port: 9000, type: REST}}
      - {name: average, implementation: SIMPLE_MODEL}
      - {name: copy, type: MODEL, component: "a:C", shadow: true}
  - name: canary
    traffic: 20
    graph: {name: only, type: MODEL, component: "a:D"}
"""


def source(path: Path, **more: object) -> UnitSource:
    """A source of a graph file."""
    return UnitSource(target=path.name, folder=str(path.parent), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("folder", sorted(each.name for each in EXAMPLES.iterdir() if each.is_dir()))
def test_every_example_has_a_scene(folder: str) -> None:
    """The graphs of the examples come out as trees whose nodes all have a name and a kind."""
    topology = graph_topology(source(EXAMPLES / folder / "deployment.yaml"))
    assert topology.is_graph
    assert topology.name
    nodes = list(topology.root.walk())
    assert len(nodes) > 1
    assert all(node.name and node.kind for node in nodes)
    assert topology.node(nodes[-1].name) is not None


def test_nodes_are_told_by_kind_and_place(tmp_path: Path) -> None:
    """Predictors are a split with their traffic; remote, built-in and shadow nodes are told apart; passwords go."""
    path = tmp_path / "many.yaml"
    path.write_text(GRAPH)
    topology = graph_topology(source(path))
    assert (topology.name, topology.root.kind, topology.root.routes) == ("many", "SPLIT", True)
    assert [(child.name, child.share) for child in topology.root.children] == [("main", 80), ("canary", 20)]
    router = topology.node("r")
    assert router is not None
    assert router.routes
    assert [(child.where, child.role) for child in router.children] == [
        (Where.REMOTE, Role.CHILD),
        (Where.BUILT_IN, Role.CHILD),
        (Where.HERE, Role.SHADOW),
    ]
    assert [child.name for child in router.branches()] == ["far", "average"]
    far = topology.node("far")
    assert far is not None
    assert "secret" not in far.target
    assert "10.0.0.1" in far.target


def test_one_predictor_and_overrides_are_as_served(tmp_path: Path) -> None:
    """A chosen predictor stands alone, and a node that was given elsewhere shows where it really runs."""
    path = tmp_path / "many.yaml"
    path.write_text(GRAPH)
    topology = graph_topology(source(path, predictor="canary", nodes={"only": "grpc://10.1.1.1:5000"}))
    assert (topology.root.name, topology.root.where, topology.root.target) == (
        "only",
        Where.REMOTE,
        "grpc://10.1.1.1:5000",
    )


def test_a_component_is_a_scene_of_one() -> None:
    """What is served alone is drawn as one node that runs here."""
    topology = component_topology("M", "m.py:M")
    assert [node.name for node in topology.root.walk()] == ["M"]
    assert (topology.is_graph, topology.root.where) == (False, Where.HERE)


def test_the_layout_puts_a_parent_between_its_children() -> None:
    """Leaves take a row each from the top down, and a parent stands midway between its first and its last child."""
    tree: dict[str, list[str]] = {"root": ["left", "right"], "left": ["a", "b", "c"], "right": []}
    rows, count = rows_of("root", lambda name: tree.get(name, []))
    assert count == 4
    by_name = {name: rows[id(name)] for name in ("a", "b", "c", "left", "right", "root") if id(name) in rows}
    assert by_name == {"a": 0, "b": 1, "c": 2, "left": 1, "right": 3, "root": 2}
