"""The inference protocols over one unit: their parts and their path table, for a port and for the rows of a task.

unit ─▶ Seldon's protocol · the open inference protocol · KServe's first one ─▶ Paths
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from infergraph.message import UnitFacts
from infergraph.process.channel import ModelAction
from infergraph.protocol.paths import Protocol
from infergraph.serving.http.app import Dialect, Paths
from infergraph.serving.http.dialects import Cors, ExternalDialect, InternalDialect
from infergraph.serving.readiness_gate import ReadinessGate
from infergraph.serving.seldon.rest import RestOptions, SeldonRest, behind_gateway
from infergraph.serving.v2.dialect import V2Dialect
from infergraph.serving.v2.graph import GraphModel
from infergraph.serving.v2.kserve import KServe
from infergraph.serving.v2.model import Model
from infergraph.serving.v2.nodes import NodeRest
from infergraph.serving.v2.repository import Repository
from infergraph.serving.v2.rest import V2Options, V2Parts, V2Rest
from infergraph.serving.v2.statistics import Statistics
from infergraph.settings import Settings
from infergraph.unit_source import UnitSource, is_graph
from infergraph.wire.bodies_memory import BodiesMemory
from infergraph.wire.json_codec import JsonOptions


def json_options(settings: Settings) -> JsonOptions:
    """How JSON answers are written."""
    return JsonOptions(
        nan=settings.nan,
        sort_keys=settings.json_sort_keys,
        ascii=settings.json_ascii,
        pretty=settings.json_pretty,
    )


def dialect_of(source: UnitSource, settings: Settings, facts: UnitFacts) -> Dialect:
    """The dialect of the unit's own protocol: a graph's, or a component's."""
    cors = Cors(settings.cors_origins, settings.cors_headers)
    if is_graph(source.target):
        return ExternalDialect(cors, (facts.deployment, facts.namespace))
    return InternalDialect(cors)


def v2_parts(
    unit: ReadinessGate,
    source: UnitSource,
    settings: Settings,
    *,
    metrics_dir: Path,
    is_ready: Callable[[], Awaitable[bool]],
    is_server_ready: Callable[[], Awaitable[bool]],
    memory: BodiesMemory | None = None,
    ask: Callable[[ModelAction], Awaitable[str]] | None = None,
) -> V2Parts:
    """The unit in the open inference protocol.

    Args:
        metrics_dir: of the shared metrics of all workers.
        is_ready, is_server_ready: see `V2Parts`.
        memory: is charged for the memory of large bodies' values.
        ask: see `Repository`.
    """
    model = _model(unit, source, settings)
    return V2Parts(
        model=model,
        repository=Repository(model, unit, ask),
        statistics=Statistics(metrics_dir, unit.name),
        options=V2Options(
            json=json_options(settings),
            limit_bytes=settings.message_limit_bytes,
            memory=memory,
            server_name=settings.v2_server_name,
        ),
        is_ready=is_ready,
        is_server_ready=is_server_ready,
    )


def _model(unit: ReadinessGate, source: UnitSource, settings: Settings) -> Model:
    if not is_graph(source.target):
        return Model(unit, unit.name, is_strict=settings.strict)
    facts = unit.facts
    name = source.name or facts.deployment or unit.name
    root = "" if facts.predictors else next(iter(facts.nodes), "")
    return GraphModel(unit, name, relays=facts.relays, predictors=facts.predictors, root=root)


def inference_paths(
    unit: ReadinessGate,
    source: UnitSource,
    settings: Settings,
    parts: V2Parts,
    dialect: V2Dialect,
    describe: Callable[[], Awaitable[dict[str, Any]]],
) -> Paths:
    """The paths of all inference protocols.

    Args:
        dialect: of the open inference protocol.
        describe: the OpenAPI document.
    """
    of_graph, options = is_graph(source.target), parts.options
    rest = SeldonRest(
        unit,
        RestOptions(json=options.json, limit_bytes=options.limit_bytes, memory=options.memory, opaque=of_graph),
        parts.is_ready,
        unit.runners,
    )
    facts = unit.facts
    if of_graph:
        paths = rest.external_paths(facts.protocol)
        if settings.gateway_paths:
            paths = behind_gateway(paths, facts.deployment or unit.name)
    else:
        paths = rest.microservice_paths()
    paths = paths.joined(V2Rest(parts, dialect, describe).paths())
    if not of_graph:  # which neither routes nor combines for another one
        paths = paths.joined(NodeRest(parts, dialect).paths())
    if facts.protocol != Protocol.TENSORFLOW.value:  # such a graph has these paths for itself
        paths = paths.joined(KServe(parts, dialect).paths())
    return paths
