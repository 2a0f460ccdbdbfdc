"""Builds units from what a user names: the only place that knows every kind of unit.

The builder of graphs is imported by name, when a graph is built: a worker that serves one component does without the
remote clients and the graph reader, and is ready the sooner for it.
"""

from __future__ import annotations

import importlib

import msgspec

from infergraph import compat
from infergraph.assembly.components import construct
from infergraph.message import PredictiveUnit
from infergraph.observe.ledger import Ledger, MemoryLedger
from infergraph.settings import Settings
from infergraph.source import UnitSource, is_graph

__all__ = ["build", "build_for_tasks", "construct"]


def build(source: UnitSource, ledger: Ledger) -> PredictiveUnit:
    """The unit that `source` names; nothing of the user's runs before its `start`.

    Raises: StartupFault for what is wrong before that.
    """
    settings = msgspec.convert(source.settings, Settings)
    name = "infergraph.assembly.graphs" if is_graph(source.target) else "infergraph.assembly.components"
    unit: PredictiveUnit = importlib.import_module(name).build(source, settings, ledger)
    return unit


def build_for_tasks(source: str) -> PredictiveUnit:
    """The unit of a task worker.

    Args:
        source: a UnitSource as JSON text.
    Raises: StartupFault for what is wrong before the unit starts.
    """
    compat.install()
    return build(msgspec.json.decode(source, type=UnitSource), MemoryLedger())
