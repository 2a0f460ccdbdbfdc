"""The observed orchestrator cases once more, now through the whole server: REST front, graph, remote nodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import grpc
import pytest

from contract.nodes import Nodes, serving
from contract.test_orchestrator_cases import CASES, EXPECTED, REFUSED_AT_START, _spelt_out, _value
from infergraph.wire import prediction
from served import Reply, Served, served

# The payload log needs what only the graph suite sets up; V10's untyped node needs a protocol that a bare predictor,
# which alone is taken without defaults, cannot name. Of families that differ by the graph alone, a few stand for all.
GRAPH_SUITE_ONLY = {case["id"] for case in CASES if "payload_logs" in case} | REFUSED_AT_START | {"V10"}
SAMPLED = ("A", "B", "D")
NOT_FOUND = "404 page not found\n"
HEADERS = (
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "x-content-type-options",
    "seldon-puid",
    "location",
)


def deployment(case: dict[str, Any], ports: dict[str, int]) -> dict[str, Any]:
    """A deployment file whose nodes are at these ports."""

    def placed(node: dict[str, Any]) -> dict[str, Any]:
        node = {**node, "children": [placed(child) for child in node.get("children") or ()]}
        if node["name"] in ports:
            port = ports[node["name"]]
            node["endpoint"] = {"service_host": "127.0.0.1", "service_port": port, "httpPort": port}
        return node

    args = case.get("args", [])
    if not args and not case.get("protocol"):
        return {"name": "p", "graph": placed(case["graph"])}
    annotations = {"seldon.io/rest-timeout": args[args.index("--rest_timeout") + 1]} if "--rest_timeout" in args else {}
    specification = {"predictors": [{"name": "p", "graph": placed(case["graph"])}], "annotations": annotations}
    if case.get("protocol"):
        specification["protocol"] = case["protocol"]
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "sdep"},
        "spec": specification,
    }


def ask(there: Served, request: dict[str, Any]) -> Reply:
    headers = {name: value for name, value in request["headers"].items() if not isinstance(value, list)}
    headers.setdefault("Content-Type", "application/json")
    body = None if request["body"] is None else request["body"].encode()
    return there.ask(request["method"], request["path"], body, headers)


def chosen() -> list[dict[str, Any]]:
    through = [case for case in CASES if case["id"] not in GRAPH_SUITE_ONLY]
    return [case for place, case in enumerate(through) if not case["id"].startswith(SAMPLED) or place % 4 == 0]


AS_A_NODE = {"/predict", "/health/status"}
"""Paths that the orchestrator has not, and our graphs have as nodes of other graphs."""


@pytest.mark.parametrize("case", chosen(), ids=lambda case: case["id"])
def test_case_through_the_server(case: dict[str, Any], tmp_path: Path) -> None:
    """Status, body and the front's fixed headers are those observed, or what the graph suite's EXPECTED says."""
    settings = {"full_health_checks": "--full_health_checks=true" in case.get("args", []), "console": "off"}
    with serving(case["nodes"], tuple(case.get("down", ()))) as nodes:
        (tmp_path / "deployment.json").write_text(json.dumps(deployment(case, nodes.ports)))
        environment = {
            "SELDON_ENABLE_ROUTING_INJECTION": case.get("env", {}).get("SELDON_ENABLE_ROUTING_INJECTION", "")
        }
        with served("deployment.json", folder=tmp_path, environment=environment, grpc=False, **settings) as there:
            for number, step in enumerate(case["steps"]):
                path = step["request"]["path"]
                if path in AS_A_NODE or (path.startswith(("/v1/models", "/v2/")) and not case.get("protocol")):
                    continue
                expected = {**step["observed"], **EXPECTED.get((case["id"], number), {})}
                expected = _spelt_out(case["id"], expected, step, case)
                reply = ask(there, step["request"])
                assert reply.status == expected["status"], reply.body
                if expected["body"] == NOT_FOUND:  # ours goes on with a hint
                    assert reply.body.startswith(NOT_FOUND.encode())
                else:
                    assert _value(reply.body) == _value(expected["body"])
                observed = {name.lower(): value for name, value in (step["observed"].get("headers") or {}).items()}
                if isinstance(step["request"]["headers"].get("Seldon-Puid"), str):
                    for name in HEADERS:
                        assert reply.headers.get(name) == observed.get(name), name


def test_faults_tell_their_reason_and_node_in_headers(tmp_path: Path) -> None:
    """A fault's reason and node reach the caller beside the orchestrator's own body."""
    graph = {"name": "a", "type": "MODEL", "endpoint": {"service_host": "127.0.0.1", "service_port": 1, "httpPort": 1}}
    (tmp_path / "deployment.json").write_text(json.dumps(deployment({"graph": graph}, {})))
    with served("deployment.json", folder=tmp_path, grpc=False) as there:
        reply = there.post("/api/v1.0/predictions", {"strData": "s"})
        assert reply.status == 500
        assert reply.headers["infergraph-node"] == "a"
        assert reply.headers["infergraph-reason"] == "MICROSERVICE_INTERNAL_ERROR"
        assert there.get("/ready").status == 503


# ── beyond the observed cases: their neighbours ─────────────────────────────────────────────────────────────────────

PREDICTIONS = "/api/v1.0/predictions"
MODEL = {"name": "a", "type": "MODEL"}


@contextmanager
def running(
    graph: dict[str, Any], kinds: dict[str, Any], folder: Path, protocol: str = "", **settings: Any
) -> Iterator[tuple[Served, Nodes]]:
    """A server over a graph of remote nodes of these kinds."""
    with serving(kinds) as nodes:
        (folder / "deployment.json").write_text(
            json.dumps(deployment({"graph": graph, "protocol": protocol}, nodes.ports))
        )
        settings.setdefault("grpc", False)
        with served("deployment.json", folder=folder, **settings) as there:
            yield there, nodes


def test_a_name_from_an_address_cannot_write_requests_to_nodes(tmp_path: Path) -> None:
    """Line ends, spaces and other signs in the model's name of a client's address reach a node escaped."""
    evil = "x HTTP/1.1\r\nHost: y\r\n\r\nPOST /other"
    body = {"inputs": []}
    with running(MODEL, {"a": "tag"}, tmp_path, "v2") as (there, nodes):
        reply = there.post(f"/v2/models/{quote(evil, safe='').replace('%2F', '-')}/infer", body)
        assert reply.status == 200
        (call,) = nodes.calls()
        assert call.path == f"/v2/models/{quote(evil.replace('/', '-'), safe=':')}/infer"
        assert there.post(f"/v2/models/{quote('模型 1')}/infer", body).status == 200
        assert nodes.calls()[-1].path == f"/v2/models/{quote('模型 1')}/infer"


def test_the_query_of_a_graph_is_nobodys(tmp_path: Path) -> None:
    """Whatever stands behind the path's question mark, a node gets the body as it came."""
    with running(MODEL, {"a": "echo"}, tmp_path) as (there, nodes):
        for query in ("?x=1", "?json=%7B%7D", "?"):
            reply = there.ask("POST", PREDICTIONS + query, b"\x00no json\xff", {"Content-Type": "application/x"})
            assert (reply.status, reply.body) == (200, b"\x00no json\xff")
        assert {call.path for call in nodes.calls()} == {"/predict"}


def test_the_documents_are_where_the_orchestrator_has_them(tmp_path: Path) -> None:
    """`/api/v1.0/doc/` leads to the page of the documents, and `seldon.json` beside it is the document."""
    with running(MODEL, {"a": "tag"}, tmp_path) as (there, _):
        for version in ("v0.1", "v1.0"):
            reply = there.get(f"/api/{version}/doc/")
            assert urljoin(f"/api/{version}/doc/", reply.headers["location"]) == "/docs"
            assert PREDICTIONS in there.get(f"/api/{version}/doc/seldon.json").json["paths"]


def test_an_empty_id_is_none(tmp_path: Path) -> None:
    """An empty Seldon-Puid is replaced by a new id, in the answer and at the node."""
    with running(MODEL, {"a": "tag"}, tmp_path) as (there, nodes):
        reply = there.post(PREDICTIONS, {}, **{"Seldon-Puid": ""})
        (call,) = nodes.calls()
        sent = [value for name, value in call.headers if name.lower() == "seldon-puid"]
        assert sent == [reply.headers["seldon-puid"]]
        assert len(sent[0]) == 36


def test_callers_that_speak_cloudevents_are_answered_so(tmp_path: Path) -> None:
    """A request with Ce-Specversion gets the orchestrator's Ce- headers; any other request gets none."""
    with running(MODEL, {"a": "tag"}, tmp_path, "tensorflow") as (there, _):
        path = "/v1/models/a:predict"
        reply = there.post(path, {"instances": []}, **{"Ce-Specversion": "1.0", "Ce-Id": "x", "Seldon-Puid": "p1"})
        event = {name: value for name, value in reply.headers.items() if name.startswith("ce-")}
        assert event == {
            "ce-id": "p1",
            "ce-specversion": "0.3",
            "ce-path": path,
            "ce-type": "seldon.sdep.default.response",
            "ce-source": "seldon.sdep",
        }
        assert not [name for name in there.post(path, {"instances": []}).headers if name.startswith("ce-")]


def test_headers_reach_nodes_that_are_asked_for_metadata_and_status(tmp_path: Path) -> None:
    """What a caller sends along with a GET of metadata or status is sent along to each node that is asked."""
    with running(MODEL, {"a": {"kind": "const", "body": "{}", "status": 200}}, tmp_path) as (there, nodes):
        for path in ("/api/v1.0/metadata", "/api/v1.0/metadata/a", "/api/v1.0/status/a"):
            assert there.get(path, Authorization="Bearer z", **{"Seldon-Puid": "p"}).status == 200
            headers = {name.lower(): value for name, value in nodes.calls()[-1].headers}
            assert (headers["authorization"], headers["seldon-puid"]) == ("Bearer z", "p")


def test_a_timeout_of_the_annotation_is_the_protocols_500(tmp_path: Path) -> None:
    """A node slower than seldon.io/rest-timeout is the orchestrator's error body, with the reason in a header."""
    case = {"graph": MODEL, "args": ["--rest_timeout", "50"]}
    with serving({"a": {"kind": "tag", "delay_ms": 1000}}) as nodes:
        (tmp_path / "deployment.json").write_text(json.dumps(deployment(case, nodes.ports)))
        with served("deployment.json", folder=tmp_path, grpc=False) as there:
            reply = there.post(PREDICTIONS, {})
    assert (reply.status, reply.json["status"]["code"], reply.json["status"]["status"]) == (500, 500, "FAILURE")
    assert "no answer within 0.050 s" in reply.json["status"]["info"]
    assert reply.headers["infergraph-reason"] == "DEADLINE_PASSED"


@pytest.mark.parametrize("implementation", ["SKLEARN_SERVER", "TRITON_SERVER", "ANYTHING_ELSE"])
def test_a_packaged_server_at_an_endpoint_is_a_model_like_any_other(tmp_path: Path, implementation: str) -> None:
    """In a predictor alone, as the orchestrator is given it, an implementation beside an address is asked there."""
    with running({**MODEL, "implementation": implementation}, {"a": "tag"}, tmp_path) as (there, nodes):
        assert there.post(PREDICTIONS, {}).status == 200
        assert [call.path for call in nodes.calls()] == ["/predict"]


def test_a_built_in_route_beside_phases_at_an_endpoint(tmp_path: Path) -> None:
    """A typed node with RANDOM_ABTEST is asked for its own phase at its endpoint, and the built-in draws the child."""
    graph = {
        **MODEL,
        "implementation": "RANDOM_ABTEST",
        "methods": ["SEND_FEEDBACK"],
        "parameters": [{"name": "ratioA", "value": "0", "type": "FLOAT"}],
        "children": [{"name": "b", "type": "MODEL"}, {"name": "c", "type": "MODEL"}],
    }
    with running(graph, {"a": "tag", "b": "tag", "c": "tag"}, tmp_path) as (there, nodes):
        assert there.post(PREDICTIONS, {}).status == 200
        assert [(call.node, call.path) for call in nodes.calls()] == [("a", "/predict"), ("c", "/predict")]
        assert there.post("/api/v1.0/feedback", {"response": {"meta": {"routing": {"a": 0}}}}).status == 200
        assert [(call.node, call.path) for call in nodes.calls()] == [
            ("b", "/send-feedback"),
            ("a", "/send-feedback"),
        ]


def test_a_ratio_that_cannot_be_read_fails_its_requests(tmp_path: Path) -> None:
    """The graph is taken, as by the reference; each prediction is the error body, and the process lives."""
    parameters = [{"name": "ratioA", "value": "half", "type": "FLOAT"}]
    graph = {"name": "r", "implementation": "RANDOM_ABTEST", "parameters": parameters, "children": [MODEL, MODEL]}
    with running(graph, {"a": "tag"}, tmp_path) as (there, nodes):
        reply = there.post(PREDICTIONS, {})
        assert (reply.status, reply.json["status"]["code"]) == (500, 500)
        assert "'half'" in reply.json["status"]["info"]
        assert there.get("/live").status == 200
        assert not nodes.calls()


BANDIT = """
class Chooser:
    def __init__(self):
        self.rewarded = []

    def route(self, X, names):
        return 1

    def tags(self):
        return {"by": "chooser"}

    def send_feedback(self, features, feature_names, reward, truth, routing=None):
        self.rewarded.append(reward)
"""
ANSWER = {"kind": "const", "status": 200, "body": '{"data":{"ndarray":[12345678901234567890]},"meta":{"tags":{"n":1}}}'}


def test_a_graph_with_a_node_here_joins_meta_wherever_its_other_nodes_run(tmp_path: Path) -> None:
    """A router in this process over remote models: its choice, its tags and the id are in the answer, so feedback
    finds the child that answered; the models' numbers keep their digits."""
    (tmp_path / "chooser.py").write_text(BANDIT)
    graph = {
        "name": "r", "type": "ROUTER", "component": "chooser.py:Chooser",
        "children": [MODEL, {"name": "b", "type": "MODEL"}],
    }  # fmt: skip
    with running(graph, {"a": ANSWER, "b": ANSWER}, tmp_path) as (there, nodes):
        reply = there.post(PREDICTIONS, {"data": {"ndarray": [[1]]}}, **{"Seldon-Puid": "p"})
        meta = reply.json["meta"]
        assert meta["routing"] == {"r": 1}
        assert meta["tags"] == {"n": 1, "by": "chooser"}
        assert meta["puid"] == "p"
        assert meta["requestPath"] == {"r": "chooser.py:Chooser"}
        assert b"12345678901234567890" in reply.body
        nodes.calls()
        assert there.post("/api/v1.0/feedback", {"response": reply.json, "reward": 1}).status == 200
        assert [call.node for call in nodes.calls()] == ["b"]


def test_meta_of_a_mixed_graph_can_be_left_alone(tmp_path: Path) -> None:
    """With graph_meta=pass the last node's answer leaves as it came, whatever runs here."""
    (tmp_path / "chooser.py").write_text(BANDIT)
    graph = {"name": "r", "type": "ROUTER", "component": "chooser.py:Chooser", "children": [MODEL, MODEL]}
    with running(graph, {"a": ANSWER}, tmp_path, graph_meta="pass") as (there, _):
        assert there.post(PREDICTIONS, {"data": {"ndarray": [[1]]}}).body == ANSWER["body"].encode()


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [("bad", 400, "INVALID_ARGUMENT"), ("full", 429, "RESOURCE_EXHAUSTED"), ("missing", 501, "UNIMPLEMENTED")],
)
def test_a_grpc_nodes_fault_is_its_nearest_status_over_rest(tmp_path: Path, text: str, status: int, code: str) -> None:
    """A graph over a gRPC node answers REST callers the nearest status, and gRPC callers the very code."""
    with grpc_node(lambda _, context: context.abort(grpc.StatusCode[code], text)) as port:
        endpoint = {"service_host": "127.0.0.1", "service_port": port, "grpcPort": port, "type": "GRPC"}
        (tmp_path / "deployment.json").write_text(json.dumps({"name": "p", "graph": {**MODEL, "endpoint": endpoint}}))
        with served("deployment.json", folder=tmp_path) as there:
            reply = there.post(PREDICTIONS, {"strData": text})
            assert (reply.status, reply.json["status"]["info"]) == (status, text)
            with pytest.raises(grpc.RpcError) as caught:
                there.call("Seldon/Predict", prediction.SeldonMessage(strData=text))
            assert caught.value.code().name == code


@contextmanager
def grpc_node(answer: Callable[[Any, Any], Any]) -> Iterator[int]:
    """A gRPC server that answers any method with `answer`; gives its port."""

    class AnyMethod(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((AnyMethod(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def test_a_grpc_router_that_answers_empty_data_chooses_all(tmp_path: Path) -> None:
    """`data` that is there and empty means all children, over gRPC as over REST."""
    answer = prediction.SeldonMessage()
    answer.data.SetInParent()
    with grpc_node(lambda *_: answer.SerializeToString()) as port, serving({"a": "tag", "b": "tag"}) as nodes:
        endpoint = {"service_host": "127.0.0.1", "service_port": port, "grpcPort": port, "type": "GRPC"}
        document = deployment(
            {"graph": {"name": "r", "type": "ROUTER", "children": [MODEL, {**MODEL, "name": "b"}]}}, nodes.ports
        )
        document["graph"]["endpoint"] = endpoint
        (tmp_path / "deployment.json").write_text(json.dumps(document))
        with served("deployment.json", folder=tmp_path) as there:
            assert there.post(PREDICTIONS, {"strData": "x"}).status == 200
            assert sorted(call.node for call in nodes.calls()) == ["a", "b"]
