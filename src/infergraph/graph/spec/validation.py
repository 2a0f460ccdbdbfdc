"""Validation of deployments: all problems at once, in the reference's order and wording.

A graph without problems is accepted by the reference; what it does not check is in `advice`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator

from infergraph.graph.spec.containers import containers_by_name, variables
from infergraph.graph.spec.decoder import Container
from infergraph.graph.spec.records import (
    BUILT_IN_IMPLEMENTATIONS,
    TYPES,
    UNKNOWN_IMPLEMENTATION,
    Deployment,
    Node,
    Problem,
)
from infergraph.protocol.annotations import NO_ENGINE, SERVICE_NAME

KAFKA_VARIABLES = ("KAFKA_BROKER", "KAFKA_INPUT_TOPIC", "KAFKA_OUTPUT_TOPIC")
PROTOCOLS = ("seldon", "tensorflow", "kfserving", "v2")
PACKAGED_SERVERS = frozenset(
    {
        "SKLEARN_SERVER",
        "XGBOOST_SERVER",
        "MLFLOW_SERVER",
        "TENSORFLOW_SERVER",
        "TRITON_SERVER",
        "HUGGINGFACE_SERVER",
        "TEMPO_SERVER",
        "ONNX_SERVER",
    }
)
"""Packaged servers that need no image of their own: the reference's default map, and ours."""

_OWN_SERVERS = frozenset({"ONNX_SERVER"})

_NOT_TENSORFLOW = frozenset({"SKLEARN_SERVER", "XGBOOST_SERVER", "MLFLOW_SERVER", "HUGGINGFACE_SERVER"})
_MODES = ("all", "request", "response")
_ENDPOINT_TYPES = ("REST", "GRPC")


def validate(
    deployment: Deployment, *, in_process: Collection[str] = frozenset(), overridden: Collection[str] = frozenset()
) -> list[Problem]:
    """Every problem for which the reference refuses `deployment`, in its order and wording; empty if accepted.

    Args:
        deployment: as read, which is what the reference looks at, or as defaulted.
        in_process: names of nodes that need no container, because the file gives their address (see `addressed`). A
            node with a `component` and a CHAIN never need one.
        overridden: names of nodes whose target is overridden (`--node`): they need no container either, and
            their packaged server is not looked at.
    """
    in_process = {*in_process, *overridden}
    problems = [*_of_spec(deployment), *_of_services(deployment)]
    names: set[str] = set()
    for place, predictor in enumerate(deployment.predictors):
        path = f"spec.predictors[{place}]"
        if NO_ENGINE in predictor.annotations and sum(1 for _ in predictor.graph.walk()) > 1:
            hint = f"drop the annotation {NO_ENGINE}"
            text = "Running without engine only valid for single element graphs"
            problems.append(Problem(path, text, hint, predictor.name))
        if predictor.name in names:
            problems.append(Problem(path, "Duplicate predictor name", "give each predictor its own", predictor.name))
        names.add(predictor.name)
        known = containers_by_name(predictor)
        problems += _of_graph(deployment, predictor.graph, f"{path}.graph", known, in_process, overridden)
    return [*problems, *_of_transports(deployment, in_process), *_of_traffic(deployment)]


def addressed(deployment: Deployment) -> frozenset[str]:
    """Names of the nodes that the file itself gives an address: an endpoint with a host, and no container.

    On a platform the operator would overwrite or miss these; without one they are remote nodes like any other.
    """
    names = set()
    for predictor in deployment.predictors:
        contained = containers_by_name(predictor)
        for node in predictor.graph.walk():
            if node.endpoint is not None and node.endpoint.has_host and node.name not in contained:
                names.add(node.name)
    return frozenset(names)


def validate_for_cluster(deployment: Deployment) -> list[Problem]:
    """What is valid here, and has nothing that a cluster could run: the operator reads no `component` and no CHAIN."""
    problems: list[Problem] = []
    for place, predictor in enumerate(deployment.predictors):
        known = containers_by_name(predictor)
        problems += _without_image(predictor.graph, f"spec.predictors[{place}].graph", known)
    return problems


def _without_image(node: Node, path: str, known: dict[str, Container]) -> Iterator[Problem]:
    container = known.get(node.name)
    if node.type == "CHAIN":
        yield Problem(path, "A cluster has no CHAIN", "make each node the child of the one before it", node.name)
    elif node.packaged in _OWN_SERVERS and (container is None or not container.image):
        hint = "a cluster needs a container of this name with an image, or an entry in the operator's predictor_servers"
        yield Problem(path, f"No entry in predictors map for {node.packaged}", hint, node.name)
    elif node.implementation in (None, UNKNOWN_IMPLEMENTATION) and container is None and node.component:
        hint = f"a cluster does not read `component`: add a container of this name whose image serves {node.component}"
        yield Problem(path, "Can't find container for Predictive Unit", hint, node.name)
    elif node.implementation in (None, UNKNOWN_IMPLEMENTATION) and container is not None and not container.image:
        yield Problem(path, "The container of Predictive Unit has no image", "add image: NAME:VERSION", node.name)
    for place, child in enumerate(node.children):
        yield from _without_image(child, f"{path}[{place}]", known)


def _of_spec(deployment: Deployment) -> Iterator[Problem]:
    if deployment.protocol and deployment.protocol not in PROTOCOLS:
        yield Problem("spec", "Invalid protocol", _one_of(PROTOCOLS), deployment.protocol)
    if deployment.transport and deployment.transport not in ("rest", "grpc"):
        yield Problem("spec", "Invalid transport", "use rest or grpc, or leave it out", deployment.transport)
    if deployment.server_type and deployment.server_type not in ("rpc", "kafka"):
        yield Problem("spec", "Invalid serverType", "use rpc or kafka, or leave it out", deployment.server_type)


def _of_services(deployment: Deployment) -> Iterator[Problem]:
    predictors = deployment.predictors
    if deployment.server_type == "kafka":
        for place, predictor in enumerate(predictors):
            if sum(variable.name in KAFKA_VARIABLES for variable in variables(predictor)) < len(KAFKA_VARIABLES):
                text = f"For kafka please supply svcOrchSpec envs {', '.join(KAFKA_VARIABLES)}"
                yield Problem(f"spec.predictors[{place}]", text, "", predictor.name)
    if len(predictors) == 1 and predictors[0].shadow:
        text = "Shadow can not exist as only predictor"
        yield Problem("spec.predictors[0]", text, "add the predictor that it shadows", predictors[0].name)
    services: set[str] = set()
    for place, predictor in enumerate(predictors):
        service = predictor.annotations.get(SERVICE_NAME)
        if service is None:
            continue
        if service in services:
            text = f"Found duplicate service name in {SERVICE_NAME} with value {service}"
            yield Problem(f"spec.predictors[{place}]", text, "give each predictor its own", predictor.name)
        services.add(service)
    if not predictors:
        hint = "add spec.predictors with at least one name and graph"
        yield Problem("spec", "Graph contains no predictors", hint, deployment.transport)


def _of_graph(
    deployment: Deployment,
    node: Node,
    path: str,
    known: dict[str, Container],
    in_process: Collection[str],
    overridden: Collection[str],
) -> Iterator[Problem]:
    if node.implementation in (None, UNKNOWN_IMPLEMENTATION):
        yield from _of_own_code(node, path, known, in_process)
    elif node.packaged and not node.component and node.name not in overridden:
        yield from _of_packaged(deployment, node, path, known)
    if node.logger is not None and not node.logger.mode:
        yield Problem(path, "No logger mode specified", f"add logger.mode: {_one_of(_MODES)}", node.logger.mode)
    for place, child in enumerate(node.children):
        yield from _of_graph(deployment, child, f"{path}[{place}]", known, in_process, overridden)


def _of_own_code(node: Node, path: str, known: dict[str, Container], in_process: Collection[str]) -> Iterator[Problem]:
    needs_none = node.component or node.type == "CHAIN" or node.name in in_process
    if node.name not in known and not needs_none:
        near = difflib.get_close_matches(node.name, known, n=1)
        hint = f"did you mean the container {near[0]!r}? or " if near else ""
        hint += "add `component: module:Class`, an endpoint with service_host, or a container of this name"
        yield Problem(path, "Can't find container for Predictive Unit", hint, node.name)
    if node.type == "UNKNOWN_TYPE" and not node.methods:
        text = (
            "Predictive Unit has no implementation methods defined. "
            "Change to a known type or add what methods it defines"
        )
        yield Problem(path, text, f"type: {_one_of(sorted(TYPES - {'UNKNOWN_TYPE'}))}", node.name)


def _of_packaged(deployment: Deployment, node: Node, path: str, known: dict[str, Container]) -> Iterator[Problem]:
    server = node.packaged
    if not node.model_uri and server != "HUGGINGFACE_SERVER":
        hint = "add modelUri: a folder, file:// or another address"
        yield Problem(path, "Predictive unit modelUri required when using standalone servers", hint, node.name)
    if deployment.protocol == "tensorflow" and server in _NOT_TENSORFLOW:
        text = f"Prepackaged server does not handle tensorflow protocol {server}"
        yield Problem(path, text, "leave spec.protocol out, or use seldon", node.name)
    container = known.get(node.name)
    if (container is None or not container.image) and server not in PACKAGED_SERVERS:
        near = difflib.get_close_matches(server, PACKAGED_SERVERS | BUILT_IN_IMPLEMENTATIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(PACKAGED_SERVERS))}"
        hint += f"; for a class of your own --node {node.name}=file.py:Class"
        yield Problem(path, f"No entry in predictors map for {server}", hint, node.name)


def _of_transports(deployment: Deployment, in_process: Collection[str]) -> Iterator[Problem]:
    found = {
        node.endpoint.type
        for predictor in deployment.predictors
        for node in predictor.graph.walk()
        if node.endpoint is not None and node.endpoint.type and node.name not in in_process
    }
    if len(found) > 1:
        text = "Multiple endpoint.types found - can only have 1 type in graph. Please use spec.transport"
        hint = "nodes with a service_host of their own and no container may mix REST and GRPC freely"
        yield Problem("spec", text, hint, "")
    elif found & set(_ENDPOINT_TYPES) and deployment.transport and {deployment.transport.upper()} != found:
        text = "Mixed transport types found. Remove graph endpoint.types if transport set at deployment level"
        yield Problem("spec", text, "", "")


def _of_traffic(deployment: Deployment) -> Iterator[Problem]:
    predictors = deployment.predictors
    shadows = [predictor for predictor in predictors if predictor.shadow]
    for place, predictor in enumerate(shadows):
        if place > 0:
            yield Problem("spec", "Multiple shadows are not allowed", "keep one", predictor.name)
        if not 0 <= predictor.traffic <= 100:
            text = "shadow traffic is illegal, the traffic number should be between [0, 100]"
            yield Problem("spec", text, "", predictor.name)
    total = sum(predictor.traffic for predictor in predictors if not predictor.shadow)
    if len(predictors) - len(shadows) > 1 and total != 100:
        hint = f"they sum to {total}"
        yield Problem("spec", "Traffic must sum to 100 for multiple predictors", hint, predictors[0].name)
    if len(predictors) == 1 and 0 < total < 100:
        text = "Traffic must sum be 100 for a single predictor when set"
        yield Problem("spec", text, "leave traffic out", predictors[0].name)


def _one_of(words: Collection[str]) -> str:
    return f"one of {', '.join(words)}"
