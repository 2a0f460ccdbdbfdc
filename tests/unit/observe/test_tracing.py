from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from graph_units import Saying
from infergraph import settings
from infergraph.errors import Fault, RemoteError
from infergraph.message import Context, Encoding, Message, Method, PredictiveUnit, Request, Transport
from infergraph.observe.tracing import Tracing, TracingOptions
from span_record import emptied_exporter

ASKED = Message.of("x", Encoding.STR)
CALLER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
CALLER_ID = 0xB7AD6B7169203331


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """The exporter, empty."""
    return emptied_exporter()


class Hearing(Saying):
    """Keeps the headers that it was asked with."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.headers: list[tuple[bytes, bytes]] = []

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        self.headers = list(context.headers)
        return await super().answer(method, request, context)


class Passing(PredictiveUnit):
    """Asks another unit, as a graph of one does."""

    name = "graph"

    def __init__(self, node: PredictiveUnit) -> None:
        self.node = node

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        return await self.node.answer(method, request, context)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> dict[str, str]:
        return {}


def ask(tracing: Tracing, node: PredictiveUnit, context: Context, *, remote: bool = False) -> None:
    """Ask a node through a traced graph."""

    async def whole() -> None:
        unit = tracing.served(Passing(tracing.node(node, remote=remote)))
        await unit.start()
        await unit.answer(Method.PREDICT, ASKED, context)

    asyncio.run(whole())


def spans(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, ReadableSpan]:
    """The node's span and the request's."""
    node, server = exporter.get_finished_spans()
    return node, server


def test_a_request_and_its_node_are_spans_of_the_callers_trace(exporter: InMemorySpanExporter) -> None:
    """The request's span is a child of the caller's, the node's a child of the request's; both say what they did."""
    context = Context(Transport.REST, [(b"traceparent", CALLER)], "id-1")
    ask(Tracing(TracingOptions(service="s")), Saying("m"), context)
    node, server = spans(exporter)
    assert server.parent is not None
    assert node.parent is not None
    assert server.context.trace_id == node.context.trace_id == TRACE_ID
    assert server.parent.span_id == CALLER_ID
    assert node.parent.span_id == server.context.span_id
    assert (server.name, server.kind) == ("predict", SpanKind.SERVER)
    assert (node.name, node.kind) == ("m predict", SpanKind.INTERNAL)
    assert server.attributes == {
        "infergraph.unit": "graph",
        "infergraph.transport": "rest",
        "seldon.puid": "id-1",
    }
    assert node.attributes == {"infergraph.unit": "m", "infergraph.method": "predict"}


def test_without_a_caller_a_trace_begins(exporter: InMemorySpanExporter) -> None:
    """A request without traceparent, or with one that is none, starts a trace of its own."""
    for headers in ([], [(b"traceparent", b"nonsense")], [(b"traceparent", b"\xff\x00")]):
        exporter.clear()
        ask(Tracing(TracingOptions(service="s")), Saying("m"), Context(Transport.GRPC, headers))
        node, server = spans(exporter)
        assert server.parent is None
        assert node.context.trace_id == server.context.trace_id


def test_a_remote_node_is_told_of_its_span(exporter: InMemorySpanExporter) -> None:
    """It gets the node span's traceparent in place of the caller's, with state and baggage kept; a local one nothing
    new."""
    told = [(b"traceparent", CALLER), (b"tracestate", b"vendor=1"), (b"baggage", b"user=7"), (b"x-own", b"kept")]
    remote, local = Hearing("r"), Hearing("l")
    ask(Tracing(TracingOptions(service="s")), remote, Context(Transport.REST, told), remote=True)
    node, _ = spans(exporter)
    assert node.kind is SpanKind.CLIENT
    expected = f"00-{TRACE_ID:032x}-{node.context.span_id:016x}-01".encode()
    assert sorted(remote.headers) == sorted([(b"traceparent", expected), *told[1:]])
    ask(Tracing(TracingOptions(service="s")), local, Context(Transport.REST, told))
    assert local.headers == told


@pytest.mark.parametrize(
    ("error", "told"), [(RemoteError("gone", node="m"), "gone"), (ValueError("a bug"), "ValueError: a bug")]
)
def test_errors_are_on_the_spans(error: Exception, told: str, exporter: InMemorySpanExporter) -> None:
    """A fault marks both spans with its text, reason and node; any other exception is recorded; both are raised."""
    with pytest.raises(type(error)):
        ask(Tracing(TracingOptions(service="s")), Saying("m", fault=error), Context())
    for span in spans(exporter):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, told)
        if isinstance(error, Fault):
            assert span.attributes is not None
            assert span.attributes["infergraph.reason"] == error.reason
            assert span.attributes["infergraph.node"] == "m"
        else:
            assert [event.name for event in span.events] == ["exception"]


@pytest.mark.parametrize(
    ("options", "environment", "address"),
    [
        ({"endpoint": "http://c/v1/traces", "jaeger_host": "j"}, {}, "http://c/v1/traces"),
        ({"jaeger_host": "j"}, {}, "http://j:4318/v1/traces"),
        ({"jaeger_host": "j"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://o:4318"}, None),
        ({}, {}, None),
    ],
)
def test_where_spans_go(options: dict[str, str], environment: dict[str, str], address: str | None) -> None:
    """Our own setting first, then the SDK's variables, then the host that Jaeger's agent was on."""
    assert TracingOptions(service="s", **options).address(environment) == address


def test_names_of_existing_deployments_are_settings() -> None:
    """TRACING, JAEGER_AGENT_HOST and the collector's standard name are understood; other JAEGER_ names do no harm."""
    environment = {
        "TRACING": "1",
        "JAEGER_AGENT_HOST": "10.0.0.1",
        "JAEGER_AGENT_PORT": "5775",
        "JAEGER_CONFIG_PATH": "/none.yaml",
        "JAEGER_EXTRA_TAGS": "a,b",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces",
    }
    found = settings.load(environment, {}).settings
    assert found.tracing
    assert found.jaeger_host == "10.0.0.1"
    assert found.tracing_endpoint == "http://c:4318/v1/traces"
    assert not settings.load({"TRACING": "0"}, {}).settings.tracing


def python(code: str) -> str:
    """What a Python process of its own prints."""
    run = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    return subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_without_the_packages_tracing_says_what_to_install() -> None:
    """Asked for without the exporter, tracing is MissingExtra with the command that helps."""
    told = python(
        """
        import sys
        sys.modules["opentelemetry.exporter"] = None
        from infergraph.errors import MissingExtra
        from infergraph.observe.tracing import Tracing, TracingOptions
        try:
            Tracing(TracingOptions(service="s"))
        except MissingExtra as fault:
            print(fault)
        """
    )
    assert told.endswith("pip install 'infergraph[otel]'")
    assert "opentelemetry-exporter-otlp-proto-http" in told


def test_off_means_not_even_imported() -> None:
    """A graph without tracing is built and answers without a module of OpenTelemetry in the process."""
    told = python(
        """
        import sys
        from infergraph import flow

        class Doubler:
            def predict(self, X, names=None):
                return X * 2

        with flow.run(flow.model("m", Doubler)) as graph:
            print(graph([[1.0]]).tolist(), [name for name in sys.modules if name.startswith("opentelemetry")])
        """
    )
    assert told == "[[2.0]] []"


def test_tracing_goes_on_after_a_stop() -> None:
    """A model that is unloaded and loaded again has spans as before, though a process registers one provider only."""
    printed = python(
        """
        import asyncio
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from infergraph.observe import tracing

        exporters = []

        def provider(options):
            exporters.append(InMemorySpanExporter())
            made = TracerProvider()
            made.add_span_processor(SimpleSpanProcessor(exporters[-1]))
            return made

        async def run():
            ours = tracing.Tracing(tracing.TracingOptions(service="s"))
            for _ in range(2):
                await ours.start()
                with ours.server_span("predict", (), {}):
                    pass
                await ours.stop()

        tracing.provider_for = provider
        asyncio.run(run())
        print([len(exporter.get_finished_spans()) for exporter in exporters])
        """
    )
    assert printed == "[1, 1]"
