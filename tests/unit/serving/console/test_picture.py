"""The live picture: nothing overlaps, and shares say only what is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.observe.shared_metrics import Bounds, SharedMetrics
from infergraph.serving.console.graph_layout import HEIGHT, WIDTH, Health, draw, shares_of
from infergraph.serving.console.live_figures import View, Watch
from infergraph.topology import Role, Topology, TopologyNode, Where


def node(name: str, *children: TopologyNode, kind: str = "MODEL", **more: Any) -> TopologyNode:
    """A node that runs here."""
    return TopologyNode(name=name, kind=kind, where=more.pop("where", Where.HERE), children=children, **more)


def topology_of(root: TopologyNode) -> Topology:
    """A graph of it."""
    return Topology(name="g", target="g.yaml", is_graph=True, root=root)


def view_of(folder: Path, **visits: int) -> View:
    """A view in which nodes have been asked so often."""
    shared_metrics = SharedMetrics(folder, "0")
    for name, count in visits.items():
        seconds = shared_metrics.histogram(
            "infergraph_unit_seconds", "", {"unit": name, "method": "predict"}, Bounds.SECONDS
        )
        for _ in range(count):
            seconds.observe(0.01)
    return Watch(folder, lambda: 1.0).look()


def trees() -> st.SearchStrategy[TopologyNode]:
    """Trees of any form."""
    names = st.text(min_size=1, max_size=4)
    leaves = names.map(node)
    grown = lambda below: st.builds(lambda name, few: node(name, *few), names, st.lists(below, max_size=4))  # noqa: E731
    return st.recursive(leaves, grown, max_leaves=12)


@given(trees(), st.booleans())
def test_cards_never_overlap_and_lie_in_the_picture(root: TopologyNode, is_narrow: bool) -> None:
    """Whatever the tree, every node has a card of its own inside the picture, and one edge for each but the root."""
    picture = draw(topology_of(root), Watch(Path("nowhere"), lambda: 1.0).look(), {}, is_narrow=is_narrow)
    corners = [(card.left, card.top) for card in picture.cards]
    assert len(corners) == len(list(root.walk())) == len(picture.edges) + 1
    for place, (left, top) in enumerate(corners):
        assert left >= 0
        assert top >= 0
        assert left + WIDTH <= picture.width
        assert top + HEIGHT <= picture.height
        for other_left, other_top in corners[:place]:
            assert abs(left - other_left) >= WIDTH or abs(top - other_top) >= HEIGHT


def test_a_narrow_picture_grows_with_the_depth_alone() -> None:
    """However many branches a node has, the picture for a phone is as wide as one card and its indent."""
    few, many = (node("r", *(node(str(place)) for place in range(count))) for count in (1, 20))
    view = Watch(Path("nowhere"), lambda: 1.0).look()
    widths = [draw(topology_of(root), view, {}, is_narrow=True).width for root in (few, many)]
    assert widths[0] == widths[1] < 320


def test_traffic_stands_on_each_edge(tmp_path: Path) -> None:
    """An edge has the requests a second of its child; of one that calls nothing, those of its branches."""
    root = node("r", node("a"), node("p", node("b"), kind="PREDICTOR", where=Where.NOWHERE), kind="ROUTER", routes=True)
    shared_metrics = SharedMetrics(tmp_path, "0")
    times = iter([0.0, 10.0])
    watch = Watch(tmp_path, lambda: next(times))
    watch.look()
    for name, count in (("a", 5), ("b", 20)):
        labels = {"unit": name, "method": "predict"}
        seconds = shared_metrics.histogram("infergraph_unit_seconds", "", labels, Bounds.SECONDS)
        for _ in range(count):
            seconds.observe(0.01)
    rates = [edge.rate for edge in draw(topology_of(root), watch.look(), {}).edges]
    assert rates == [0.5, 2.0, 2.0]


def test_a_routers_shares_add_up(tmp_path: Path) -> None:
    """What went to each child of a router is told as a part of what went to all."""
    router = node("r", node("a"), node("b"), kind="ROUTER", routes=True)
    assert shares_of(router, view_of(tmp_path, r=100, a=75, b=25)) == [0.75, 0.25]


def test_before_the_first_request_there_are_no_shares(tmp_path: Path) -> None:
    """Nothing is claimed of edges that nobody has used."""
    router = node("r", node("a"), node("b"), kind="ROUTER", routes=True)
    assert shares_of(router, view_of(tmp_path)) == [None, None]


def test_a_shadow_is_no_part_of_the_whole(tmp_path: Path) -> None:
    """Copies that go to a shadow do not lessen the shares of the branches."""
    router = node("r", node("a"), node("b"), node("s", role=Role.SHADOW), kind="ROUTER", routes=True)
    assert shares_of(router, view_of(tmp_path, a=30, b=10, s=40)) == [0.75, 0.25, 1.0]


def test_a_node_that_is_not_counted_has_the_visits_of_those_below(tmp_path: Path) -> None:
    """What calls nothing itself is visited as often as its branches together; of such a leaf nothing is known."""
    inner = node("i", node("a"), node("b"), kind="PREDICTOR", routes=True, where=Where.NOWHERE)
    outer = node("o", inner, node("c"), kind="ROUTER", routes=True)
    assert shares_of(outer, view_of(tmp_path / "1", a=30, b=30, c=40)) == [0.6, 0.4]
    unknown = node("o", node("leaf", where=Where.NOWHERE), node("c"), kind="ROUTER", routes=True)
    assert shares_of(unknown, view_of(tmp_path / "2", c=40)) == [None, None]


def test_two_predictors_with_nodes_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    """Their nodes are counted together, so that the picture shows what the file gives them and not what was counted."""
    arms = [node(name, node("model"), kind="PREDICTOR", share=share) for name, share in (("old", 90), ("new", 10))]
    split = node("d", *arms, kind="SPLIT", routes=True, where=Where.NOWHERE)
    picture = draw(topology_of(split), view_of(tmp_path, model=10), {})
    assert [edge.share for edge in picture.edges if edge.is_given] == [0.9, 0.1]


def test_health_and_why_stand_on_the_card(tmp_path: Path) -> None:
    """A node that nobody knows of is unknown and not well; what is built in is well; what calls nothing has none."""
    below = [node("b"), node("c", where=Where.BUILT_IN), node("d", where=Where.NOWHERE)]
    picture = draw(topology_of(node("a", *below)), view_of(tmp_path), {"a": (Health.FAULTY, "no response")})
    assert [(card.health, card.why) for card in picture.cards] == [
        (Health.FAULTY, "no response"),
        (Health.UNKNOWN, ""),
        (Health.OK, ""),
        (Health.NONE, ""),
    ]


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in "12":
        (tmp_path / name).mkdir()
