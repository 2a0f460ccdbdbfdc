"""What can be seen of a served graph from outside: the orchestrator's metrics, access lines, traces."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.parser import text_string_to_metric_families

from contract.nodes import Nodes, serving
from contract.test_faults import every
from e2e.process_run import PORTS, Supervised, wait_for
from http_server import answering
from infergraph.errors import Fault
from infergraph.observe.orchestrator_metrics import code_of
from infergraph.protocol.status import GRPC_NAMES, grpc_status
from infergraph.serving.http.dialects import Cors, ExternalDialect
from infergraph.wire import prediction
from served import Served, served
from span_record import emptied_exporter

CODE = """
class Doubler:
    def predict(self, X, names=None):
        return X * 2


class Cleaner:
    def transform_input(self, X, names=None):
        if X.size > 2:
            raise ValueError("too much")
        return X
"""
ASKED = {"data": {"ndarray": [[1.0, 2.0]]}}
PREDICT = "/api/v1.0/predictions"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE_ID}-b7ad6b7169203331-01"
SERVER = "seldon_api_executor_server_requests_seconds_count"
CLIENT = "seldon_api_executor_client_requests_seconds_count"


def write(folder: Path, *predictors: dict[str, Any]) -> None:
    """A deployment of these predictors, beside the components above."""
    (folder / "observed_parts.py").write_text(CODE)
    document = {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "dep"},
        "spec": {"predictors": list(predictors)},
    }
    (folder / "deployment.json").write_text(json.dumps(document))


def predictor(child: dict[str, Any], name: str = "pred", **more: Any) -> dict[str, Any]:
    """A predictor that cleans here, then asks `child`."""
    containers = [{"name": "clean", "image": "localhost:5000/cleaner:1.2"}]
    graph = {"name": "clean", "type": "TRANSFORMER", "component": "observed_parts:Cleaner", "children": [child]}
    return {"name": name, "graph": graph, "componentSpecs": [{"spec": {"containers": containers}}], **more}


LOCAL = {"name": "model", "type": "MODEL", "component": "observed_parts:Doubler"}


def at(port: int, kind: str = "REST", name: str = "model") -> dict[str, Any]:
    endpoint = {"service_host": "127.0.0.1", "service_port": port, "httpPort": port, "grpcPort": port, "type": kind}
    return {"name": name, "type": "MODEL", "endpoint": endpoint}


def counts(there: Served, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples of a name by some of their labels."""
    text = there.get("/metrics").body.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {tuple(one.labels[each] for each in labels): one.value for one in samples if one.name == name}


def message() -> Any:
    asked = prediction.SeldonMessage()
    asked.data.tensor.shape.extend([1, 2])
    asked.data.tensor.values.extend([1.0, 2.0])
    return asked


# ── metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_requests_and_calls_under_the_orchestrators_names(tmp_path: Path) -> None:
    """Over REST: services, lower-case methods, statuses; each node, here or elsewhere, with its name and image."""
    with serving({"model": "echo"}) as nodes:
        write(tmp_path, predictor(at(nodes.ports["model"]), annotations={"version": "v3"}))
        with served("deployment.json", folder=tmp_path, grpc=False) as there:
            assert there.post(PREDICT, ASKED).status == 200
            assert there.post(PREDICT, ASKED).status == 200
            assert there.post(PREDICT, {"data": {"ndarray": [[1, 2, 3]]}}).status == 500
            assert there.post("/api/v1.0/feedback", {"reward": 1}).status == 200
            assert there.get("/api/v1.0/status/model").status == 200
            assert there.get("/api/v1.0/metadata/clean").status == 200
            assert there.get("/ready").status == there.get("/live").status == 200
            assert there.get(PREDICT).status == 405
            assert there.ask("OPTIONS", PREDICT).status == 200
            server = counts(there, SERVER, "service", "method", "code")
            client = counts(there, CLIENT, "model_name", "model_image", "model_version", "service", "method", "code")
            place = set(counts(there, CLIENT, "deployment_name", "predictor_name", "predictor_version"))
            buckets = counts(there, SERVER.replace("_count", "_bucket"), "service", "code", "le")
    assert server == {
        ("predictions", "post", "200"): 2,
        ("predictions", "post", "500"): 1,
        ("feedback", "post", "200"): 1,
        ("status", "get", "200"): 1,
        ("metadata", "get", "200"): 1,
    }
    assert client == {
        ("clean", "localhost:5000/cleaner", "1.2", "/transform-input", "post", "200"): 2,
        ("clean", "localhost:5000/cleaner", "1.2", "/transform-input", "post", "500"): 1,
        ("clean", "localhost:5000/cleaner", "1.2", "/metadata", "get", "200"): 1,
        ("model", "", "", "/health/status", "get", "200"): 1,
        ("model", "", "", "/predict", "post", "200"): 2,
        ("model", "", "", "/send-feedback", "post", "200"): 1,
    }
    assert place == {("dep", "pred", "v3")}
    bounds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, float("inf")]
    assert [float(le) for service, code, le in buckets if (service, code) == ("predictions", "200")] == bounds


def test_over_grpc_the_full_methods_are_the_services(tmp_path: Path) -> None:
    """Over gRPC: full methods, `unary`, names of codes, for the graph and for its nodes."""
    write(tmp_path, predictor(LOCAL))
    with served("deployment.json", folder=tmp_path) as there:
        there.call("Seldon/Predict", message())
        there.call("Seldon/SendFeedback", prediction.Feedback(reward=1))
        too_much = message()
        too_much.data.tensor.shape[1] = 3
        too_much.data.tensor.values.append(3.0)
        with pytest.raises(grpc.RpcError):
            there.call("Seldon/Predict", too_much)
        server = counts(there, SERVER, "service", "method", "code")
        client = counts(there, CLIENT, "model_name", "service", "method", "code")
    assert server == {
        ("/seldon.protos.Seldon/Predict", "unary", "OK"): 1,
        ("/seldon.protos.Seldon/Predict", "unary", "INTERNAL"): 1,
        ("/seldon.protos.Seldon/SendFeedback", "unary", "OK"): 1,
    }
    assert client == {
        ("clean", "/seldon.protos.Transformer/TransformInput", "unary", "OK"): 1,
        ("clean", "/seldon.protos.Transformer/TransformInput", "unary", "INTERNAL"): 1,
        ("model", "/seldon.protos.Model/Predict", "unary", "OK"): 1,
        ("model", "/seldon.protos.Model/SendFeedback", "unary", "OK"): 1,
    }


def test_each_predictor_is_counted_for_itself(tmp_path: Path) -> None:
    """With several predictors in a file, their requests add up, each under its own predictor's name."""
    write(tmp_path, predictor(LOCAL, "main", traffic=50), predictor(LOCAL, "canary", traffic=50))
    with served("deployment.json", folder=tmp_path, grpc=False) as there:
        for _ in range(40):
            assert there.post(PREDICT, ASKED).status == 200
        found = counts(there, SERVER, "predictor_name", "service", "code")
    assert set(found) == {("main", "predictions", "200"), ("canary", "predictions", "200")}
    assert sum(found.values()) == 40


def test_unreachable_nodes_are_no_client_requests(tmp_path: Path) -> None:
    """A node that nobody answers for is the graph's 500, and no call that was answered."""
    write(tmp_path, predictor(at(1)))
    with served("deployment.json", folder=tmp_path, grpc=False) as there:
        assert there.post(PREDICT, ASKED).status == 500
        assert counts(there, SERVER, "code") == {("500",): 1}
        assert set(counts(there, CLIENT, "model_name")) == {("clean",)}


@pytest.mark.parametrize("kind", every(), ids=lambda kind: kind.__name__)
def test_codes_are_those_of_the_edges(kind: type[Fault]) -> None:
    """For every class of fault, the code that is counted is the one that the edge answers."""
    fault = kind("what happened")
    assert code_of(fault, grpc=False) == str(ExternalDialect(Cors()).of_fault(fault).status)
    assert code_of(fault, grpc=True) == GRPC_NAMES[grpc_status(fault)]


# ── access lines ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_access_lines_tell_the_time_of_each_node(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each request, with its id, path, code and milliseconds, of the whole and of every node it met."""
    write(tmp_path, predictor(LOCAL))
    caplog.set_level(logging.INFO, logger="infergraph.access")
    with served("deployment.json", folder=tmp_path, access_log=True) as there:
        there.post(PREDICT, ASKED, **{"Seldon-Puid": "one"})
        there.post(PREDICT, {"data": {"ndarray": [[1, 2, 3]]}}, **{"Seldon-Puid": "two"})
        there.call("Seldon/Predict", message(), **{"seldon-puid": "three"})
        there.get("/live")
    lines = [record for record in caplog.records if record.name == "infergraph.access"]
    told = [(line.getMessage(), line.puid, line.transport, list(getattr(line, "nodes", {}))) for line in lines]  # type: ignore[attr-defined]
    assert [line for line in told if line[0] != "GET /live 200"] == [
        (f"POST {PREDICT} 200", "one", "rest", ["clean", "model"]),
        (f"POST {PREDICT} 500", "two", "rest", ["clean"]),
        ("unary /seldon.protos.Seldon/Predict OK", "three", "grpc", ["clean", "model"]),
    ]
    for line in lines[:3]:
        assert sum(line.nodes.values()) <= line.ms  # type: ignore[attr-defined]


def test_pages_have_access_lines_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is no hot path (documents, tasks, the console, paths with nothing behind them) has its line as well."""
    write(tmp_path, predictor(LOCAL))
    caplog.set_level(logging.INFO, logger="infergraph.access")
    with served("deployment.json", folder=tmp_path, access_log=True) as there:
        there.get("/openapi.json", **{"Seldon-Puid": "one"})
        there.get("/nope")
    lines = [record.getMessage() for record in caplog.records if record.name == "infergraph.access"]
    assert [line for line in lines if "/live" not in line] == ["GET /openapi.json 200", "GET /nope 404"]


# ── traces ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """The exporter, empty."""
    return emptied_exporter()


def by_name(exporter: InMemorySpanExporter, *names: str) -> dict[str, ReadableSpan]:
    """The finished spans, which must be exactly these."""
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert len(spans) == len(exporter.get_finished_spans())
    assert set(spans) == set(names)
    return spans


def parent(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.span_id:016x}"


def own(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


def traceparent(nodes: Nodes) -> str:
    (call,) = nodes.calls()
    (value,) = [value for name, value in call.headers if name.lower() == "traceparent"]
    return value


def test_a_request_is_one_trace_through_the_graph(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    """The request's span continues the caller's trace, each node has one below it, a remote one is told of its own."""
    with serving({"model": "echo"}) as nodes:
        write(tmp_path, predictor(at(nodes.ports["model"])))
        with served("deployment.json", folder=tmp_path, grpc=False, tracing=True) as there:
            assert there.post(PREDICT, ASKED, traceparent=CALLER, **{"Seldon-Puid": "one"}).status == 200
        told = traceparent(nodes)
    spans = by_name(exporter, "predict", "clean transform_input", "model predict")
    server = spans["predict"]
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE_ID}
    assert parent(server) == "b7ad6b7169203331"
    assert parent(spans["clean transform_input"]) == parent(spans["model predict"]) == own(server)
    assert told == f"00-{TRACE_ID}-{own(spans['model predict'])}-01"
    assert server.attributes is not None
    assert server.attributes["seldon.puid"] == "one"
    assert [spans[name].kind for name in spans if name != "predict"] == [SpanKind.INTERNAL, SpanKind.CLIENT]


@pytest.mark.parametrize("kind", ["REST", "GRPC"])
def test_traces_go_on_in_the_next_server(kind: str, tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    """A graph asked over gRPC that calls a second server, over REST or gRPC: all spans are one trace."""
    (tmp_path / "observed_parts.py").write_text(CODE)
    with served("observed_parts.py:Doubler", folder=tmp_path, tracing=True) as behind:
        port = behind.http_port if kind == "REST" else behind.grpc_port
        write(tmp_path, predictor(at(port, kind)))
        with served("deployment.json", folder=tmp_path, tracing=True) as there:
            there.call("Seldon/Predict", message(), traceparent=CALLER)
    *_, last = exporter.get_finished_spans()
    (inner,) = [span for span in exporter.get_finished_spans() if span.name == "predict" and span is not last]
    spans = {span.name: span for span in exporter.get_finished_spans() if span is not inner}
    assert set(spans) == {"clean transform_input", "model predict", "predict"}
    assert parent(spans["predict"]) == "b7ad6b7169203331"
    assert parent(inner) == own(spans["model predict"])
    assert inner.attributes is not None
    assert inner.attributes["infergraph.unit"] == "Doubler"
    assert inner.attributes["infergraph.transport"] == kind.lower()


def test_a_failed_node_is_seen_in_its_span(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    """The node's span and the request's are errors with the fault's own text and the node's name."""
    write(tmp_path, predictor(LOCAL))
    with served("deployment.json", folder=tmp_path, grpc=False, tracing=True) as there:
        assert there.post(PREDICT, {"data": {"ndarray": [[1, 2, 3]]}}).status == 500
    for span in by_name(exporter, "predict", "clean transform_input").values():
        assert span.status.status_code is StatusCode.ERROR
        assert "too much" in (span.status.description or "")


def test_a_component_alone_is_traced(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    """A component without a graph has the request's span and no other, and keeps its other paths."""
    (tmp_path / "observed_parts.py").write_text(CODE)
    with served("observed_parts.py:Doubler", folder=tmp_path, grpc=False, tracing=True) as there:
        assert there.post("/predict", ASKED, traceparent=CALLER).json["data"]["ndarray"] == [[2.0, 4.0]]
        assert there.get("/ready").status == there.get("/metadata").status == 200
    assert parent(by_name(exporter, "predict")["predict"]) == "b7ad6b7169203331"


def test_without_tracing_the_callers_header_goes_through(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    """With tracing off, no span is made, and a remote node gets the caller's traceparent as it came."""
    with serving({"model": "echo"}) as nodes:
        write(tmp_path, predictor(at(nodes.ports["model"])))
        with served("deployment.json", folder=tmp_path, grpc=False) as there:
            assert there.post(PREDICT, ASKED, traceparent=CALLER).status == 200
        assert traceparent(nodes) == CALLER
    by_name(exporter)


# ── the installed command ───────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Takes OTLP over HTTP on a real port: its address, and what came."""
    came: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            came.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response_only(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with answering(Handler) as url:
        yield url, came


@contextmanager
def command(folder: Path, environment: Mapping[str, str]) -> Iterator[Supervised]:
    """`infergraph serve deployment.json`, ready; ended by SIGTERM."""
    errors = folder / "errors"
    ours = {f"INFERGRAPH_{name.upper()}": "0" for name in PORTS}
    ours |= {"INFERGRAPH_TASKS": "false", "INFERGRAPH_LOG_FORMAT": "json"}
    run = [str(Path(sys.executable).with_name("infergraph")), "serve", "deployment.json"]
    with errors.open("wb") as log:
        process = subprocess.Popen(run, stderr=log, cwd=folder, env={**os.environ, **ours, **environment})
    running = Supervised(process, errors)
    try:
        line = running.wait_event("listening")
        running.ports = {name: line[name] for name in PORTS}
        running.wait_event("ready")
        yield running
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_existing_variables_turn_it_all_on(tmp_path: Path) -> None:
    """TRACING, a collector's address, Jaeger's names and GUNICORN_ACCESS_LOG: spans arrive by OTLP before the end,
    and access lines are JSON with the times of nodes."""
    write(tmp_path, predictor(LOCAL))
    with collector() as (url, came):
        environment = {
            "TRACING": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "JAEGER_AGENT_HOST": "0.0.0.0",
            "JAEGER_AGENT_PORT": "5775",
            "JAEGER_EXTRA_TAGS": "a, b",
            "GUNICORN_ACCESS_LOG": "true",
        }
        with command(tmp_path, environment) as running:
            connection = running.connect()
            headers = {"Content-Type": "application/json", "traceparent": CALLER, "Seldon-Puid": "one"}
            connection.request("POST", PREDICT, json.dumps(ASKED), headers)
            assert connection.getresponse().status == 200
            connection.close()
            line = wait_for("the access line", lambda: next(iter(running.events(f"POST {PREDICT} 200")), None))
    assert line["puid"] == "one"
    assert set(line["nodes"]) == {"clean", "model"}
    (resource,) = [resource for request in came for resource in request.resource_spans]
    assert "deployment" in [
        each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
    ]
    spans = [span for scope in resource.scope_spans for span in scope.spans]
    assert {span.name for span in spans} == {"predict", "clean transform_input", "model predict"}
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}


def test_a_collector_that_is_down_does_not_keep_the_server(tmp_path: Path) -> None:
    """With nobody listening where spans go, requests are answered and SIGTERM ends the command with code 0."""
    write(tmp_path, predictor(LOCAL))
    environment = {"TRACING": "true", "INFERGRAPH_TRACING_ENDPOINT": "http://127.0.0.1:1/v1/traces"}
    with command(tmp_path, environment) as running:
        connection = running.connect()
        connection.request("POST", PREDICT, json.dumps(ASKED), {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connection.close()
