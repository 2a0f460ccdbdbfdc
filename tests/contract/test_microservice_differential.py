"""What a comparison with the original, request by request, turned up: rarer habits to keep, and faults of ours."""

from __future__ import annotations

import json
import socket
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from infergraph.process.channel import WorkerState
from infergraph.wire import prediction
from served import Served, Servers, served

HERE = Path(__file__).parent / "microservice"
ND = {"data": {"ndarray": [[1, 2]]}}
NAMED = ["t:0", "t:1"]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers("odd_components.py", folder=HERE) as servers:
        yield servers


def message(document: object) -> Any:
    return json_format.ParseDict(document, prediction.SeldonMessage())


def fault_of(there: Served, path: str, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        there.call(path, request)
    return caught.value.code().name, caught.value.details()


def test_names_that_are_null_reach_the_component_as_none(servers: Servers) -> None:
    """`names` arrives exactly as sent: a list, [] where there is none, None where it is null."""
    reply = servers("Echo").post("/predict", {"data": {"names": None, "ndarray": [[1]]}})
    assert reply.json == {"jsonData": {"names": None}, "meta": {}}


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"tags": [1]}, {"tags": [1]}),
        ({"tags": "x"}, {"tags": "x"}),
        ({"metrics": "x"}, {"metrics": "x"}),
        ({"tags": None, "metrics": None, "requestPath": None}, {}),
    ],
)
def test_meta_that_nobody_adds_to_travels_unchecked(servers: Servers, meta: object, expected: object) -> None:
    """A member of meta that has nothing to be merged with comes back as it was."""
    reply = servers("Echo").post("/predict", {**ND, "meta": meta})
    assert (reply.status, reply.json["meta"]) == (200, expected)


def test_meta_that_cannot_be_merged_is_the_callers_fault(servers: Servers) -> None:
    """Tags that are no object, where the component has tags to add, are a 400 that names the field (Q3)."""
    reply = servers("Tagged").post("/predict", {**ND, "meta": {"tags": [1]}})
    assert (reply.status, reply.json["status"]["reason"]) == (400, "MICROSERVICE_BAD_DATA")
    assert "meta.tags" in reply.json["status"]["info"]


def test_tags_that_are_no_mapping_are_the_components_fault(servers: Servers) -> None:
    """A component whose tags() gives a list is told so by name."""
    reply = servers("BadTags").post("/predict", ND)
    assert reply.status == 500
    assert "tags" in reply.json["status"]["info"]
    assert "list" in reply.json["status"]["info"]


def test_tags_named_by_numbers_are_written_the_same_over_both_protocols(servers: Servers) -> None:
    """A tag's name is text on the wire, whatever the component used as its key."""
    there = servers("NumberedTags")
    assert there.post("/predict", ND).json["meta"]["tags"] == {"1": "one"}
    assert json_format.MessageToDict(there.call("Model/Predict", message(ND)))["meta"]["tags"] == {"1": "one"}


@pytest.mark.parametrize("payload", [5, 1.5, True, None])
def test_a_missing_transform_passes_bare_values_with_their_meta(servers: Servers, payload: object) -> None:
    """Without transform_input even a bare JSON value passes, and the answer's meta follows the usual rules."""
    reply = servers("Echo").post("/transform-input", {"jsonData": payload, "extra": 1, "meta": {"puid": "p", "x": 1}})
    assert reply.json == {"jsonData": payload, "meta": {"puid": "p"}}


MIXED = [
    # text, ndarray over REST, ndarray over gRPC
    ("mixed", [["a", 1, 2.5]], [["a", "1", "2.5"]]),
    ("labels", ["a", 1], ["a", "1"]),
    ("holes", [["a", 1, None]], [["a", 1.0, None]]),
    ("bools", [True, 2], [1.0, 2.0]),
    ("masked-text", ["a", None], ["a", None]),
    ("records", [[1, 2.0]], [[1.0, 2.0]]),
]


@pytest.mark.parametrize(("kind", "by_rest", "by_grpc"), MIXED)
def test_lists_go_through_numpy_over_grpc_alone(servers: Servers, kind: str, by_rest: object, by_grpc: object) -> None:
    """A returned list keeps its types over REST and becomes an array over gRPC: numbers beside text are text (Q13)."""
    there = servers("Mixed")
    request = {"data": {"ndarray": [kind]}}
    assert there.post("/predict", request).json["data"]["ndarray"] == by_rest
    answer = json_format.MessageToDict(there.call("Model/Predict", message(request)))
    assert answer["data"]["ndarray"] == by_grpc


@pytest.mark.parametrize(
    ("kind", "shape", "values"),
    [("masked", [1, 2], [1.5, None]), ("masked-ints", [2], [None, 2.0]), ("unmasked", [2], [1, 2])],
)
def test_masked_values_are_not_told(servers: Servers, kind: str, shape: object, values: object) -> None:
    """A masked value leaves as null, never as the number behind the mask."""
    reply = servers("Mixed").post("/predict", {"strData": kind})
    assert reply.json["data"]["tensor"] == {"shape": shape, "values": values}


@pytest.mark.parametrize(
    "body", [{"jsonData": None}, {"data": {"tftensor": {"dtype": "DT_STRING", "stringVal": ["YQ=="]}}}]
)
def test_what_json_and_tensorflow_alone_can_say_is_echoed(servers: Servers, body: Any) -> None:
    """Null and TensorFlow's texts are answered as they came, over REST as over gRPC."""
    there = servers("Echo")
    answer = json_format.MessageToDict(there.call("Model/Predict", message(body)))
    reply = there.post("/predict", body).json
    for told in (reply, answer):
        told.get("data", {}).pop("names", None)
        assert told == body | {"meta": {}}


def test_class_names_that_are_none_are_null(servers: Servers) -> None:
    """An attribute class_names that is None answers `names: null`, as a method that gives None does."""
    assert servers("NoNames").post("/predict", ND).json["data"] == {"names": None, "ndarray": [[1, 2]]}


@pytest.mark.parametrize(
    ("asked", "status", "reason"),
    [
        ("declared", 418, "MICROSERVICE_BAD_DATA"),
        ("declared 451", 451, "MICROSERVICE_BAD_DATA"),
        ("worded 451", 451, "MICROSERVICE_BAD_DATA"),
        ("declared 100", 500, "MICROSERVICE_BAD_DATA"),
        ("declared 999", 500, "MICROSERVICE_BAD_DATA"),
        ("declared -1", 500, "MICROSERVICE_BAD_DATA"),
        ("refused 422", 422, "MICROSERVICE_BAD_DATA"),
        ("foreign", 500, "MICROSERVICE_INTERNAL_ERROR"),
    ],
)
def test_an_error_declares_its_status(servers: Servers, asked: str, status: int, reason: str) -> None:
    """On its class or on itself; the status in an HTTP client's error is not ours, and one unknown to HTTP is a 500."""
    reply = servers("Raising").post("/predict", {"strData": asked})
    assert (reply.status, reply.json["status"]["reason"]) == (status, reason)


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("Raising", '{{"strData": "declared {0}"}}'),
        ("RawAggregate", '{{"give": {{"status": {{"code": {0}}}}}}}'),
    ],
)
def test_a_status_without_a_body_has_none(servers: Servers, name: str, body: str, status: int) -> None:
    """An answer of 204 or 304 ends with its headers, so that the next one on the connection is read from its start."""
    there = servers(name)
    sent = body.format(status).encode()
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(sent), sent)
    last = b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", there.http_port), timeout=30) as connection:
        connection.sendall(request + last)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    first, _, rest = received.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("engine", ["native", "grpcio"])
@pytest.mark.parametrize(
    ("name", "execution"), [("Raising", "thread"), ("Raising", "inline"), ("RaisingLater", "auto")]
)
@pytest.mark.parametrize("kind", ["base", "keyboard", "cancelled"])
def test_whatever_user_code_raises_is_answered(
    servers: Servers, name: str, execution: str, engine: str, kind: str
) -> None:
    """Exceptions that are no errors (BaseException) are answered like others, and end neither a call nor the worker."""
    there = servers(name, execution=execution, grpc_engine=engine)
    reply = there.post("/predict", {"strData": f"as {kind}"})
    assert (reply.status, reply.json["status"]["info"]) == (500, "from below")
    assert fault_of(there, "Model/Predict", message({"strData": f"as {kind}"})) == ("INTERNAL", "from below")


@pytest.mark.parametrize("execution", ["thread", "inline"])
def test_a_generators_end_is_answered_too(servers: Servers, execution: str) -> None:
    """A plain hook may even raise GeneratorExit."""
    there = servers("Raising", execution=execution)
    assert there.post("/predict", {"strData": "as generator"}).json["status"]["info"] == "from below"


def test_an_error_without_words_is_called_by_its_class(servers: Servers) -> None:
    """An exception whose text cannot be had is named by its class."""
    assert servers("Raising").post("/predict", {"strData": "as silent"}).json["status"]["info"] == "Silent"


def test_half_a_character_in_an_errors_text_is_replaced(servers: Servers) -> None:
    """A text that no encoding holds is told with a question mark, over both protocols."""
    there = servers("Raising")
    assert there.post("/predict", {"strData": "as surrogate"}).json["status"]["info"] == "half a ?"
    assert fault_of(there, "Model/Predict", message({"strData": "as surrogate"})) == ("INTERNAL", "half a ?")


def test_a_long_text_fits_into_grpcs_trailers(servers: Servers) -> None:
    """A text of any length reaches the caller: whole over REST, its beginning over gRPC."""
    there = servers("Raising")
    assert there.post("/predict", {"strData": "as long"}).json["status"]["info"] == "é" * 100_000
    code, text = fault_of(there, "Model/Predict", message({"strData": "as long"}))
    assert code == "INTERNAL"
    assert text.rstrip("…") == "é" * (len(text) - 1)
    assert len(text) > 300


@pytest.mark.parametrize(("kind", "text"), [("exit", "SystemExit: 7"), ("base", "odd"), ("keyboard", "Keyboard")])
def test_a_load_that_ends_in_any_exception_is_reported(kind: str, text: str) -> None:
    """load() may raise SystemExit or worse: it is a failed load with exit code 3, not the end of the worker (Q7)."""
    parameters = json.dumps([{"name": "kind", "value": kind, "type": "STRING"}])
    told = []
    with served("odd_components.py:Unloadable", folder=HERE, wait=False, parameters=parameters) as there:
        while not told:
            told = [report for report in there.reports if report.state is WorkerState.LOAD_FAILED]
            time.sleep(0.01)
        assert there.get("/live").status == 200
        assert there.get("/ready").status == 503
    assert text in told[0].text
    assert told[0].exit_code == 3
    assert "odd_components.py" in told[0].traceback


FEEDBACK = {"jsonData": {"X": [], "names": [], "truth": [], "routing": None}, "meta": {}}


def test_feedback_about_an_empty_message_is_taken(servers: Servers) -> None:
    """A request or truth without a payload is an empty array, over both protocols; its meta still counts."""
    there = servers("Echo")
    assert there.post("/send-feedback", {"request": {}, "truth": {}, "reward": 1}).json == FEEDBACK
    with_meta = {"request": {"meta": {"puid": "p"}}, "response": {"meta": {"routing": {"0": 2}}}, "reward": 1}
    answer = there.post("/send-feedback", with_meta).json
    assert (answer["meta"], answer["jsonData"]["routing"]) == ({"puid": "p"}, 2.0)
    feedback = prediction.Feedback(request=prediction.SeldonMessage(), truth=prediction.SeldonMessage(), reward=1)
    assert json_format.MessageToDict(there.call("Model/SendFeedback", feedback)) == FEEDBACK
    deaf = servers("NoNames")
    assert deaf.post("/send-feedback", {"request": {}}).json == {"data": {"tensor": {"shape": [0]}}, "meta": {}}


@pytest.mark.parametrize("body", [{"seldonMessages": [ND]}, [ND], {"other": 1}, "text", 5])
def test_a_raw_aggregate_is_given_the_document_that_came(servers: Servers, body: object) -> None:
    """aggregate_raw gets the JSON value as it was sent, whatever it is."""
    assert servers("RawAggregate").post("/aggregate", body).json == {"given": body}


def test_an_aggregate_that_is_no_list_is_still_refused(servers: Servers) -> None:
    """aggregate gets messages, so a body without a list of them is a 400."""
    reply = servers("Echo").post("/aggregate", {"other": 1})
    assert (reply.status, reply.json["status"]["info"]) == (400, "Invalid request data type: {'other': 1}")


@pytest.mark.parametrize("kind", ["nothing", "tuple", "response"])
def test_metrics_are_a_list(servers: Servers, kind: str) -> None:
    """metrics() that gives None or a tuple, or a SeldonResponse with a tuple, is a bad metric, as it always was."""
    there = servers("MetricKinds")
    reply = there.post("/predict", {"strData": kind})
    assert (reply.status, reply.json["status"]["reason"]) == (500, "MICROSERVICE_BAD_METRIC")
    assert reply.json["status"]["info"].startswith("Bad metric created during request: ")
    code, text = fault_of(there, "Model/Predict", message({"strData": kind}))
    assert (code, text.startswith("Bad metric created during request: ")) == ("INTERNAL", True)


def test_metrics_of_a_raw_answer_are_not_validated(servers: Servers) -> None:
    """A metric of an unknown type inside a raw answer is passed on and not counted."""
    given = {"meta": {"metrics": [{"key": "odd", "type": "ZZ", "value": 2}, {"key": "even", "value": 2}]}}
    there = servers("RawAggregate")
    reply = there.post("/predict", {"give": given})
    assert (reply.status, reply.json) == (200, given)
    exposition = there.get("/metrics").body.decode()
    assert "even_total{" in exposition
    assert "odd" not in exposition


def test_a_raw_answer_to_feedback_is_spelt_as_protobuf_does(servers: Servers) -> None:
    """The protobuf message that send_feedback_raw gives goes out without members that it has not set."""
    assert servers("RawAggregate").post("/send-feedback", {"reward": 0.5}).json == {"strData": "0.5"}


@pytest.mark.parametrize(
    ("give", "expected"),
    [
        (None, {}),
        ({}, {}),
        (
            {"data": {"ndarray": [1, 2]}, "meta": {"puid": "q"}},
            {"data": {"ndarray": [1.0, 2.0]}, "meta": {"puid": "q"}},
        ),
        ({"strData": "text"}, {"strData": "text"}),
    ],
)
def test_a_deprecated_answer_to_feedback_is_read_as_a_message(servers: Servers, give: object, expected: object) -> None:
    """What send_feedback_rest and send_feedback_grpc return is read as a message, None as an empty one."""
    there = servers("OldFeedback")
    request = {"request": {"jsonData": {"give": give}}}
    assert there.post("/send-feedback", request).json == expected
    answer = there.call("Model/SendFeedback", json_format.ParseDict(request, prediction.Feedback()))
    assert json_format.MessageToDict(answer) == expected


def test_a_deprecated_answer_to_feedback_that_is_none_of_these_is_the_components_fault(servers: Servers) -> None:
    """An answer with members that no message has is a 500 that names them, over gRPC INTERNAL."""
    there = servers("OldFeedback")
    request = {"request": {"jsonData": {"give": {"nope": 1}}}}
    reply = there.post("/send-feedback", request)
    assert (reply.status, "nope" in reply.json["status"]["info"]) == (500, True)
    code, _ = fault_of(there, "Model/SendFeedback", json_format.ParseDict(request, prediction.Feedback()))
    assert code == "INTERNAL"


def test_a_raw_answer_that_is_no_message_is_not_the_callers_fault(servers: Servers) -> None:
    """An answer that gRPC cannot carry is INTERNAL, not INVALID_ARGUMENT."""
    code, text = fault_of(servers("RawText"), "Model/Predict", message(ND))
    assert code == "INTERNAL"
    assert "text" in text


def test_the_pods_annotations_are_limits(tmp_path: Path) -> None:
    """seldon.io/rest-timeout ends REST requests alone, seldon.io/grpc-max-message-size bounds gRPC messages alone."""
    file = tmp_path / "annotations"
    file.write_text('seldon.io/rest-timeout="500"\nseldon.io/grpc-max-message-size="2000"\n')
    with served("components.py:Slow", folder=HERE, annotations_file=str(file)) as there:
        slow = {"data": {"ndarray": [1.2]}}
        reply = there.post("/predict", slow)
        assert (reply.status, reply.json["status"]["reason"]) == (504, "DEADLINE_PASSED")
        assert there.call("Model/Predict", message(slow)).HasField("data")
        assert there.post("/predict", {"data": {"ndarray": [0.0] * 3000}}).status == 200
        code, text = fault_of(there, "Model/Predict", message({"strData": "x" * 3000}))
        assert code == "RESOURCE_EXHAUSTED"
        assert "2000" in text


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=B"}
PART = '--B\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'


def form(text: str) -> bytes:
    return b"json=" + urllib.parse.quote(text).encode()


def multipart(*parts: tuple[str, str]) -> bytes:
    return ("".join(PART.format(*part) for part in parts) + "--B--\r\n").encode()


def test_a_form_goes_before_the_query(servers: Servers) -> None:
    """The json field of a form wins over the one of the query, which wins over a JSON body."""
    query = "/predict?" + form('{"strData":"query"}').decode()
    there = servers("Echo")
    assert there.ask("POST", query, form('{"strData":"form"}'), FORM).json["strData"] == "form"
    assert there.ask("POST", query, b'{"strData":"body"}', FORM).json["strData"] == "query"


def test_the_first_of_repeated_parts_counts(servers: Servers) -> None:
    """A multipart body with two parts of one name is read as the original read it."""
    body = multipart(("strData", "first"), ("strData", "second"))
    assert servers("Echo").ask("POST", "/predict", body, MULTIPART).json["strData"] == "first"


@pytest.mark.parametrize(
    ("path", "body", "headers", "expected"),
    [
        ("/predict", b'{"a":1}', {}, {"type": "bytes", "given": '{"a":1}'}),
        ("/predict", form("{bad"), FORM, {"type": "str", "given": "{bad"}),
        ("/predict?json=q", b'{"a":1}', {}, {"type": "str", "given": "q"}),
        ("/predict", multipart(("jsonData", "[1]")), MULTIPART, {"type": "dict", "given": {"jsonData": [1]}}),
    ],
)
def test_what_passes_through_is_what_the_body_rules_find(
    servers: Servers, path: str, body: bytes, headers: dict[str, str], expected: object
) -> None:
    """In pass-through a raw hook gets the body, or the text of a json field, or the parts of a multipart body."""
    there = servers("Passed", payload_passthrough=True)
    assert there.ask("POST", path, body, headers).json == expected


def test_the_deprecated_hook_is_passed_through_to_as_well(servers: Servers) -> None:
    """In pass-through predict_rest gets the body's bytes."""
    there = servers("PassedOld", payload_passthrough=True)
    assert there.ask("POST", "/predict", b"\x00garbage").json == {"type": "bytes"}


def test_a_preflight_is_answered_with_the_headers_it_asks_for(servers: Servers) -> None:
    """The headers a page wants to send are named back: `*` would not cover Authorization."""
    asked = {"Origin": "http://x", "Access-Control-Request-Headers": "authorization,x-foo"}
    there = servers("Echo")
    assert (
        there.ask("OPTIONS", "/predict", None, asked).headers["access-control-allow-headers"] == "authorization,x-foo"
    )
    assert there.ask("OPTIONS", "/predict").headers["access-control-allow-headers"] == "*"


@pytest.mark.parametrize("execution", ["auto", "thread", "inline"])
@pytest.mark.parametrize("path", ["/predict", "/route"])
def test_hooks_beside_the_answer_may_be_async(servers: Servers, execution: str, path: str) -> None:
    """tags(), metrics() and class_names() may be coroutines, beside plain hooks as beside async ones."""
    there = servers("AsyncSides", execution=execution)
    for _ in range(40):  # fast plain hooks move to the event loop after some calls
        reply = there.post(path, {"data": {"ndarray": [[1]]}})
        assert reply.json == {
            "data": {"names": ["side"], "ndarray": [[1]]},
            "meta": {"tags": {"side": 1}, "metrics": [{"type": "GAUGE", "key": "side", "value": 1}]},
        }


def test_the_document_has_its_old_name_as_well(servers: Servers) -> None:
    """/seldon.json is the document of this component under the original's title and version."""
    there = servers("Echo")
    document, old = there.get("/openapi.json").json, there.get("/seldon.json").json
    assert (old["info"]["title"], old["info"]["version"]) == ("Seldon External API", "0.1")
    assert old["paths"] == document["paths"]
    named = {"/aggregate", "/predict", "/route", "/send-feedback", "/transform-input", "/transform-output"}
    assert named <= old["paths"].keys()


def test_what_belongs_to_a_thread_stays_in_it(servers: Servers) -> None:
    """A fast component that holds a database connection, however deep, however late, is never moved off its thread."""
    there = servers("Stored")
    answers = [there.post("/predict", ND) for _ in range(100)]
    assert {(reply.status, str(reply.json["data"]["ndarray"])) for reply in answers} == {(200, "[1]")}
