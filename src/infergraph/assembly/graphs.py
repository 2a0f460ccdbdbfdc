"""Builds graphs from deployment files and from flows composed in Python.

file ─▶ Deployment ─▶ default, validate ─▶ resolve ─▶ a unit for each node ─▶ Graph, or Split of several
"""

from __future__ import annotations

import functools
import logging
import random
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from infergraph import component
from infergraph.assembly import components
from infergraph.assembly.observation import Observation
from infergraph.errors import GraphError, SettingsError
from infergraph.graph import compose, inspection, resolution, servers, spec
from infergraph.graph.executor import Graph, GraphOptions
from infergraph.graph.meta import MetaMode, meta_mode
from infergraph.graph.plan import last_calls
from infergraph.graph.remote import remote
from infergraph.graph.resolution import Means, Resolution
from infergraph.graph.routers import builtin
from infergraph.graph.split import Share, Split
from infergraph.message import Method, PredictiveUnit
from infergraph.net.grpc_client import GrpcTls
from infergraph.observe.measured import Measured
from infergraph.observe.orchestrator_metrics import MeasuredGraph
from infergraph.observe.shared_metrics import PrivateMetrics, SharedMetrics
from infergraph.observe.tracing import Tracing, TracingOptions
from infergraph.protocol.paths import Protocol
from infergraph.settings import Settings
from infergraph.unit_source import UnitSource

_log = logging.getLogger(__name__)
_MODELS_FOLDER = "models"


def build(
    source: UnitSource,
    settings: Settings,
    shared_metrics: SharedMetrics,
    tracing: Tracing | None = None,
    process: component.ProcessScope | None = None,
) -> PredictiveUnit:
    """Build the unit of a deployment file: a graph, or a traffic split over its predictors.

    Args:
        tracing: records a span for each call of a node; None for no spans.
        process: what an only node in this process sets there; its own by default.
    Raises: GraphError for a file that cannot be read, is not valid, or has a node without implementation;
        TargetError for a missing file.
    """
    name, _, wanted = source.target.partition("#")
    _, deployment = inspection.chosen(source.path / name, name, wanted, source.nodes)
    observed = functools.partial(
        Observation, deployment, settings=settings, shared_metrics=shared_metrics, tracing=tracing
    )
    predictors = inspection.predictors(deployment, source.predictor)
    make = functools.partial(
        _build_predictor,
        deployment,
        observed,
        source=source,
        settings=settings,
        shared_metrics=shared_metrics,
        tls=_node_tls(settings),
        isolation=_isolation(deployment, predictors, source, process),
    )
    if len(predictors) == 1:
        return make(predictors[0])
    shares = [Share(make(predictor), predictor.traffic, predictor.shadow) for predictor in predictors]
    return Split(deployment.name or "deployment", shares, random.Random())


def inspect(source: UnitSource, host: str, ports: Collection[int]) -> list[str]:
    """Warnings about a deployment file that has been built, including members without effect; one line each.

    Args:
        host, ports: where it is served.
    Raises: GraphError for a node with that address: the graph would call itself.
    """
    name, _, wanted = source.target.partition("#")
    path = source.path / name
    read, served = inspection.chosen(path, name, wanted, source.nodes)
    for predictor in inspection.predictors(served, source.predictor):
        inspection.refuse_own_addresses(resolution.resolve(predictor, served, source.nodes), host, ports)
    lines = spec.Lines(spec.text_of(path, name))
    found = [(lines.of(read.document, read.field(each.field)), each) for each in inspection.advice(read, source.nodes)]
    return [f"{name}:{line}: {each}{each.hint and f' ({each.hint})'}" for line, each in found]


def _isolation(
    deployment: spec.Deployment,
    predictors: Sequence[spec.Predictor],
    source: UnitSource,
    process: component.ProcessScope | None,
) -> component.Isolation:
    """The isolation of the nodes that run in this process, in any predictor."""
    found = [each for one in predictors for each in resolution.resolve(one, deployment, source.nodes).values()]
    return component.Isolation(is_shared=sum(each.means.is_here for each in found) > 1, process=process)


def _build_predictor(
    deployment: spec.Deployment,
    observed: Callable[[spec.Predictor], Observation],
    predictor: spec.Predictor,
    *,
    source: UnitSource,
    settings: Settings,
    shared_metrics: SharedMetrics,
    tls: remote.NodeTls,
    isolation: component.Isolation,
) -> MeasuredGraph:
    observation = observed(predictor)
    resolved = resolution.resolve(predictor, deployment, source.nodes)
    annotations = {**deployment.annotations, **predictor.annotations}
    injection = source.environment.get("SELDON_ENABLE_ROUTING_INJECTION", "")
    mode = meta_mode(injection, is_ours=_is_ours(resolved), wanted=settings.graph_meta)
    merges = mode is MetaMode.MERGE
    relays = mode is MetaMode.PASS and _relays(deployment, resolved)
    factory = _Units(
        deployment, predictor, source, settings, shared_metrics, annotations, merges, observation, tls, isolation,
        last_calls(predictor.graph) if relays else None,
    )  # fmt: skip
    units = {node.name: factory(node, resolved[node.name]) for node in predictor.graph.walk_all()}
    options = GraphOptions(
        meta=mode,
        deadline_s=settings.request_timeout_s,
        protocol=Protocol.named(deployment.protocol).value,
        deployment=deployment.name,
        namespace=deployment.namespace or "default",
        relays=relays,
    )
    present = {name: unit for name, unit in units.items() if unit is not None}
    root = _with_components(predictor.graph, source.nodes)
    graph = Graph(root, present | observation.companions, options, name=predictor.name, taps=observation.taps)
    return MeasuredGraph(graph, observation.server_metrics(), collects=settings.access_log)


def _is_ours(resolved: Mapping[str, Resolution]) -> bool:
    """Whether a node's code runs here, so that the graph merges the meta of answers.

    With remote nodes only, the graph behaves like the reference's orchestrator: it passes bodies through.
    """
    means = {found.means for found in resolved.values()}
    if Means.REMOTE in means:
        return bool(means & {Means.COMPONENT, Means.PACKAGED})
    return means != {Means.NOTHING}


def _relays(deployment: spec.Deployment, resolved: Mapping[str, Resolution]) -> bool:
    """Whether the graph passes the bodies of remote nodes of the open inference protocol on as they are."""
    return Protocol.named(deployment.protocol) is Protocol.V2 and not _is_ours(resolved)


def _with_components(node: spec.Node, overrides: Mapping[str, str]) -> spec.Node:
    """The tree with the targets of `--node` in its nodes, so that requestPath names what really ran."""
    children = tuple(_with_components(child, overrides) for child in node.children)
    target = overrides.get(node.name, node.component)
    return replace(node, children=children, component="" if "://" in target else target)


def _node_tls(settings: Settings) -> remote.NodeTls:
    """How nodes are called by TLS. Raises: SettingsError for unusable files."""
    ca, cert, key = settings.node_tls_ca, settings.node_tls_cert, settings.node_tls_key or settings.node_tls_cert
    if not (ca or cert or settings.node_tls_name):
        return remote.NodeTls()
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if cert:
            context.load_cert_chain(cert, key)
        roots, chain, private = (Path(file).read_bytes() if file else None for file in (ca, cert, cert and key))
    except OSError as error:  # an SSLError, too
        raise SettingsError(f"node_tls_ca {ca!r}, node_tls_cert {cert!r}: {error.strerror or error}") from error
    return remote.NodeTls(context, GrpcTls(roots=roots, key=private, chain=chain), settings.node_tls_name)


def _branches(node: spec.Node, branch: str = "") -> dict[str, str]:
    """By node, the first node of its branch, whose nodes are called in sequence."""
    found = {node.name: branch or node.name}
    in_turn = node.type == "CHAIN" or sum(not child.shadow for child in node.children) == 1
    for child in node.children:
        found |= _branches(child, found[node.name] if in_turn and not child.shadow else "")
    if isinstance(node.fallback, spec.Node):
        found |= _branches(node.fallback)
    return found


class _Units:
    """Builds the unit of each node of one predictor."""

    def __init__(
        self,
        deployment: spec.Deployment,
        predictor: spec.Predictor,
        source: UnitSource,
        settings: Settings,
        shared_metrics: SharedMetrics,
        annotations: Mapping[str, str],
        merges: bool,
        observation: Observation,
        tls: remote.NodeTls,
        isolation: component.Isolation | None = None,
        last: Mapping[str, Collection[Method]] | None = None,
    ) -> None:
        self._isolation = isolation
        self._last = last
        self._branches = _branches(predictor.graph)
        self._threads: dict[tuple[str, str], component.ComponentThread] = {}
        self._merges = merges
        self._observation = observation
        self._deployment = deployment
        self._predictor = predictor
        self._source = source
        self._settings = settings
        self._shared_metrics = shared_metrics
        own_folder = (source.path / source.target.partition("#")[0]).parent
        self._file_folder = Path(source.files or own_folder).resolve()
        self._data_dir = source.path / settings.data_dir
        self._remote = remote.options_for(
            deployment,
            annotations,
            message_limit_bytes=settings.message_limit_bytes,
            full_health_checks=settings.full_health_checks,
            tls=tls,
            folder=self._file_folder,
        )

    def __call__(self, node: spec.Node, found: Resolution) -> PredictiveUnit | None:
        """The unit of `node`; None for a node that calls nothing."""
        match found.means:
            case Means.NOTHING:
                return None
            case Means.UNRESOLVED:
                raise GraphError(
                    f"node {node.name!r} has nothing to call: give it a component (`component: module:Class`, or "
                    f"--node {node.name}=module:Class), an endpoint with a service_host, or an implementation",
                    node=node.name,
                )
            case Means.BUILT_IN if builtin.applies(node):
                measured = Measured(builtin.build(node, random.Random()), self._shared_metrics)
                return self._beside_endpoint(node, self._observation.followed(measured))
            case Means.COMPONENT:
                return self._component(node, found.target, {})
            case Means.PACKAGED:
                located = servers.located(node, folder=self._file_folder, cache_dir=self._data_dir / _MODELS_FOLDER)
                return self._component(node, located.target, located.arguments)
        return self._observed(node, self._remote_unit(self._addressed(node, found), self._options(node)))

    def _remote_unit(self, node: spec.Node, options: remote.RemoteOptions) -> PredictiveUnit:
        discovery = replace(options.discovery, on_change=self._observation.addresses(node.name))
        options = replace(options, discovery=discovery)
        return remote.build(node, options, None if self._last is None else self._last.get(node.name, ()))

    def _options(self, node: spec.Node) -> remote.RemoteOptions:
        """The options of a remote node. A container's address is an assumption: no containers are run here."""
        given = node.name in self._source.nodes or spec.container(self._predictor, node.name) is None
        is_assumed = not given and node.endpoint is not None and node.endpoint.service_host == "localhost"
        rest, grpc = replace(self._remote.rest, is_assumed=is_assumed), self._remote.grpc
        if node.name in self._source.groups:  # it opens its port before it is ready
            rest, grpc = replace(rest, full_health_checks=True), replace(grpc, full_health_checks=True)
        return replace(self._remote, rest=rest, grpc=grpc)

    def _beside_endpoint(self, node: spec.Node, built_in: PredictiveUnit) -> PredictiveUnit:
        """The built-in, for its own phase; other phases are called at the node's endpoint, if it has one."""
        if node.endpoint is None or not node.endpoint.has_host:
            return built_in
        elsewhere = self._observed(node, self._remote_unit(node, self._remote))
        return builtin.Beside(built_in, elsewhere, builtin.phase(node))

    def _observed(self, node: spec.Node, unit: PredictiveUnit) -> PredictiveUnit:
        return self._observation.node(node, unit, spec.image(self._predictor, node.name))

    def _addressed(self, node: spec.Node, found: Resolution) -> spec.Node:
        if node.name not in self._source.nodes:
            return node
        return replace(node, endpoint=compose.remote(found.target))

    def _component(self, node: spec.Node, target: str, arguments: Mapping[str, Any]) -> PredictiveUnit:
        given = component.parse_parameters(
            [{"name": each.name, "value": each.value, "type": each.type} for each in node.parameters]
        )
        arguments = {**arguments, **given}
        scope = self._scope(node, target)
        make = functools.partial(self._construct, node, target, arguments, scope)
        return self._observed(node, self.wrapped(node, make, target, scope))

    def _scope(self, node: spec.Node, target: str) -> component.NodeScope | None:
        if self._isolation is None:
            return None
        own = component.folder_of(target, self._file_folder)
        folders = dict.fromkeys([own or self._file_folder, self._file_folder])
        variables = spec.environment(self._deployment, self._predictor, node)
        return self._isolation.scope(node.name, tuple(folders), own, variables)

    def _construct(
        self, node: spec.Node, target: str, arguments: Mapping[str, Any], scope: component.NodeScope | None
    ) -> object:
        made = components.construct_target(target, arguments, self._file_folder, scope)
        keep_in = getattr(made, "keep_in", None)
        if callable(keep_in):  # a bandit router: its counts are stored with all other durable data
            keep_in(self._data_dir, f"{self._deployment.name}/{self._predictor.name}/{node.name}")
        return made

    def wrapped(
        self, node: spec.Node, make: Callable[[], object], label: str, scope: component.NodeScope | None = None
    ) -> PredictiveUnit:
        """The component of `node` around the object that `make` constructs; `label` names it in requestPath."""
        if self._merges:  # the executor writes the path itself
            label = ""
        environment = {
            **self._source.environment,
            "PREDICTIVE_UNIT_ID": node.name,
            "PREDICTIVE_UNIT_IMAGE": spec.image(self._predictor, node.name),
            "SELDON_DEPLOYMENT_ID": self._deployment.name,
            "PREDICTOR_ID": self._predictor.name,
        }
        return components.wrap(
            make,
            self._settings,
            self._shared_metrics,
            name=node.name,
            environment=environment,
            label=label,
            scope=scope,
            thread=self._thread(node, scope),
        )

    def _thread(self, node: spec.Node, scope: component.NodeScope | None) -> component.ComponentThread:
        """One for all nodes of a branch, so that a chain costs one hop; a working directory belongs to a thread."""
        key = self._branches.get(node.name, node.name), "" if scope is None else scope.working_folder
        if key not in self._threads:
            self._threads[key] = component.ComponentThread(node.name, self._settings.threads)
        return self._threads[key]


def assemble(
    flow: compose.Flow,
    *,
    name: str = "",
    settings: Settings | None = None,
    shared_metrics: SharedMetrics | None = None,
    folder: Path | None = None,
) -> Graph:
    """Build a graph composed in Python, ready to be called: `graph(X)`, or `await graph.predict(X)`.

    Args:
        flow: made with `infergraph.graph.compose`.
        name: of the graph; the root's name by default.
        settings: the defaults by default.
        folder: base of targets given by name; the working directory by default.
    Raises: GraphError for a node without implementation.
    """
    settings = settings or Settings()
    root = folder or Path.cwd()
    source = UnitSource(target=str(root / "flow.yaml"), folder=str(root))
    deployment = spec.default(spec.Deployment(name=name, predictors=(spec.Predictor(name=name, graph=flow.node),)))
    predictor = deployment.predictors[0]
    resolved = resolution.resolve(predictor, deployment, {})
    mode = meta_mode("", is_ours=_is_ours(resolved), wanted=settings.graph_meta)
    shared_metrics = shared_metrics or PrivateMetrics()
    observation = _observation(deployment, predictor, settings, shared_metrics)
    merges = mode is MetaMode.MERGE
    tls = _node_tls(settings)
    factory = _Units(deployment, predictor, source, settings, shared_metrics, {}, merges, observation, tls)
    makers = flow.makers
    units: dict[str, PredictiveUnit] = {}
    for node in predictor.graph.walk_all():
        given = flow.units.get(node.name)
        unit = given if isinstance(given, PredictiveUnit) else None
        if unit is None and node.name in makers:
            unit = observation.followed(factory.wrapped(node, makers[node.name], node.name))
        if unit is None:
            unit = factory(node, resolved[node.name])
        if unit is not None:
            units[node.name] = unit
    tree = _with_components(predictor.graph, {each: each for each in flow.units})
    parts = units | observation.companions
    return Graph(tree, parts, GraphOptions(meta=mode), name=name, taps=observation.taps)


def _observation(
    deployment: spec.Deployment, predictor: spec.Predictor, settings: Settings, shared_metrics: SharedMetrics
) -> Observation:
    """The observation of a graph made in Python, including the start of tracing."""
    if not settings.tracing:
        return Observation(deployment, predictor, settings, shared_metrics)
    tracing = Tracing(TracingOptions.of(settings, deployment.name or predictor.graph.name))
    observation = Observation(deployment, predictor, settings, shared_metrics, tracing)
    observation.accompany("tracing", tracing.start, tracing.stop)
    return observation
