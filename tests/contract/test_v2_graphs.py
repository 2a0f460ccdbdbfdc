"""Graphs of the open inference protocol: where a node runs, and over which transport, changes nothing that is seen."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import v2_graph_components
from infergraph.wire.prediction import message_class
from served import Reply, Served, served

FOLDER = Path(__file__).parent
HEADER = "Inference-Header-Content-Length"
COMPONENTS = {"clean": "Clean", "by": "By", "mean": "Mean", "one": "One", "two": "Two", "out": "Out"}


def node(name: str, kind: str, *children: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    component = f"v2_graph_components.py:{COMPONENTS[name]}"
    return {"name": name, "type": kind, "component": component, "children": list(children), **more}


def deployment(graph: Mapping[str, Any], protocol: str = "v2") -> dict[str, Any]:
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "flow"},
        "spec": {"protocol": protocol, "predictors": [{"name": "default", "graph": graph}]},
    }


MODELS = node("one", "MODEL"), node("two", "MODEL")
ROUTED = node("out", "OUTPUT_TRANSFORMER", node("clean", "TRANSFORMER", node("by", "ROUTER", *MODELS)))
COMBINED = node("out", "OUTPUT_TRANSFORMER", node("clean", "TRANSFORMER", node("mean", "COMBINER", *MODELS)))
GRAPHS = {"routed": ROUTED, "combined": COMBINED}
ALONE = {"routed": ("out", "clean", "by", "one", "two"), "combined": ("mean",)}
"""The nodes that are also remote on their own; what both graphs have in common is moved in one."""


def names_of(graph: Mapping[str, Any]) -> list[str]:
    return [graph["name"], *(name for child in graph["children"] for name in names_of(child))]


def write(folder: Path, graph: Mapping[str, Any], protocol: str = "v2") -> None:
    text = json.dumps(deployment(graph, protocol))
    (folder / "flow.json").write_text(text.replace("v2_graph_components.py", str(FOLDER / "v2_graph_components.py")))


@pytest.fixture(scope="module")
def remote() -> Iterator[dict[str, Served]]:
    """A server for each component."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                served(f"v2_graph_components.py:{kind}", folder=FOLDER, environment={"PREDICTIVE_UNIT_ID": name})
            )
            for name, kind in COMPONENTS.items()
        }


def address(there: Served, transport: str) -> str:
    return f"http://127.0.0.1:{there.http_port}" if transport == "rest" else f"grpc://127.0.0.1:{there.grpc_port}"


@pytest.fixture(scope="module")
def ways(remote: dict[str, Served], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Served]]]:
    """Both graphs: in process, with one node behind each transport, with all of them, and with every other one."""
    with ExitStack() as stack:
        found: dict[str, dict[str, Served]] = {}
        for kind, graph in GRAPHS.items():
            folder = tmp_path_factory.mktemp(kind)
            write(folder, graph)
            names = names_of(graph)
            found[kind] = {}
            for way, moved in placements(names, ALONE[kind]).items():
                nodes = {name: address(remote[name], transport) for name, transport in moved.items()}
                found[kind][way] = stack.enter_context(served("flow.json", folder=folder, nodes=nodes))
        yield found


def placements(names: Sequence[str], alone: Sequence[str]) -> dict[str, dict[str, str]]:
    """By way, the transport of each node that is remote there."""
    placed: dict[str, dict[str, str]] = {"local": {}}
    for transport in ("rest", "grpc"):
        placed |= {f"{name} {transport}": {name: transport} for name in alone}
        placed[f"all {transport}"] = dict.fromkeys(names, transport)
        placed[f"some {transport}"] = dict.fromkeys(names[::2], transport)
    placed["mixed"] = {name: ("rest", "grpc")[place % 2] for place, name in enumerate(names)}
    return placed


def tensor(name: str, datatype: str, shape: Sequence[int], data: Any, **parameters: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape), "data": data, "parameters": parameters}


LARGE = [float(value) / 3 for value in range(2000)]
REQUESTS: dict[str, dict[str, Any]] = {
    "floats": {"inputs": [tensor("x", "FP32", [2, 2], [1, 2.5, -3, 4])]},
    "one axis": {"inputs": [tensor("x", "FP64", [3], [1, 2.5, -3])]},
    "large": {"inputs": [tensor("x", "FP64", [20, 100], LARGE)]},
    "integers beyond a double": {"inputs": [tensor("x", "INT64", [2], [2**53 + 1, -(2**63)])]},
    "unsigned": {"inputs": [tensor("x", "UINT64", [1, 2], [2**64 - 1, 3])]},
    "small integers": {"inputs": [tensor("x", "INT8", [2], [-128, 127])]},
    "half": {"inputs": [tensor("x", "FP16", [2], [0.5, 2])]},
    "booleans": {"inputs": [tensor("x", "BOOL", [2], [True, False])]},
    "nothing": {"inputs": [tensor("x", "FP32", [0, 3], [])]},
    "no axes": {"inputs": [tensor("x", "FP32", [], [1.5])]},
    "three axes": {"inputs": [tensor("x", "INT32", [2, 1, 2], [1, 2, 3, 4])]},
    "nan": {"inputs": [tensor("x", "FP32", [2], [None, 1])]},
    "texts": {"inputs": [tensor("t", "BYTES", [2], ["a", "é"])]},
    "a text": {"inputs": [tensor("t", "BYTES", [1], ["hello"], content_type="str")]},
    "table of texts": {"inputs": [tensor("t", "BYTES", [2, 2], ["a", "b", "c", "d"])]},
    "json": {"inputs": [tensor("j", "BYTES", [2], ['{"a":1}', '{"a":[2]}'], content_type="json")]},
    "several": {"inputs": [tensor("a", "INT32", [2], [1, 2]), tensor("b", "FP32", [1, 1], [0.5])]},
    "several kinds": {"inputs": [tensor("a", "BYTES", [1], ["t"]), tensor("b", "INT64", [1], [2**60 + 1])]},
    "a data frame": {
        "parameters": {"content_type": "pd"},
        "inputs": [tensor("a", "INT64", [2], [1, 2**60 + 1]), tensor("b", "BYTES", [2, 1], ["x", "y"])],
    },
    "columns": {"inputs": [tensor("x", "FP32", [1, 2], [1, 2], column_names='["a","b"]')]},
    "requested": {"inputs": [tensor("x", "FP32", [1], [1])], "outputs": [{"name": "mine"}]},
    "own parameters": {"parameters": {"k": 1, "s": "t"}, "inputs": [tensor("x", "FP32", [1], [1])]},
}
RAW = {
    "bytes": ("BYTES", [2], b"\x02\0\0\0\xff\x00\x01\0\0\0a"),
    "infinities": ("FP32", [3], np.array([np.inf, -np.inf, np.nan], "<f4").tobytes()),
    "large raw": ("FP32", [100, 100], np.arange(10_000, dtype="<f4").tobytes()),
}


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("kind", GRAPHS)
def test_a_request_is_answered_alike_wherever_the_nodes_run(
    ways: dict[str, dict[str, Served]], kind: str, request_name: str
) -> None:
    """Outputs, parameters, and what each node was handed are those of the graph in process."""
    check_alike(ways[kind], lambda there: there.post("/v2/models/flow/infer", {"id": "7", **REQUESTS[request_name]}))


@pytest.mark.parametrize("request_name", RAW)
@pytest.mark.parametrize("kind", GRAPHS)
def test_a_raw_request_is_answered_alike_wherever_the_nodes_run(
    ways: dict[str, dict[str, Served]], kind: str, request_name: str
) -> None:
    """The same of raw tensors, among them what JSON cannot hold."""
    datatype, shape, blob = RAW[request_name]
    body, headers = raw_request(datatype, shape, blob)
    check_alike(ways[kind], lambda there: there.ask("POST", "/v2/models/flow/infer", body, headers))


def check_alike(there: Mapping[str, Served], ask: Any) -> None:
    told = {way: outcome(ask(server)) for way, server in there.items()}
    expected = told.pop("local")
    assert expected["status"] == 200, expected
    for way, found in told.items():
        if way.startswith("all") or way == "mixed":  # the last node's answer alone, with its own tags
            found["parameters"] = {key: value for key, value in found["parameters"].items() if key in ("out", "only")}
            kept = {key: value for key, value in expected["parameters"].items() if key in ("out", "only")}
            assert found == {**expected, "parameters": kept}, way
        else:
            assert found == expected, way


def raw_request(datatype: str, shape: Sequence[int], blob: bytes) -> tuple[bytes, dict[str, str]]:
    entry = {"name": "x", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(blob)}}
    head = json.dumps({"parameters": {"binary_data_output": True}, "inputs": [entry]}).encode()
    return head + blob, {HEADER: str(len(head)), "Content-Type": "application/octet-stream"}


def outcome(reply: Reply) -> dict[str, Any]:
    size = reply.headers.get(HEADER.lower())
    document = json.loads(reply.body if size is None else reply.body[: int(size)])
    blobs = b"" if size is None else reply.body[int(size) :]
    outputs = []
    for output in document.get("outputs", ()):
        parameters = dict(output.get("parameters", {}))
        length = parameters.pop("binary_data_size", None)
        data = output.get("data")
        if length is not None:
            data, blobs = base64.b64encode(blobs[:length]).decode(), blobs[length:]
        outputs.append({**output, "data": data, "parameters": parameters})
    return {
        "status": reply.status,
        "error": document.get("error"),
        "parameters": document.get("parameters", {}),
        "outputs": outputs,
    }


# ── gRPC ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def grpc_request(name: str, datatype: str, shape: Sequence[int], raw: bytes, **more: Any) -> Any:
    message = message_class("inference.ModelInferRequest")(model_name="flow", id="7", **more)
    message.inputs.add(name=name, datatype=datatype, shape=shape)
    message.raw_input_contents.append(raw)
    return message


@pytest.mark.parametrize("request_name", RAW)
@pytest.mark.parametrize("kind", GRAPHS)
def test_a_grpc_request_is_answered_alike_wherever_the_nodes_run(
    ways: dict[str, dict[str, Served]], kind: str, request_name: str
) -> None:
    """Raw contents come back as raw contents, the same bytes, from every placement of the nodes."""
    datatype, shape, raw = RAW[request_name]
    expected = ways[kind]["local"].rpc("ModelInfer", grpc_request("x", datatype, shape, raw))
    assert list(expected.raw_output_contents) == [raw]
    for way, there in ways[kind].items():
        answer = there.rpc("ModelInfer", grpc_request("x", datatype, shape, raw))
        assert answer.id == "7", way
        assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [
            (each.name, each.datatype, list(each.shape)) for each in expected.outputs
        ], way
        assert list(answer.raw_output_contents) == [raw], way


def test_typed_contents_stay_typed_through_nodes_of_one_process(ways: dict[str, dict[str, Served]]) -> None:
    """The answer mirrors the request's spelling, also behind remote nodes that were asked in raw contents."""
    message = message_class("inference.ModelInferRequest")(model_name="flow")
    message.inputs.add(name="x", datatype="INT64", shape=[2]).contents.int64_contents.extend([2**60 + 1, -1])
    for way in ("local", "clean grpc", "one rest", "out grpc"):
        answer = ways["routed"][way].rpc("ModelInfer", message)
        assert list(answer.outputs[0].contents.int64_contents) == [2**60 + 1, -1], way
        assert not answer.raw_output_contents


# ── the protocols beside each other ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("body", [
    {"data": {"ndarray": [[1.5, 2.0]]}},
    {"data": {"names": ["a", "b"], "tensor": {"shape": [1, 2], "values": [1.5, 2.0]}}},
    {"data": {"ndarray": ["a", "é"]}},
    {"jsonData": {"a": [1, 2.5, None], "b": {"c": "é"}}},
    {"strData": "text"},
])  # fmt: skip
def test_a_request_of_seldons_protocol_enters_remote_nodes(ways: dict[str, dict[str, Served]], body: Any) -> None:
    """A message of Seldon's protocol is answered in it, as by the graph in process, wherever the nodes run."""
    expected = ways["combined"]["local"].post("/api/v1.0/predictions", body).json
    for way, there in ways["combined"].items():
        reply = there.post("/api/v1.0/predictions", body)
        assert reply.status == 200, (way, reply.body)
        assert {key: value for key, value in reply.json.items() if key != "meta"} == {
            key: value for key, value in expected.items() if key != "meta"
        }, way


# ── results ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def hops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """Two nodes, of which the second tells what the first has given it, each here or behind either transport."""
    folder = tmp_path_factory.mktemp("hops")
    tells = {"name": "told", "type": "MODEL", "component": "v2_graph_components.py:Told"}
    write(folder, {"name": "gives", "type": "MODEL", "component": "v2_graph_components.py:Gives", "children": [tells]})
    with ExitStack() as stack:
        there = {
            name: stack.enter_context(
                served(f"v2_graph_components.py:{kind}", folder=FOLDER, environment={"PREDICTIVE_UNIT_ID": name})
            )
            for name, kind in (("gives", "Gives"), ("told", "Told"))
        }
        found = {}
        for first in ("here", "rest", "grpc"):
            for second in ("here", "rest", "grpc"):
                moved = {name: way for name, way in (("gives", first), ("told", second)) if way != "here"}
                nodes = {name: address(there[name], way) for name, way in moved.items()}
                found[f"{first} {second}"] = stack.enter_context(served("flow.json", folder=folder, nodes=nodes))
        yield found


@pytest.mark.parametrize("kind", v2_graph_components.RESULTS)
def test_each_result_reaches_the_next_node_alike(hops: dict[str, Served], kind: str) -> None:
    """What the next node is handed is what was returned, by the same tables, across every pair of transports."""
    request = {"parameters": {"give": kind}, "inputs": [tensor("x", "FP32", [1], [1])]}
    told = {way: there.post("/v2/models/flow/infer", request) for way, there in hops.items()}
    expected = told["here here"].json["outputs"]
    for way, reply in told.items():
        assert reply.status == 200, (way, reply.body)
        assert reply.json["outputs"] == expected, way
