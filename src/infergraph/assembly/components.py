"""Components from targets and settings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infergraph import component
from infergraph.compat import error_handler, flask_requests
from infergraph.component import Component, ComponentOptions, ComponentThread, NodeScope
from infergraph.graph import servers
from infergraph.message import PredictiveUnit
from infergraph.observe.shared_metrics import Bounds, SharedMetrics
from infergraph.observe.user_metrics import UserMetrics
from infergraph.settings import Settings
from infergraph.unit_source import UnitSource, server_of

UNKNOWN_IMAGE = "NOT_IMPLEMENTED:NOT_IMPLEMENTED"


def build(source: UnitSource, settings: Settings, shared_metrics: SharedMetrics) -> PredictiveUnit:
    """Build the component of `source`; no user code runs before its `start`."""
    name = source.name or source.environment.get("PREDICTIVE_UNIT_ID", "") or _name_of(source.target)
    make = functools.partial(construct, source, settings)
    return wrap(make, settings, shared_metrics, name=name or source.target, environment=source.environment)


def _name_of(target: str) -> str:
    named = target.rpartition(":")[2]
    return Path(named).stem if server_of(target) else named.rpartition(".")[2]


def construct(source: UnitSource, settings: Settings) -> Any:
    """The user's own object, or the packaged server of a model, constructed but not loaded."""
    arguments = component.parse_parameters(settings.parameters)
    if not server_of(source.target):
        return construct_target(source.target, arguments, source.path)
    located = servers.of_model(source.target, folder=source.path, cache_dir=source.path / settings.data_dir / "models")
    return construct_target(located.target, {**located.arguments, **arguments}, source.path)


def construct_target(target: str, arguments: Mapping[str, Any], folder: Path, scope: NodeScope | None = None) -> Any:
    """Construct `target`, found in `folder`, with `arguments`; its modules are imported in `scope`."""
    modules = None if scope is None else scope.modules
    made = component.construct(component.find(target, folder, modules), arguments, target)
    flask_requests.expect(made)
    return made


def wrap(
    make: Callable[[], object],
    settings: Settings,
    shared_metrics: SharedMetrics,
    *,
    name: str,
    environment: Mapping[str, str],
    label: str = UNKNOWN_IMAGE,
    scope: NodeScope | None = None,
    thread: ComponentThread | None = None,
) -> PredictiveUnit:
    """The component around the object that `make` constructs, with dynamic batching if the settings say so.

    Args:
        environment: the protocol's variables that identify it within its deployment.
        label: its value in requestPath if it has no container image.
        scope: its own modules and working directory in a process of several nodes.
        thread: shared with other components; by default it has its own.
    """
    options = ComponentOptions(
        unit_id=environment.get("PREDICTIVE_UNIT_ID", ""),
        image=environment.get("PREDICTIVE_UNIT_IMAGE", ""),
        label=label,
        include_metrics=settings.include_metrics_in_response,
        count_feedback=environment.get("SELDON_EXECUTOR_ENABLED", "true").lower() != "false",
        strict=settings.strict,
        feature_names=settings.feature_names,
        payload_passthrough=settings.payload_passthrough,
        execution=settings.execution,
        threads=settings.threads,
        model_metadata=settings.model_metadata,
    )
    recorder = UserMetrics(shared_metrics, environment, settings.user_metrics_series_limit)
    unit = Component(
        make,
        options,
        recorder,
        name=name,
        error_handler=error_handler.answer,
        request_scope=flask_requests.scope,
        scope=scope,
        thread=thread,
    )
    return batched(unit, settings, shared_metrics) if settings.batch_rows_limit else unit


def batched(unit: Component, settings: Settings, shared_metrics: SharedMetrics) -> PredictiveUnit:
    """`unit` with dynamic batching; the batch sizes are recorded in `infergraph_batch_rows`."""
    from infergraph.component.batching import Batching, BatchOptions  # rarely used

    rows = shared_metrics.histogram(
        "infergraph_batch_rows", "Rows of joined requests.", {"unit": unit.name}, Bounds.ROWS
    )
    options = BatchOptions(rows_limit=settings.batch_rows_limit, wait_s=settings.batch_wait_s, lanes=settings.threads)
    return Batching(unit, options, rows.observe)
