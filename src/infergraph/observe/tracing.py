"""Trace spans with OpenTelemetry: one for each request, with a child span for each call of a node.

    traceparent in ─▶ Traced ─▶ … graph … ─▶ TracedNode ─▶ unit        (remote: traceparent out)

Without tracing, OpenTelemetry is not imported, and no unit is wrapped.
Source: W3C Trace Context, section 3; the orchestrator specification, section 26.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from infergraph.errors import Fault, MissingExtra
from infergraph.message import Answers, Around, Context, Message, Method, PredictiveUnit, Request
from infergraph.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind, Tracer

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

JAEGER_OTLP_PORT = 4318
FLUSH_S = 2.0
_TRACES = "/v1/traces"
_PACKAGES = {
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
}


class TracingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The destination of spans.

    Args:
        service: the service name, unless OTEL_SERVICE_NAME is set.
        endpoint: the collector's full URL; empty: see `jaeger_host`.
        jaeger_host: accepts OTLP on port 4318; used if neither `endpoint` nor OTEL_EXPORTER_OTLP_ENDPOINT is set.
            Without any of them, the SDK's own variables and defaults apply.
    """

    service: str
    endpoint: str = ""
    jaeger_host: str = ""

    @classmethod
    def of(cls, settings: Settings, service: str) -> TracingOptions:
        """The options in the settings."""
        return cls(service=service, endpoint=settings.tracing_endpoint, jaeger_host=settings.jaeger_host)

    def address(self, environment: Mapping[str, str]) -> str | None:
        """The collector's URL; None to leave it to the SDK."""
        if self.endpoint:
            return self.endpoint
        if self.jaeger_host and not environment.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
            return f"http://{self.jaeger_host}:{JAEGER_OTLP_PORT}{_TRACES}"
        return None

    def metrics_address(self, environment: Mapping[str, str]) -> str | None:
        """The collector's URL for figures; None to leave it to the SDK, empty if none is named that takes them."""
        if self.endpoint.endswith(_TRACES):
            return f"{self.endpoint.removesuffix(_TRACES)}/v1/metrics"
        named = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        return None if any(environment.get(name) for name in named) else ""


class Tracing:
    """The tracer of one process.

    An existing tracer provider, such as that of `opentelemetry-instrument`, is used; otherwise one is created and
    registered, so that spans of the user's own code become part of the request's trace. A process registers one only
    once: after a stop, the next one is for our own spans alone.

    Raises: MissingExtra if the packages are not installed.
    """

    def __init__(self, options: TracingOptions) -> None:
        check_packages()
        self._options = options
        self._own: TracerProvider | None = None
        self._has_ended = False
        self._api: _Api | None = None

    async def start(self) -> None:
        """Start tracing. Idempotent."""
        from opentelemetry import context, propagate, trace

        if self._api is not None and not self._has_ended:
            return
        is_registered = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        if self._has_ended or not is_registered:
            self._own = own = provider_for(self._options)
            if not is_registered:
                trace.set_tracer_provider(own)
        self._has_ended = False
        tracer = trace.get_tracer("infergraph", tracer_provider=self._own)
        self._api = _Api(tracer, propagate.get_global_textmap(), trace, context)

    async def stop(self) -> None:
        """Send the remaining spans, for at most FLUSH_S seconds. Idempotent."""
        own, self._own = self._own, None
        if own is None:
            return
        self._has_ended = True
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            own.shutdown()
            with suppress(RuntimeError):  # the result is no longer awaited
                loop.call_soon_threadsafe(done.set)

        # A daemon thread, since the exporter waits longer for a collector that is down than we do.
        threading.Thread(target=shut_down, daemon=True, name="tracing-shutdown").start()
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await done.wait()

    def served(self, unit: PredictiveUnit) -> Traced:
        """The unit with a span around each request."""
        return Traced(unit, self)

    def node(self, unit: PredictiveUnit, *, remote: bool) -> TracedNode:
        """The node's unit with a span around each call; a remote one gets the trace context in its headers."""
        return TracedNode(unit, self, remote)

    @contextmanager
    def server_span(self, name: str, headers: Headers, attributes: Mapping[str, str]) -> Iterator[None]:
        """A span for a request with these headers, as a child of the caller's span if they contain one."""
        api = self._started
        token = api.context.attach(api.propagator.extract(headers, getter=_HEADERS))
        try:
            with self._span(name, api.trace.SpanKind.SERVER, attributes):
                yield
        finally:
            api.context.detach(token)

    @contextmanager
    def node_span(self, name: str, remote: bool, attributes: Mapping[str, str]) -> Iterator[None]:
        """A span for the call of a node."""
        with self._span(name, self._kind_of_node(remote), attributes):
            yield

    def told(self, context: Context, span: Span | None = None) -> Context:
        """The context with a span, by default the current one, in its headers, instead of the caller's."""
        propagator = self._started.propagator
        carrier: dict[str, str] = {}
        propagator.inject(carrier, None if span is None else self._started.trace.set_span_in_context(span))
        replaced = {name.lower().encode() for name in propagator.fields}
        headers = [header for header in context.headers if header[0] not in replaced]
        headers += [(name.lower().encode(), value.encode()) for name, value in carrier.items()]
        return context.carrying(headers)

    @property
    def _started(self) -> _Api:
        assert self._api is not None, "tracing must be started before the first request"
        return self._api

    @contextmanager
    def _span(self, name: str, kind: SpanKind, attributes: Mapping[str, str]) -> Iterator[None]:
        """A span around the block; errors are recorded in it."""
        api = self._started
        with api.tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except Exception as error:
                self._note(span, error)
                raise

    async def over(self, answers: Answers, span: Span) -> Answers:
        """The answers of a stream; the span is the current one while each is made, and ends with the last."""
        api = self._started
        try:
            async with aclosing(answers):
                while True:
                    with api.trace.use_span(span, record_exception=False, set_status_on_exception=False):
                        answer = await anext(answers, None)
                    if answer is None:
                        return
                    yield answer
        except Exception as error:
            self._note(span, error)
            raise
        finally:
            span.end()

    def stream_span(self, name: str, headers: Headers, attributes: Mapping[str, str]) -> Span:
        """A span for a request that is answered with a stream, below the caller's span if the headers name one."""
        api = self._started
        parent = api.propagator.extract(headers, getter=_HEADERS)
        return api.tracer.start_span(name, parent, kind=api.trace.SpanKind.SERVER, attributes=attributes)

    def node_stream_span(self, name: str, remote: bool, attributes: Mapping[str, str]) -> Span:
        """A span for the call of a node that answers with a stream."""
        return self._started.tracer.start_span(name, kind=self._kind_of_node(remote), attributes=attributes)

    def _kind_of_node(self, remote: bool) -> SpanKind:
        kinds: type[SpanKind] = self._started.trace.SpanKind
        return kinds.CLIENT if remote else kinds.INTERNAL

    def _note(self, span: Span, error: Exception) -> None:
        """Note an error on a span."""
        status = self._started.trace
        if not isinstance(error, Fault):
            span.record_exception(error)
            span.set_status(status.Status(status.StatusCode.ERROR, f"{type(error).__name__}: {error}"))
            return
        span.set_attribute("infergraph.reason", error.reason)
        if error.node:
            span.set_attribute("infergraph.node", error.node)
        span.set_status(status.Status(status.StatusCode.ERROR, error.text))


class _Api(NamedTuple):
    """The parts of OpenTelemetry in use, once it is imported."""

    tracer: Tracer
    propagator: TextMapPropagator
    trace: ModuleType
    context: ModuleType


def check_packages() -> None:
    """Raises: MissingExtra if the packages are not installed."""
    for module, package in _PACKAGES.items():
        if not _is_there(module):
            raise MissingExtra.of(package, "otel", "tracing")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


def provider_for(options: TracingOptions) -> TracerProvider:
    """A provider that sends spans by OTLP over HTTP, in batches, from its own thread."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=_resource(options), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=options.address(os.environ))))
    return provider


def meter_provider_for(options: TracingOptions) -> MeterProvider:
    """A provider that sends figures by OTLP over HTTP, from its own thread; nowhere if no collector takes them."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    address = options.metrics_address(os.environ)
    readers = [] if address == "" else [PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=address))]
    return MeterProvider(readers, _resource(options), shutdown_on_exit=False)


def _resource(options: TracingOptions) -> Resource:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: options.service}))
    return resource


class Traced(Around):
    """A unit around a unit, with a span around each request, as a child of the caller's if it sent one."""

    def __init__(self, unit: PredictiveUnit, tracing: Tracing) -> None:
        super().__init__(unit)
        self._tracing = tracing

    async def start(self) -> None:
        """Start tracing, then the unit."""
        await self._tracing.start()
        await super().start()

    async def stop(self) -> None:
        """Stop the unit, then send the remaining spans."""
        await super().stop()
        await self._tracing.stop()

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The unit's answer."""
        with self._tracing.server_span(method.value, context.headers, self._attributes(context)):
            return await self.unit.answer(method, request, context)

    async def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The unit's answers under one span."""
        span = self._tracing.stream_span(method.value, context.headers, self._attributes(context))
        async with aclosing(self._tracing.over(self.unit.stream(method, request, context), span)) as answers:
            async for answer in answers:
                yield answer

    def _attributes(self, context: Context) -> dict[str, str]:
        attributes = {"infergraph.unit": self.name, "infergraph.transport": context.transport.value}
        if context.puid:
            attributes["seldon.puid"] = context.puid
        return attributes


class TracedNode(Around):
    """A unit around a node's unit, with a span around each call."""

    def __init__(self, unit: PredictiveUnit, tracing: Tracing, remote: bool) -> None:
        super().__init__(unit)
        self._tracing = tracing
        self._remote = remote

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The unit's answer; a remote one is called with the span's own `traceparent`."""
        tracing = self._tracing
        with tracing.node_span(*self._call(method)):
            return await self.unit.answer(method, request, tracing.told(context) if self._remote else context)

    async def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The unit's answers under one span."""
        tracing = self._tracing
        span = tracing.node_stream_span(*self._call(method))
        told = tracing.told(context, span) if self._remote else context
        async with aclosing(tracing.over(self.unit.stream(method, request, told), span)) as answers:
            async for answer in answers:
                yield answer

    def _call(self, method: Method) -> tuple[str, bool, dict[str, str]]:
        """The name of a call's span, whether it is remote, and its attributes."""
        attributes = {"infergraph.unit": self.name, "infergraph.method": method.value}
        return f"{self.name} {method.value}", self._remote, attributes


class _Headers:
    """Reads a request's headers for a propagator."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        """All values of a name; None if there are none."""
        name = key.lower().encode()
        return [value.decode("latin-1") for each, value in carrier if each == name] or None

    def keys(self, carrier: Headers) -> list[str]:
        """All names."""
        return [name.decode("latin-1") for name, _ in carrier]


_HEADERS: Any = _Headers()
