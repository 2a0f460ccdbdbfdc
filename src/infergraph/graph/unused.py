"""Members of a deployment that have no effect when it is served here, each reported once.

Deployment ─▶ what a cluster would do with it, and this server does not ─▶ one Problem for each record that has such

What has an effect depends on the resolution of each node, so the overrides of the command line are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from infergraph.graph.placement import effects
from infergraph.graph.placement.cut import path_of
from infergraph.graph.resolution import Means, Resolution, resolve
from infergraph.graph.spec.containers import containers, entries, member, variables
from infergraph.graph.spec.defaulting import default
from infergraph.graph.spec.records import Deployment, Node, Predictor, Problem
from infergraph.protocol.annotations import GRPC_MESSAGE_SIZE, GRPC_TIMEOUT, REST_TIMEOUT, SEPARATE_ENGINE

_READ_ANNOTATIONS = frozenset({REST_TIMEOUT, GRPC_TIMEOUT, GRPC_MESSAGE_SIZE, SEPARATE_ENGINE, "version"})
_READ_OF_CONTAINERS = frozenset({"name", "image", "ports", "env"})
_UNREAD_OF_DEPLOYMENT = ("replicas", "oauth_key", "oauth_secret")
_UNREAD_OF_PREDICTOR = ("replicas", "engine_resources", "ssl", "progress_deadline_seconds")
_UNREAD_OF_NODE = ("service_account_name", "env_secret_ref_name", "storage_initializer_image")
_CLUSTER = "it is for a cluster: no containers are run here"
_SET_THERE = "set it where the node is started"
_EXPORTED = "it comes from a secret, a config map or a field of the pod: export it before the start"


def unused(deployment: Deployment, overrides: Mapping[str, str]) -> list[Problem]:
    """The members of `deployment` without effect here, and what to do if a component relies on one; none is an error.

    Args:
        deployment: as it was read.
        overrides: replacements of nodes, by name.
    """
    defaulted = deployment if deployment.bare else default(deployment)
    answers = [resolve(predictor, defaulted, overrides) for predictor in defaulted.predictors]
    nodes = [node.name for node in defaulted.walk_all()]
    here = [name for name in nodes if any(name in found and found[name].means.is_here for found in answers)]
    found = [*_of_metadata(deployment), *_of_spec(deployment)]
    for place, (predictor, resolved) in enumerate(zip(deployment.predictors, answers, strict=True)):
        path = path_of(deployment, place)
        found += _of_predictor(predictor, path)
        found += _of_containers(predictor, resolved, here, path)
        found += _of_node(predictor.graph, resolved, f"{path}.graph".removeprefix("."))
    return found


def _problem(field: str, members: Iterable[str], hint: str = _CLUSTER) -> Iterator[Problem]:
    named = list(members)
    if named:
        yield Problem(field, f"without effect here: {', '.join(named)}", hint)


def _of_metadata(deployment: Deployment) -> Iterator[Problem]:
    given = {"annotations": deployment.metadata_annotations, "labels": deployment.labels}
    yield from _problem("metadata", (f"{kind} {', '.join(names)}" for kind, names in given.items() if names))


def _of_spec(deployment: Deployment) -> Iterator[Problem]:
    name = ["name"] if deployment.spec_name else []
    unread = _given(deployment, _UNREAD_OF_DEPLOYMENT)
    yield from _problem("spec", [*name, *unread, *_annotations(deployment.annotations)])


def _of_predictor(predictor: Predictor, path: str) -> Iterator[Problem]:
    members = [*_given(predictor, _UNREAD_OF_PREDICTOR), *_annotations(predictor.annotations)]
    members += [f"svcOrchSpec.{key}" for key in predictor.svc_orch_spec if key.lower() != "env"]
    if predictor.explainer and not predictor.explainer.get("type"):  # `advise` reports one with a type
        members.append("explainer")
    yield from _problem(path, members)
    orchestrator = [f"env {variable.name}" for variable in variables(predictor)]
    hint = "this server is the orchestrator: export them before it starts, or give the setting"
    yield from _problem(f"{path}.svcOrchSpec".removeprefix("."), orchestrator, hint)


def _given(record: msgspec.Struct, names: Iterable[str]) -> list[str]:
    """Those of the fields `names` that are not at their default, by their names in the file."""
    fields = {field.name: field for field in msgspec.structs.fields(record)}
    return [fields[name].encode_name for name in names if getattr(record, name) not in (None, "", {}, ())]


def _annotations(annotations: Mapping[str, str]) -> list[str]:
    unread = [name for name in annotations if name not in _READ_ANNOTATIONS]
    return [f"annotations {', '.join(unread)}"] if unread else []


# ── containers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_containers(
    predictor: Predictor, resolved: Mapping[str, Resolution], here: list[str], path: str
) -> Iterator[Problem]:
    owners: dict[str, list[str]] = {}
    idle: list[str] = []
    called: list[str] = []
    for pod in predictor.component_specs:
        for name in _of_pod(pod):
            owners.setdefault(name, [])
        for container in entries(member(pod, "spec"), "containers"):
            name = str(member(container, "name") or "")
            found = resolved.get(name)
            if found is not None and found.means.is_here:
                for key in container:
                    if key.lower() not in _READ_OF_CONTAINERS:
                        owners.setdefault(key, []).append(name)
            elif found is not None and found.means is Means.REMOTE:
                called.append(f"{name} ({found})")
            elif name:
                idle.append(f"container {name}")
    yield from _problem(path, (f"{key} of {', '.join(names)}" if names else key for key, names in owners.items()))
    yield from _problem(
        path, idle, "these containers do not belong to nodes, or to nodes that need none: start them yourself"
    )
    if called:
        hint = "start them yourself, or say what to run here: --node NAME=file.py:Class"
        yield Problem(path, f"containers are called, not run: {', '.join(called)}", hint)
    yield from _of_environment(predictor, resolved, here, path)


def _of_pod(pod: Mapping[str, Any]) -> Iterator[str]:
    """The members of a pod that are ignored: all but its containers."""
    yield from (key for key in pod if key.lower() != "spec")
    yield from (key for key in member(pod, "spec") or () if key.lower() != "containers")


def _of_environment(
    predictor: Predictor, resolved: Mapping[str, Resolution], here: list[str], path: str
) -> Iterator[Problem]:
    passing, absent, foreign = [], [], []
    for container in (each for pod in containers(predictor) for each in pod if each.name in resolved):
        for variable in container.env:
            named = f"{variable.name} of {container.name}"
            if not resolved[container.name].means.is_here:
                foreign.append(named)
            elif variable.value_from:
                absent.append(named)
            elif len(here) > 1:
                passing.append(named)
    for env, hint in (foreign, _SET_THERE), (absent, _EXPORTED):
        yield from _problem(path, [f"env {', '.join(env)}"] if env else [], hint)
    if passing:
        hint = (
            f"{', '.join(here)} share a process; for one of its own: infergraph serve TARGET --http-port PORT, "
            "and here --node NAME=http://HOST:PORT"
        )
        text = f"env {', '.join(passing)}: holds while the node is loaded, not during its requests"
        yield Problem(path, text, hint)


# ── nodes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_node(node: Node, resolved: Mapping[str, Resolution], path: str) -> Iterator[Problem]:
    found = resolved[node.name]
    members = _given(node, _UNREAD_OF_NODE)
    if node.model_uri and found.means is not Means.PACKAGED:
        members.append("modelUri")
    if node.parameters and not found.means.is_here and found.means is not Means.BUILT_IN:
        members.append("parameters")
    if node.endpoint is not None and node.endpoint.has_host and found.means.is_here:
        members.append("endpoint")
    yield from _problem(path, members, _answered_by(node, found))
    yield from _problem(path, node.placing, effects(node.placing))
    if isinstance(node.fallback, Node):
        yield from _of_node(node.fallback, resolved, f"{path}.fallback")
    for place, child in enumerate(node.children):
        yield from _of_node(child, resolved, f"{path}[{place}]")


def _answered_by(node: Node, found: Resolution) -> str:
    return f"{node.name} is answered by {found}" if str(found) else f"{node.name} calls nothing"
