"""The containers that a predictor declares, and the environment that a node's container would have.

Source: the reference operator's objects, sections A5 and A9 of the Kubernetes notes; `$(NAME)` as in the Kubernetes API
reference of `env.value`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from infergraph.graph.spec.decoder import ComponentSpec, Container, Reader, SvcOrchSpec, Variable
from infergraph.graph.spec.records import Deployment, Node, Predictor

_REFERENCE = re.compile(r"\$(\$)?\(([^()]*)\)")


def containers(predictor: Predictor) -> list[list[Container]]:
    """The containers of each pod of `predictor`."""
    reader = Reader()
    pods: list[ComponentSpec] = [reader.struct(ComponentSpec, pod, ()) for pod in predictor.component_specs]
    return [list(pod.spec.containers) for pod in pods]


def containers_by_name(predictor: Predictor) -> dict[str, Container]:
    """The containers of `predictor`; the first one of each name."""
    return {container.name: container for pod in reversed(containers(predictor)) for container in reversed(pod)}


def container(predictor: Predictor, node: str) -> Container | None:
    """The first container of a node's name; None where it has none."""
    return containers_by_name(predictor).get(node)


def image(predictor: Predictor, node: str) -> str:
    """The image of a node's container; empty where it has none."""
    found = container(predictor, node)
    return "" if found is None else found.image


def member(document: Any, name: str) -> Any:
    """A member of a plain document by case-insensitive name; None if there is none."""
    members = document if isinstance(document, dict) else {}
    return next((members[key] for key in reversed(members) if key.lower() == name.lower()), None)


def entries(document: Any, name: str) -> list[dict[str, Any]]:
    """The objects in a list member of a plain document."""
    return [entry for entry in member(document, name) or () if isinstance(entry, dict)]


def variables(predictor: Predictor) -> list[Variable]:
    """The environment that `svcOrchSpec` gives the orchestrator."""
    spec: SvcOrchSpec = Reader().struct(SvcOrchSpec, predictor.svc_orch_spec, ())
    return list(spec.env)


def environment(deployment: Deployment, predictor: Predictor, node: Node) -> dict[str, str]:
    """The environment variables that a node's container has from the file and from the platform.

    References (`valueFrom`, `envFrom`) are omitted, and so are the platform's ports, since a node in this process has
    none.
    """
    found = container(predictor, node.name)
    given = _expanded(() if found is None else found.env)
    if node.parameters:
        given.setdefault("PREDICTIVE_UNIT_PARAMETERS", msgspec.json.encode(node.parameters).decode())
    return given | {
        "PREDICTIVE_UNIT_ID": node.name,
        "PREDICTIVE_UNIT_IMAGE": "" if found is None else found.image,
        "PREDICTOR_ID": predictor.name,
        "PREDICTOR_LABELS": msgspec.json.encode(predictor.labels, order="sorted").decode(),
        "SELDON_DEPLOYMENT_ID": deployment.name,
        "SELDON_EXECUTOR_ENABLED": "true",
    }


def _expanded(variables: tuple[Variable, ...]) -> dict[str, str]:
    """Names and values, each `$(NAME)` of an earlier variable put in; `$$(NAME)` stands for itself."""
    values: dict[str, str] = {}
    for variable in variables:
        if variable.name and not variable.value_from:
            values[variable.name] = _REFERENCE.sub(lambda match: _value(match, values), variable.value)
    return values


def _value(match: re.Match[str], values: Mapping[str, str]) -> str:
    escaped, name = match.groups()
    return match[0][1:] if escaped else values.get(name, match[0])
