"""Assembly: builds units from sources and settings; the only package that knows every kind of unit.

The builder of graphs is imported lazily: a worker that serves one component does not need the remote clients and the
graph reader, and so is ready sooner.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Collection

import msgspec
from msgspec.structs import replace

from infergraph import compat
from infergraph.assembly import components
from infergraph.assembly.components import construct
from infergraph.assembly.replaceable import Replaceable
from infergraph.component import ProcessScope
from infergraph.message import PredictiveUnit
from infergraph.observe.shared_metrics import PrivateMetrics, SharedMetrics
from infergraph.observe.tracing import Tracing, TracingOptions
from infergraph.settings import Settings
from infergraph.unit_source import UnitSource, is_graph, service_of

__all__ = ["Replaceable", "build", "build_for_tasks", "construct", "inspect", "replaceable"]


def build(source: UnitSource, settings: Settings, shared_metrics: SharedMetrics) -> PredictiveUnit:
    """Build the unit of `source`; no user code runs before its `start`.

    Raises: StartupFault for what is wrong before that.
    """
    compat.install()
    tracing = _tracing(source, settings)
    unit = _build(source, settings, shared_metrics, tracing, None)
    return unit if tracing is None else tracing.served(unit)


def replaceable(
    source: UnitSource, settings: Settings, shared_metrics: SharedMetrics
) -> tuple[PredictiveUnit, Replaceable]:
    """The unit of `source`, and the one within it that can be reloaded and unloaded; traces go on meanwhile.

    Raises: StartupFault as `build` does.
    """
    compat.install()
    tracing = _tracing(source, settings)
    make = functools.partial(_build, source, settings, shared_metrics, tracing, ProcessScope())
    inner = Replaceable(make, source.path, grace_s=settings.grace_s)
    return inner if tracing is None else tracing.served(inner), inner


def _tracing(source: UnitSource, settings: Settings) -> Tracing | None:
    return Tracing(TracingOptions.of(settings, service_of(source))) if settings.tracing else None


def _build(
    source: UnitSource,
    settings: Settings,
    shared_metrics: SharedMetrics,
    tracing: Tracing | None,
    process: ProcessScope | None,
) -> PredictiveUnit:
    """The unit without a span of its own.

    Args:
        process: what a graph of one node sets in the process; its own by default.
    """
    if is_graph(source.target):
        graphs = importlib.import_module("infergraph.assembly.graphs")
        graph: PredictiveUnit = graphs.build(source, settings, shared_metrics, tracing, process)
        return graph
    return components.build(source, settings, shared_metrics)


def inspect(source: UnitSource, host: str, ports: Collection[int]) -> list[str]:
    """Warnings about `source`, which has been built, including members without effect; one line each.

    Args:
        host, ports: where it is served.
    Raises: GraphError for a graph that would call itself.
    """
    if not is_graph(source.target):
        return []
    lines: list[str] = importlib.import_module("infergraph.assembly.graphs").inspect(source, host, ports)
    return lines


def build_for_tasks(source: str, settings: Settings) -> PredictiveUnit:
    """The unit of a task worker.

    Args:
        source: a UnitSource as JSON text.
    Raises: StartupFault for what is wrong before the unit starts.
    """
    decoded = msgspec.json.decode(source, type=UnitSource)
    # A span for each line of a task would be too many; and the lines are batched.
    return build(decoded, replace(settings, tracing=False, batch_rows_limit=0), PrivateMetrics())
