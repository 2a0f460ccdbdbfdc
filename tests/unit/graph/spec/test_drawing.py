"""Graphs drawn as trees and as pictures, and what is said of their nodes."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from infergraph.errors import GraphError, SettingsError
from infergraph.graph import resolution, spec
from infergraph.graph.compose import built_in, chain, combiner, component, model, packaged, remote, router
from infergraph.graph.resolution import Means, Resolution
from infergraph.graph.spec import drawing, picture
from infergraph.graph.spec.records import Deployment, Endpoint, Logger, Node, Predictor
from infergraph.unit_source import read_overrides

FLOW = router(
    "choose",
    component("b:Bandit"),
    chain(
        "line",
        built_in("mean", "AVERAGE_COMBINER", model("a", component("a:A")), model("b", remote("grpc://h:9500"))),
        model("last", packaged("ONNX_SERVER", "models/last")).resilient(
            timeout_ms=200, retries=2, fallback=model("spare", component("s:Spare"))
        ),
    ),
    model("new", component("n:New")).shadowed(),
    model("old", component("o:Old")).logged().resilient(fallback={"strData": "none"}),
)
PREDICTOR = FLOW.to_deployment().predictors[0]


def _printed(tree):
    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(tree)
    return [line.rstrip() for line in captured.get().splitlines()]


def _resolved(predictor, deployment=None, overrides=None):
    deployment = deployment or Deployment(predictors=(predictor,))
    found = resolution.resolve(predictor, deployment, overrides or {})
    return {name: str(each) for name, each in found.items()}


# ── what answers at a node ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("node", "means", "target"),
    [
        (Node("n", type="MODEL", component="m:C"), Means.COMPONENT, "m:C"),
        (Node("n", component="m:C", implementation="SKLEARN_SERVER"), Means.COMPONENT, "m:C"),
        (Node("n", implementation="SKLEARN_SERVER", model_uri="u"), Means.PACKAGED, "SKLEARN_SERVER u"),
        (Node("n", implementation="RANDOM_ABTEST"), Means.BUILT_IN, "RANDOM_ABTEST"),
        (Node("n", implementation="RANDOM_ABTEST", type="ROUTER"), Means.BUILT_IN, "RANDOM_ABTEST"),
        (
            Node("n", implementation="RANDOM_ABTEST", type="ROUTER", endpoint=Endpoint("h", 1)),
            Means.REMOTE,
            "http://h:1",
        ),
        (Node("n", type="MODEL", endpoint=Endpoint("h", 1)), Means.REMOTE, "http://h:1"),
        (Node("n", type="MODEL", endpoint=Endpoint("h", 1, "REST", 2, 3)), Means.REMOTE, "http://h:2"),
        (Node("n", type="MODEL", endpoint=Endpoint("h", 1, "GRPC", 2, 3)), Means.REMOTE, "grpc://h:3"),
        (Node("n", type="MODEL", endpoint=Endpoint("h", 1, "GRPC")), Means.REMOTE, "grpc://h:1"),
        (Node("n", type="MODEL", endpoint=Endpoint("h", 1, "", 2, 3)), Means.REMOTE, "http://h:2 or grpc://h:3"),
        (Node("n", methods=("ROUTE",), endpoint=Endpoint("h", 1)), Means.REMOTE, "http://h:1"),
        (Node("n", type="MODEL", endpoint=Endpoint(type="REST")), Means.UNRESOLVED, ""),
        (Node("n", type="COMBINER"), Means.UNRESOLVED, ""),
        (Node("n", methods=("ROUTE",)), Means.UNRESOLVED, ""),
        (Node("n", type="CHAIN"), Means.NOTHING, ""),
        (Node("n", type="UNKNOWN_TYPE", endpoint=Endpoint("h", 1)), Means.NOTHING, ""),
        (Node("n"), Means.NOTHING, ""),
    ],
)
def test_what_answers_at_a_node(node, means, target):
    """A component comes before a packaged server, that before a built-in, that before an address."""
    predictor = Predictor("p", node)
    found = resolution.resolve(predictor, Deployment(predictors=(predictor,)), {})
    assert found == {"n": Resolution(means, target)}


def test_an_override_comes_first():
    """What `--node` says counts before what the file says, and may be an address."""
    node = Node("a", type="MODEL", component="m:C", fallback=Node("f", type="MODEL"))
    predictor = Predictor("p", node)
    overrides = read_overrides(["a=http://h:1", "f=x.py:Y=Z"])
    found = resolution.resolve(predictor, Deployment(predictors=(predictor,)), overrides)
    assert found == {"a": Resolution(Means.REMOTE, "http://h:1"), "f": Resolution(Means.COMPONENT, "x.py:Y=Z")}


def test_the_transport_decides_for_endpoints_that_do_not():
    """An endpoint without a type is called by spec.transport."""
    predictor = Predictor("p", Node("n", type="MODEL", endpoint=Endpoint("h", 1, "", 2, 3)))
    deployment = Deployment(transport="grpc", predictors=(predictor,))
    assert _resolved(predictor, deployment) == {"n": "grpc://h:3"}


@pytest.mark.parametrize("text", ["a", "=x", "a=", "a:b"])
def test_overrides_of_another_form_are_refused(text):
    """An override is NAME=TARGET, and nothing else."""
    with pytest.raises(SettingsError, match="must be NAME=TARGET"):
        read_overrides([text])


def test_overrides_of_no_node_are_refused():
    """An override of a node that no deployment has is refused, and the nodes there are are named."""
    deployments = [Deployment(predictors=(PREDICTOR,)), Deployment(predictors=(Predictor("q", Node("other")),))]
    resolution.check_overrides(deployments, {"spare": "x:Y", "other": "x:Y"})
    with pytest.raises(GraphError, match=r"no node 'spar'; the graph has a, b, choose, .*other, spare"):
        resolution.check_overrides(deployments, {"spar": "x:Y"})


# ── trees ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_tree_shows_every_node_and_what_answers_there():
    """A tree has a line for each node: its kind, what answers, and what was asked for it."""
    assert _printed(drawing.tree(PREDICTOR, _resolved(PREDICTOR))) == [
        "default  predictor",
        "└── choose  ROUTER  → b:Bandit",
        "    ├── line  CHAIN",
        "    │   ├── mean  AVERAGE_COMBINER  → built in",
        "    │   │   ├── a  MODEL  → a:A",
        "    │   │   └── b  MODEL  → grpc://h:9500",
        "    │   └── last  MODEL  → ONNX_SERVER models/last  (at most 200 ms, 2 retries from 100 ms)",
        "    │       └── fallback: spare  MODEL  → s:Spare",
        "    ├── new  MODEL  → n:New  (shadow)",
        "    └── old  MODEL  → o:Old  (logs all)",
        "        └── fallback: a constant answer",
    ]


def test_a_deployment_shows_all_its_predictors():
    """A deployment's tree has a branch for each predictor, with its share of the traffic."""
    predictors = (
        Predictor("p", Node("a", type="MODEL"), traffic=60),
        Predictor("q", Node("b", methods=("ROUTE", "AGGREGATE"), logger=Logger()), traffic=40),
        Predictor("s", Node("", type="UNKNOWN_TYPE"), shadow=True),
    )
    deployment = Deployment(name="d", predictors=predictors)
    resolved = {each.name: _resolved(each, deployment) for each in predictors}
    assert _printed(drawing.tree(deployment, resolved)) == [
        "d  SeldonDeployment",
        "├── p  predictor  60 % of the traffic",
        "│   └── a  MODEL  → nothing to call",
        "├── q  predictor  40 % of the traffic",
        "│   └── b  ROUTE AGGREGATE  → nothing to call  (logs nothing)",
        "└── s  predictor  shadow",
        "    └── (no name)  passes through",
    ]


def test_names_are_no_markup():
    """A name that looks like markup for the terminal is printed as it is."""
    assert _printed(drawing.tree(Predictor("[red]p", Node("[b]a[/b]")), {"[b]a[/b]": "[x]"})) == [
        "[red]p  predictor",
        "└── [b]a[/b]  passes through  → [x]",
    ]


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────

SVG = "{http://www.w3.org/2000/svg}"


def _cards(text):
    """The rectangle of each node's card by the node's name, as (left, top, right, bottom)."""
    cards = {}
    for group in ElementTree.fromstring(text).iter(f"{SVG}g"):
        left, top = map(float, re.findall(r"[\d.]+", group.get("transform")))
        card = next(rect for rect in group.iter(f"{SVG}rect") if rect.get("class") == "card")
        name = next(each for each in group.iter(f"{SVG}text") if each.get("class") == "name").text
        cards[name] = (left, top, left + float(card.get("width")), top + float(card.get("height")))
    return cards


def test_a_picture_shows_every_node_and_edge():
    """A picture has a card for each node, fallbacks too, an edge to each but the root, and what answers there."""
    text = picture.svg(PREDICTOR, _resolved(PREDICTOR))
    root = ElementTree.fromstring(text)
    names = {node.name for node in PREDICTOR.graph.walk_all()}
    assert set(_cards(text)) == names
    edges = [path for path in root.iter(f"{SVG}path") if "edge" in path.get("class").split()]
    assert len(edges) == len(names) - 1
    assert sum("dashed" in path.get("class") for path in edges) == 2  # the shadow and the fallback
    shown = [each.text for each in root.iter(f"{SVG}text")]
    assert {"grpc://h:9500", "ONNX_SERVER models/last", "built in"} <= set(shown)
    assert [each for each in shown if each in ("0", "1", "1.", "2.", "shadow", "fallback")] == [
        "0", "shadow", "1", "1.", "2.", "fallback",
    ]  # fmt: skip


def test_a_picture_stands_alone():
    """A picture refers to nothing outside, follows the reader's scheme, and is the same each time."""
    text = picture.svg(PREDICTOR, {})
    assert re.findall(r"(?:href|src|url|@import)\b", text) == []
    assert "prefers-color-scheme: dark" in text
    assert text == picture.svg(PREDICTOR, {})


TREES = st.recursive(
    st.just(()), lambda inner: st.lists(inner, min_size=1, max_size=4).map(tuple), max_leaves=12
)  # the shape of a tree: what it holds are its children


def _grown(shape, names):
    name = names.pop()
    return Node(name, type="MODEL", children=tuple(_grown(child, names) for child in shape))


def _size(shape):
    return 1 + sum(_size(child) for child in shape)


@given(TREES, st.data())
def test_cards_never_overlap(shape, data):
    """Whatever the tree and the names, no two cards overlap, and all lie within the picture."""
    size = _size(shape)
    words = st.text("ab<&\"'愛\u2028\ud7ff", max_size=30)
    names = [f"{number}{data.draw(words)}" for number in range(size)]
    text = picture.svg(Predictor("p", _grown(shape, list(names))), dict.fromkeys(names, "x:Y"))
    cards = list(_cards(text).values())
    assert len(cards) == size
    root = ElementTree.fromstring(text)
    for place, (left, top, right, bottom) in enumerate(cards):
        assert 0 <= left < right <= float(root.get("width"))
        assert 0 <= top < bottom <= float(root.get("height"))
        for other in cards[place + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


@given(st.text(), st.text())
def test_any_text_makes_a_picture(name, target):
    """Whatever a node is called, the picture is well-formed."""
    ElementTree.fromstring(picture.svg(Predictor(name, Node(name)), {name: target}))


def test_long_targets_are_shortened_in_the_middle():
    """A long address keeps its beginning and its end."""
    text = picture.svg(Predictor("p", Node("a")), {"a": "SKLEARN_SERVER file:///models/" + "x" * 80 + "/end"})
    shown = re.search(r'class="target"[^>]*>([^<]*)<', text)[1]
    assert shown.startswith("SKLEARN_SERV…")
    assert shown.endswith("/end")
    assert len(shown) == 42


def test_a_combiner_of_many_is_wide_enough():
    """A picture is as wide as its widest branch and no more than a margin wider."""
    flow = combiner("all", component("c:C"), *(model(f"m{n}", component("m:M")) for n in range(5)))
    predictor = flow.to_deployment().predictors[0]
    text = picture.svg(predictor, _resolved(predictor))
    root = ElementTree.fromstring(text)
    assert float(root.get("width")) == pytest.approx(max(right for _, _, right, _ in _cards(text).values()) + 24, abs=1)


def test_the_drawings_take_what_defaulting_gives():
    """A deployment as it is served, hosts and ports filled in, is drawn with its addresses."""
    pod = {"spec": {"containers": [{"name": "a", "image": "i"}]}}
    deployment = spec.default(Deployment(name="d", predictors=(Predictor("p", Node("a"), (pod,)),)))
    (predictor,) = deployment.predictors
    assert _printed(drawing.tree(predictor, _resolved(predictor, deployment)))[1] == (
        "└── a  MODEL  → http://localhost:9000 or grpc://localhost:9500"
    )
