"""What is refused and what is advised, beyond the observed cases."""

import pytest

from infergraph.graph import spec
from infergraph.graph.spec.records import Deployment, Endpoint, Logger, Node, Parameter, Predictor, Problem

CONTAINER = "Can't find container for Predictive Unit"
SHARES = "Traffic must sum to 100 for multiple predictors"


def _pod(*names):
    return {"spec": {"containers": [{"name": name, "image": "i"} for name in names]}}


def _deployment(graph, *names, **members):
    predictor = Predictor(name="p", graph=graph, component_specs=(_pod(*names),))
    return Deployment(name="d", predictors=(predictor,), **members)


def _texts(deployment, **options):
    return [problem.text for problem in spec.validate(deployment, **options)]


def _predictors(*members):
    good = {"graph": Node("a"), "component_specs": (_pod("a"),)}
    return Deployment(predictors=tuple(Predictor(**{"name": f"p{n}"} | good | each) for n, each in enumerate(members)))


# ── the reference's problems ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("protocol", ["", "seldon", "tensorflow", "kfserving", "v2"])
def test_known_protocols_are_taken(protocol):
    """Each protocol of the reference is taken, and none at all."""
    assert _texts(_deployment(Node("a"), "a", protocol=protocol)) == []


def test_values_are_quoted_as_the_reference_prints_them():
    """A problem prints as the reference's: field, value in quotes with escapes, text."""
    (problem,) = spec.validate(_deployment(Node("a"), "a", transport='a"b'))
    assert str(problem) == 'spec: Invalid value: "a\\"b": Invalid transport'
    assert str(Problem("here", "odd")) == "here: odd"


def test_all_problems_come_at_once_in_order():
    """Every problem is told in one go: spec, services, predictors from the top, transports, traffic."""
    node = Node("x", type="UNKNOWN_TYPE", logger=Logger(), endpoint=Endpoint(type="REST"), children=(Node("y"),))
    predictors = (
        Predictor(name="p", graph=node, annotations={"seldon.io/no-engine": ""}),
        Predictor(name="p", graph=Node("z", endpoint=Endpoint(type="GRPC")), shadow=True, traffic=-1),
        Predictor(name="q", graph=Node("w", implementation="ODD_SERVER"), shadow=True),
    )
    deployment = Deployment(protocol="a", transport="b", server_type="c", predictors=predictors)
    assert [str(problem).replace(": Invalid value: ", " ") for problem in spec.validate(deployment)] == [
        'spec "a": Invalid protocol',
        'spec "b": Invalid transport',
        'spec "c": Invalid serverType',
        'spec.predictors[0] "p": Running without engine only valid for single element graphs',
        'spec.predictors[0].graph "x": Can\'t find container for Predictive Unit',
        'spec.predictors[0].graph "x": Predictive Unit has no implementation methods defined. '
        "Change to a known type or add what methods it defines",
        'spec.predictors[0].graph "": No logger mode specified',
        'spec.predictors[0].graph[0] "y": Can\'t find container for Predictive Unit',
        'spec.predictors[1] "p": Duplicate predictor name',
        'spec.predictors[1].graph "z": Can\'t find container for Predictive Unit',
        'spec.predictors[2].graph "w": Predictive unit modelUri required when using standalone servers',
        'spec.predictors[2].graph "w": No entry in predictors map for ODD_SERVER',
        'spec "": Multiple endpoint.types found - can only have 1 type in graph. Please use spec.transport',
        'spec "p": shadow traffic is illegal, the traffic number should be between [0, 100]',
        'spec "q": Multiple shadows are not allowed',
    ]


def test_a_graph_without_predictors_names_the_transport():
    """The value printed for a graph without predictors is the transport, as in the reference."""
    assert str(spec.validate(Deployment(transport="grpc"))[0]).startswith('spec: Invalid value: "grpc": Graph contains')


@pytest.mark.parametrize(
    ("members", "texts"),
    [
        ([{"traffic": 50}], ["Traffic must sum be 100 for a single predictor when set"]),
        ([{"traffic": 100}], []),
        ([{"traffic": -5}], []),
        ([{}, {}], [SHARES]),
        ([{"traffic": 60}, {"traffic": 40}], []),
        ([{"traffic": 150}, {"traffic": -50}], []),
        ([{"traffic": 50}, {"shadow": True, "traffic": 50}], []),
        ([{"traffic": 60}, {"traffic": 30}, {"shadow": True, "traffic": 10}], [SHARES]),
        ([{"shadow": True}, {"shadow": True}], ["Multiple shadows are not allowed"]),
    ],
)  # fmt: skip
def test_traffic(members, texts):
    """Traffic sums to 100 over predictors that are no shadows, and is not looked at one by one."""
    assert _texts(_predictors(*members)) == texts


@pytest.mark.parametrize(
    ("endpoints", "transport", "text"),
    [
        (["REST", "REST"], "", None),
        (["REST", ""], "rest", None),
        (["GRPC", ""], "grpc", None),
        (["GRPC", ""], "rest", "Mixed transport types found"),
        (["REST", ""], "grpc", "Mixed transport types found"),
        (["REST", "GRPC"], "", "Multiple endpoint.types found"),
        (["odd", ""], "grpc", None),
        (["odd", "REST"], "", "Multiple endpoint.types found"),
    ],
)
def test_transports(endpoints, transport, text):
    """All endpoint types of a deployment are one, and that of spec.transport."""
    root, child = (Endpoint(type=kind) for kind in endpoints)
    node = Node("a", endpoint=root, children=(Node("b", endpoint=child),))
    found = _texts(_deployment(node, "a", "b", transport=transport))
    assert [each.split(" - ")[0].split(". ")[0] for each in found] == ([text] if text else [])


def test_kafka_needs_its_variables():
    """serverType kafka wants three variables of the orchestrator; any three entries of those names will do."""
    env = [{"name": name} for name in ("KAFKA_BROKER", "KAFKA_INPUT_TOPIC", "KAFKA_OUTPUT_TOPIC")]
    for given, count in ((env, 0), (env[:2], 1), ([*env[:1]] * 3, 0), ([], 1)):
        predictor = Predictor("p", Node("a"), (_pod("a"),), svc_orch_spec={"env": given})
        assert len(_texts(Deployment(server_type="kafka", predictors=(predictor,)))) == count


@pytest.mark.parametrize("server", ["SKLEARN_SERVER", "XGBOOST_SERVER", "MLFLOW_SERVER", "HUGGINGFACE_SERVER"])
def test_servers_that_do_not_speak_tensorflow(server):
    """These servers are refused under the tensorflow protocol."""
    node = Node("m", implementation=server, model_uri="u")
    assert _texts(_deployment(node, protocol="tensorflow")) == [
        f"Prepackaged server does not handle tensorflow protocol {server}"
    ]


def test_a_server_that_nobody_knows_needs_an_image():
    """Any other implementation is a server's name, and needs a container that has an image."""
    node = Node("m", implementation="MY_SERVER", model_uri="u")
    assert _texts(_deployment(node, "m")) == []
    bare = Predictor("p", node, ({"spec": {"containers": [{"name": "m"}]}},))
    (problem,) = spec.validate(Deployment(predictors=(bare,)))
    assert problem.text == "No entry in predictors map for MY_SERVER"


def test_names_that_are_nearly_right_are_hinted_at():
    """A misspelt server or container brings the name that was probably meant."""
    (problem,) = spec.validate(_deployment(Node("m", implementation="SKLEARN_SERVR", model_uri="u")))
    assert problem.hint.startswith("did you mean SKLEARN_SERVER?; ")
    (problem,) = spec.validate(_deployment(Node("clasifier"), "classifier"))
    assert problem.hint.startswith("did you mean the container 'classifier'?")


# ── nodes that need no container here ───────────────────────────────────────────────────────────────────────────


def test_a_component_counts_as_a_container():
    """A node with a component needs no container; its child without one still does."""
    assert _texts(_deployment(Node("a", component="m:C", children=(Node("b"),)))) == [CONTAINER]


def test_a_chain_needs_no_container():
    """A CHAIN runs nothing of its own."""
    assert _texts(_deployment(Node("c", type="CHAIN", children=(Node("a"),)), "a")) == []


def test_nodes_told_from_outside_need_no_container():
    """A node named in `in_process` needs no container, and its endpoint type does not count."""
    node = Node("a", endpoint=Endpoint(type="REST"), children=(Node("b", endpoint=Endpoint(type="GRPC")),))
    assert _texts(_deployment(node), in_process={"a", "b"}) == []
    assert len(_texts(_deployment(node))) == 3


def test_addressed_nodes_are_those_with_a_host_and_no_container():
    """Nodes that the file gives an address may mix transports; one with a container is the platform's to place."""
    rest, grpc = Endpoint("h", 1, "REST"), Endpoint("h", 2, "GRPC")
    node = Node("a", endpoint=rest, children=(Node("b", endpoint=grpc), Node("c", endpoint=Endpoint(type="REST"))))
    deployment = _deployment(node, "b", "c")
    assert spec.addressed(deployment) == {"a"}
    assert spec.addressed(_deployment(node)) == {"a", "b"}
    free = _deployment(Node("a", endpoint=rest, children=(Node("b", endpoint=grpc),)))
    assert _texts(free, in_process=spec.addressed(free)) == []


# ── advice ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _advice(graph):
    return [(problem.field.removeprefix("spec.predictors[0]."), problem.text, problem.hint) for problem in
            spec.advise(_deployment(graph))]  # fmt: skip


def test_a_sound_graph_brings_no_advice():
    """A graph of every kind of node, each with what it needs, is passed without a word."""
    leaf = [Node(f"m{n}", type="MODEL", parameters=(Parameter("a", "1", "INT"),)) for n in range(8)]
    graph = Node(
        "c",
        type="CHAIN",
        children=(
            Node("r", type="ROUTER", methods=("SEND_FEEDBACK",), children=(leaf[0], leaf[1])),
            Node("k", type="COMBINER", children=(leaf[2], leaf[3])),
            Node("t", type="TRANSFORMER", endpoint=Endpoint("h", 1, "GRPC"), children=(leaf[4],)),
            Node("s", implementation="RANDOM_ABTEST", children=(leaf[5], Node("x", shadow=True), leaf[6])),
            Node("o", type="OUTPUT_TRANSFORMER", logger=Logger(mode="all"), fallback=leaf[7]),
        ),
    )
    assert _advice(graph) == []


@pytest.mark.parametrize(
    ("node", "text", "hint"),
    [
        (Node("a", type="ROUTR"), "unknown type 'ROUTR': nothing acts on it", "did you mean ROUTER?"),
        (Node("a", type="model"), "unknown type 'model': nothing acts on it", "did you mean MODEL?"),
        (Node("a", methods=("ROUT",)), "unknown method 'ROUT': nothing acts on it", "did you mean ROUTE?"),
        (
            Node("a", parameters=(Parameter("n", "1", "int32"),)),
            "unknown type of the parameter 'n' 'int32': nothing acts on it",
            "did you mean INT?",
        ),
        (Node("a", endpoint=Endpoint(type="http")), "unknown endpoint.type 'http': nothing acts on it", ""),
        (Node("a", logger=Logger(mode="ALL")), "unknown logger.mode 'ALL': nothing acts on it", "did you mean all?"),
        (Node("a", type="ROUTER"), "has no children, so it never routes anything", "add children"),
        (Node("a", implementation="RANDOM_ABTEST"), "has no children, so it never routes anything", "add children"),
        (Node("a", type="COMBINER"), "has no children, so it never combines anything", "add children"),
        (Node("a", type="CHAIN"), "has no children, so it never runs anything", "add children"),
        (
            Node("a", type="ROUTER", children=(Node("b", shadow=True),)),
            "has no children, so it never routes anything",
            "add children",
        ),
        (
            Node("a", children=(Node("b"), Node("c"))),
            "runs all its children and answers with the first one's answer only",
            "make it a COMBINER, a ROUTER, or a CHAIN (one after the other)",
        ),
        (
            Node("a", type="ROUTER", implementation="RANDOM_ABTEST", endpoint=Endpoint("h", 1), children=(Node("b"),)),
            "the ROUTER at the endpoint chooses: RANDOM_ABTEST is never asked",
            "drop the endpoint, or type ROUTER and method ROUTE",
        ),
        (Node(""), "has no name", "routes, metrics and feedback go by the name"),
        (
            Node("a", component="m:C", implementation="SKLEARN_SERVER"),
            "both component and SKLEARN_SERVER are given",
            "the component is used",
        ),
        (Node("a", shadow=True), "the root cannot be a shadow: its answer is the answer", "drop it"),
    ],
)
def test_odd_nodes_bring_advice(node, text, hint):
    """Each oddity that the reference lets pass is told, with what to do."""
    found = _advice(node)
    assert [(field, said) for field, said, _ in found] == [("graph", text)]
    assert hint in found[0][2]


def test_a_name_borne_twice_is_told_once():
    """Two nodes of one name, a fallback among them, bring one piece of advice."""
    found = _advice(Node("a", children=(Node("b", fallback=Node("a")),)))
    assert found == [
        ("graph", "the name 'a' is used by 2 nodes", "routes and feedback go by the name: give each its own")
    ]


def test_fallback_nodes_are_looked_at():
    """What is odd in a fallback node is told with its path."""
    found = _advice(Node("a", fallback=Node("b", type="ROUTR")))
    assert [field for field, _, _ in found] == ["graph.fallback"]


def test_predictors_bring_advice():
    """What is not served here, and traffic out of range, is told."""
    predictors = (
        Predictor(name="", graph=Node("a"), traffic=150, explainer={"type": "KernelShap"}),
        Predictor(name="q", graph=Node("a"), explainer={"type": ""}),
    )
    found = spec.advise(Deployment(server_type="kafka", predictors=predictors))
    assert [problem.field for problem in found] == [
        "spec.serverType",
        "spec.predictors[0]",
        "spec.predictors[0]",
        "spec.predictors[0].explainer",
    ]
