"""Checks of a deployment file before it runs: errors, warnings, members without effect; and the deployment to serve.

text ─▶ inspect ─▶ problems and advice, with their lines           (`infergraph check`)
file ─▶ chosen ─▶ one deployment, defaulted and known to be valid  (`infergraph serve`)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from infergraph.errors import GraphError, TargetError
from infergraph.graph import placement, resolution, servers, spec
from infergraph.graph.resolution import Means, Resolution
from infergraph.graph.unused import unused

_V2 = frozenset({"v2", "kfserving"})
_ALIASES = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})


class Found(NamedTuple):
    """One problem or hint, with its line (0 if that is not known)."""

    line: int
    document: int
    problem: spec.Problem


class Inspected(NamedTuple):
    """The deployments of a text, its errors and its warnings."""

    deployments: list[spec.Deployment]
    problems: list[Found]
    advice: list[Found]


def inspect(text: str, source: str, overrides: Mapping[str, str], *, cluster: bool = False) -> Inspected:
    """All errors and warnings of a deployment file.

    Args:
        overrides: replacements of nodes, by name.
        cluster: check as the operator of a cluster does: every node needs a container.
    Raises: GraphError for a text that is neither YAML nor JSON, has no deployment, or lacks a node of `overrides`.
    """
    deployments, misread, _ = spec.survey(text, source=source)
    lines = spec.Lines(text)
    resolution.check_overrides(deployments, overrides)
    inspected = Inspected(deployments, [], [])
    for document, problem in misread:
        inspected.problems.append(Found(lines.of(document, problem.field), document, problem))
    for deployment in deployments:
        document = deployment.document
        if not misread:
            for problem in _for_cluster(deployment) if cluster else validate(deployment, deployment, overrides):
                inspected.problems.append(Found(lines.of(document, deployment.field(problem.field)), document, problem))
        for problem in deployment.advice if misread else advice(deployment, overrides):
            inspected.advice.append(Found(lines.of(document, deployment.field(problem.field)), document, problem))
    return inspected


def _for_cluster(deployment: spec.Deployment) -> list[spec.Problem]:
    return [*spec.validate(deployment), *spec.validate_for_cluster(deployment)]


def validate(read: spec.Deployment, deployment: spec.Deployment, overrides: Mapping[str, str]) -> list[spec.Problem]:
    """The errors of a deployment whose nodes may be overridden, or have an address in the file.

    Args:
        read: as it was read.
        deployment: the same, or as defaulted.
        overrides: replacements of nodes, by name.
    """
    return [
        *spec.validate(deployment, in_process=spec.addressed(read), overridden=overrides),
        *placement.problems(read, overrides),
    ]


def advice(deployment: spec.Deployment, overrides: Mapping[str, str]) -> list[spec.Problem]:
    """Warnings about a deployment, as it was read, and members without effect; none prevents serving."""
    defaulted = spec.default(deployment)
    resolved = [resolution.resolve(predictor, defaulted, overrides) for predictor in defaulted.predictors]
    return [
        *spec.advise(deployment),
        *_elsewhere(defaulted, resolved),
        *_out_of_reach(defaulted, resolved),
        *unused(deployment, overrides),
    ]


def chosen(path: Path, name: str, wanted: str, overrides: Mapping[str, str]) -> tuple[spec.Deployment, spec.Deployment]:
    """The deployment `wanted` of a file, as it was read and as it is served: defaulted, and known to be valid.

    Args:
        path, name: the file, and its name in messages.
        wanted: the deployment's name; empty for the only one.
        overrides: replacements of nodes, by name.
    Raises: TargetError if there is no such file; GraphError for anything else, with all errors at once.
    """
    if not path.is_file():
        raise TargetError(f"there is no file {path}")
    deployments = spec.read(spec.text_of(path, name), source=name)
    found = [deployment for deployment in deployments if not wanted or deployment.name == wanted]
    if len(found) != 1:
        names = ", ".join(deployment.name for deployment in deployments)
        raise GraphError(f"{name} has the deployments {names or '(none)'}; name one of them: {name}#NAME")
    (read,) = found
    served = read if read.bare else spec.default(read)
    resolution.check_overrides([served], overrides)
    problems = [] if read.bare else validate(read, served, overrides)
    if problems:
        lines = [f"{problem}{f' ({problem.hint})' if problem.hint else ''}" for problem in problems]
        raise GraphError(f"{name} is not valid: " + "; ".join(lines))
    return read, served


def predictors(deployment: spec.Deployment, wanted: str) -> list[spec.Predictor]:
    """The predictors of a deployment to serve: the one named `wanted`, or all if that is empty.

    Raises: GraphError if there is none.
    """
    found = [predictor for predictor in deployment.predictors if wanted in ("", predictor.name)]
    if not found:
        names = ", ".join(predictor.name for predictor in deployment.predictors)
        raise GraphError(f"there is no predictor {wanted!r}; the deployment has {names}")
    return found


def refuse_own_addresses(resolved: Mapping[str, Resolution], host: str, ports: Collection[int]) -> None:
    """Raise GraphError for a node whose address is this server's own: the graph would call itself.

    Args:
        resolved: the resolution of each node, by name.
        host, ports: where this server listens.
    """
    hosts = _ALIASES if host in _ALIASES else {host}
    for name, found in resolved.items():
        for address in found.addresses:
            parts = urlsplit(address)
            if parts.hostname in hosts and parts.port in ports:
                raise GraphError(
                    f"node {name!r} would be called at {address}, which is this server's own address. Say what it "
                    f"runs, --node {name}=file.py:Class, or where it is, --node {name}=http://HOST:PORT; if it does "
                    "run there, give this server another port (--http-port)",
                    node=name,
                )


def _out_of_reach(deployment: spec.Deployment, resolved: Sequence[Mapping[str, Resolution]]) -> Iterator[spec.Problem]:
    """What the open inference protocol cannot ask of remote nodes: routes and aggregates over gRPC, and feedback."""
    if deployment.protocol not in _V2:
        return
    for place, (predictor, found) in enumerate(zip(deployment.predictors, resolved, strict=True)):
        yield from _unasked(predictor.graph, f"spec.predictors[{place}].graph", found)


def _unasked(node: spec.Node, path: str, resolved: Mapping[str, Resolution]) -> Iterator[spec.Problem]:
    found = resolved[node.name]
    routes = node.type == "ROUTER" or "ROUTE" in node.methods
    combines = node.type == "COMBINER" or "AGGREGATE" in node.methods
    if found.means is Means.REMOTE:
        if (routes or combines) and any(map(_is_grpc, found.addresses)):
            asked = "route" if routes else "aggregate"
            text = f"over gRPC the parameter seldon_method asks for the {asked}, which only infergraph's servers know"
            yield spec.Problem(path, text, "if it is another server, call it over REST")
        if routes or "SEND_FEEDBACK" in node.methods:
            text = "protocol v2 has no feedback: rewards are not sent to this remote node"
            yield spec.Problem(path, text, "run it in this process, or ask it in Seldon's protocol")
    for place, child in enumerate(node.children):
        yield from _unasked(child, f"{path}[{place}]", resolved)


def _is_grpc(address: str) -> bool:
    return address.lower().startswith("grpc")


def _elsewhere(deployment: spec.Deployment, resolved: Sequence[Mapping[str, Resolution]]) -> Iterator[spec.Problem]:
    """Packaged servers that do not run in process: a warning here, and a fault when the graph is served."""
    for place, (predictor, found) in enumerate(zip(deployment.predictors, resolved, strict=True)):
        for node in predictor.graph.walk():
            if node.packaged and node.model_uri and found[node.name].means is Means.PACKAGED:
                try:
                    servers.located(node, folder=Path(), cache_dir=Path())
                except GraphError as fault:
                    yield spec.Problem(f"spec.predictors[{place}].graph", str(fault))
