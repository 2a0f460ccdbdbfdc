"""A node is handed the same thing wherever its neighbour runs: in process, over REST, over gRPC, with real servers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from contract import hop_components
from infergraph.wire import prediction
from served import Reply, Served, served

BUGS = Path(__file__).parent / "cases" / "bugs"
TRANSPORTS = ("local", "rest", "grpc")
ND = {"data": {"ndarray": [[1, 2]]}}


@contextmanager
def graph(case: str, transport: str, remote: Sequence[str] = (), file: str = "deployment.yaml") -> Iterator[Served]:
    """The graph of a case's file, the nodes of `remote` (`name=file.py:Class`) behind servers of their own."""
    folder = BUGS / case
    with ExitStack() as stack:
        nodes = {}
        for name, target in (each.split("=") for each in (remote if transport != "local" else ())):
            there = stack.enter_context(served(target, folder=folder))
            port = there.http_port if transport == "rest" else there.grpc_port
            nodes[name] = f"{'http' if transport == 'rest' else 'grpc'}://127.0.0.1:{port}"
        yield stack.enter_context(served(file, folder=folder, nodes=nodes))


@pytest.fixture(scope="module")
def node_ways() -> Iterator[dict[str, Served]]:
    """The graph of one node that tells what it was handed, in process and behind each transport."""
    folder = BUGS.parents[1]
    with ExitStack() as stack:
        there = stack.enter_context(served("hop_components.py:Sees", folder=folder))
        addresses = {"rest": f"http://127.0.0.1:{there.http_port}", "grpc": f"grpc://127.0.0.1:{there.grpc_port}"}
        yield {
            way: stack.enter_context(
                served("hop_node.yaml", folder=folder, nodes={} if way == "local" else {"sees": addresses[way]})
            )
            for way in TRANSPORTS
        }


@pytest.fixture(scope="module")
def ways() -> Iterator[dict[str, Served]]:
    """The graph whose first node gives and whose second node tells, with one of them behind each transport."""
    folder = BUGS.parents[1]
    with ExitStack() as stack:
        found = {"local": stack.enter_context(served("hop_graph.yaml", folder=folder))}
        for name, kind in (("gives", "Gives"), ("sees", "Sees")):
            there = stack.enter_context(served(f"hop_components.py:{kind}", folder=folder))
            for address in (f"http://127.0.0.1:{there.http_port}", f"grpc://127.0.0.1:{there.grpc_port}"):
                nodes = {name: address}
                found[f"{name} {address[:4]}"] = stack.enter_context(
                    served("hop_graph.yaml", folder=folder, nodes=nodes)
                )
        yield found


def ask(there: Served, body: Any) -> Reply:
    return there.post("/api/v1.0/predictions", body)


REQUESTS = [
    {"data": {"ndarray": [[1, 2], [3, 4]]}},
    {"data": {"names": ["a", "b"], "ndarray": [[1.5, 2]]}, "meta": {"tags": {"t": [1.5, {"x": None}]}, "puid": "p"}},
    {"data": {"ndarray": [[2**53 + 1, -1]]}},
    {"data": {"ndarray": [2**64 - 1, 1]}},
    {"data": {"ndarray": [[True, False]]}},
    {"data": {"ndarray": [["a", "é"]]}},
    {"data": {"ndarray": [["a", None]]}},
    {"data": {"ndarray": [1.5, None]}},
    {"data": {"ndarray": [{"a": 1.5}, {"b": [None]}]}},
    {"data": {"ndarray": []}},
    {"data": {"ndarray": [[], []]}},
    {"data": {"ndarray": 5}},
    {"data": {"ndarray": [["a", float("nan"), 1.5]]}},
    {"data": {"tensor": None}},
    {"data": {"tftensor": None}},
    {"data": {"tftensor": {"dtype": "DT_STRING", "tensorShape": {"dim": [{"size": 1}]}, "stringVal": ["YQ=="]}}},
    {"data": {"ndarray": [[1], [2, 3]]}},
    {"data": {"ndarray": [[float("nan"), float("inf")]]}},
    {"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}},
    {"data": {"tensor": {"shape": [0, 3], "values": []}}},
    {"data": {"tensor": {"shape": [], "values": [1.5]}}},
    {"data": {"tensor": {"shape": [2], "values": [1]}}},
    {"data": {"tftensor": {"dtype": "DT_INT32", "tensorShape": {"dim": [{"size": 2}]}, "intVal": [1, 2]}}},
    {"data": {"tftensor": {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": 1}]}, "floatVal": [0.5]}}},
    {"strData": "text"},
    {"binData": "AAFoaQ=="},
    {"jsonData": {"a": [1, 2.5, None, True], "b": {"c": "é"}}},
    {"jsonData": [2**53 + 1]},
    {"jsonData": 5},
    {"jsonData": None},
    {"jsonData": None, "strData": "text"},
    {"strData": None},
    {"binData": None, "jsonData": {"a": 1}},
    {"data": None},
    {"data": {}},
    {},
]


@pytest.mark.parametrize("body", REQUESTS, ids=repr)
def test_each_request_reaches_the_first_node_alike(node_ways: dict[str, Served], body: Any) -> None:
    """What a graph's first node is handed, or the refusal, is the same in process and behind each transport."""
    told = {way: outcome(ask(there, body)) for way, there in node_ways.items()}
    assert told["rest"] == told["local"]
    assert doubles(told["grpc"]) == doubles(told["local"])


@pytest.mark.parametrize("spelling", ["ndarray", "tensor", "strData"])
@pytest.mark.parametrize("kind", list(hop_components.RESULTS))
def test_each_result_reaches_the_next_node_alike(ways: dict[str, Served], kind: str, spelling: str) -> None:
    """What the next node is handed, or the refusal, is the same in process and over REST, and over gRPC but for the
    type of numbers, which are doubles there."""
    asked = {
        "ndarray": ND,
        "tensor": {"data": {"tensor": {"shape": [1, 2], "values": [1, 2]}}},
        "strData": {"strData": ""},
    }
    body = asked[spelling] | {"meta": {"tags": {"give": kind}}}
    told = {way: outcome(ask(there, body)) for way, there in ways.items()}
    expected = told.pop("local")
    for way, found in told.items():
        assert (doubles(found) if "grpc" in way else found) == (doubles(expected) if "grpc" in way else expected), way


def outcome(reply: Reply) -> Any:
    if reply.status != 200:
        text = re.sub(" at 0x[0-9a-f]+", "", reply.json["status"]["info"])
        return reply.status, text.removesuffix(": {}").partition(": the message")[0]
    return reply.json["jsonData"]


def doubles(told: Any) -> Any:
    """What a node told, as if all numbers had been doubles, also those that became text beside text."""
    if isinstance(told, dict):
        changed = {key: doubles(value) for key, value in told.items()}
        if "dtype" in changed:
            numeric = all(str(item).startswith("float ") for item in changed["items"])
            changed["dtype"] = "float64" if numeric else changed["dtype"][:2]
        return changed
    if isinstance(told, list):
        return [doubles(value) for value in told]
    if not isinstance(told, str):
        return told
    if found := re.fullmatch(r"int (.*)", told):
        return f"float {float(int(found[1]))!r}"
    return re.sub(r"'(-?[0-9]+)'", r"'\1.0'", told)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("body", [ND, {"data": {"tensor": {"shape": [1, 2], "values": [1, 2]}}}])
def test_a_list_reaches_the_next_node_as_an_array(transport: str, body: Any) -> None:
    """A node that returns a list hands the next one an array, whatever the caller's spelling."""
    with graph("a1-list-to-next-node", transport, ["spread=parts.py:Spread"]) as there:
        data = ask(there, body).json["data"]
    values = data["ndarray"] if "ndarray" in data else data["tensor"]["values"]
    assert values == pytest.approx([0.4054651081081643])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_siblings_do_not_share_their_input(transport: str) -> None:
    """What one child of a combiner does to its array is not seen by the other."""
    with graph("a2-siblings-share-input", transport, ["centred=siblings.py:Centred"]) as there:
        reply = ask(there, {"data": {"ndarray": [[1.0, 2.0], [3.0, 6.0]]}})
    assert reply.json["data"]["ndarray"] == [[-3.0, 3.0], [3.0, 9.0]]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_siblings_do_not_share_their_document(transport: str) -> None:
    """What one child of a combiner does to its JSON is not seen by the other."""
    with graph("a2-siblings-share-input", transport, ["drop=siblings.py:Drop"], "documents.yaml") as there:
        reply = ask(there, {"jsonData": {"id": 7, "a": 1}})
    assert reply.json["jsonData"] == {"answers": [{"fields": ["a"]}, {"fields": ["a", "id"]}]}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "remote", [["fill=gaps.py:Fill"], ["gaps=gaps.py:Gaps"], ["gaps=gaps.py:Gaps", "fill=gaps.py:Fill"]]
)
@pytest.mark.parametrize(
    "body", [{"data": {"ndarray": [[1, -2]]}}, {"data": {"tensor": {"shape": [1, 2], "values": [1, -2]}}}]
)
def test_nan_stays_a_number(transport: str, remote: list[str], body: Any) -> None:
    """NaN reaches the next node as a number, whichever of the two is remote."""
    with graph("b04-nan-over-hop", transport, remote) as there:
        data = ask(there, body).json["data"]
    assert (data["ndarray"] if "ndarray" in data else [data["tensor"]["values"]]) == [[1.0, 0.0]]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nan_of_the_last_node_leaves_as_any_other(transport: str) -> None:
    """What leaves a graph follows the setting `nan`, wherever its last node runs: null, never a bare word."""
    folder = BUGS / "b04-nan-over-hop"
    with graph("b04-nan-over-hop", transport, ["gaps=gaps.py:Gaps"], "last.yaml") as there:
        reply = ask(there, {"data": {"ndarray": [[1, -2]]}})
    assert b"NaN" not in reply.body, folder
    assert reply.json["data"]["ndarray"] == [[1.0, None]]
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_rows_of_different_lengths_reach_the_next_node(transport: str) -> None:
    """Rows of different lengths, from a list or an array, are an array of lists to the next node."""
    for first in ("Array", "Spans"):
        with graph("b11-uneven-lists", transport, ["count=spans.py:Count", f"spans=spans.py:{first}"]) as there:
            reply = ask(there, ND)
        assert (reply.status, reply.json["data"]["ndarray"]) == (200, [[2], [0], [3]])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_client_s_uneven_rows_are_refused_alike(transport: str) -> None:
    """What a client sends is refused by the first node with 400, in the status as in the body, wherever it runs."""
    with graph("b11-uneven-lists", transport, ["spans=spans.py:Spans", "count=spans.py:Count"]) as there:
        reply = ask(there, {"data": {"ndarray": [[1], [2, 3]]}})
    assert reply.status == 400
    assert reply.json["status"]["code"] in (400, -1)  # -1 in a microservice's own body, which passes through
    assert "not a regular array" in reply.json["status"]["info"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_refusal_keeps_its_status(transport: str) -> None:
    """A component's own status is the graph's, wherever it runs."""
    with graph("b19-422-over-grpc", transport, ["checks=checks.py:Checks"]) as there:
        reply = ask(there, ND)
        with pytest.raises(grpc.RpcError) as caught:
            there.call("Seldon/Predict", prediction.SeldonMessage(strData="x"))
    assert reply.status == 422
    assert "row 3 has no price" in reply.json["status"]["info"]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", ["Frame", "Doc", "First"])
def test_missing_and_early_dates_are_answered_alike(kind: str) -> None:
    """NaT is null and the first year a text, over REST as over gRPC."""
    with served(f"dates.py:{kind}", folder=BUGS / "b08-missing-date") as there:
        rest = there.post("/predict", ND).json
        answer = there.call("Model/Predict", prediction.SeldonMessage(strData="x"))
    over_grpc = json_format.MessageToDict(answer, descriptor_pool=prediction.POOL)
    expected = {
        "Frame": [[1, "Mon, 06 May 2024 00:00:00 GMT"], [2, None]],
        "Doc": {"id": 1, "seen": None},
        "First": {"since": "0001-01-01T00:00:00+08:00"},
    }[kind]
    assert (rest["data"]["ndarray"] if kind == "Frame" else rest["jsonData"]) == expected
    assert (over_grpc["data"]["ndarray"] if kind == "Frame" else over_grpc["jsonData"]) == expected


def test_a_plain_number_is_an_answer() -> None:
    """A number that is no array is answered as an array without axes."""
    with served("mean.py:Mean", folder=BUGS / "b15-plain-number") as there:
        reply = there.post("/predict", ND)
        answer = there.call(
            "Model/Predict", prediction.SeldonMessage(data=prediction.DefaultData(ndarray=_rows([[1, 2]])))
        )
    assert reply.json["data"]["ndarray"] == 1.5
    assert (list(answer.data.tensor.shape), list(answer.data.tensor.values)) == ([], [1.5])


def _rows(rows: list[Any]) -> Any:
    return json_format.ParseDict(rows, prediction.DefaultData().ndarray)


def test_an_answer_too_large_for_a_grpc_hop_names_the_setting() -> None:
    """gRPC's own words for a message over the limit of the caller are followed by the name of the setting."""
    folder = BUGS.parents[1]
    with served("hop_components.py:Gives", folder=folder) as there:
        nodes = {"gives": f"grpc://127.0.0.1:{there.grpc_port}"}
        with served("hop_graph.yaml", folder=folder, nodes=nodes, message_limit_bytes=1024) as graph_there:
            reply = ask(graph_there, {"strData": "x", "meta": {"tags": {"give": "long text"}}})
    assert "message_limit_bytes" in reply.json["status"]["info"]
