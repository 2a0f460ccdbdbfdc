"""Streams of answers, over server-sent events and gRPC: what a generator gives arrives as it comes, and it is closed.

generator, plain or async    ×    its own thread, inline    ×    SSE of both protocols, gRPC on both engines
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from infergraph.protocol.services import INFERENCE
from infergraph.wire.v2.proto import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from served import Reply, Served, Servers, served
from stream_record import CLOSED, GO

HERE = Path(__file__).parent / "microservice"
WAIT_S = 30
EVENTS = {"Accept": "text/event-stream"}
PLAIN = {"infergraph-stream-form": "plain"}
BOTH = ("Counts", "AsyncCounts")


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers("streaming_components.py", folder=HERE) as servers:
        yield servers


@pytest.fixture(autouse=True)
def _fresh() -> None:
    GO.clear()
    while not CLOSED.empty():
        CLOSED.get()


def tensors(value: Any, datatype: str = "INT64", **members: Any) -> dict[str, Any]:
    """An infer request of one tensor with one element."""
    return {"inputs": [{"name": "x", "shape": [1], "datatype": datatype, "data": [value]}], **members}


def events_of(body: bytes) -> list[Any]:
    """The JSON values of the events."""
    assert not body or body.endswith(b"\n\n")
    parts = [part for part in body.decode().split("\n\n") if part]
    assert all(line.startswith("data: ") for part in parts for line in part.split("\n"))
    return [json.loads("\n".join(line.removeprefix("data: ") for line in part.split("\n"))) for part in parts]


def infer_stream(there: Served, name: str, value: Any, **members: Any) -> Reply:
    return there.ask("POST", f"/v2/models/{name}/infer_stream", tensors(value, **members))


def numbers(events: list[Any]) -> list[int]:
    return [event["outputs"][0]["data"][0] for event in events]


def asked(name: str, value: int, request_id: str = "", **parameters: bool) -> Any:
    request = ModelInferRequest(model_name=name, id=request_id)
    entry = request.inputs.add(name="x", datatype="INT64", shape=[1])
    entry.contents.int64_contents.append(value)
    for key, flag in parameters.items():
        request.parameters[key].bool_param = flag
    return request


@contextmanager
def streaming(
    there: Served, requests: Iterator[Any] | list[Any], answer: Any = ModelStreamInferResponse, **metadata: str
) -> Iterator[Any]:
    """An open call of ModelStreamInfer."""
    with there.channel() as channel:
        kind = channel.stream_stream(
            f"/{INFERENCE}/ModelStreamInfer", lambda message: message.SerializeToString(), answer.FromString
        )
        call = kind(iter(requests), timeout=WAIT_S, metadata=tuple(metadata.items()))
        try:
            yield call
        finally:
            call.cancel()


def streamed(there: Served, *requests: Any) -> list[Any]:
    with streaming(there, list(requests)) as answers:
        return list(answers)


@contextmanager
def begun(there: Served, path: str, body: Any, **headers: str) -> Iterator[Any]:
    """A connection on which a request has been sent, as a file of what comes."""
    with socket.create_connection(("127.0.0.1", there.http_port), timeout=WAIT_S) as connection:
        sent = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(sent)}"]
        lines += [f"{name}: {value}" for name, value in {"Content-Type": "application/json", **headers}.items()]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
        with connection.makefile("rb") as received:
            yield received


def next_event(received: Any) -> Any:
    """The next event on a raw connection; framing and head are passed over."""
    while not (line := received.readline()).startswith(b"data: "):
        assert line, "the connection is closed"
    return json.loads(line.removeprefix(b"data: "))


def closed() -> tuple[str, int]:
    """What a generator reported when it was closed."""
    return CLOSED.get(timeout=WAIT_S)


# ── what arrives ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("execution", ["auto", "inline"])
@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_every_item_is_an_event(servers: Servers, name: str, execution: str, count: int) -> None:
    """The items arrive in order, each once, over both protocols' events and gRPC."""
    there = servers(name, execution=execution)
    wanted = list(range(count))
    reply = infer_stream(there, name, count, id="mine")
    assert reply.status == 200
    events = events_of(reply.body)
    assert numbers(events) == wanted
    assert all(event["id"] == "mine" and event["model_name"] == name for event in events)
    for path in ("/predict", "/api/v1.0/predictions"):
        seldon = there.ask("POST", path, {"data": {"ndarray": [[count]]}}, EVENTS)
        assert [event["data"]["ndarray"] for event in events_of(seldon.body)] == [[[k]] for k in wanted]
    answers = streamed(there, asked(name, count, "mine"))
    assert [answer.infer_response.outputs[0].contents.int64_contents[0] for answer in answers] == wanted
    assert all(answer.infer_response.id == "mine" and not answer.error_message for answer in answers)


@pytest.mark.parametrize("path", ["infer_stream", "generate_stream"])
def test_the_answer_is_an_event_stream(servers: Servers, path: str) -> None:
    """Media type and cache header are those of events, nothing is packed, and other verbs are refused in its form."""
    there = servers("Counts")
    assert there.ask("POST", f"/v2/models/Counts/versions/7/{path}", tensors(1)).status == 404
    reply = there.ask("POST", f"/v2/models/Counts/{path}", tensors(50), {"Accept-Encoding": "gzip"})
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["transfer-encoding"] == "chunked"
    assert "content-encoding" not in reply.headers
    assert len(events_of(reply.body)) == 50
    for verb in ("GET", "HEAD", "DELETE"):
        refused = there.ask(verb, f"/v2/models/Counts/{path}")
        assert refused.status == 405
        assert "POST" in refused.headers["allow"]
        assert verb == "HEAD" or list(refused.json) == ["error"]


def test_a_connection_goes_on_after_a_stream(servers: Servers) -> None:
    """A stream ends with its last chunk, and the next request of the connection, sent meanwhile, is answered."""
    there = servers("Counts")
    body = json.dumps(tensors(2)).encode()
    stream = b"POST /v2/models/Counts/infer_stream HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    with socket.create_connection(("127.0.0.1", there.http_port), timeout=WAIT_S) as connection:
        connection.sendall(stream + b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    first, _, second = received.partition(b"0\r\n\r\n")
    assert first.count(b"data: ") == 2
    assert second.startswith(b"HTTP/1.1 200 ")


def test_a_client_of_http_1_0_gets_plain_lines(servers: Servers) -> None:
    """Without chunks the end of the connection is the end of the stream."""
    there = servers("Counts")
    body = json.dumps(tensors(2)).encode()
    with socket.create_connection(("127.0.0.1", there.http_port), timeout=WAIT_S) as connection:
        head = b"POST /v2/models/Counts/infer_stream HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert numbers(events_of(body)) == [0, 1]


def test_an_item_goes_out_before_the_next_one_is_made(servers: Servers) -> None:
    """The first item arrives while the generator still waits for something that the client does next."""
    there = servers("Waits")
    with begun(there, "/v2/models/Waits/infer_stream", tensors(0)) as received:
        assert numbers([next_event(received)]) == [0]
        GO.set()
        assert numbers([next_event(received)]) == [1]
    GO.clear()
    with streaming(there, [asked("Waits", 0)]) as answers:
        assert next(answers).infer_response.outputs[0].contents.int64_contents[0] == 0
        GO.set()
        assert next(answers).infer_response.outputs[0].contents.int64_contents[0] == 1


def test_items_are_results_of_every_kind(servers: Servers) -> None:
    """Texts, dicts, lists and whole responses become what predict would answer, tags included."""
    there = servers("Results")
    events = events_of(infer_stream(there, "Results", 0).body)
    assert [[output["name"] for output in event["outputs"]] for event in events] == [
        ["output-0"], ["a", "b"], ["output-0"], ["output-0"]
    ]  # fmt: skip
    assert events[3]["parameters"] == {"always": True, "place": 4}
    seldon = events_of(there.ask("POST", "/predict", {"data": {"ndarray": [[0]]}}, EVENTS).body)
    assert seldon[0]["strData"] == "text"
    assert seldon[1]["jsonData"] == {"a": [1, 2], "b": ["x"]}
    assert seldon[3]["meta"]["tags"] == {"always": True, "place": 4}


def test_an_item_is_what_it_was_when_it_was_given(servers: Servers) -> None:
    """A generator may change an array or a list after it has given it: what was given is sent."""
    there = servers("Mutates")
    events = events_of(infer_stream(there, "Mutates", 0).body)
    assert [event["outputs"][0]["data"] for event in events] == [[0], ["0"], [1], ["1"], [2], ["2"]]
    seldon = events_of(there.ask("POST", "/predict", {"data": {"ndarray": [[0]]}}, EVENTS).body)
    assert [event["data"]["ndarray"] for event in seldon] == [[[0]], [["0"]], [[1]], [["1"]], [[2]], [["2"]]]


def test_a_generator_runs_where_predict_does(servers: Servers) -> None:
    """Each item is made in the component's own thread, and there the current request is its own."""
    there = servers("Asks")
    whole = there.ask("POST", "/predict", {"data": {"ndarray": [[0]]}}, {"x-name": "me"})
    reply = there.ask("POST", "/predict", {"data": {"ndarray": [[0]]}}, {"x-name": "me", **EVENTS})
    events = events_of(reply.body)
    assert [event["data"]["ndarray"] for event in events] == [whole.json["data"]["ndarray"]] * 3


def test_events_are_json_alone(servers: Servers) -> None:
    """Raw outputs, which events have no place for, are sent as JSON; indented answers fit on one line."""
    there = servers("Counts", json_pretty=True)
    reply = infer_stream(there, "Counts", 2, parameters={"binary_data_output": True})
    assert numbers(events_of(reply.body)) == [0, 1]
    assert reply.body.count(b"\n") == 4


def test_a_model_without_a_stream_gives_one_event(servers: Servers) -> None:
    """What infer answers is the only event."""
    with served("components.py:Identity", folder=HERE) as there:
        whole = there.post("/v2/models/Identity/infer", tensors(3, id="a")).json
        assert events_of(infer_stream(there, "Identity", 3, id="a").body) == [whole]
        assert len(streamed(there, asked("Identity", 3))) == 1
        assert len(events_of(there.ask("POST", "/predict", {"data": {"ndarray": [[1]]}}, EVENTS).body)) == 1


# ── a stream alone ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["Only", "AsyncOnly"])
def test_a_stream_alone_answers_infer_with_its_only_item(servers: Servers, name: str) -> None:
    """Infer and predict are answered with the only item; none or several are the client's fault, and say what to do."""
    there = servers(name)
    assert there.post(f"/v2/models/{name}/infer", tensors(1)).json["outputs"][0]["data"] == [0]
    assert there.post("/predict", {"data": {"ndarray": [[1]]}}).json["data"]["ndarray"] == [[0]]
    for count in (0, 2):
        refused = there.post(f"/v2/models/{name}/infer", tensors(count))
        assert refused.status == 400
        assert "ask for a stream" in refused.json["error"]
        assert there.post("/predict", {"data": {"ndarray": [[count]]}}).status == 400
    assert numbers(events_of(infer_stream(there, name, 2).body)) == [0, 1]


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["Breaks", "AsyncBreaks"])
def test_an_error_before_the_first_item_is_an_ordinary_answer(servers: Servers, name: str) -> None:
    """Its status and its form are those of infer and of predict."""
    there = servers(name)
    reply = infer_stream(there, name, 0)
    assert (reply.status, reply.json) == (422, {"error": "the stream broke"})
    assert reply.headers["content-type"] == "application/json"
    seldon = there.ask("POST", "/predict", {"data": {"ndarray": [[0]]}}, EVENTS)
    assert seldon.status == 422
    assert seldon.json["status"]["info"] == "the stream broke"
    assert there.post("/v2/models/other/infer_stream", tensors(1)).status == 404
    assert there.ask("POST", f"/v2/models/{name}/infer_stream", b"{").status == 400


@pytest.mark.parametrize("name", ["Breaks", "AsyncBreaks"])
def test_an_error_later_is_the_last_event(servers: Servers, name: str) -> None:
    """The items before it arrive, it is told in the protocol's form, and the stream ends in order."""
    there = servers(name)
    reply = infer_stream(there, name, 3)
    *items, last = events_of(reply.body)
    assert (reply.status, numbers(items), last) == (200, [0, 1, 2], {"error": "the stream broke"})
    *items, last = events_of(there.ask("POST", "/predict", {"data": {"ndarray": [[3]]}}, EVENTS).body)
    assert len(items) == 3
    assert last["status"]["info"] == "the stream broke"


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_an_item_that_is_none_ends_the_stream(servers: Servers, kind: int) -> None:
    """None, a ragged list, complex numbers and foreign objects are told as errors, after the items before."""
    there = servers("Broken")
    events = events_of(infer_stream(there, "Broken", kind).body)
    assert len(events) == 2
    assert numbers(events[:1]) == [0]
    assert list(events[1]) == ["error"]


def test_what_is_no_generator_is_the_components_fault(servers: Servers) -> None:
    """A hook that returns a list is told what it should be."""
    reply = infer_stream(servers("NoGenerator"), "NoGenerator", 0)
    assert reply.status == 500
    assert "generator" in reply.json["error"]


# ── gRPC ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("engine", ["auto", "grpcio"])
def test_a_stream_of_requests_is_answered_in_order(servers: Servers, engine: str) -> None:
    """Each request is answered whole before the next; an error is told with its id, and the stream goes on."""
    there = servers("Breaks", grpc_engine=engine)
    answers = streamed(there, asked("Breaks", 2, "a"), asked("other", 1, "b"), asked("Breaks", 1, "c"))
    told = [(answer.infer_response.id, answer.error_message) for answer in answers]
    assert told == [
        ("a", ""), ("a", ""), ("a", "the stream broke"), ("b", "Request for unknown model: 'other' is not found"),
        ("c", ""), ("c", "the stream broke"),
    ]  # fmt: skip


def test_an_error_ends_the_call_for_clients_that_ask_for_it(servers: Servers) -> None:
    """With triton_grpc_error, and in the plain form, which has no errors, a fault is the status of the call."""
    there = servers("Breaks")
    for answer, metadata in (
        (ModelStreamInferResponse, {"triton_grpc_error": "true"}),
        (ModelInferResponse, PLAIN),
    ):
        with streaming(there, [asked("Breaks", 1), asked("Breaks", 1)], answer, **metadata) as answers:
            assert next(answers)
            with pytest.raises(grpc.RpcError) as error:
                next(answers)
        assert (error.value.code(), error.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "the stream broke")


def test_the_plain_form_has_bare_answers(servers: Servers) -> None:
    """A stub of MLServer's proto reads the answers."""
    there = servers("Counts")
    with streaming(there, [asked("Counts", 2, "a")], ModelInferResponse, **PLAIN) as answers:
        assert [(answer.id, answer.outputs[0].contents.int64_contents[0]) for answer in answers] == [("a", 0), ("a", 1)]


def test_the_end_of_a_request_is_told_where_it_is_asked_for(servers: Servers) -> None:
    """Triton's parameter asks for a last empty answer, and every answer says whether it is that."""
    there = servers("Counts")
    answers = streamed(there, asked("Counts", 2, "a", triton_enable_empty_final_response=True), asked("Counts", 1, "b"))
    told = [
        (answer.infer_response.id, len(answer.infer_response.outputs), dict(answer.infer_response.parameters))
        for answer in answers
    ]
    flags = [parameters.get("triton_final_response") for _, _, parameters in told]
    assert [each[:2] for each in told] == [("a", 1), ("a", 1), ("a", 0), ("b", 1)]
    assert [flag and flag.bool_param for flag in flags] == [False, False, True, None]


def test_a_message_that_is_none_is_told_and_the_stream_goes_on(servers: Servers) -> None:
    """Bytes that are no request fail alone."""
    there = servers("Counts")
    with there.channel() as channel:
        kind = channel.stream_stream(
            f"/{INFERENCE}/ModelStreamInfer", lambda sent: sent, ModelStreamInferResponse.FromString
        )
        answers = list(kind(iter([b"\xff\xff", asked("Counts", 1).SerializeToString()]), timeout=WAIT_S))
    assert "not valid protobuf" in answers[0].error_message
    assert answers[1].infer_response.outputs[0].name == "output-0"


# ── who leaves, who waits, who is late ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["Endless", "AsyncEndless", "Inline", "Stubborn", "AsyncStubborn"])
def test_a_client_that_leaves_closes_the_generator(servers: Servers, name: str) -> None:
    """After three items the client goes: the generator's finally runs in its thread, and others are served."""
    there = servers(name)
    with begun(there, f"/v2/models/{name}/infer_stream", tensors(0)) as received:
        for _ in range(3):
            next_event(received)
    by_http = closed()
    with streaming(there, [asked(name, 0)]) as answers:
        for _ in range(3):
            next(answers)
    by_grpc = closed()
    assert by_http[0] == by_grpc[0]
    assert by_http[0].startswith(name) == (name in ("Endless", "Stubborn"))
    assert there.post(f"/v2/models/{name}/infer", tensors(1)).status == 200


def test_a_client_that_leaves_before_the_first_item_closes_it(servers: Servers) -> None:
    """An async generator that gives nothing is closed as one that does."""
    there = servers("AsyncSilent")
    with begun(there, "/v2/models/AsyncSilent/infer_stream", tensors(0)):
        pass
    assert closed()[1] == 0


@pytest.mark.parametrize("name", ["Endless", "AsyncEndless", "Inline"])
def test_a_stream_does_not_hold_up_others(servers: Servers, name: str) -> None:
    """While an endless stream is read, and while it is not, other requests of the component are answered."""
    there = servers(name)
    with begun(there, f"/v2/models/{name}/infer_stream", tensors(0)) as received:
        for _ in range(5):
            next_event(received)
            assert there.post("/predict", {"data": {"ndarray": [[1]]}}).status == 200
            alive = there.get("/live")
            assert (alive.status, events_of(alive.body)) == (200, [])
    assert closed()


def test_a_reader_that_does_not_read_is_waited_for(servers: Servers) -> None:
    """Items of a megabyte are made as they are read: what nobody reads is not made, and so fills no memory."""
    there = servers("Large")
    with begun(there, "/v2/models/Large/infer_stream", tensors(0)):
        for _ in range(20):
            assert there.post("/predict", {"data": {"ndarray": [[1]]}}).status == 200
    assert closed()[1] < 40


@pytest.mark.parametrize("name", ["Endless", "AsyncEndless", "Inline", "AsyncStubborn"])
def test_a_stream_beyond_the_time_limit_is_told_so(servers: Servers, name: str) -> None:
    """The limit of a request is that of its whole stream: its last event says so, and the generator is closed."""
    there = servers(name, request_timeout_s=0.5)
    reply = infer_stream(there, name, 0)
    *items, last = events_of(reply.body)
    assert reply.status == 200
    assert items
    assert "request_timeout_s" in last["error"]
    assert closed()
    last = streamed(there, asked(name, 0, "a"))[-1]
    assert "request_timeout_s" in last.error_message
    assert closed()


def test_a_stream_without_an_item_in_time_is_504(servers: Servers) -> None:
    """Before the first item the limit is an ordinary error; the client's deadline counts over gRPC."""
    there = servers("AsyncSilent", request_timeout_s=0.5)
    reply = infer_stream(there, "AsyncSilent", 0)
    assert reply.status == 504
    assert closed()


def test_a_server_that_stops_closes_what_streams() -> None:
    """A stream that does not end is told so at the end of the grace period, and its generator is closed."""
    for name in ("Endless", "AsyncEndless"):
        with ExitStack() as stack:
            there = stack.enter_context(served(f"streaming_components.py:{name}", folder=HERE, grace_s=0.0))
            received = stack.enter_context(begun(there, f"/v2/models/{name}/infer_stream", tensors(0)))
            next_event(received)
            there.stop()
            while "error" not in (event := next_event(received)):
                pass
            assert event == {"error": "the server is stopping"}
            assert closed()


def test_a_stream_of_requests_that_waits_does_not_hold_up_a_stop() -> None:
    """A client that keeps its call open without a request is told that the server stops."""
    more = threading.Event()

    def requests() -> Iterator[Any]:
        yield asked("Counts", 1)
        more.wait(WAIT_S)

    with (
        served("streaming_components.py:Counts", folder=HERE, grpc_engine="grpcio", grace_s=WAIT_S) as there,
        streaming(there, requests()) as answers,
    ):
        assert next(answers)
        there.stop()
        with pytest.raises(grpc.RpcError) as error:
            next(answers)
        more.set()
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.UNAVAILABLE, "the server is stopping")


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_is_counted_as_one_request(servers: Servers) -> None:
    """Requests count under infer_stream, with the status of their end; the unit's time counts as predict."""
    with served("streaming_components.py:Breaks", folder=HERE) as there:
        infer_stream(there, "Breaks", 5)
        streamed(there, asked("Breaks", 5))
        text = there.ask("GET", "/metrics", port=there.metrics_port).body.decode()
    for transport, code in (("rest", "422"), ("grpc", "INVALID_ARGUMENT")):
        line = next(
            line
            for line in text.splitlines()
            if line.startswith("infergraph_requests_total") and "infer_stream" in line and transport in line
        )
        assert f'code="{code}"' in line
        assert line.split()[-1] in ("1", "1.0")
    assert 'infergraph_unit_seconds_count{method="predict",unit="Breaks"} 2' in text
    assert 'infergraph_unit_faults_total{method="predict",unit="Breaks"} 2' in text


# ── the generate form ───────────────────────────────────────────────────────────────────────────────────────────────


def test_generate_takes_and_gives_text(servers: Servers) -> None:
    """In Triton's form a text goes in and comes out by name, other members are parameters, and generate is infer."""
    there = servers("Words")
    body = {"text_input": "to be", "id": "g", "parameters": {"times": 2}}
    whole = there.post("/v2/models/Words/generate", body)
    assert whole.json == {"model_name": "Words", "id": "g", "text_output": "to be"}
    reply = there.post("/v2/models/Words/generate_stream", body)
    assert [event["text_output"] for event in events_of(reply.body)] == ["to", "to", "be", "be"]
    assert {event["id"] for event in events_of(reply.body)} == {"g"}
    infer = {"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["to be"]}]}
    events = events_of(there.post("/v2/models/Words/generate_stream", infer).body)
    assert [event["outputs"][0]["data"] for event in events] == [["to"], ["be"]]
    for wrong in ({}, {"text_input": [["a"]]}, {"text_input": 3}, {"text_input": "a", "other": {}}, []):
        refused = there.post("/v2/models/Words/generate_stream", wrong)
        assert (refused.status, list(refused.json)) == (400, ["error"])


# ── graphs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


GRAPH = """
name: flow
graph:
  name: shown
  type: OUTPUT_TRANSFORMER
  component: {components}:Shown
  children:
  - name: choice
    type: ROUTER
    component: {components}:Second
    children:
    - name: other
      type: MODEL
      component: {components}:Only
    - name: counts
      type: MODEL
      component: {components}:Counts
""".replace("{components}", str(HERE / "streaming_components.py"))


def test_a_graph_streams_in_every_protocol(tmp_path: Path) -> None:
    """The chosen model streams through the output transformer above it, with the route in every answer."""
    file = tmp_path / "flow.yaml"
    file.write_text(GRAPH)
    with served(str(file), folder=HERE) as there:
        events = events_of(infer_stream(there, "flow", 3).body)
        assert numbers(events) == [100, 101, 102]
        assert {event["parameters"]["seldon_routing"] for event in events} == {'{"choice":1}'}
        seldon = there.ask("POST", "/api/v1.0/predictions", {"data": {"ndarray": [[3]]}}, EVENTS)
        told = events_of(seldon.body)
        assert [event["data"]["ndarray"] for event in told] == [[[100]], [[101]], [[102]]]
        assert {event["meta"]["puid"] for event in told} == {seldon.headers["seldon-puid"]}
        answers = streamed(there, asked("flow", 2))
        assert [answer.infer_response.outputs[0].contents.int64_contents[0] for answer in answers] == [100, 101]


def test_a_client_that_leaves_closes_the_generator_in_a_graph(tmp_path: Path) -> None:
    """The generator at the end of the graph is closed as one that is served alone."""
    file = tmp_path / "flow.yaml"
    file.write_text(GRAPH.replace("Counts", "Endless"))
    with served(str(file), folder=HERE) as there, begun(there, "/v2/models/flow/infer_stream", tensors(0)) as received:
        next_event(received)
    assert closed()


REMOTE = """
metadata: {name: far}
spec:
  protocol: PROTOCOL
  predictors:
  - name: only
    graph:
      name: shown
      type: OUTPUT_TRANSFORMER
      component: {components}:Shown
      children:
      - name: MODEL
        type: MODEL
        endpoint: {service_host: 127.0.0.1, service_port: PORT, type: TYPE}
""".replace("{components}", str(HERE / "streaming_components.py"))


@contextmanager
def far(folder: Path, model: str, *, protocol: str = "seldon", kind: str = "REST") -> Iterator[Served]:
    """A graph whose model is served elsewhere."""
    with served(f"streaming_components.py:{model}", folder=HERE) as node:
        port = node.grpc_port if kind == "GRPC" else node.http_port
        text = REMOTE.replace("name: MODEL", f"name: {model}").replace("PORT", str(port)).replace("TYPE", kind)
        file = folder / "far.yaml"
        file.write_text(text.replace("PROTOCOL", protocol))
        with served(str(file), folder=HERE) as there:
            yield there


FAR = pytest.mark.parametrize(("protocol", "kind"), [("seldon", "REST"), ("v2", "REST"), ("v2", "GRPC")])


@FAR
def test_a_remote_node_streams(tmp_path: Path, protocol: str, kind: str) -> None:
    """Its items go through the graph one by one, in the protocol of the request, whatever the node is asked in."""
    with far(tmp_path, "Counts", protocol=protocol, kind=kind) as there:
        assert numbers(events_of(infer_stream(there, "far", 3).body)) == [100, 101, 102]
        path = "/v2/models/far/infer_stream" if protocol == "v2" else "/api/v1.0/predictions"
        body = tensors(3) if protocol == "v2" else {"data": {"ndarray": [[3]]}}
        reply = there.ask("POST", path, body, EVENTS)
        assert len(events_of(reply.body)) == 3
        assert len(streamed(there, asked("far", 2))) == 2
        assert there.post("/v2/models/far/infer", tensors(3)).json["outputs"][0]["data"] == [103]


def test_a_remote_node_in_seldons_protocol_over_grpc_gives_one_answer(tmp_path: Path) -> None:
    """It has no streams there."""
    with far(tmp_path, "Counts", kind="GRPC") as there:
        assert numbers(events_of(infer_stream(there, "far", 3).body)) == [103]


@FAR
def test_an_error_of_a_remote_stream_is_told(tmp_path: Path, protocol: str, kind: str) -> None:
    """Before its first item it is an ordinary answer; later it is the last event, with the node's text."""
    with far(tmp_path, "Breaks", protocol=protocol, kind=kind) as there:
        first = infer_stream(there, "far", 0)
        assert (first.status, first.json["error"]) == (422, "the stream broke")
        assert first.headers["infergraph-node"] == "Breaks"
        *items, last = events_of(infer_stream(there, "far", 2).body)
        assert numbers(items) == [100, 101]
        assert last == {"error": "the stream broke"}


@FAR
def test_a_client_that_leaves_closes_a_remote_generator(tmp_path: Path, protocol: str, kind: str) -> None:
    """The graph hangs up on the node, which closes its generator."""
    with (
        far(tmp_path, "Endless", protocol=protocol, kind=kind) as there,
        begun(there, "/v2/models/far/infer_stream", tensors(0)) as received,
    ):
        next_event(received)
    assert closed()
