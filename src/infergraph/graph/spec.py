"""Inference graphs as they are written: the records, and what turns text into checked records.

    text ──read──▶ Deployment ──default──▶ Deployment ──validate──▶ problems
                                                      └─advise───▶ hints

This is the one name to import from; each function has a module of its own.
"""

from infergraph.graph.nodes import (
    BUILT_IN_IMPLEMENTATIONS,
    METHODS,
    TYPES,
    UNKNOWN_IMPLEMENTATION,
    Deployment,
    Endpoint,
    Logger,
    Node,
    Parameter,
    Predictor,
    Problem,
)

__all__ = [
    "BUILT_IN_IMPLEMENTATIONS",
    "METHODS",
    "TYPES",
    "UNKNOWN_IMPLEMENTATION",
    "Deployment",
    "Endpoint",
    "Logger",
    "Node",
    "Parameter",
    "Predictor",
    "Problem",
]
