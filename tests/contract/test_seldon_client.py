"""SeldonClient, the testers and the plain servers of seldon_core, against each other over real sockets."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import flask
import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2, empty_pb2, wrappers_pb2
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server

from http_server import running
from infergraph import compat

compat.install()

from seldon_core import api_tester, microservice_tester  # noqa: E402
from seldon_core.metrics import SeldonMetrics, create_counter  # noqa: E402
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc  # noqa: E402
from seldon_core.seldon_client import (  # noqa: E402
    SeldonCallCredentials,
    SeldonClient,
    SeldonClientException,
)
from seldon_core.user_model import SeldonComponent  # noqa: E402
from seldon_core.wrapper import (  # noqa: E402
    SeldonModelGRPC,
    get_grpc_server,
    get_metrics_microservice,
    get_rest_microservice,
)


class Model(SeldonComponent):
    """Doubles arrays, echoes the rest, refuses the word `refuse`."""

    def predict(self, X: Any, names: Any, meta: Any = None) -> Any:
        if isinstance(X, str) and X == "refuse":
            raise ValueError("refused")
        return X * 2 if isinstance(X, np.ndarray) else X

    def transform_input(self, X: Any, names: Any) -> Any:
        return X + 1

    def transform_output(self, X: Any, names: Any) -> Any:
        return X - 1

    def route(self, X: Any, names: Any) -> int:
        return 1

    def aggregate(self, features_list: Any, names_list: Any) -> Any:
        return sum(features_list)

    def send_feedback(self, features: Any, names: Any, reward: float, truth: Any, routing: Any = None) -> Any:
        return [reward, len(truth), -1 if routing is None else routing]

    def metrics(self) -> Any:
        return [create_counter("calls", 1)]


class Quiet(WSGIRequestHandler):
    """Serves without log lines."""

    def log_request(self, *_: Any) -> None:
        pass


class Servers(NamedTuple):
    """Where the component is served."""

    rest: str
    grpc: str
    seen: list[dict[str, str]]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """The component over REST (as itself, and as deployments behind a gateway's paths) and over gRPC."""
    app = get_rest_microservice(Model(), SeldonMetrics())
    seen: list[dict[str, str]] = []

    @app.before_request
    def note() -> None:
        seen.append({name.lower(): value for name, value in flask.request.headers} | {"path": flask.request.full_path})

    behind = dict.fromkeys(("/seldon/ns/dep", "/seldon/dep", "/own/prefix", "/seldon/mymodel"), app)
    server = make_server("127.0.0.1", 0, DispatcherMiddleware(app, behind), threaded=True, request_handler=Quiet)
    rpc = get_grpc_server(Model(), SeldonMetrics(), annotations={"seldon.io/grpc-max-message-size": "100000"})
    port = rpc.add_insecure_port("127.0.0.1:0")
    with running(server):
        rpc.start()
        yield Servers(f"127.0.0.1:{server.server_port}", f"127.0.0.1:{port}", seen)
        rpc.stop(0).wait()


@pytest.fixture(params=["rest", "grpc"])
def client(request: pytest.FixtureRequest, servers: Servers) -> Iterator[SeldonClient]:
    """A client of the component over one transport, with the deployment's name."""
    endpoint = servers.rest if request.param == "rest" else servers.grpc
    with SeldonClient(
        transport=request.param,
        namespace="ns",
        deployment_name="dep",
        gateway_endpoint=endpoint,
        microservice_endpoint=endpoint,
        timeout_s=30,
    ) as client:
        yield client


@pytest.mark.parametrize("form", ["tensor", "ndarray", "tftensor"])
def test_predict_sends_arrays_in_every_form(client: SeldonClient, form: str) -> None:
    """An array goes out in the form asked for and comes back doubled, with the request's tags, over both transports."""
    result = client.predict(data=np.array([[1.0, 2.0]]), names=["a", "b"], meta={"t": "x"}, payload_type=form)
    assert (result.success, list(result.request["data"])) == (True, ["names", form])
    assert result.response["meta"]["tags"] == {"t": "x"}
    assert list(result.response["data"]) == ["names", form]
    if form == "ndarray":
        assert result.response["data"]["ndarray"] == [[2.0, 4.0]]


@pytest.mark.parametrize(
    ("payload", "field", "value"),
    [
        ({"str_data": "é"}, "strData", "é"),
        ({"bin_data": b"hi"}, "binData", "aGk="),
        ({"json_data": {"a": [1.5, None]}}, "jsonData", {"a": [1.5, None]}),
        ({"raw_data": {"strData": "raw", "meta": {"puid": "p"}}}, "strData", "raw"),
    ],
)
def test_predict_sends_every_other_payload(client: SeldonClient, payload: Any, field: str, value: Any) -> None:
    """Text, bytes, JSON and whole messages are echoed, with their tags, over both transports."""
    meta = {} if "raw_data" in payload else {"meta": {"t": 1.0}}
    result = client.predict(**payload, **meta)
    assert (result.success, result.response[field]) == (True, value)
    expected = {"tags": {"t": 1.0}} if meta else {"puid": "p"}
    assert {name: value for name, value in result.response["meta"].items() if name != "metrics"} == expected


def test_predict_gives_protobuf_if_asked(client: SeldonClient) -> None:
    """With client_return_type proto the request and the answer are SeldonMessages."""
    result = client.predict(data=np.array([[1.0]]), client_return_type="proto", payload_type="tensor")
    assert isinstance(result.request, prediction_pb2.SeldonMessage)
    assert list(result.response.data.tensor.values) == [2.0]
    assert "Success:True" in repr(result)


def test_an_error_answer_is_a_result(client: SeldonClient) -> None:
    """A component's error gives a result without success whose message says why."""
    result = client.predict(str_data="refuse")
    assert not result.success
    assert "500" in result.msg or "refused" in result.msg


def test_custom_data_goes_over_grpc_alone(client: SeldonClient) -> None:
    """An Any is echoed over gRPC, and refused for REST before anything is sent."""
    packed = any_pb2.Any()
    packed.Pack(wrappers_pb2.StringValue(value="x"))
    if client.config["transport"] == "grpc":
        result = client.predict(custom_data=packed, client_return_type="proto", meta={"t": 1})
        assert result.response.customData == packed
    else:
        with pytest.raises(SeldonClientException, match="gRPC only"):
            client.predict(custom_data=packed)


def test_feedback_reaches_the_component(client: SeldonClient) -> None:
    """A prediction's request and answer, as documents or as protobuf, make a feedback."""
    for kind in ("dict", "proto"):
        predicted = client.predict(data=np.array([[1.0]]), payload_type="ndarray", client_return_type=kind)
        truth = {"data": {"ndarray": [[1.0], [2.0]]}}
        result = client.feedback(predicted.request, predicted.response, truth, reward=0.5, client_return_type="dict")
        assert result.success, result.msg
        assert result.response["data"]["ndarray"] == [0.5, 2.0, -1.0]
    raw = {"request": {"strData": "a"}, "response": {"meta": {"routing": {"0": 1}}}, "reward": 1.0}
    assert client.feedback(raw_request=raw).response["data"]["tensor"]["values"] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("method", "answer"),
    [("predict", [2.0]), ("transform-input", [2.0]), ("transform-output", [0.0]), ("route", [1.0])],
)
def test_microservice_asks_each_method(client: SeldonClient, method: str, answer: list[float]) -> None:
    """Each method of a component is asked by its name; request and answer are protobuf."""
    result = client.microservice(method=method, data=np.array([[1.0]]), names=["n"])
    assert result.success, result.msg
    assert list(result.response.data.tensor.values) == answer
    assert list(result.request.data.names) == ["n"]


def test_microservice_aggregates_and_takes_feedback(client: SeldonClient) -> None:
    """Several arrays get one answer; a reward reaches the component."""
    result = client.microservice(method="aggregate", datas=[np.array([[1.0]]), np.array([[2.0]])])
    assert list(result.response.data.tensor.values) == [3.0]
    assert len(client.microservice(method="aggregate", ndatas=3, shape=(1, 2)).request.seldonMessages) == 3
    answer = client.microservice_feedback(result.request.seldonMessages[0], result.response, 0.25)
    assert list(answer.response.data.tensor.values) == [0.25, 0.0, -1.0]


def test_calls_that_cannot_be_made_are_refused(client: SeldonClient) -> None:
    """No payload, no method, unknown choices and unknown arguments raise with a text, before anything is sent."""
    for call, text in (
        (lambda: client.predict(), "nothing to send"),
        (lambda: client.microservice(data=np.zeros(1)), "method"),
        (lambda: client.microservice(method="aggregate"), "datas"),
        (lambda: client.predict(data=[[1]]), "numpy array"),
        (lambda: client.predict(str_data="a", gateway="nginx"), "gateway"),
        (lambda: client.explain(data=np.zeros(1)), "predictor"),
        (lambda: SeldonClient(transport="carrier pigeon"), "transport"),
    ):
        with pytest.raises(SeldonClientException, match=text) as caught:
            call()
        assert caught.value.message == str(caught.value)
    with pytest.raises(TypeError, match="colour"):
        client.predict(str_data="a", colour="red")


def test_rest_paths_headers_and_token(servers: Servers) -> None:
    """The gateway's path is made of namespace and name, a prefix or a path of one's own; headers and token travel."""
    with SeldonClient(
        deployment_name="dep",
        gateway_endpoint=servers.rest,
        call_credentials=SeldonCallCredentials("secret"),
        ssl=False,
    ) as client:
        del servers.seen[:]
        assert client.predict(str_data="a", headers={"X-Own": "1"}).success
        assert client.predict(str_data="a", namespace="ns").success
        assert client.predict(str_data="a", gateway_prefix="/own/prefix").success
        assert client.predict(str_data="a", http_path="/predict").success
        assert client.predict(str_data="a", gateway="seldon").success
        assert [entry["path"] for entry in servers.seen] == ["/api/v1.0/predictions?"] * 3 + ["/predict?"] + [
            "/api/v1.0/predictions?"
        ]
        assert (servers.seen[0]["x-own"], servers.seen[0]["x-auth-token"]) == ("1", "secret")
        explained = client.explain(predictor="main", str_data="a")
        assert (explained.success, explained.msg) == (False, "404:NOT FOUND")


def test_a_rest_connection_is_kept() -> None:
    """Calls of one thread share one connection; when the server has closed it, the next call opens another."""
    connections: list[int] = []

    class Keeping(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            connections.append(0)
            super().setup()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            connections[-1] += 1
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
            self.close_connection = connections[-1] == 3  # without saying so in a header

        def log_request(self, *_: Any) -> None:
            pass

    with (
        running(ThreadingHTTPServer(("127.0.0.1", 0), Keeping)) as server,
        SeldonClient(deployment_name="dep", gateway_endpoint=f"127.0.0.1:{server.server_port}") as client,
    ):
        assert all(client.predict(str_data="a").success for _ in range(5))
    assert connections == [3, 2]


def test_many_threads_may_use_one_client(client: SeldonClient) -> None:
    """Each thread gets the answer to its own request."""
    with futures.ThreadPoolExecutor(4) as pool:
        asked = [f"word {number}" for number in range(40)]
        answers = [result.response["strData"] for result in pool.map(lambda word: client.predict(str_data=word), asked)]
    assert answers == asked


def test_nobody_listening() -> None:
    """A refused connection raises over REST, and is a result without success over gRPC."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{unused.getsockname()[1]}"
        with SeldonClient(deployment_name="dep", gateway_endpoint=endpoint, timeout_s=10) as client:
            with pytest.raises(SeldonClientException, match="did not answer"):
                client.predict(str_data="a")
            result = client.predict(str_data="a", transport="grpc")
            assert (result.success, result.response) == (False, None)
            assert "UNAVAILABLE" in result.msg


def test_a_silent_server_times_out() -> None:
    """A server that accepts and never answers costs the time given and no more, over both transports."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        with SeldonClient(deployment_name="dep", gateway_endpoint=endpoint, timeout_s=0.2) as client:
            with pytest.raises(SeldonClientException, match="timed out"):
                client.predict(str_data="a")
            assert "DEADLINE_EXCEEDED" in client.predict(str_data="a", transport="grpc").msg


def test_servicers_refuse_what_they_do_not_override(servers: Servers) -> None:
    """A servicer's method that nobody wrote answers UNIMPLEMENTED; one that somebody wrote answers."""

    class Only(prediction_pb2_grpc.ModelServicer):  # type: ignore[misc]
        def Predict(self, request: Any, context: Any) -> Any:
            return prediction_pb2.SeldonMessage(strData=request.strData + "!")

    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_pb2_grpc.add_ModelServicer_to_server(Only(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = prediction_pb2_grpc.ModelStub(channel)
            assert stub.Predict(prediction_pb2.SeldonMessage(strData="a")).strData == "a!"
            with pytest.raises(grpc.RpcError) as caught:
                stub.Metadata(empty_pb2.Empty())
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    finally:
        server.stop(0).wait()


def test_all_seven_services_are_served(servers: Servers) -> None:
    """The gRPC server answers each service's methods, and a message over the annotated size is refused."""
    message = prediction_pb2.SeldonMessage(
        data=prediction_pb2.DefaultData(tensor=prediction_pb2.Tensor(shape=[1], values=[1.0]))
    )
    several = prediction_pb2.SeldonMessageList(seldonMessages=[message, message])
    with grpc.insecure_channel(servers.grpc) as channel:
        calls = {
            "Model": ("Predict", message, 2.0),
            "Seldon": ("Predict", message, 2.0),
            "Router": ("Route", message, 1.0),
            "Transformer": ("TransformInput", message, 2.0),
            "OutputTransformer": ("TransformOutput", message, 0.0),
            "Combiner": ("Aggregate", several, 2.0),
            "Generic": ("Aggregate", several, 2.0),
        }
        for service, (method, request, value) in calls.items():
            stub = getattr(prediction_pb2_grpc, f"{service}Stub")(channel)
            assert list(getattr(stub, method)(request).data.tensor.values) == [value], service
        seldon = prediction_pb2_grpc.SeldonStub(channel)
        assert list(seldon.ModelMetadata(prediction_pb2.SeldonModelMetadataRequest(name="x")).versions) == [""]
        with pytest.raises(grpc.RpcError, match="GraphMetadata not available"):
            seldon.GraphMetadata(empty_pb2.Empty())
        with pytest.raises(grpc.RpcError) as caught:
            seldon.Predict(prediction_pb2.SeldonMessage(binData=b"x" * 200_000))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_flask_application_answers_the_protocols_paths() -> None:
    """Every route of the wrapper answers as its specification says, errors in the protocol's envelope."""
    metrics = SeldonMetrics()
    app = get_rest_microservice(Model(), metrics).test_client()
    body = {"data": {"ndarray": [[1]]}}
    assert app.get("/predict", query_string={"json": json.dumps(body)}).get_json()["data"]["ndarray"] == [[2]]
    for path in ("/predict", "/api/v1.0/predictions", "/api/v0.1/predictions"):
        assert app.post(path, json=body).get_json()["data"] == {"names": ["t:0"], "ndarray": [[2]]}
    assert app.post("/route", json=body).get_json()["data"]["ndarray"] == [[1]]
    for path in ("/aggregate", "/combine"):
        assert app.post(path, json={"seldonMessages": [body, body]}).get_json()["data"]["ndarray"] == [[2]]
    assert app.post("/send-feedback", json={"request": body, "reward": 1}).get_json()["data"] == {
        "ndarray": [1.0, 0.0, -1.0]
    }
    assert app.get("/health/ping").get_data() == b"pong"
    assert app.get("/health/status").get_json()["strData"] == "not implemented - assuming healthy"
    assert app.get("/metadata").get_json()["versions"] == [""]
    missing = app.get("/nope")
    assert (missing.status_code, missing.get_json()["status"]["status"]) == (404, 1)
    assert app.post("/predict", json={"foo": 1}).status_code == 400
    failed = app.post("/predict", json={"strData": "refuse"})
    assert (failed.status_code, failed.get_json()["status"]["info"]) == (500, "refused")
    exposed = get_metrics_microservice(metrics).test_client().get("/metrics").get_data(as_text=True)
    assert 'method="predict"' in exposed
    assert "calls_total" in exposed


def test_invalid_metadata_is_answered_as_such() -> None:
    """A component whose metadata breaks the schema serves; asking for it is a 500 MICROSERVICE_BAD_METADATA."""

    class Bad:
        def init_metadata(self) -> Any:
            return {"name": 5}

    answer = get_rest_microservice(Bad(), SeldonMetrics()).test_client().get("/metadata")
    assert (answer.status_code, answer.get_json()["status"]["reason"]) == (500, "MICROSERVICE_BAD_METADATA")
    with pytest.raises(Exception, match="Model metadata unavailable"):
        SeldonModelGRPC(Bad(), SeldonMetrics()).Metadata(None, None)


CONTRACT: dict[str, Any] = {
    "features": [
        {"name": "x", "dtype": "FLOAT", "ftype": "continuous", "range": [0, 1], "repeat": 2},
        {"name": "y", "dtype": "INT", "ftype": "continuous", "range": [1, "inf"]},
    ],
    "targets": [{"name": "class", "dtype": "FLOAT", "ftype": "continuous", "range": [0, 1], "repeat": 2}],
}


def _main(main: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["tester", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    "flags", [[], ["--grpc"], ["--tensor"], ["--endpoint", "send-feedback"], ["-n", "2", "-b", "3"]]
)
def test_testers_send_what_the_contract_says(
    servers: Servers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
) -> None:
    """Both testers send random rows of the contract and print what came back."""
    file = tmp_path / "contract.json"
    file.write_text(json.dumps(CONTRACT))
    host, port = (servers.grpc if "--grpc" in flags else servers.rest).split(":")
    for main in (microservice_tester.main, api_tester.main):
        assert _main(main, [str(file), host, port, "-p", *flags], monkeypatch) == 0
        printed = capsys.readouterr().out
        assert printed.count("SENDING NEW REQUEST:") == (2 if "-n" in flags else 1)
        assert "RECEIVED RESPONSE:" in printed


def test_testers_fail_when_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unreachable server is exit code 1 and a line that names it."""
    file = tmp_path / "contract.json"
    file.write_text(json.dumps(CONTRACT))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
        assert _main(microservice_tester.main, [str(file), "127.0.0.1", port], monkeypatch) == 1
    assert port in capsys.readouterr().err
