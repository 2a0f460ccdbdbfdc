"""The graph specification: records of a SeldonDeployment, and how files are read, defaulted and validated.

    text ──read──▶ Deployment ──default──▶ Deployment ──validate──▶ problems
                       ▲  └──────advise──▶ hints
                       └──to_yaml──▶ text

This is the one name to import from; each step has a module of its own.
"""

from infergraph.graph.spec.advice import advise
from infergraph.graph.spec.containers import container, containers, entries, environment, image, member
from infergraph.graph.spec.defaulting import FirstPorts, default, default_predictor, ports_of
from infergraph.graph.spec.documents import Lines, text_of
from infergraph.graph.spec.reading import Other, Reading, read, read_predictor, survey
from infergraph.graph.spec.records import (
    BUILT_IN_IMPLEMENTATIONS,
    METHODS,
    PLACING,
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
from infergraph.graph.spec.validation import PACKAGED_SERVERS, addressed, validate, validate_for_cluster
from infergraph.graph.spec.writing import deployment_document, node_document, predictor_document, to_yaml

__all__ = [
    "BUILT_IN_IMPLEMENTATIONS",
    "METHODS",
    "PACKAGED_SERVERS",
    "PLACING",
    "TYPES",
    "UNKNOWN_IMPLEMENTATION",
    "Deployment",
    "Endpoint",
    "FirstPorts",
    "Lines",
    "Logger",
    "Node",
    "Other",
    "Parameter",
    "Predictor",
    "Problem",
    "Reading",
    "addressed",
    "advise",
    "container",
    "containers",
    "default",
    "default_predictor",
    "deployment_document",
    "entries",
    "environment",
    "image",
    "member",
    "node_document",
    "ports_of",
    "predictor_document",
    "read",
    "read_predictor",
    "survey",
    "text_of",
    "to_yaml",
    "validate",
    "validate_for_cluster",
]
