"""Remote nodes of the open inference protocol: bodies that pass through, malformed answers, routes, log, predictors."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from contract.nodes import Nodes, serving
from contract.test_payload_log import collecting
from contract.test_v2_graphs import HEADER, grpc_request
from infergraph.protocol.services import INFERENCE
from infergraph.wire import prediction
from infergraph.wire.prediction import message_class
from served import Served, served

FOLDER = Path(__file__).parent
X = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
ANSWER = {"model_name": "m", "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [2]}]}


def const(body: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "const", "body": body if isinstance(body, bytes | str) else json.dumps(body), **more}


def at(name: str, port: int, kind: str = "MODEL", *children: Any, **more: Any) -> dict[str, Any]:
    endpoint = {"service_host": "127.0.0.1", "service_port": port, "httpPort": port, "type": "REST"}
    return {"name": name, "type": kind, "endpoint": endpoint, "children": list(children), **more}


def here(name: str, component: str, kind: str = "MODEL", *children: Any, **more: Any) -> dict[str, Any]:
    target = f"{FOLDER / 'v2_graph_components.py'}:{component}"
    return {"name": name, "type": kind, "component": target, "children": list(children), **more}


@contextmanager
def flow(folder: Path, *graphs: Mapping[str, Any], protocol: str = "v2", **given: Any) -> Iterator[Served]:
    """A server over a deployment with a predictor for each graph."""
    predictors = [
        {"name": ("main", "canary")[place], "graph": graph, "traffic": (100, 0)[place]}
        for place, graph in enumerate(graphs)
    ]
    document = {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "flow"},
        "spec": {"protocol": protocol, "predictors": predictors},
    }
    (folder / "flow.json").write_text(json.dumps(document))
    with served("flow.json", folder=folder, **given) as there:
        yield there


def sent_to(nodes: Nodes, node: str) -> list[Any]:
    """The requests for inference that a node got."""
    return [call for call in nodes.calls() if call.node == node and call.method == "POST"]


# ── bodies that pass through ────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_node_gets_the_clients_bytes_and_the_client_the_last_nodes(tmp_path: Path) -> None:
    """Between remote nodes alone no byte of the first request and of the last answer changes."""
    body = b'{ "id": "7", "inputs": [ {"name":"x","shape":[1],"datatype":"FP32","data":[1.0]} ], "unknown": 1e2 }'
    last = b'{"outputs":[{"name":"y","shape":[1],"datatype":"INT64","data":[12345678901234567890123]}], "extra": 1.50}'
    with serving({"a": const(ANSWER), "b": const(last)}) as nodes:
        graph = at("a", nodes.ports["a"], "MODEL", at("b", nodes.ports["b"]))
        with flow(tmp_path, graph, grpc=False) as there:
            reply = there.ask("POST", "/v2/models/infer", body, {"Content-Type": "application/json"})
        first, second = [call for call in nodes.calls() if call.method == "POST"]
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, last, "application/json")
    assert (first.path, first.body.encode()) == ("/v2/models/a/infer", body)
    assert second.path == "/v2/models/b/infer"
    assert json.loads(second.body)["inputs"] == ANSWER["outputs"]


def test_a_compressed_request_reaches_the_first_node_compressed(tmp_path: Path) -> None:
    """The client's content encoding goes with its bytes, and the next node is sent plain JSON."""
    body = gzip.compress(json.dumps({"parameters": {"k": 1}, "inputs": [X]}).encode())
    with serving({"a": const(ANSWER), "b": const(ANSWER)}) as nodes:
        graph = at("a", nodes.ports["a"], "MODEL", at("b", nodes.ports["b"]))
        with flow(tmp_path, graph, grpc=False) as there:
            assert there.ask("POST", "/v2/models/infer", body, {"Content-Encoding": "gzip"}).status == 200
        first, second = [call for call in nodes.calls() if call.method == "POST"]
    assert first.body.encode("latin-1") == body
    assert dict(first.headers)["content-encoding"] == "gzip"
    assert json.loads(second.body)["parameters"] == {"k": 1}
    assert "content-encoding" not in dict(second.headers)


def test_raw_tensors_become_the_next_request_with_a_new_length(tmp_path: Path) -> None:
    """Blobs of an answer stay behind the JSON, whose length is counted anew; the last answer leaves with its header."""
    blob = struct.pack("<2f", 1.5, -2)
    entry = {"name": "y", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    head = json.dumps({"model_name": "a", "model_version": "3", "id": "i", "outputs": [entry]}).encode()
    raw = const(head + blob, headers={"Content-Type": "application/octet-stream", HEADER: str(len(head))})
    with serving({"a": raw, "b": raw}) as nodes:
        graph = at("a", nodes.ports["a"], "MODEL", at("b", nodes.ports["b"]))
        with flow(tmp_path, graph, grpc=False) as there:
            body = {"parameters": {"binary_data_output": True}, "inputs": [X]}
            reply = there.post("/v2/models/infer", body)
        second = sent_to(nodes, "b")[0]
    headers = {name.lower(): value for name, value in second.headers}
    size = int(headers[HEADER.lower()])
    told = second.body.encode("latin-1")
    assert told[size:] == blob
    document = json.loads(told[:size])
    assert document["inputs"] == [entry]
    assert document["parameters"] == {"binary_data_output": True}
    assert "model_version" not in document
    assert reply.body == head + blob
    assert reply.headers[HEADER.lower()] == str(len(head))


def test_the_outputs_that_a_client_asks_for_are_asked_of_the_last_node_alone(tmp_path: Path) -> None:
    """Its list of outputs is for the graph's answer."""
    body = {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": False}}]}
    with serving({"a": const(ANSWER), "b": const(ANSWER)}) as nodes:
        graph = at("a", nodes.ports["a"], "MODEL", at("b", nodes.ports["b"]))
        with flow(tmp_path, graph, grpc=False) as there:
            assert there.post("/v2/models/infer", body).status == 200
        first, second = [json.loads(call.body) for call in nodes.calls() if call.method == "POST"]
    assert first == {"inputs": [X]}
    assert second["outputs"] == body["outputs"]


@pytest.mark.parametrize(("path", "names"), [
    ("/v2/models/other/infer", ["other", "other"]),
    ("/v2/models/infer", ["a", "b"]),
    ("/v2/models/flow/infer", ["a", "b"]),
])  # fmt: skip
def test_a_name_in_the_path_is_that_of_the_nodes(tmp_path: Path, path: str, names: list[str]) -> None:
    """Of remote nodes alone any name is taken; without one, or with the graph's, each node keeps its own."""
    with serving({"a": const(ANSWER), "b": const(ANSWER)}) as nodes:
        graph = at("a", nodes.ports["a"], "MODEL", at("b", nodes.ports["b"]))
        with flow(tmp_path, graph, grpc=False) as there:
            assert there.post(path, {"inputs": [X]}).status == 200
        asked = [call.path for call in nodes.calls() if call.method == "POST"]
    assert asked == [f"/v2/models/{name}/infer" for name in names]


def test_grpc_bytes_are_chained_field_by_field(tmp_path: Path) -> None:
    """Raw contents of one node's answer are those of the next request, also of types that have no typed field."""
    component = "v2_graph_components.py"
    with (
        served(f"{component}:One", folder=FOLDER, environment={"PREDICTIVE_UNIT_ID": "a"}) as a,
        served(f"{component}:One", folder=FOLDER, environment={"PREDICTIVE_UNIT_ID": "b"}) as b,
    ):
        graph = at("a", a.grpc_port, "MODEL", at("b", b.grpc_port))
        for node in (graph, graph["children"][0]):
            node["endpoint"] |= {"type": "GRPC", "grpcPort": node["endpoint"]["service_port"]}
        with flow(tmp_path, graph) as there:
            request = grpc_request("x", "FP16", [2], b"\x00\x3c\x00\x40")
            request.model_name = ""
            answer = there.rpc("ModelInfer", request)
    assert list(answer.raw_output_contents) == [b"\x00\x3c\x00\x40"]
    assert answer.model_name == "b"
    assert answer.id == "7"


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"x":1}'])
def test_a_body_without_inputs_is_answered_as_the_reference_does(tmp_path: Path, body: bytes) -> None:
    """A graph of remote nodes alone says that it cannot be chained, before any node is asked."""
    with serving({"a": const(ANSWER)}) as nodes:
        with flow(tmp_path, at("a", nodes.ports["a"]), grpc=False) as there:
            reply = there.ask("POST", "/v2/models/infer", body)
        assert [call for call in nodes.calls() if call.method == "POST"] == []
    assert (reply.status, reply.json["status"]["status"]) == (500, "FAILURE")


@pytest.mark.parametrize("body", [b"{", b"", b'{"inputs"', b"\xff"])
def test_a_body_that_is_no_request_asks_no_node(tmp_path: Path, body: bytes) -> None:
    """It is the client's mistake, 400 in the protocol's form, before any node is asked."""
    with serving({"a": const(ANSWER)}) as nodes:
        with flow(tmp_path, at("a", nodes.ports["a"]), grpc=False) as there:
            reply = there.ask("POST", "/v2/models/infer", body)
        assert [call for call in nodes.calls() if call.method == "POST"] == []
    assert (reply.status, list(reply.json)) == (400, ["error"])


# ── answers that are none ───────────────────────────────────────────────────────────────────────────────────────────

MALFORMED = {
    "no JSON": b"hello",
    "no object": b"[1]",
    "no outputs": b"{}",
    "outputs are no list": b'{"outputs": 5}',
    "no output at all": b'{"outputs": []}',
    "an output that is no object": b'{"outputs": [5]}',
    "no name": b'{"outputs": [{"shape": [1], "datatype": "FP32", "data": [1]}]}',
    "two of one name": json.dumps({"outputs": [X, X]}).encode(),
    "unknown datatype": b'{"outputs": [{"name": "y", "shape": [1], "datatype": "fp32", "data": [1]}]}',
    "another count": b'{"outputs": [{"name": "y", "shape": [3], "datatype": "FP32", "data": [1]}]}',
    "text for a number": b'{"outputs": [{"name": "y", "shape": [1], "datatype": "INT8", "data": ["1"]}]}',
    "out of range": b'{"outputs": [{"name": "y", "shape": [1], "datatype": "INT8", "data": [300]}]}',
    "neither data nor size": b'{"outputs": [{"name": "y", "shape": [1], "datatype": "FP32"}]}',
    "a size without blobs": (
        b'{"outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}'
    ),
    "a huge shape": b'{"outputs": [{"name": "y", "shape": [9999999999, 99999], "datatype": "FP32", "data": [1]}]}',
    "not UTF-8": b'{"outputs": [{"name": "\xff", "shape": [1], "datatype": "FP32", "data": [1]}]}',
    "empty": b"",
}


def before_one(folder: Path, nodes: Nodes) -> Any:
    """The remote node `a`, and one of this process behind it."""
    return flow(folder, at("a", nodes.ports["a"], "MODEL", here("one", "One")), grpc=False)


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_answer_is_the_fault_of_its_node(tmp_path: Path, answer: bytes) -> None:
    """It is no fault of the client nor of the next node, and no bug of ours."""
    with serving({"a": const(answer)}) as nodes, before_one(tmp_path, nodes) as there:
        reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
    assert reply.status in (500, 502), reply.body
    assert reply.headers["infergraph-node"] == "a"
    assert "the answer of node a cannot be read" in reply.json["error"]


@pytest.mark.parametrize("length", ["7", "x", "-1", "99999", ""])
def test_a_length_that_does_not_fit_is_the_fault_of_its_node(tmp_path: Path, length: str) -> None:
    """The header of a raw answer is checked like that of a request."""
    head = json.dumps(ANSWER).encode()
    answer = const(head + b"\0", headers={"Content-Type": "application/octet-stream", HEADER: length})
    with serving({"a": answer}) as nodes, before_one(tmp_path, nodes) as there:
        reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
    assert reply.status in (500, 502), reply.body
    assert reply.headers["infergraph-node"] == "a"


def test_a_malformed_answer_calls_the_fallback(tmp_path: Path) -> None:
    """A node whose answer cannot be read has failed, as one that cannot be reached."""
    with serving({"a": const(b"hello")}) as nodes:
        graph = at("a", nodes.ports["a"], fallback=here("two", "Two"))
        with flow(tmp_path, graph, grpc=False) as there:
            reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
    assert (reply.status, reply.json["outputs"][0]["name"]) == (200, "only")


@pytest.mark.parametrize(("status", "body", "text"), [
    (422, {"error": "row 3 has no price"}, "row 3 has no price"),
    (404, {"status": {"code": -1, "info": "Seldon's text", "status": "FAILURE"}}, "Seldon's text"),
    (503, "busy", "busy"),
])  # fmt: skip
def test_a_refusal_of_a_node_keeps_its_status_and_text(tmp_path: Path, status: int, body: Any, text: str) -> None:
    """The node's own words reach the client in the protocol's form, and a client of Seldon's protocol in that one's."""
    kinds = {"a": const(body, status=status)}
    with serving(kinds) as nodes, flow(tmp_path, at("a", nodes.ports["a"])) as there:
        reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
        with pytest.raises(grpc.RpcError) as caught:
            there.rpc("ModelInfer", grpc_request("x", "FP32", [1], b"\0\0\0\0"))
        other = there.post("/api/v1.0/predictions", {"data": {"ndarray": [[1]]}})
    assert (reply.status, reply.json) == (status, {"error": text})
    assert reply.headers["infergraph-node"] == "a"
    assert text in caught.value.details() or status == 503
    assert other.status == status


# ── routers, combiners, feedback ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("answer", [
    {"data": {"ndarray": [[1]]}},
    {"data": {"tensor": {"shape": [1, 1], "values": [1]}}},
    [1],
    {"outputs": [{"name": "child", "shape": [1], "datatype": "INT64", "data": [1]}]},
    {"model_name": "by", "outputs": [{"name": "child", "shape": [], "datatype": "INT32", "data": [1]}]},
])  # fmt: skip
def test_a_router_answers_in_either_protocol(tmp_path: Path, answer: Any) -> None:
    """The first number of Seldon's array, of a list, or of an answer's first tensor is the child."""
    with serving({"by": const(answer)}) as nodes:
        graph = at("by", nodes.ports["by"], "ROUTER", here("one", "One"), here("two", "Two"))
        with flow(tmp_path, graph, grpc=False) as there:
            reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
        (asked,) = sent_to(nodes, "by")
    assert (reply.status, reply.json["outputs"][0]["name"]) == (200, "only")
    assert reply.json["parameters"]["seldon_routing"] == '{"by":1}'
    assert asked.path == "/v2/models/by/route"
    assert json.loads(asked.body)["inputs"] == [X]


@pytest.mark.parametrize("answer", [
    {"outputs": []},
    {"outputs": [{"name": "c", "shape": [1], "datatype": "BYTES", "data": ["x"]}]},
    {"outputs": [{"name": "c", "shape": [1], "datatype": "FP32", "data": [0.5]}]},
    {"outputs": [{"name": "c", "shape": [1], "datatype": "INT64", "data": [7]}]},
    {"outputs": [{"name": "c", "shape": [0], "datatype": "INT64", "data": []}]},
])  # fmt: skip
def test_a_route_that_is_none_names_the_router(tmp_path: Path, answer: Any) -> None:
    """A router's tensors that hold no child of it are its fault."""
    with serving({"by": const(answer)}) as nodes:
        graph = at("by", nodes.ports["by"], "ROUTER", here("one", "One"), here("two", "Two"))
        with flow(tmp_path, graph, grpc=False) as there:
            reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
    assert (reply.status, reply.headers["infergraph-node"]) == (500, "by")


def test_a_foreign_combiner_gets_a_list_of_whole_answers(tmp_path: Path) -> None:
    """Answers received as JSON are there byte for byte, those of this process in the same form."""
    given = b'{"model_name":"a","outputs":[{"name":"y","shape":[1],"datatype":"INT64","data":[9007199254740993]}]}'
    with serving({"mean": const(ANSWER), "a": const(given)}) as nodes:
        graph = at("mean", nodes.ports["mean"], "COMBINER", at("a", nodes.ports["a"]), here("two", "Two"))
        with flow(tmp_path, graph, grpc=False) as there:
            reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
        (asked,) = sent_to(nodes, "mean")
    assert reply.json["outputs"] == ANSWER["outputs"]
    assert asked.path == "/v2/models/mean/aggregate"
    assert asked.body.startswith("[" + given.decode() + ",")
    assert json.loads(asked.body)[1]["outputs"][0]["name"] == "only"


def test_a_reward_goes_the_recorded_way(tmp_path: Path) -> None:
    """The routing of an answer's parameters is that of a feedback in Seldon's protocol, under protocol v2 too."""
    bandit = {
        "name": "bandit",
        "type": "ROUTER",
        "component": "infergraph.graph.routers.bandits:EpsilonGreedy",
        "parameters": [
            {"name": "n_branches", "value": "2", "type": "INT"},
            {"name": "epsilon", "value": "0", "type": "FLOAT"},
            {"name": "best_branch", "value": "1", "type": "INT"},
        ],
        "children": [here("one", "One"), here("two", "Two")],
    }
    with flow(tmp_path, bandit, grpc=False) as there:
        reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
        routing = json.loads(reply.json["parameters"]["seldon_routing"])
        reward = {"response": {"meta": {"routing": routing}}, "reward": 1.0}
        told = there.post("/api/v1.0/feedback", reward)
    assert routing == {"bandit": 1}
    assert told.status == 200, told.body


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_our_own_server_answers_routes_and_aggregates(transport: str) -> None:
    """A router answers Seldon's array over REST and a tensor over gRPC, a combiner an answer of the protocol."""
    answers = [{"outputs": [{**X, "data": [value]}]} for value in (1, 3)]
    folder = FOLDER / "cases" / "v2"
    with served("oip_components.py:Mean", folder=folder, environment={"PREDICTIVE_UNIT_ID": "m"}) as m:
        if transport == "rest":
            reply = m.post("/v2/models/m/aggregate", answers)
            assert reply.status == 200, reply.body
            assert reply.json["outputs"][0]["data"] == [2]
            named = m.post("/v2/models/m/aggregate", [{"id": "client's", **each} for each in answers])
            assert (named.json["id"], named.headers["seldon-puid"]) == ("client's", "client's")
            assert m.post("/v2/models/m/aggregate", {"x": 1}).status == 400
            assert m.post("/v2/models/m/aggregate", []).status == 400
            assert m.post("/v2/models/m/aggregate", [{"outputs": [{"name": 1}]}]).status == 400
            assert m.post("/v2/models/n/aggregate", answers).status == 404
            assert m.get("/v2/models/m/aggregate").status == 405
            assert m.post("/v2/models/m/route", {"inputs": [X]}).status == 400
        else:
            message = message_class("inference.ModelInferRequest")(model_name="m")
            message.parameters["seldon_method"].string_param = "aggregate"
            for child, value in enumerate((1, 3)):
                message.inputs.add(name=f"{child}:x", datatype="FP32", shape=[1]).contents.fp32_contents.append(value)
            assert list(m.rpc("ModelInfer", message).outputs[0].contents.fp32_contents) == [2]
            message.inputs[1].name = "5:x"
            with pytest.raises(grpc.RpcError) as caught:
                m.rpc("ModelInfer", message)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with served(
        "oip_components.py:ByRows", folder=FOLDER / "cases" / "v2", environment={"PREDICTIVE_UNIT_ID": "b"}
    ) as b:
        if transport == "rest":
            reply = b.post("/v2/models/b/route", {"inputs": [{**X, "shape": [1, 1]}]})
            assert reply.json["data"]["ndarray"] == [[0]]
        else:
            message = grpc_request("x", "FP32", [2, 1], b"\0" * 8)
            message.model_name = "b"
            message.parameters["seldon_method"].string_param = "route"
            answer = b.rpc("ModelInfer", message)
            assert struct.unpack("<q", answer.raw_output_contents[0]) == (1,)


# ── names, sizes, readiness ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("extensions", [["binary_tensor_data"], []])
@pytest.mark.parametrize("size", [3, 3000])
def test_large_tensors_go_raw_to_a_node_that_reads_them(tmp_path: Path, size: int, extensions: list[str]) -> None:
    """Up to 4 KiB, and to a server that does not list the extension, a request is JSON; it is asked for that once."""
    by_path = {"/v2": const({"name": "s", "extensions": extensions})}
    with serving({"a": {"by_path": by_path, "default": const(ANSWER)}}) as nodes:
        graph = here("one", "One", "MODEL", at("a", nodes.ports["a"]))
        with flow(tmp_path, graph, grpc=False) as there:
            body = {"inputs": [{"name": "x", "shape": [size], "datatype": "FP32", "data": [0.5] * size}]}
            for _ in range(2):
                assert there.post("/v2/models/flow/infer", body).status == 200
        calls = nodes.calls()
    assert len([call for call in calls if call.path == "/v2"]) == (1 if size > 1024 else 0)
    is_raw = size > 1024 and bool(extensions)
    for call in calls:
        if call.method == "POST":
            assert (HEADER.lower() in {name.lower() for name, _ in call.headers}) == is_raw


@pytest.mark.parametrize(("inputs", "metadata", "name"), [
    ([X], [], "x"),
    ([X, {**X, "name": "z"}], [{"name": "rows", "datatype": "FP32", "shape": [-1]}], "rows"),
    ([X, {**X, "name": "z"}], [], "input-0"),
])  # fmt: skip
def test_an_array_without_a_name_is_sent_under_one(tmp_path: Path, inputs: Any, metadata: Any, name: str) -> None:
    """That of the request's only tensor, else of the only input that the node declares, else input-0."""
    (tmp_path / "sums.py").write_text(
        "class Sums:\n"
        "    def predict(self, X, names, meta=None):\n"
        "        return sum(X.values()) if isinstance(X, dict) else X + 1\n"
    )
    by_path = {"/v2/models/a": const({"name": "a", "inputs": metadata, "outputs": []})}
    with serving({"a": {"by_path": by_path, "default": const(ANSWER)}}) as nodes:
        graph = {"name": "s", "type": "MODEL", "component": "sums.py:Sums", "children": [at("a", nodes.ports["a"])]}
        with flow(tmp_path, graph, grpc=False) as there:
            assert there.post("/v2/models/flow/infer", {"inputs": inputs}).status == 200
        (asked,) = sent_to(nodes, "a")
    assert [entry["name"] for entry in json.loads(asked.body)["inputs"]] == [name]


def test_nodes_have_metadata_and_readiness_but_no_infer(tmp_path: Path) -> None:
    """A node of a graph is no model of its own, but tells what it is and whether it can answer."""
    ready = {"/v2/models/a/ready": const({"name": "a", "ready": True})}
    metadata = {"/v2/models/a": const({"name": "a", "platform": "p", "versions": ["1"], "inputs": [], "outputs": []})}
    with serving({"a": {"by_path": ready | metadata, "default": const(ANSWER)}}) as nodes:
        graph = here("one", "One", "MODEL", at("a", nodes.ports["a"]))
        with flow(tmp_path, graph) as there:
            assert there.get("/v2/models/a").json["platform"] == "p"
            assert there.get("/v2/models/one").json["name"] == "one"
            assert there.get("/v2/models/flow").json["name"] == "flow"
            assert there.get("/v2/models").json == {"models": ["flow"]}
            assert there.get("/v2/models/a/ready").json == {"name": "a", "ready": True}
            assert there.get("/v2/models/none/ready").status == 404
            assert there.get("/v2/models/none").status == 404
            assert there.get("/v2/models/flow/versions/1").status == 404
            assert there.post("/v2/models/a/infer", {"inputs": [X]}).status == 404
            for name, expected in (("a", True), ("one", True), ("flow", True), ("none", False)):
                assert there.rpc("ModelReady", name=name).ready is expected
            assert there.rpc("ModelMetadata", name="a").platform == "p"


def test_metadata_that_a_node_has_not_stop_no_request(tmp_path: Path) -> None:
    """Inference needs no metadata of the nodes; asking for the graph's names the node that has none."""
    with serving({"a": {"by_path": {"/v2/models/a": const("no", status=404)}, "default": const(ANSWER)}}) as nodes:
        graph = at("a", nodes.ports["a"], "MODEL", here("one", "One"))
        with flow(tmp_path, graph, grpc=False) as there:
            reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
            told = there.get("/v2/models/flow")
    assert (reply.status, reply.json["outputs"][0]["name"]) == (200, "output-0")
    assert (told.status, told.headers["infergraph-node"]) == (404, "a")


def test_each_of_several_predictors_is_a_model(tmp_path: Path) -> None:
    """The deployment's name shares requests out by traffic, a predictor's name asks that one."""
    with flow(tmp_path, here("one", "One"), here("two", "Two")) as there:
        names = {name: there.post(f"/v2/models/{name}/infer", {"inputs": [X]}) for name in ("flow", "main", "canary")}
        assert there.get("/v2/models").json == {"models": ["flow", "main", "canary"]}
        assert there.get("/v2/models/canary").json["name"] == "canary"
        request = grpc_request("x", "FP32", [1], b"\0\0\0\0")
        request.model_name = "canary"
        assert there.rpc("ModelInfer", request).outputs[0].name == "only"
    outputs = {name: reply.json["outputs"][0]["name"] for name, reply in names.items()}
    assert outputs == {"flow": "output-0", "main": "output-0", "canary": "only"}


# ── what watches nodes ──────────────────────────────────────────────────────────────────────────────────────────────


def test_payloads_are_logged_in_the_protocol_of_the_request(tmp_path: Path) -> None:
    """A node's request has inputs and its answer outputs, in JSON over REST and in protobuf over gRPC."""
    with collecting() as collector:
        logger = {"url": collector.url, "mode": "all"}
        graph = here("one", "One", "MODEL", here("out", "One", logger=logger))
        with flow(tmp_path, graph, payload_log_senders=1) as there:
            there.post("/v2/models/flow/infer", {"id": "7", "inputs": [X]})
            there.rpc("ModelInfer", grpc_request("x", "FP32", [1], b"\0\0\0\0"))
    request, response, raw_request, raw_response = collector.events
    assert json.loads(request.body)["inputs"] == [X | {"data": [1.0]}]
    assert json.loads(response.body)["outputs"][0]["data"] == [1.0]
    assert request.headers["ce-type"] == "io.seldon.serving.inference.request"
    assert request.headers["ce-requestid"] == "7"
    assert raw_request.headers["content-type"] == "application/protobuf"
    asked = message_class("inference.ModelInferRequest").FromString(raw_request.body)
    answered = message_class("inference.ModelInferResponse").FromString(raw_response.body)
    assert [each.name for each in asked.inputs] == ["x"]
    assert list(answered.raw_output_contents) == [b"\0\0\0\0"]


def test_a_raw_body_is_logged_with_its_length(tmp_path: Path) -> None:
    """A body with raw tensors is logged as it came, with the header that says where they begin."""
    entry = {"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}
    head = json.dumps({"inputs": [entry]}).encode()
    with collecting() as collector:
        graph = here("one", "One", logger={"url": collector.url, "mode": "request"})
        with flow(tmp_path, graph, grpc=False) as there:
            body = gzip.compress(head + b"\0\0\0\0")
            headers = {HEADER: str(len(head)), "Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}
            assert there.ask("POST", "/v2/models/flow/infer", body, headers).status == 200
    (event,) = collector.events
    assert event.body == head + b"\0\0\0\0"
    assert event.headers[HEADER.lower()] == str(len(head))


def test_a_shadow_is_compared_by_tensor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Several tensors are compared by name, and the shadow's answer is not seen by the client."""
    caplog.set_level("INFO", logger="infergraph.shadow")
    graph = {"name": "r", "type": "ROUTER", "implementation": "SIMPLE_ROUTER", "children": [
        here("one", "One"), {**here("two", "One"), "shadow": True},
    ]}  # fmt: skip
    with flow(tmp_path, graph, grpc=False) as there:
        reply = there.post("/v2/models/flow/infer", {"inputs": [X, {**X, "name": "z"}]})
        assert [output["name"] for output in reply.json["outputs"]] == ["x", "z"]
    assert any("shadow two: same=True difference=0.0" in record.getMessage() for record in caplog.records)


# ── graphs of all kinds ─────────────────────────────────────────────────────────────────────────────────────────────

TABLE = {"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1, 3]}


def built_in(name: str, implementation: str, kind: str, *children: Any, **parameters: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "implementation": implementation,
        "children": list(children),
        "parameters": [{"name": key, "value": value, "type": "FLOAT"} for key, value in parameters.items()],
    }


def own(name: str, target: str, *children: Any, **parameters: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "COMBINER",
        "component": f"infergraph.graph.routers.combiners:{target}",
        "children": list(children),
        "parameters": [{"name": key, "value": value, "type": "STRING"} for key, value in parameters.items()],
    }


def doubles() -> list[Any]:
    return [here("one", "Doubles"), here("two", "Doubles")]


KINDS: dict[str, tuple[Any, dict[str, list[float]]]] = {
    "chain": (
        {"name": "c", "type": "CHAIN", "children": [here("one", "One"), here("two", "Doubles")]},
        {"a": [1, 3], "b": [2, 6]},
    ),
    "average": (built_in("c", "AVERAGE_COMBINER", "COMBINER", *doubles()), {"a": [1, 3], "b": [2, 6]}),
    "weighted": (own("c", "WeightedAverage", *doubles(), weights="1,3"), {"a": [1, 3], "b": [2, 6]}),
    "vote": (own("c", "MajorityVote", *doubles()), {"a": [1, 3], "b": [2, 6]}),
    "simple model": (built_in("c", "SIMPLE_MODEL", "MODEL"), {"output-0": [0.1, 0.9, 0.5]}),
    "simple router": (built_in("c", "SIMPLE_ROUTER", "ROUTER", *doubles()), {"a": [1, 3], "b": [2, 6]}),
    "the other child": (
        built_in("c", "RANDOM_ABTEST", "ROUTER", here("one", "One"), here("two", "Doubles"), ratioA="0"),
        {"a": [1, 3], "b": [2, 6]},
    ),
    "retries": (here("a", "Fails", retries=1), {"output-0": [1, 3]}),
    "fallback": (here("a", "Fails", fallback=here("two", "Doubles")), {"a": [1, 3], "b": [2, 6]}),
    "a constant": (here("a", "Fails", fallback={"data": {"ndarray": [[7]]}}), {"output-0": [7]}),
    "two in a row": (here("one", "One", "MODEL", here("two", "Doubles")), {"a": [1, 3], "b": [2, 6]}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", ["v2", "seldon"])
def test_graphs_of_each_kind_answer(tmp_path: Path, kind: str, protocol: str) -> None:
    """Built-ins, chains, retries and fallbacks work on named tensors, whatever protocol the file names."""
    graph, expected = KINDS[kind]
    with flow(tmp_path, graph, protocol=protocol) as there:
        reply = there.post("/v2/models/flow/infer", {"inputs": [TABLE]})
    assert reply.status == 200, reply.body
    assert {output["name"]: output["data"] for output in reply.json["outputs"]} == expected


@pytest.mark.parametrize(("first", "text"), [
    ("One", "tensors ['output-0'] of child 0 and ['a', 'b'] of child 1"),
    ("Two", "tensors ['only'] of child 0 and ['a', 'b'] of child 1"),
])  # fmt: skip
def test_tensors_of_other_names_have_no_average(tmp_path: Path, first: str, text: str) -> None:
    """The fault names the combiner and the names of both children."""
    graph = built_in("c", "AVERAGE_COMBINER", "COMBINER", here("one", first), here("two", "Doubles"))
    with flow(tmp_path, graph) as there:
        reply = there.post("/v2/models/flow/infer", {"inputs": [TABLE]})
    assert (reply.status, reply.headers["infergraph-node"]) == (400, "c")
    assert text in reply.json["error"]


@pytest.mark.parametrize("way", ["here", "rest", "grpc"])
def test_tags_with_names_of_the_protocol_change_nothing(tmp_path: Path, way: str) -> None:
    """A tag named like a parameter that the protocol reads is only a tag to the next node."""
    with served("v2_graph_components.py:Odd", folder=FOLDER, environment={"PREDICTIVE_UNIT_ID": "odd"}) as odd:
        meta = here("meta", "Meta")
        graph = here("odd", "Odd", "MODEL", meta)
        if way == "rest":
            graph = at("odd", odd.http_port, "MODEL", meta)
        elif way == "grpc":
            graph = at("odd", odd.grpc_port, "MODEL", meta)
            graph["endpoint"] |= {"type": "GRPC", "grpcPort": odd.grpc_port}
        with flow(tmp_path, graph) as there:
            reply = there.post("/v2/models/flow/infer", {"id": "7", "parameters": {"k": 1}, "inputs": [X]})
    assert reply.json["outputs"][0]["data"] == ["{'k': 1}", "7", "float32[1]['float 1.0']"]
    assert reply.json["parameters"]["mine"] == "[1]"


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_a_request_of_this_protocol_passes_nodes_of_seldons(tmp_path: Path, transport: str) -> None:
    """Behind a remote node that is asked in Seldon's protocol the request's id and parameters are there again."""
    with served("v2_graph_components.py:One", folder=FOLDER, environment={"PREDICTIVE_UNIT_ID": "one"}) as one:
        port = one.http_port if transport == "rest" else one.grpc_port
        graph = at("one", port, "MODEL", here("meta", "Meta"))
        graph["endpoint"] |= {"type": transport.upper(), "grpcPort": port}
        with flow(tmp_path, graph, protocol="seldon") as there:
            body = {"id": "7", "parameters": {"k": 1}, "inputs": [TABLE]}
            reply = there.post("/v2/models/flow/infer", body)
    assert reply.json["outputs"][0]["data"] == ["{'k': 1}", "7", "float64[2, 1]['float 1.0', 'float 3.0']"]


def test_parameters_of_a_raw_hook_unite_as_tags_do(tmp_path: Path) -> None:
    """What `predict_v2` answers as parameters reaches the client from any node."""
    with flow(tmp_path, here("p", "Parameters", "MODEL", here("one", "One"))) as there:
        reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
    assert reply.json["parameters"]["p"] == "q"


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_a_graph_is_a_node_of_another_graph(tmp_path: Path, transport: str) -> None:
    """Its routing and the tags of its nodes are part of the outer answer."""
    inner = here("by", "By", "ROUTER", here("one", "One"), here("two", "Two"))
    (tmp_path / "inner").mkdir()
    with flow(tmp_path / "inner", inner) as there:
        port = there.http_port if transport == "rest" else there.grpc_port
        node = at("flow", port)
        node["endpoint"] |= {"type": transport.upper(), "grpcPort": port}
        with flow(tmp_path, here("clean", "Clean", "TRANSFORMER", node)) as outer:
            reply = outer.post("/v2/models/flow/infer", {"inputs": [X]})
    assert reply.json["parameters"]["seldon_routing"] == '{"by":0}'
    assert {"clean", "by", "one"} <= reply.json["parameters"].keys()


def test_bodies_are_merged_where_the_setting_says_so(tmp_path: Path) -> None:
    """With `graph_meta=merge` tags and routing of remote nodes alone are united too."""
    environment = {"PREDICTIVE_UNIT_ID": "one"}
    with served("v2_graph_components.py:One", folder=FOLDER, environment=environment) as one:
        graph = built_in("ab", "RANDOM_ABTEST", "ROUTER", at("one", one.http_port), at("b", one.http_port), ratioA="1")
        with flow(tmp_path, graph, graph_meta="merge") as there:
            reply = there.post("/v2/models/flow/infer", {"inputs": [X]})
    assert reply.json["parameters"]["seldon_routing"] == '{"ab":0}'
    assert reply.json["model_name"] == "flow"


def test_a_node_over_grpc_tells_its_readiness_and_metadata(tmp_path: Path) -> None:
    """ModelReady and ModelMetadata of the node by its own name; a server without that model is not ready."""
    environment = {"PREDICTIVE_UNIT_ID": "described"}
    with served("oip_components.py:Described", folder=FOLDER / "cases" / "v2", environment=environment) as there:
        nodes = [at(name, there.grpc_port) for name in ("described", "stranger")]
        for node in nodes:
            node["endpoint"] |= {"type": "GRPC", "grpcPort": there.grpc_port}
        with flow(tmp_path, here("one", "One", "MODEL", *nodes), full_health_checks=True) as graph:
            assert graph.get("/ready").status == 200
            assert graph.get("/v2/models/described/ready").json == {"name": "described", "ready": True}
            assert graph.get("/v2/models/stranger/ready").status == 503
            told = graph.get("/v2/models/described").json
    assert told["versions"] == ["1", "2"]
    assert told["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 3]}]


def test_values_of_other_protocols_are_refused_by_name(tmp_path: Path) -> None:
    """A payload of Seldon's protocol without a form as tensors is the caller's mistake."""
    with serving({"a": const(ANSWER)}) as nodes, flow(tmp_path, at("a", nodes.ports["a"])) as there:
        custom = prediction.SeldonMessage()
        custom.customData.type_url = "type.googleapis.com/x"
        with pytest.raises(grpc.RpcError) as caught:
            there.call("Seldon/Predict", custom)
        answer = there.call("Seldon/Predict", prediction.SeldonMessage(strData="text"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "customData" in caught.value.details()
    assert list(answer.data.tensor.values) == [2]


def test_calls_of_nodes_are_counted_under_the_protocols_paths(tmp_path: Path) -> None:
    """The orchestrator's metrics name the path or the call that a node is asked by, and requests `predictions`."""
    with flow(tmp_path, here("one", "One")) as there:
        there.post("/v2/models/flow/infer", {"inputs": [X]})
        there.rpc("ModelInfer", grpc_request("x", "FP32", [1], b"\0\0\0\0"))
        told = there.get("/metrics").body.decode()
    for service in ("/v2/models/one/infer", f"/{INFERENCE}/ModelInfer", "predictions"):
        assert f'service="{service}"' in told


def test_the_parameter_timeout_is_the_limit_of_bodies_that_pass_through_too(tmp_path: Path) -> None:
    """A request says in microseconds how long it may take, also where no body is read."""
    with serving({"a": const(ANSWER, delay_ms=2000)}) as nodes, flow(tmp_path, at("a", nodes.ports["a"])) as there:
        reply = there.post("/v2/models/flow/infer", {"parameters": {"timeout": 1}, "inputs": [X]})
        wrong = there.post("/v2/models/flow/infer", {"parameters": {"timeout": "x"}, "inputs": [X]})
        request = grpc_request("x", "FP32", [1], b"\0\0\0\0")
        request.parameters["timeout"].int64_param = 1
        with pytest.raises(grpc.RpcError) as caught:
            there.rpc("ModelInfer", request)
    assert (reply.status, wrong.status) == (504, 400)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
