"""The payload log through a served graph to a collector on a real port.

The cases L* of the observed ones hold by what arrives there; the rest is what the specification, section 23, says of
CloudEvents, and what must not happen to a request whatever the collector does.
"""

from __future__ import annotations

import gzip
import json
import logging
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from contract.nodes import serving
from contract.test_orchestrator_cases import CASES, REFUSED_AT_START
from contract.test_orchestrator_edge import ask, deployment
from http_server import running
from infergraph import assembly
from infergraph.errors import GraphError
from infergraph.observe.shared_metrics import PrivateMetrics
from infergraph.settings import Settings
from infergraph.unit_source import UnitSource
from infergraph.wire import prediction
from infergraph.wire.proto_codec import ProtoMessage
from served import Served, served

LOGGED = [case for case in CASES if "payload_logs" in case and case["id"] not in REFUSED_AT_START]
CODE = "class Doubler:\n    def predict(self, X, names=None):\n        return X * 2\n"
ASKED = {"data": {"ndarray": [[1.0, 2.0]]}}
TYPES = {
    "Request": "io.seldon.serving.inference.request",
    "Response": "io.seldon.serving.inference.response",
    "Feedback": "io.seldon.serving.feedback",
}


class Posted(NamedTuple):
    """One event as it arrived; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Collector:
    """Takes events on a real port; holds them up, or refuses them, as it is told."""

    def __init__(self, *, status: int = 200, holds: bool = False) -> None:
        self.events: list[Posted] = []
        self.let_go = threading.Event()
        self.begun = threading.Event()
        if not holds:
            self.let_go.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.begun.set()
                collector.let_go.wait(30)
                collector.events.append(Posted(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response_only(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def values(self, header: str) -> list[str]:
        return [event.headers[header] for event in self.events]


@contextmanager
def collecting(**given: Any) -> Iterator[Collector]:
    collector = Collector(**given)
    with running(collector.server):
        try:
            yield collector
        finally:
            collector.let_go.set()


def component(folder: Path, url: str, *, mode: str = "all") -> None:
    """A deployment of one component, logged."""
    (folder / "doubler.py").write_text(CODE)
    graph = {"name": "m", "type": "MODEL", "component": "doubler:Doubler", "logger": {"url": url, "mode": mode}}
    document = {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "dep", "namespace": "ns"},
        "spec": {"predictors": [{"name": "pred", "graph": graph}]},
    }
    (folder / "deployment.json").write_text(json.dumps(document))


def predict(there: Served, **headers: str) -> Any:
    reply = there.post("/api/v1.0/predictions", ASKED, **headers)
    assert reply.status == 200, reply.body
    assert reply.json["data"]["ndarray"] == [[2.0, 4.0]]
    return reply


def outcomes(there: Served) -> dict[str, float]:
    """The counters of records, from the exposition."""
    lines = [line for line in there.get("/metrics").body.decode().splitlines() if line.startswith("infergraph_payload")]
    return {line.partition('outcome="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, for at most 20 seconds."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.01)


@pytest.mark.parametrize("case", LOGGED, ids=lambda case: case["id"])
def test_case_through_the_server(case: dict[str, Any], tmp_path: Path) -> None:
    """What arrives at the collector, in order, is what the reference was seen to log: type, node, body, address."""
    with collecting() as collector, serving(case["nodes"]) as nodes:
        text = json.dumps(deployment(case, nodes.ports)).replace("http://sink/", collector.url)
        (tmp_path / "deployment.json").write_text(text)
        settings = {"payload_log_url": collector.url, "payload_log_senders": 1}
        with served("deployment.json", folder=tmp_path, grpc=False, **settings) as there:
            for step in case["steps"]:
                assert ask(there, step["request"]).status == step["observed"]["status"]
        # The server has stopped, so that whatever it had to send has been sent.
        arrived = [
            (event.headers["ce-type"], event.headers["ce-modelid"], event.body.decode(), event.headers["content-type"])
            for event in collector.events
        ]
        expected = [
            (TYPES[log["type"]], log["model"], log["body"], log["content_type"]) for log in case["payload_logs"]
        ]
        assert arrived == expected
        assert {event.path for event in collector.events} <= {"/"}


def test_an_address_that_is_none_is_refused_at_start(tmp_path: Path) -> None:
    """Case L19: the graph does not start, and the error names the node and its address."""
    (case,) = [case for case in CASES if case["id"] in REFUSED_AT_START]
    (tmp_path / "deployment.json").write_text(json.dumps(deployment(case, {"a": 1})))
    source = UnitSource(target="deployment.json", folder=str(tmp_path))
    with pytest.raises(GraphError, match=r"logger\.url of node 'a' is 'http://\[::1'"):
        assembly.build(source, Settings(), PrivateMetrics())


def test_events_are_cloud_events(tmp_path: Path) -> None:
    """Each event has the attributes of CloudEvents 1.0 and Seldon's extensions; the path and query are the logger's."""
    with collecting() as collector:
        component(tmp_path, collector.url + "in box?to=a&b")
        before = datetime.now(UTC)
        with served("deployment.json", folder=tmp_path, grpc=False, payload_log_senders=1) as there:
            predict(there, **{"Seldon-Puid": "my id"})
        after = datetime.now(UTC)
    request, response = collector.events
    for event in (request, response):
        headers = event.headers
        assert UUID(headers["ce-id"]).version == 4
        assert headers["ce-specversion"] == "1.0"
        assert headers["ce-source"] == "http://127.0.0.1:9000/"
        assert before <= datetime.fromisoformat(headers["ce-time"]) <= after
        assert headers["ce-requestid"] == "my%20id"
        assert headers["ce-inferenceservicename"] == "dep"
        assert headers["ce-namespace"] == "ns"
        assert headers["ce-endpoint"] == "pred"
        assert headers["ce-protocol"] == "seldon"
        assert event.path == "/in%20box?to=a&b"
    assert request.headers["ce-id"] != response.headers["ce-id"]
    assert json.loads(request.body) == ASKED
    assert json.loads(response.body)["data"]["ndarray"] == [[2.0, 4.0]]


def test_grpc_payloads_are_logged_as_protobuf(tmp_path: Path) -> None:
    """A gRPC request, its answer and a feedback are logged under the id that the caller gets back."""
    with collecting() as collector:
        component(tmp_path, collector.url)
        with served("deployment.json", folder=tmp_path, payload_log_senders=1) as there:
            asked = prediction.SeldonMessage()
            asked.data.tensor.shape.extend([1, 2])
            asked.data.tensor.values.extend([1.0, 2.0])
            with there.channel() as channel:
                call = channel.unary_unary("/seldon.protos.Seldon/Predict")
                answer, told = call.with_call(asked.SerializeToString(), timeout=30)
            puid = dict(told.initial_metadata())["seldon-puid"]
            there.call("Seldon/SendFeedback", prediction.Feedback(reward=1), **{"seldon-puid": "given"})
    request, response, feedback = collector.events
    assert {event.headers["content-type"] for event in collector.events} == {"application/protobuf"}
    assert request.body == asked.SerializeToString()
    assert ProtoMessage(response.body).payload.tolist() == ProtoMessage(answer).payload.tolist() == [[2.0, 4.0]]
    assert request.headers["ce-requestid"] == response.headers["ce-requestid"] == puid
    assert UUID(puid)
    assert feedback.headers["ce-type"] == TYPES["Feedback"]
    assert feedback.headers["ce-requestid"] == "given"
    assert prediction.Feedback.FromString(feedback.body).reward == 1


def test_skipping_works_over_grpc_too(tmp_path: Path) -> None:
    """`seldon-skip-logging` in gRPC metadata keeps a request out of the log, which the reference forgets."""
    with collecting() as collector:
        component(tmp_path, collector.url)
        with served("deployment.json", folder=tmp_path) as there:
            message = prediction.SeldonMessage(strData="s")
            message.data.ndarray.append(1.0)
            there.call("Seldon/Predict", message, **{"seldon-skip-logging": "On", "seldon-puid": "hidden"})
            there.call("Seldon/Predict", message, **{"seldon-puid": "shown"})
    assert set(collector.values("ce-requestid")) == {"shown"}


def test_compressed_requests_are_logged_plain(tmp_path: Path) -> None:
    """A gzip request arrives at the collector unpacked, without a content encoding."""
    with collecting() as collector:
        component(tmp_path, collector.url, mode="request")
        with served("deployment.json", folder=tmp_path, grpc=False) as there:
            headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
            body = gzip.compress(json.dumps(ASKED).encode())
            assert there.ask("POST", "/api/v1.0/predictions", body, headers).status == 200
    (event,) = collector.events
    assert json.loads(event.body) == ASKED
    assert "content-encoding" not in event.headers


def test_a_share_of_the_requests(tmp_path: Path) -> None:
    """With a share, requests are drawn by id, so that anybody can tell which; both records of each arrive."""
    puids = [f"request-{number}" for number in range(30)]
    drawn = {puid for puid in puids if zlib.crc32(puid.encode()) < 0.5 * 2**32}
    assert 0 < len(drawn) < len(puids)
    with collecting() as collector:
        component(tmp_path, collector.url)
        with served("deployment.json", folder=tmp_path, grpc=False, payload_log_share=0.5) as there:
            for puid in puids:
                predict(there, **{"Seldon-Puid": puid})
    arrived = collector.values("ce-requestid")
    assert set(arrived) == drawn
    assert all(arrived.count(puid) == 2 for puid in drawn)


def test_a_collector_that_hangs_holds_up_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests are answered while nothing can be sent; what does not fit is dropped, counted and told in one line."""
    settings = {"payload_log_senders": 1, "payload_log_queue_limit": 2}
    with collecting(holds=True) as collector, caplog.at_level(logging.WARNING):
        component(tmp_path, collector.url)
        with served("deployment.json", folder=tmp_path, grpc=False, **settings) as there:
            predict(there)
            assert collector.begun.wait(20)
            for _ in range(5):
                predict(there)
            assert outcomes(there) == {"sent": 0, "failed": 0, "dropped": 9}  # of 12: one on its way, two waiting
            collector.let_go.set()
            until(lambda: outcomes(there)["sent"] == 3)
    lines = [message for message in caplog.messages if message.startswith("payload log:")]
    assert lines == ["payload log: 1 record dropped: 2 are waiting (setting payload_log_queue_limit)"]


def test_bytes_that_wait_are_bounded_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`payload_log_queue_limit_bytes`: a payload that finds no room is dropped, counted, and holds up no request."""
    settings = {"payload_log_senders": 1, "payload_log_queue_limit_bytes": 1}
    with collecting(holds=True) as collector, caplog.at_level(logging.WARNING):
        component(tmp_path, collector.url)
        with served("deployment.json", folder=tmp_path, grpc=False, **settings) as there:
            predict(there)
            predict(there)
            dropped = outcomes(there)["dropped"]
            collector.let_go.set()
    assert dropped >= 2
    (line,) = [message for message in caplog.messages if message.startswith("payload log:")]
    assert line.endswith("bytes are waiting (setting payload_log_queue_limit_bytes)")


@pytest.mark.parametrize("status", [0, 503])
def test_a_collector_that_is_down_or_refuses(status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests are answered, each record that did not arrive is counted, and one line says why."""
    with collecting(status=status or 200) as collector, caplog.at_level(logging.WARNING):
        component(tmp_path, collector.url if status else "http://127.0.0.1:1/")
        with served("deployment.json", folder=tmp_path, grpc=False) as there:
            predict(there)
            predict(there)
            until(lambda: outcomes(there)["failed"] == 4)
    (line,) = [message for message in caplog.messages if message.startswith("payload log:")]
    assert ("status 503" if status else "connection refused") in line


def test_flows_composed_in_python_log_too(tmp_path: Path) -> None:
    """`logged` on a flow has the same effect without a file or a server; closing the graph sends what is left."""
    from infergraph import flow

    class Doubler:
        def predict(self, X: Any, names: Any = None) -> Any:
            return X * 2

    with collecting() as collector:
        graph = flow.run(flow.model("m", Doubler).logged(url=collector.url), name="py")
        assert graph([[1.0, 2.0]]).tolist() == [[2.0, 4.0]]
        graph.close()
    assert collector.values("ce-type") == [TYPES["Request"], TYPES["Response"]]
    assert collector.values("ce-endpoint") == ["py", "py"]
