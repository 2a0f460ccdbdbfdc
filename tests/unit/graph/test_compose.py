"""Graphs composed in Python."""

import pytest

from infergraph.component import construct, find, parse_parameters
from infergraph.errors import GraphError
from infergraph.graph import spec
from infergraph.graph.compose import (
    Flow,
    Made,
    built_in,
    chain,
    combiner,
    component,
    model,
    output_transformer,
    packaged,
    remote,
    router,
    transformer,
)
from infergraph.graph.spec.records import Endpoint, Logger, Node, Parameter


class Plain:
    """Nothing to construct it with."""

    def predict(self, X, names):
        return X


class Tuned:
    """Constructed with one value of each kind that a file can hold."""

    def __init__(self, word, count, share, on=False):
        self.given = (word, count, share, on)


ARGUMENTS = {"word": "wörd, \"x\"", "count": -3, "share": 1e-17, "on": True}  # fmt: skip


# ── the tree ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_flow_is_its_tree_and_its_objects():
    """What was composed is a tree of plain nodes, and the objects by the names of their nodes."""
    a, b, c, d, e, f = (Plain() for _ in range(6))
    flow = output_transformer(
        "out",
        a,
        transformer("in", b, combiner("all", c, model("x", d, model("y", e)), router("r", f, model("z", Plain)))),
    )
    assert [(node.name, node.type) for node in flow.node.walk()] == [
        ("out", "OUTPUT_TRANSFORMER"),
        ("in", "TRANSFORMER"),
        ("all", "COMBINER"),
        ("x", "MODEL"),
        ("y", "MODEL"),
        ("r", "ROUTER"),
        ("z", "MODEL"),
    ]
    assert flow.units == {"out": a, "in": b, "all": c, "x": d, "y": e, "r": f, "z": Made(Plain, {})}


def test_what_stands_elsewhere_is_in_the_nodes_alone():
    """Remote, packaged, built-in and named units are told by their nodes, and no object goes with them."""
    flow = chain(
        "line",
        model("r", remote("http://10.0.0.1:9000")),
        model("g", remote("grpc://[::1]:9500")),
        model("p", packaged("SKLEARN_SERVER", "file:///m", method="predict")),
        model("t", component("mod:Class", n=1)),
        built_in("b", "RANDOM_ABTEST", model("k", component("m:K")), ratioA=0.25),
    )
    assert flow.units == {}
    assert list(flow.node.children) == [
        Node("r", type="MODEL", endpoint=Endpoint("10.0.0.1", 9000, "REST", 9000, 0)),
        Node("g", type="MODEL", endpoint=Endpoint("::1", 9500, "GRPC", 0, 9500)),
        Node(
            "p",
            type="MODEL",
            implementation="SKLEARN_SERVER",
            model_uri="file:///m",
            parameters=(Parameter("method", "predict", "STRING"),),
        ),
        Node("t", type="MODEL", component="mod:Class", parameters=(Parameter("n", "1", "INT"),)),
        Node(
            "b",
            implementation="RANDOM_ABTEST",
            parameters=(Parameter("ratioA", "0.25", "DOUBLE"),),
            children=(Node("k", type="MODEL", component="m:K"),),
        ),
    ]


def test_nothing_is_constructed_before_its_maker_is_called():
    """A class is constructed by its maker with its arguments, again at each call; an object is itself."""
    ready = Plain()
    flow = combiner("a", component(Tuned, **ARGUMENTS), model("b", ready), model("c", Plain))
    makers = flow.makers
    assert makers["a"]().given == tuple(ARGUMENTS.values())
    assert makers["a"]() is not makers["a"]()
    assert makers["b"]() is ready
    assert isinstance(makers["c"](), Plain)


def test_a_flow_is_not_changed_by_what_is_made_of_it():
    """Guards, shadows and loggers give new flows; the one they were made of stays."""
    flow = model("a", Plain)
    resilient = flow.resilient(timeout_ms=50, retries=2, retry_backoff_ms=10, fallback={"strData": "none"})
    assert resilient.node == Node(
        "a", type="MODEL", timeout_ms=50, retries=2, retry_backoff_ms=10, fallback={"strData": "none"}
    )
    assert flow.shadowed().node == Node("a", type="MODEL", shadow=True)
    assert flow.logged("request", "http://log").node.logger == Logger("http://log", "request")
    assert flow.node == Node("a", type="MODEL")


def test_a_fallback_brings_its_own_objects():
    """A flow that stands in brings its tree and its objects along."""
    spare = Plain()
    flow = model("a", Plain).resilient(fallback=transformer("s", spare, model("t", component("m:T"))))
    assert isinstance(flow.node.fallback, Node)
    assert [node.name for node in flow.node.walk_all()] == ["a", "s", "t"]
    assert flow.units["s"] is spare


@pytest.mark.parametrize(
    ("compose", "said"),
    [
        (lambda: model("", Plain), "a MODEL needs a name"),
        (lambda: router("r", Plain), "node 'r' needs children"),
        (lambda: combiner("c", Plain), "node 'c' needs children"),
        (lambda: chain("c"), "node 'c' needs children"),
        (lambda: model("m", None), "node 'm' has nothing to answer with"),
        (lambda: transformer("t", Plain, Plain), "node 't': a child must be a flow"),
        (lambda: chain("c", model("a", Plain), model("a", Plain)), "two nodes are called 'a'"),
        (lambda: model("a", Plain, model("b", Plain, model("a", Plain))), "two nodes are called 'a'"),
        (lambda: model("a", Plain).resilient(fallback=model("a", Plain)), "two nodes are called 'a'"),
        (lambda: chain("c", model("a", Plain).resilient(fallback=model("c", Plain))), "two nodes are called 'c'"),
        (lambda: model("a", Plain).resilient(retries=-1), "must be 0 or more"),
        (lambda: built_in("b", "SIMPLE_COMBINER"), "'SIMPLE_COMBINER' is not built in; known are AVERAGE_COMBINER"),
        (lambda: built_in("b", "SIMPLE_MODEL", seed=[1]), r"node 'b': seed=\[1\] is not text, a number or a boolean"),
        (lambda: remote("10.0.0.1:9000"), "write http://host:port"),
        (lambda: remote("ftp://h:1"), "write http://host:port"),
        (lambda: remote("http://h"), "write http://host:port"),
        (lambda: remote("http://h:99999"), "is not an address: Port out of range"),
        (lambda: remote("http://h:1/path?a=b"), "write http://host:port"),
        (lambda: remote("http+file://hosts.txt"), "write http://host:port"),
        (lambda: remote("http://a:1,grpc://b:1"), "differ in host and port only"),
        (lambda: remote("http://a:1/x,http://b:1/y"), "differ in host and port only"),
        (lambda: remote("http://a:1,http+file:///hosts.txt"), "stands before all others"),
    ],
)
def test_what_makes_no_graph_is_refused(compose, said):
    """What cannot be a graph is refused where it is composed, by the name of the node."""
    with pytest.raises(GraphError, match=said):
        compose()


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("http://h:1/path/", Endpoint("h", 1, "REST", http_port=1, path="/path")),
        ("grpcs://a:1,grpcs://[::1]:2", Endpoint("a", 1, "GRPC", grpc_port=1, tls=True, service_hosts=("[::1]:2",))),
        ("http+file:///run/hosts.txt", Endpoint(type="REST", service_hosts_file="/run/hosts.txt")),
    ],
)
def test_a_node_may_have_a_path_and_several_addresses(address, endpoint):
    """A path follows the address, commas stand between several, and a file may list them; all are written and read."""
    assert remote(address) == endpoint
    flow = model("m", remote(address))
    assert _read(flow.to_yaml("d")).predictors[0].graph.endpoint == endpoint


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _read(text):
    (deployment,) = spec.read(text, source="written.yaml")
    return deployment


def test_a_written_flow_reads_back_and_is_valid():
    """What is written reads back as the same tree with components by name, and passes validation."""
    flow = router(
        "choose",
        component(Tuned, **ARGUMENTS),
        model("a", Plain).resilient(timeout_ms=5, fallback=model("s", Plain())),
        model("b", remote("grpc://h:1")),
        model("c", packaged("ONNX_SERVER", "m")).shadowed(),
    )
    deployment = _read(flow.to_yaml("mine"))
    assert deployment == spec.Deployment(
        name="mine", predictors=flow.to_deployment("mine").predictors, source="written.yaml"
    )
    root = deployment.predictors[0].graph
    assert root.component == f"{__name__}:Tuned"
    assert root.children[0].component == root.children[0].fallback.component == f"{__name__}:Plain"
    assert spec.validate(deployment, in_process=spec.addressed(deployment)) == []
    assert spec.advise(deployment) == []


def test_written_arguments_construct_the_same_object():
    """The parameters in the file construct what the arguments in Python did."""
    node = _read(model("a", component(Tuned, **ARGUMENTS)).to_yaml()).predictors[0].graph
    document = spec.node_document(node)
    arguments = parse_parameters(document["parameters"])
    assert arguments == ARGUMENTS
    assert {name: type(value) for name, value in arguments.items()} == {
        name: type(value) for name, value in ARGUMENTS.items()
    }
    assert construct(Tuned, arguments, node.component).given == tuple(ARGUMENTS.values())


def test_a_written_component_can_be_found():
    """The name written for a class of an installed module leads back to the class."""
    flow = model("a", component(spec.FirstPorts, http=1))
    node = _read(flow.to_yaml()).predictors[0].graph
    assert find(node.component) is spec.FirstPorts


def test_the_deployment_is_called_by_the_root_unless_told():
    """Without a name the deployment bears the root's."""
    assert _read(model("root", Plain).to_yaml()).name == "root"


def test_what_cannot_be_written_says_what_to_give():
    """A class made in a function, and an object whose arguments nobody knows, are refused with the way out."""

    class Inner:
        pass

    with pytest.raises(GraphError, match=r"node 'a': .*Inner' lives in a function; move it to a module"):
        model("a", Inner).to_yaml()
    with pytest.raises(GraphError, match=r"node 'a': .*Tuned was constructed.*give component\(Tuned, \.\.\.\)"):
        model("a", Tuned("w", 1, 0.5)).to_yaml()
    with pytest.raises(GraphError, match=r"node 'a': word=\(\) is not text, a number or a boolean"):
        model("a", component(Tuned, word=())).to_yaml()


def test_a_class_of_a_script_cannot_be_written(monkeypatch):
    """A class of the running script cannot be imported by name, and the text says where to put it."""
    monkeypatch.setattr(Plain, "__module__", "__main__")
    monkeypatch.setattr(__import__("sys").modules["__main__"], "Plain", Plain, raising=False)
    with pytest.raises(GraphError, match="'Plain' lives in a script; move it to a module"):
        model("a", Plain).to_yaml()


def test_an_untouched_flow_is_equal_to_its_like():
    """Two flows composed alike are equal."""
    assert model("a", Plain) == model("a", Plain) == Flow(Node("a", type="MODEL"), {"a": Made(Plain, {})})
