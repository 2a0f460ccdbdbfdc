"""What is filled in before a graph runs, beyond the observed cases."""

import hashlib

import pytest
from msgspec.structs import replace

from infergraph.graph import spec
from infergraph.graph.spec.records import Deployment, Endpoint, Node, Predictor


def _pod(*containers):
    return {"spec": {"containers": [{"name": name} if isinstance(name, str) else name for name in containers]}}


def _default(graph, *pods, **members):
    predictor = Predictor(name="p", graph=graph, component_specs=pods)
    return spec.default(Deployment(name="d", predictors=(predictor,), **members)).predictors[0]


def _ports(node):
    return node.endpoint.http_port, node.endpoint.grpc_port


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        (Node("a"), "MODEL"),
        (Node("a", type=""), ""),
        (Node("a", methods=("ROUTE",)), None),
        (Node("a", methods_written=True), None),
        (Node("a", implementation="SIMPLE_MODEL"), None),
        (Node("a", implementation="UNKNOWN_IMPLEMENTATION"), None),
        (Node("a", implementation=""), None),
        (Node("a", type="ROUTER"), "ROUTER"),
        (Node("a", type="ROUTER", implementation="MY_SERVER"), "MODEL"),
        (Node("a", component="m:C"), "MODEL"),
    ],
)
def test_a_type_is_given_only_where_nothing_else_is_said(node, kind):
    """A node is a MODEL by default if it says nothing at all of itself, and always where a server is named."""
    assert _default(node).graph.type == kind


def test_fallback_nodes_get_their_types():
    """A fallback node is typed like any other, and counts as no node of the tree."""
    root = _default(Node("a", fallback=Node("b")), _pod("a", "b")).graph
    assert (root.fallback.type, root.fallback.endpoint) == ("MODEL", None)


def test_containers_that_are_no_node_take_numbers_too():
    """Ports are counted over containers in order, whether a node bears their name or not."""
    graph = _default(Node("b", children=(Node("d"),)), _pod("a", "b"), _pod("c", "d")).graph
    assert _ports(graph) == (9001, 9501)
    assert _ports(graph.children[0]) == (9003, 9503)


def test_ports_go_on_through_all_predictors():
    """A name that was counted keeps its number in the next predictor; a new one gets the next."""
    first = Predictor(name="p", graph=Node("a"), component_specs=(_pod("a"),))
    second = Predictor(name="q", graph=Node("b", children=(Node("a"),)), component_specs=(_pod("b", "a"),))
    _, found = spec.default(Deployment(name="d", predictors=(first, second))).predictors
    assert _ports(found.graph) == (9001, 9501)
    assert _ports(found.graph.children[0]) == (9000, 9500)


def test_counting_may_begin_elsewhere():
    """The first ports can be set, as the platform sets them by its environment."""
    predictor = Predictor(name="p", graph=Node("a"), component_specs=(_pod("a"),))
    deployment = Deployment(name="d", predictors=(predictor,))
    found = spec.default(deployment, first=spec.FirstPorts(http=7000, grpc=8000))
    assert _ports(found.predictors[0].graph) == (7000, 8000)


def test_ports_named_by_the_container_count():
    """A container's ports called http and grpc override the numbers; the first of each name counts."""
    ports = [("http", 1), ("grpc", 2), ("http", 3), ("metrics", 4)]
    container = {"name": "a", "ports": [{"name": name, "containerPort": number} for name, number in ports]}
    assert _ports(_default(Node("a"), _pod(container)).graph) == (1, 2)


def test_the_users_address_is_overwritten_by_a_container():
    """What a file says of host and ports of a node with a container is overwritten; its endpoint type stays."""
    mine = Endpoint("elsewhere", 1, "GRPC", 2, 3)
    found = _default(Node("a", endpoint=mine), _pod("a")).graph.endpoint
    assert found == Endpoint("localhost", 9500, "GRPC", 9000, 9500)


def test_the_users_address_stays_without_a_container():
    """A node without a container keeps the address that the file gives it."""
    mine = Endpoint("elsewhere", 1, "GRPC", 2, 3)
    assert _default(Node("a", endpoint=mine), _pod("b")).graph.endpoint == mine


def test_the_first_of_two_nodes_of_a_name_gets_the_container():
    """Of nodes with one name, the first from the top is the container's."""
    graph = _default(Node("r", children=(Node("a", children=(Node("a"),)),)), _pod("a")).graph
    assert graph.children[0].endpoint is not None
    assert graph.children[0].children[0].endpoint is None


@pytest.mark.parametrize("said", ["true", "True", "TRUE"])
def test_a_separate_engine_makes_every_node_remote(said):
    """With the orchestrator in a pod of its own no node is on localhost."""
    graph = _default(Node("a"), _pod("a"), annotations={"seldon.io/engine-separate-pod": said}, namespace="ns").graph
    assert graph.endpoint.service_host == "d-p-a.ns.svc.cluster.local"


@pytest.mark.parametrize("said", ["false", "yes", ""])
def test_anything_but_true_is_no_separate_engine(said):
    """The annotation counts only when it says true."""
    graph = _default(Node("a"), _pod("a"), annotations={"seldon.io/engine-separate-pod": said}).graph
    assert graph.endpoint.service_host == "localhost"


def test_long_service_names_are_hashed():
    """A service name over 63 characters becomes seldon- and the md5 of it, as the operator names the service."""
    name = "n" * 60
    host = _default(Node(name), _pod(), _pod(name)).graph.endpoint.service_host
    assert host == f"seldon-{hashlib.md5(f'd-p-{name}'.encode()).hexdigest()}.default.svc.cluster.local"
    short = "n" * 59
    assert _default(Node(short), _pod(), _pod(short)).graph.endpoint.service_host.startswith(f"d-p-{short}.")


def test_packaged_servers_get_a_container():
    """A packaged server without a container gets one in the first pod, which is made if need be, and its address."""
    node = Node("m", implementation="SKLEARN_SERVER")
    alone = _default(node)
    assert alone.component_specs == (_pod("m"),)
    assert alone.graph.endpoint == Endpoint("localhost", 9000, "", 9000, 9500)
    beside = _default(replace(node, name="z"), _pod("a"), _pod("b"))
    assert beside.component_specs == (_pod("a", "z"), _pod("b"))
    assert _ports(beside.graph) == (9002, 9502)


def test_a_packaged_server_is_on_the_orchestrators_host():
    """A packaged server in any other pod is looked for on localhost all the same, as the reference does."""
    graph = _default(Node("m", implementation="SKLEARN_SERVER"), _pod("a"), _pod("m")).graph
    assert graph.endpoint == Endpoint("localhost", 9001, "", 9001, 9501)


def test_the_version_label_is_the_users_or_the_name():
    """Each predictor is labelled with its version: the user's, else its name."""
    assert _default(Node("a")).labels == {"version": "p"}
    mine = Predictor(name="p", labels={"version": "7", "x": "y"})
    assert spec.default_predictor(mine).labels == {"version": "7", "x": "y"}


def test_nothing_given_is_changed():
    """Defaulting gives a new deployment; the documents it was given are left alone."""
    pod = _pod("a")
    predictor = Predictor(name="p", graph=Node("m", implementation="SKLEARN_SERVER"), component_specs=(pod,))
    spec.default(Deployment(name="d", predictors=(predictor,)))
    assert (pod, predictor.labels) == (_pod("a"), {})
