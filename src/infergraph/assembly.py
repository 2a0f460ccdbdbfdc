"""Builds units from what a user names: the only place that knows every kind of unit."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import msgspec

from infergraph import component
from infergraph.compat import error_handler
from infergraph.component import Component, ComponentOptions
from infergraph.message import PredictiveUnit
from infergraph.observe.ledger import Ledger
from infergraph.observe.user_metrics import UserMetrics
from infergraph.settings import Settings

GRAPH_ENDINGS = (".yaml", ".yml", ".json")


class UnitSource(msgspec.Struct, frozen=True, kw_only=True):
    """What is served, as plain values that cross processes.

    Args:
        target: "module:Class", "file.py:Class", "deployment.yaml", …
        settings: Settings as builtins.
        environment: the protocol's own variables (PREDICTIVE_UNIT_ID and the like).
        folder: where relative targets and modules are looked for.
        nodes: targets for nodes of a graph, by node name.
        predictor: which predictor of a graph file; empty for all.
    """

    target: str
    settings: dict[str, Any]
    environment: dict[str, str] = {}
    folder: str = ""
    nodes: dict[str, str] = {}
    predictor: str = ""


ENVIRONMENT = (
    "PREDICTIVE_UNIT_ID",
    "PREDICTIVE_UNIT_IMAGE",
    "SELDON_DEPLOYMENT_ID",
    "PREDICTOR_ID",
    "PREDICTOR_LABELS",
    "SELDON_EXECUTOR_ENABLED",
)
"""The variables that tell a unit its place in a deployment."""


def source_of(target: str, settings: Settings, **more: Any) -> UnitSource:
    """The source of `target` under `settings` in this process's environment."""
    return UnitSource(
        target=target,
        settings=msgspec.to_builtins(settings),
        environment={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        folder=os.getcwd(),
        **more,
    )


def is_graph(target: str) -> bool:
    """Whether a target names a graph file."""
    return target.endswith(GRAPH_ENDINGS)


def build(source: UnitSource, ledger: Ledger) -> PredictiveUnit:
    """The unit that `source` names; nothing of the user's runs before its `start`."""
    settings = msgspec.convert(source.settings, Settings)
    return build_component(source.target, source, settings, ledger)


def build_component(target: str, source: UnitSource, settings: Settings, ledger: Ledger) -> Component:
    """The component that `target` names."""
    environment = source.environment
    options = ComponentOptions(
        unit_id=environment.get("PREDICTIVE_UNIT_ID", ""),
        image=environment.get("PREDICTIVE_UNIT_IMAGE", ""),
        include_metrics=settings.include_metrics_in_response,
        count_feedback=environment.get("SELDON_EXECUTOR_ENABLED", "true").lower() != "false",
        strict=settings.strict,
        feature_names=settings.feature_names,
        payload_passthrough=settings.payload_passthrough,
        execution=settings.execution,
        threads=settings.threads,
        model_metadata=settings.model_metadata,
    )
    recorder = UserMetrics(ledger, environment, settings.user_metrics_series_limit)
    name = options.unit_id or target.rpartition(":")[2].rpartition(".")[2] or target
    make = functools.partial(construct_component, target, source, settings)
    return Component(make, options, recorder, name=name, error_handler=error_handler.answer)


def construct_component(target: str, source: UnitSource, settings: Settings) -> Any:
    """The user's own object, constructed but not loaded."""
    arguments = component.parse_parameters(settings.parameters)
    found = component.find(target, Path(source.folder) if source.folder else None)
    return component.construct(found, arguments, target)
