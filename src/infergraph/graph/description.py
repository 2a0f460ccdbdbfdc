"""Graph metadata: the metadata of the nodes, and the inputs and outputs of the graph.

Source: the orchestrator specification, section 10; metadata that crashes the reference is passed on here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infergraph.errors import BadMetadata, Fault, GraphError, RemoteError
from infergraph.graph.plan import PlannedNode
from infergraph.message import Context

_KEYS = ("name", "platform", "versions", "inputs", "outputs", "custom")


async def describe(root: PlannedNode, name: str, context: Context | None) -> dict[str, Any]:
    """The metadata of a graph, for the request of `context`, if there is one.

    Returns: `name`, `models` by node name, `graphinputs`, `graphoutputs` (None if a node declares none).
    Raises: the fault of the first node without metadata, without its body; BadMetadata for a wrong type.
    """
    models: dict[str, dict[str, Any]] = {}
    for planned in root.walk():
        if planned.unit is not None and not planned.node.built_in:
            models[planned.name] = await _model(planned, context)
    inputs, outputs = _edges(root, models)
    return {
        "name": name,
        "models": dict(sorted(models.items())),
        "graphinputs": inputs,
        "graphoutputs": outputs,
    }


def as_node(described: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a graph in the form of a model's, for a graph that has it as a node."""
    return {
        "name": described["name"],
        "versions": [],
        "platform": "seldon",
        "inputs": described["graphinputs"] or [],
        "outputs": described["graphoutputs"] or [],
    }


def find(root: PlannedNode, name: str) -> PlannedNode:
    """The first node of this name, parents before children.

    Raises: GraphError if there is none.
    """
    for planned in root.walk():
        if planned.name == name:
            return planned
    raise GraphError(f"Failed to find model {name}")


async def _model(planned: PlannedNode, context: Context | None) -> dict[str, Any]:
    assert planned.unit is not None
    try:
        metadata = await planned.unit.metadata(context=context)
    except RemoteError as error:
        raise RemoteError(error.text, node=planned.name, status=error.status, grpc_code=error.grpc_code) from error
    except Fault as fault:
        fault.node = fault.node or planned.name
        raise
    return _checked(metadata, planned.name)


def _checked(metadata: Mapping[str, Any], node: str) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise BadMetadata(f"the metadata of node {node} is not an object", node=node)
    for key in ("name", "platform"):
        if not isinstance(metadata.get(key) or "", str):
            raise BadMetadata(f"{key} in the metadata of node {node} must be a string", node=node)
    versions = metadata.get("versions") or []
    if not isinstance(versions, list) or not all(isinstance(version, str) for version in versions):
        raise BadMetadata(f"versions in the metadata of node {node} must be a list of strings", node=node)
    custom = metadata.get("custom") or {}
    if not isinstance(custom, dict) or not all(isinstance(value, str) for value in custom.values()):
        raise BadMetadata(f"custom in the metadata of node {node} must map strings to strings", node=node)
    return {key: metadata[key] for key in _KEYS if metadata.get(key)}


def _edges(planned: PlannedNode, models: Mapping[str, dict[str, Any]]) -> tuple[Any, Any]:
    """The inputs and outputs of the tree below `planned`; only the first child is considered."""
    planned = planned.primary or planned
    own = models.get(planned.name, {})
    inputs, outputs = own.get("inputs"), own.get("outputs")
    if not planned.children:
        return inputs, outputs
    first_inputs, first_outputs = _edges(planned.children[0], models)
    if planned.chain:
        return first_inputs, _edges(planned.children[-1], models)[1]
    if planned.node.type in ("MODEL", "TRANSFORMER"):
        return inputs, first_outputs
    if planned.node.type in ("OUTPUT_TRANSFORMER", "COMBINER"):
        return first_inputs, outputs
    return first_inputs, first_outputs
