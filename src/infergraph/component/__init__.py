"""Components: find a user's class, construct it, and answer messages with it.

target ──targets──▶ object ──hooks──▶ table of methods ──component──▶ PredictiveUnit
                                                           └─results: return value ─▶ Message
"""

from infergraph.component.component import Component, ComponentOptions, Recorder
from infergraph.component.execution import ComponentThread
from infergraph.component.isolation import Isolation, NodeScope, ProcessScope
from infergraph.component.parameters import parse_parameters
from infergraph.component.targets import construct, find, folder_of

__all__ = [
    "Component",
    "ComponentOptions",
    "ComponentThread",
    "Isolation",
    "NodeScope",
    "ProcessScope",
    "Recorder",
    "construct",
    "find",
    "folder_of",
    "parse_parameters",
]
