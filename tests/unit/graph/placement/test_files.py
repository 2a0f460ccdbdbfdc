"""The graph files of a cut graph, joined, are the graph."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from infergraph.graph import spec
from infergraph.graph.placement import Place, Site, cut, file_of

_BARE = st.builds(
    spec.Node,
    type=st.sampled_from(["MODEL", "TRANSFORMER", "COMBINER", None]),
    component=st.sampled_from(["m:A", ""]),
    timeout_ms=st.integers(0, 2),
    shadow=st.booleans(),
    place=st.sampled_from(["", "", "own", "parent"]),
    replicas=st.sampled_from([None, None, 2]),
)
_TREES = st.recursive(
    _BARE,
    lambda below: st.builds(
        lambda node, children, fallback: replace(node, children=tuple(children), fallback=fallback),
        _BARE,
        st.lists(below, max_size=3),
        st.one_of(st.none(), st.just({"strData": "x"}), below),
    ),
    max_leaves=12,
)


def _named(node: spec.Node, numbers: count[int]) -> spec.Node:
    """Every node with a name of its own, and an endpoint where it has no component."""
    endpoint = None if node.component else spec.Endpoint("h", 1)
    fallback = _named(node.fallback, numbers) if isinstance(node.fallback, spec.Node) else node.fallback
    name = f"n{next(numbers)}"
    return replace(
        node,
        name=name,
        endpoint=endpoint,
        fallback=fallback,
        children=tuple(_named(child, numbers) for child in node.children),
    )


def _joined(node: spec.Node, files: Mapping[str, spec.Node]) -> spec.Node:
    """A node with the graphs of the groups that are called in it."""
    host = node.endpoint.service_host if node.endpoint is not None else ""
    if host in files:
        node = replace(files[host], shadow=node.shadow)
    fallback = _joined(node.fallback, files) if isinstance(node.fallback, spec.Node) else node.fallback
    return replace(node, fallback=fallback, children=tuple(_joined(child, files) for child in node.children))


def _unplaced(node: spec.Node) -> spec.Node:
    fallback = _unplaced(node.fallback) if isinstance(node.fallback, spec.Node) else node.fallback
    children = tuple(_unplaced(child) for child in node.children)
    return replace(node, place="", replicas=None, fallback=fallback, children=children)


@given(_TREES)
def test_joined_files_are_the_graph(tree: spec.Node) -> None:
    """However a graph is cut, each node is in one file, with all its members but the placing ones."""
    graph = _named(tree, count())
    found = cut(spec.Deployment(name="d", predictors=(spec.Predictor(name="p", graph=graph),)), {})
    (predictor,) = found.predictors

    def address(place: Place) -> spec.Endpoint:
        return spec.Endpoint(f"at-{place.field}", 1)

    files = {
        address(place).service_host: file_of(found, place, address).predictors[0].graph for place in predictor.served
    }
    assert predictor.front is not None
    assert _joined(files[address(predictor.front).service_host], files) == _unplaced(graph)
    nodes = [name for place in predictor.served for name in place.nodes]
    here = [field for field, site in predictor.sites.items() if site is Site.HERE]
    assert len(nodes) == len(set(nodes)) == len(here)
