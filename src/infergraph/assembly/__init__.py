"""Builds units from what a user names: the only place that knows every kind of unit."""

from __future__ import annotations

import msgspec

from infergraph import compat
from infergraph.assembly import components, graphs
from infergraph.assembly.components import construct
from infergraph.assembly.graphs import assemble
from infergraph.message import PredictiveUnit
from infergraph.observe.ledger import Ledger, MemoryLedger
from infergraph.settings import Settings
from infergraph.source import UnitSource, is_graph, source_of

__all__ = ["UnitSource", "assemble", "build", "build_for_tasks", "construct", "is_graph", "source_of"]


def build(source: UnitSource, ledger: Ledger) -> PredictiveUnit:
    """The unit that `source` names; nothing of the user's runs before its `start`.

    Raises: StartupFault for what is wrong before that.
    """
    settings = msgspec.convert(source.settings, Settings)
    builder = graphs.build if is_graph(source.target) else components.build
    return builder(source, settings, ledger)


def build_for_tasks(source: str) -> PredictiveUnit:
    """The unit of a task worker.

    Args:
        source: a UnitSource as JSON text.
    Raises: StartupFault for what is wrong before the unit starts.
    """
    compat.install()
    return build(msgspec.json.decode(source, type=UnitSource), MemoryLedger())
