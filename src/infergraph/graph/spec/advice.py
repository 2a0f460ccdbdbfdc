"""Warnings about a graph that the reference accepts: unknown names, unreachable branches."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterator

from infergraph.graph.spec.records import METHODS, TYPES, Deployment, Node, Predictor, Problem
from infergraph.net.discovery import split_host

_ENDPOINT_TYPES = frozenset({"REST", "GRPC"})
_PARAMETER_TYPES = frozenset({"INT", "FLOAT", "DOUBLE", "STRING", "BOOL"})
_MODES = frozenset({"all", "request", "response"})


def advise(deployment: Deployment) -> list[Problem]:
    """Warnings about a deployment, in document order; none prevents serving.

    Unknown members come first, as `read` found them; then, for each predictor, its traffic and its nodes. Children
    are named in `field` as `validate` does: `spec.predictors[0].graph[1]`.
    """
    found = list(deployment.advice)
    if deployment.server_type == "kafka":
        found.append(Problem("spec.serverType", "kafka is not served here", "REST and gRPC are"))
    for place, predictor in enumerate(deployment.predictors):
        path = f"spec.predictors[{place}]"
        found += _of_predictor(predictor, path)
        names = Counter(node.name for node in predictor.graph.walk_all())
        found += _of_node(predictor.graph, f"{path}.graph", names)
        if not deployment.transport:
            found += _of_ports(predictor.graph, f"{path}.graph")
        if predictor.graph.shadow:
            found.append(Problem(f"{path}.graph", "the root cannot be a shadow: its answer is the answer", "drop it"))
    return found


def _of_predictor(predictor: Predictor, path: str) -> Iterator[Problem]:
    if not predictor.name:
        yield Problem(path, "has no name", "add `name`")
    if not predictor.shadow and not 0 <= predictor.traffic <= 100:
        yield Problem(path, f"traffic {predictor.traffic} is not between 0 and 100")
    if predictor.explainer.get("type"):
        yield Problem(f"{path}.explainer", "explainers are not served here", "serve it as a component of its own")


def _of_node(node: Node, path: str, names: Counter[str]) -> Iterator[Problem]:
    if not node.name:
        yield Problem(path, "has no name", "routes, metrics and feedback go by the name")
    elif names[node.name] > 1:
        times = names.pop(node.name)  # reported once, at the first of them
        text = f"the name {node.name!r} is used by {times} nodes"
        yield Problem(path, text, "routes and feedback go by the name: give each its own")
    yield from _of_words(node, path)
    yield from _of_children(node, path)
    if node.component and node.packaged:
        yield Problem(path, f"both component and {node.packaged} are given", "the component is used")
    if node.fallback is not None and isinstance(node.fallback, Node):
        yield from _of_node(node.fallback, f"{path}.fallback", names)
    for place, child in enumerate(node.children):
        yield from _of_node(child, f"{path}[{place}]", names)


def _of_words(node: Node, path: str) -> Iterator[Problem]:
    if node.type is not None:
        yield from _known(node.type, TYPES, "type", path)
    for method in node.methods:
        yield from _known(method, METHODS, "method", path)
    for parameter in node.parameters:
        yield from _known(parameter.type, _PARAMETER_TYPES, f"type of the parameter {parameter.name!r}", path)
    if node.endpoint is not None and node.endpoint.type:
        yield from _known(node.endpoint.type, _ENDPOINT_TYPES, "endpoint.type", path)
    if node.logger is not None and node.logger.mode:
        yield from _known(node.logger.mode, _MODES, "logger.mode", path)


def _of_children(node: Node, path: str) -> Iterator[Problem]:
    routes = node.type == "ROUTER" or "ROUTE" in node.methods
    combines = node.type == "COMBINER" or "AGGREGATE" in node.methods or node.built_in == "AVERAGE_COMBINER"
    chooses = routes or node.built_in in ("RANDOM_ABTEST", "SIMPLE_ROUTER")
    answering = [child for child in node.children if not child.shadow]
    if (chooses or combines or node.type == "CHAIN") and not answering:
        did = "routes" if chooses else "combines" if combines else "runs"
        yield Problem(path, f"has no children, so it never {did} anything", "add children")
    elif len(answering) > 1 and not chooses and not combines and node.type != "CHAIN":
        hint = "make it a COMBINER, a ROUTER, or a CHAIN (one after the other)"
        yield Problem(path, "runs all its children and answers with the first one's answer only", hint)
    remote = node.endpoint is not None and node.endpoint.has_host
    if routes and remote and node.built_in == "RANDOM_ABTEST":
        hint = "drop the endpoint, or type ROUTER and method ROUTE"
        yield Problem(path, "the ROUTER at the endpoint chooses: RANDOM_ABTEST is never asked", hint)


def _of_ports(node: Node, path: str) -> Iterator[Problem]:
    """A port that would be that of both transports."""
    endpoint = node.endpoint
    if endpoint is not None and not endpoint.type and endpoint.grpc_port:
        for place, host in enumerate(endpoint.service_hosts):
            if split_host(host)[1]:
                text = f"the port of {host!r} is for one transport, and the endpoint has two"
                yield Problem(f"{path}.endpoint.service_hosts[{place}]", text, "give endpoint.type, or no ports here")
    for place, child in enumerate(node.children):
        yield from _of_ports(child, f"{path}[{place}]")


def _known(word: str, words: Collection[str], what: str, path: str) -> Iterator[Problem]:
    if word in words:
        return
    near = difflib.get_close_matches(word.upper(), {known.upper(): known for known in words}, n=1)
    hint = f"did you mean {_spelt(near[0], words)}?" if near else f"known are {', '.join(sorted(words))}"
    yield Problem(path, f"unknown {what} {word!r}: nothing acts on it", hint)


def _spelt(upper: str, words: Collection[str]) -> str:
    return next(word for word in words if word.upper() == upper)
