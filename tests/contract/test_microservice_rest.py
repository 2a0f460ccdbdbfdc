"""The microservice contract over REST: every row of its tables, on a real socket."""

from __future__ import annotations

import gzip
import io
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contract.microservice import cases
from contract.microservice.cases import BAD, Case
from served import Reply, Servers, served

HERE = Path(__file__).parent / "microservice"


@pytest.fixture(scope="module", params=["auto", "inline"])
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Workers that answer by a task and in a thread, and such as answer at once: no caller can tell them apart."""
    with Servers("components.py", folder=HERE, execution=request.param) as servers:
        yield servers


def check(reply: Reply, case: Case) -> None:
    assert reply.status == case.status, reply.body
    assert reply.headers["content-type"] == "application/json"
    if not isinstance(case.expected, str):
        assert reply.json == case.expected
        return
    status = reply.json["status"]
    assert (status["code"], status["status"]) == (-1, 1)
    assert case.expected in (status["info"], status["reason"]) or case.expected in status["info"]


def named(case: Case) -> str:
    return f"{case.component}{case.path} {json.dumps(case.body, ensure_ascii=False)[:60]}"


@pytest.mark.parametrize("case", [*cases.DECODING, *cases.METHODS, *cases.ERRORS], ids=named)
def test_each_request_of_the_table_gets_its_answer(servers: Servers, case: Case) -> None:
    """A request of the table is answered with the status and JSON of its row."""
    check(servers(case.component).post(case.path, case.body), case)


@pytest.mark.parametrize("case", cases.FULL, ids=named)
def test_meta_is_merged_as_observed(servers: Servers, case: Case) -> None:
    """Puid, tags, metrics and requestPath of an answer follow the rules of section 7."""
    check(servers("Full", environment=cases.FULL_ENVIRONMENT).post(case.path, case.body), case)


@pytest.mark.parametrize("kind", cases.RESULTS)
def test_each_result_type_has_its_spelling(servers: Servers, kind: str) -> None:
    """A result is spelt by its own type and, where it is an array, like the request."""
    there = servers("Returns", parameters=json.dumps([{"name": "kind", "value": kind, "type": "STRING"}]))
    from_text, from_array = cases.RESULTS[kind]
    assert there.post("/predict", {"strData": "x"}).json == from_text
    assert there.post("/predict", cases.ND).json == from_array


@pytest.mark.parametrize("kind", cases.UNSENDABLE)
def test_a_result_that_cannot_be_sent_is_named(servers: Servers, kind: str) -> None:
    """A result of an unsupported type is a 500 that names the type."""
    there = servers("Returns", parameters=json.dumps([{"name": "kind", "value": kind, "type": "STRING"}]))
    reply = there.post("/predict", cases.ND)
    assert reply.status == 500
    assert cases.UNSENDABLE[kind] in reply.json["status"]["info"]


BODIES = [
    # (headers, path suffix, body, status, expected), section 5.2
    ({"Content-Type": "application/json"}, "", b"{bad", 400, "Can't find JSON in data"),
    ({"Content-Type": "application/json"}, "", b"", 400, "Can't find JSON in data"),
    ({"Content-Type": "application/json"}, "", b"null", 400, "Can't find JSON in data"),
    (
        {"Content-Type": "application/vnd.x+json; charset=utf-8"},
        "",
        b'{"strData":"s"}',
        200,
        {"strData": "s", "meta": {}},
    ),
    ({"Content-Type": "application/json"}, "", b'\xef\xbb\xbf{"strData":"s"}', 200, {"strData": "s", "meta": {}}),
    ({"Content-Type": "application/json"}, "", b'{"strData":"a","strData":"b"}', 200, {"strData": "b", "meta": {}}),
    ({"Content-Type": "application/json"}, "", b'{"strData":"s"} x', 400, BAD),
    ({"Content-Type": "application/json"}, "", b"[" * 100_000, 400, BAD),
    ({"Content-Type": "application/json"}, "", b'{"strData":"\xff"}', 400, BAD),
    ({"Content-Type": "application/x-www-form-urlencoded"}, "", b'{"strData":"s"}', 200, {"strData": "s", "meta": {}}),
    ({}, "", b'{"strData":"s"}', 200, {"strData": "s", "meta": {}}),
    ({"Content-Type": "text/plain"}, "", b"hello", 415, BAD),
    (
        {"Content-Type": "application/x-www-form-urlencoded"},
        "",
        b"json=" + urllib.parse.quote('{"strData":"s"}').encode(),
        200,
        {"strData": "s", "meta": {}},
    ),
    ({"Content-Type": "application/x-www-form-urlencoded"}, "", b"json=%7Bbad", 400, BAD),
    (
        {"Content-Type": "application/json"},
        "?json=" + urllib.parse.quote('{"strData":"query"}'),
        b'{"strData":"body"}',
        200,
        {"strData": "query", "meta": {}},
    ),
]


@pytest.mark.parametrize(("headers", "suffix", "body", "status", "expected"), BODIES)
def test_bodies_are_found_where_the_protocol_looks(
    servers: Servers, headers: dict[str, str], suffix: str, body: bytes, status: int, expected: object
) -> None:
    """A body is read from multipart, form, query or JSON, in this order; what cannot be read is a 400 (Q2, Q3)."""
    reply = servers("Identity").ask("POST", "/predict" + suffix, body, headers)
    check(reply, Case("Identity", "/predict", body, status, expected))


def multipart(*parts: tuple[str, str | None, bytes]) -> tuple[dict[str, str], bytes]:
    lines = []
    for name, filename, content in parts:
        file = f'; filename="{filename}"' if filename else ""
        lines.append(f'--B\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n")
    return {"Content-Type": "multipart/form-data; boundary=B"}, b"".join(lines) + b"--B--\r\n"


MULTIPART = [
    ([("strData", None, b"hello")], 200, {"strData": "hello", "meta": {}}),
    ([("strData", "f.txt", "文本".encode())], 200, {"strData": "文本", "meta": {}}),
    ([("strData", "f.txt", b"\xff")], 400, BAD),
    ([("binData", "f.bin", b"\x00\x01\xffbin")], 200, {"binData": "AAH/Ymlu", "meta": {}}),
    ([("binData", None, b"aGVsbG8=")], 200, {"binData": "aGVsbG8=", "meta": {}}),
    ([("jsonData", None, b'{"a":1}')], 200, {"jsonData": {"a": 1}, "meta": {}}),
    ([("jsonData", "j.json", b'{"a":1}')], 200, {"jsonData": {"a": 1}, "meta": {}}),
    (
        [("data", None, b'{"ndarray":[[1,2]]}'), ("meta", None, b'{"puid":"pp"}')],
        200,
        {"data": {"names": ["t:0", "t:1"], "ndarray": [[1, 2]]}, "meta": {"puid": "pp"}},
    ),
    ([("foo", None, b"5")], 400, "Invalid request data type"),
    ([("strData", None, b"x" * 700_000)], 200, {"strData": "x" * 700_000, "meta": {}}),
]


@pytest.mark.parametrize(("parts", "status", "expected"), MULTIPART)
def test_multipart_parts_become_fields(
    servers: Servers, parts: list[tuple[str, str | None, bytes]], status: int, expected: object
) -> None:
    """Parts of a multipart body are the fields of the message, files and texts alike (Q23)."""
    headers, body = multipart(*parts)
    check(
        servers("Identity").ask("POST", "/predict", body, headers), Case("Identity", "/predict", "", status, expected)
    )


def test_get_with_a_query_works_as_post(servers: Servers) -> None:
    """The internal paths answer GET with `?json=` too."""
    reply = servers("Identity").get("/predict?json=" + urllib.parse.quote('{"strData":"s"}'))
    assert reply.json == {"strData": "s", "meta": {}}


def test_unknown_paths_and_methods_are_real_404_and_405(servers: Servers) -> None:
    """HTTP's own refusals have HTTP's own codes, in the protocol's envelope (Q1)."""
    there = servers("Identity")
    for method, path, status in [
        ("GET", "/nope", 404),
        ("POST", "/nope", 404),
        ("GET", "/api/v1.0/predictions", 405),
        ("DELETE", "/predict", 405),
    ]:
        reply = there.ask(method, path)
        assert reply.status == status
        assert reply.json["status"]["code"] == -1
    assert there.ask("GET", "/api/v1.0/predictions").headers["allow"] == "OPTIONS, POST"


def test_a_page_of_another_origin_may_call(servers: Servers) -> None:
    """CORS is open, echoes the origin, and answers the pre-flight."""
    there = servers("Identity")
    assert there.post("/predict", cases.ND).headers["access-control-allow-origin"] == "*"
    reply = there.post("/predict", cases.ND, Origin="http://x.com")
    assert (reply.headers["access-control-allow-origin"], reply.headers["vary"]) == ("http://x.com", "Origin")
    flight = there.ask("OPTIONS", "/predict", None, {"Origin": "http://x.com", "Access-Control-Request-Method": "POST"})
    assert flight.status == 200
    assert "POST" in flight.headers["access-control-allow-methods"]


def test_a_page_that_cors_origins_leaves_out_asks_nothing_of_the_unit(servers: Servers) -> None:
    """With origins named, plain forms and texts of other sites are 403 before the unit runs; all else goes on."""
    there = servers("Identity", cors_origins="https://good.example")
    body = json.dumps(cases.ND).encode()
    for headers in (
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
        {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/x-www-form-urlencoded"},
    ):
        for path in ("/predict", "/send-feedback", "/api/v1.0/feedback"):
            reply = there.ask("POST", path, body, headers)
            assert (reply.status, "cors_origins" in reply.json["status"]["info"]) == (403, True)
    for headers in ({}, {"Origin": "https://good.example"}, {"Origin": f"http://127.0.0.1:{there.http_port}"}):
        assert there.post("/predict", cases.ND, **headers).status == 200
    assert there.get("/ready", Origin="https://evil.example").status == 200


def test_gzip_goes_in_and_out(servers: Servers) -> None:
    """A compressed request is read, and an answer is compressed for a client that asks."""
    there = servers("Identity")
    text = "北京" * 2000
    body = gzip.compress(json.dumps({"strData": text}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    reply = there.ask("POST", "/predict", body, headers)
    assert reply.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(reply.body)) == {"strData": text, "meta": {}}
    assert "北京".encode() in gzip.decompress(reply.body)


def test_arrays_travel_as_npy_files(servers: Servers) -> None:
    """A .npy body is the array it holds, element type kept; the answer is one for those who accept it, else JSON."""
    there = servers("Identity")
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    file = io.BytesIO()
    np.save(file, given)
    reply = there.ask("POST", "/predict", file.getvalue(), {"Content-Type": "application/x-npy"})
    assert reply.json["data"]["tensor"] == {"shape": [2, 3], "values": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]}
    reply = there.ask(
        "POST", "/predict", file.getvalue(), {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    )
    assert reply.headers["content-type"] == "application/x-npy"
    answered = np.load(io.BytesIO(reply.body))
    assert answered.dtype == np.float32
    assert np.array_equal(answered, given)
    reply = there.post("/predict", {"strData": "no array"}, Accept="application/x-npy")
    assert reply.json["strData"] == "no array"
    refused = there.ask("POST", "/predict", file.getvalue()[:-1], {"Content-Type": "application/x-npy"})
    assert (refused.status, refused.json["status"]["reason"]) == (400, "MICROSERVICE_BAD_DATA")
    assert "23 bytes of values" in refused.json["status"]["info"]


def test_a_compressed_bomb_is_refused(servers: Servers) -> None:
    """A body that unpacks to more than the limit is a 413, and names the setting."""
    there = servers("Identity", message_limit_bytes=100_000)
    bomb = gzip.compress(b'{"strData":"' + b"x" * 10_000_000 + b'"}')
    reply = there.ask("POST", "/predict", bomb, {"Content-Type": "application/json", "Content-Encoding": "gzip"})
    assert reply.status == 413
    assert "message_limit_bytes" in reply.json["status"]["info"]
    assert there.ask("POST", "/predict", b"x" * 200_000).status == 413


def test_health_probes(servers: Servers) -> None:
    """The probes answer as observed; a component's word makes the health status."""
    assert servers("Identity").get("/health/ping").body == b"pong"
    assert servers("Identity").get("/live").status == 200
    assert servers("Identity").get("/ready").status == 200
    assert servers("Nothing").get("/health/status").json == {"strData": "healthy", "meta": {}}
    assert servers("Awaits").get("/health/status").json == {"strData": "well", "meta": {}}
    assert servers("Slow").get("/api/v1.0/health/status").json == cases.tensor([2], [1, 2])
    assert servers("Unhealthy").get("/health/status").status == 503


def test_health_never_waits_behind_a_prediction(servers: Servers) -> None:
    """While a prediction holds the component's only thread, every probe answers."""
    there = servers("Slow", execution="auto")
    done = threading.Event()

    def predict() -> None:
        there.post("/predict", {"data": {"ndarray": [1.0]}})
        done.set()

    thread = threading.Thread(target=predict)
    thread.start()
    for path in ("/live", "/ready", "/health/ping", "/health/status", "/metrics"):
        assert there.get(path).status == 200
    assert not done.is_set()
    thread.join()


def test_health_probes_do_not_move_the_components_counters(servers: Servers) -> None:
    """Probing a component's health leaves its own metrics where they were (Q20)."""
    there = servers("Full", environment={"PREDICTIVE_UNIT_ID": "probed"})
    there.get("/health/status")
    assert b"mycounter" not in there.get("/metrics").body
    there.post("/predict", cases.ND)
    assert b'method="predict"' in there.get("/metrics").body


def test_metadata(servers: Servers) -> None:
    """Metadata is the defaults, then the component's, then the setting's; invalid metadata is a 500 with its reason."""
    assert servers("Identity").get("/metadata").json == {
        "name": "",
        "versions": [""],
        "platform": "",
        "inputs": [],
        "outputs": [],
        "custom": {},
    }
    found = servers("Metadata", model_metadata="name: other").get("/api/v1.0/metadata").json
    assert (found["name"], found["versions"], found["custom"]) == ("other", ["v1"], {"author": "me"})
    reply = servers("BadMetadata").get("/metadata")
    assert reply.status == 500
    assert reply.json["status"] == {
        "code": -1,
        "info": "Model metadata unavailable",
        "reason": "MICROSERVICE_BAD_METADATA",
        "status": 1,
    }
    assert servers("BadMetadata").post("/predict", cases.ND).status == 200


def test_user_code_is_called_once_even_when_it_raises_a_type_error(servers: Servers) -> None:
    """A TypeError from inside predict does not make the model run again (Q8)."""
    there = servers("Raises", threads=1, log_level="ERROR")
    before = there.post("/predict", {"strData": "count"}).json["data"]["tensor"]["values"][0]
    there.post("/predict", {"strData": "type-error"})
    assert there.post("/predict", {"strData": "count"}).json["data"]["tensor"]["values"][0] == before + 2


def test_a_load_that_raises_leaves_the_unit_not_ready() -> None:
    """An error in load(), an AttributeError too, is reported; live stays up, ready and predict say no (Q7)."""
    with served("components.py:FailsToLoad", folder=HERE, wait=False) as there:
        deadline = threading.Event()
        while not any(report.state.value == "load_failed" for report in there.reports):
            assert not deadline.wait(0.01)
        assert there.get("/live").status == 200
        assert there.get("/ready").status == 503
        reply = there.post("/predict", cases.ND)
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"


def test_more_requests_than_the_limit_are_turned_away(servers: Servers) -> None:
    """Above concurrency_limit a request gets 503 with Retry-After and the name of the setting, and harms nobody."""
    there = servers("Slow", execution="auto", concurrency_limit=1, parameters="[]")
    slow, quick = {"data": {"ndarray": [0.8]}}, {"data": {"ndarray": [0.0]}}

    def until_taken() -> None:
        while there.post("/predict", slow).status != 200:
            pass

    thread = threading.Thread(target=until_taken)
    thread.start()
    reply = there.post("/predict", quick)
    while reply.status == 200 and thread.is_alive():
        reply = there.post("/predict", quick)
    assert reply.status == 503
    assert reply.headers["retry-after"] == "1"
    assert "concurrency_limit" in reply.json["status"]["info"]
    thread.join()
    assert there.post("/predict", quick).status == 200


def test_a_request_that_takes_too_long_is_a_504(servers: Servers) -> None:
    """The request timeout answers 504 and names its setting."""
    reply = servers("Slow", execution="auto", request_timeout_s=0.1).post("/predict", {"data": {"ndarray": [0.6]}})
    assert reply.status == 504
    assert "request_timeout_s" in reply.json["status"]["info"]


def test_strict_mode_refuses_what_is_not_there(servers: Servers) -> None:
    """In strict mode a component without predict says so (Q9)."""
    assert servers("Nothing", strict=True).post("/predict", cases.ND).status == 400


def test_json_can_be_written_as_flask_did(servers: Servers) -> None:
    """Sorted keys, escapes and indentation are settings (Q22)."""
    there = servers("Identity", json_sort_keys=True, json_ascii=True, json_pretty=True)
    body = there.post("/predict", {"jsonData": {"b": "é", "a": 1}}).body.decode()
    assert "\\u00e9" in body
    assert "\n" in body
    assert body.index('"a"') < body.index('"b"') < body.index('"meta"')


def test_own_metrics_can_stay_out_of_the_answer(servers: Servers) -> None:
    """With include_metrics_in_response off, own metrics are exported but not answered; passing ones are kept."""
    there = servers("Full", include_metrics_in_response=False)
    reply = there.post("/predict", cases.FULL_REQUEST)
    assert reply.json["meta"]["metrics"] == cases.FULL_META["metrics"]
    assert b"mycounter_total" in there.get("/metrics").body
    there = servers("Raw", include_metrics_in_response=False)
    assert there.post("/predict", {"x": 1}).json == {"echo": {"x": 1}, "meta": {}}


def test_exposition_has_one_family_for_each_name(servers: Servers) -> None:
    """The metrics page is valid for a strict parser, and carries the original's labels (Q18, Q19)."""
    from prometheus_client.parser import text_string_to_metric_families

    there = servers("Full", environment=cases.FULL_ENVIRONMENT)
    there.post("/predict", cases.FULL_REQUEST)
    for port in (there.http_port, there.metrics_port):
        text = there.ask("GET", "/metrics", port=port).body.decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert text.count("# TYPE mycounter_total ") == 1
        sample = next(s for s in families["mycounter"].samples if s.labels["method"] == "predict")
        assert sample.labels | {"method": ""} == {
            "deployment_name": "dep1",
            "image_name": "reg:5000/org/img",
            "image_version": "0.9",
            "method": "",
            "model_image": "reg:5000/org/img",
            "model_name": "unit1",
            "model_version": "0.9",
            "predictor_name": "pred1",
            "predictor_version": "v7",
            "seldon_deployment_name": "dep1",
        }
        timer = next(s for s in families["mytimer"].samples if s.labels.get("le") == "0.02347185009632733")
        assert timer.value >= 1
        assert "infergraph_requests" in families


def test_passthrough_hands_over_the_raw_body(servers: Servers) -> None:
    """With payload_passthrough a predict hook gets the bytes, whatever their type, and its bytes go out (Q25)."""
    there = servers("Identity", payload_passthrough=True)
    reply = there.ask("POST", "/predict", b"\x00raw", {"Content-Type": "application/octet-stream"})
    assert (reply.status, reply.body) == (200, b"\x00raw")


def test_a_puid_in_the_header_comes_back(servers: Servers) -> None:
    """Seldon-Puid is echoed so that a caller can match answers and logs."""
    assert servers("Identity").post("/predict", cases.ND, **{"Seldon-Puid": "abc"}).headers["seldon-puid"] == "abc"
