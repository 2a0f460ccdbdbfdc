"""What is served, as plain values that cross processes; light, since the command line and the supervisor import it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from infergraph.errors import SettingsError
from infergraph.settings import Settings

GRAPH_ENDINGS = (".yaml", ".yml", ".json")

ENVIRONMENT = (
    "PREDICTIVE_UNIT_ID",
    "PREDICTIVE_UNIT_IMAGE",
    "SELDON_DEPLOYMENT_ID",
    "PREDICTOR_ID",
    "PREDICTOR_LABELS",
    "SELDON_EXECUTOR_ENABLED",
    "SELDON_ENABLE_ROUTING_INJECTION",
)
"""The variables that tell a unit its place in a deployment."""


class UnitSource(msgspec.Struct, frozen=True, kw_only=True):
    """What is served.

    Args:
        target: "module:Class", "file.py:Class", "deployment.yaml", "deployment.yaml#name", …
        settings: Settings as builtins.
        environment: the protocol's own variables (`ENVIRONMENT`).
        folder: where relative targets and modules are looked for; empty for the working directory.
        nodes: targets or addresses for nodes of a graph, by node name.
        predictor: which predictor of a graph file; empty for all.
    """

    target: str
    settings: dict[str, Any]
    environment: dict[str, str] = {}
    folder: str = ""
    nodes: dict[str, str] = {}
    predictor: str = ""

    @property
    def path(self) -> Path:
        """The folder as a path."""
        return Path(self.folder) if self.folder else Path.cwd()


def source_of(
    target: str, settings: Settings, *, nodes: dict[str, str] | None = None, predictor: str = ""
) -> UnitSource:
    """The source of `target` under `settings` in this process's environment and working directory."""
    return UnitSource(
        target=target,
        settings=msgspec.to_builtins(settings),
        environment={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        folder=os.getcwd(),
        nodes=nodes or {},
        predictor=predictor,
    )


def is_graph(target: str) -> bool:
    """Whether a target names a graph file."""
    return target.partition("#")[0].endswith(GRAPH_ENDINGS)


def read_overrides(given: Sequence[str]) -> dict[str, str]:
    """The targets of nodes from `NAME=TARGET` texts.

    Raises: SettingsError for a text of another form.
    """
    overrides = {}
    for text in given:
        name, equals, target = text.partition("=")
        if not (name and equals and target):
            raise SettingsError(f"--node {text!r} must be NAME=TARGET, such as classifier=mymodels:Classifier")
        overrides[name] = target
    return overrides
