"""A graph as a tree in the terminal; `picture` draws it as SVG, and the console with live figures."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rich.text import Text
from rich.tree import Tree

from infergraph.graph.spec.records import Deployment, Node, Predictor

_COLOURS = {
    "MODEL": "blue",
    "ROUTER": "yellow",
    "COMBINER": "magenta",
    "TRANSFORMER": "cyan",
    "OUTPUT_TRANSFORMER": "cyan",
    "CHAIN": "green",
}


def tree(
    graph: Deployment | Predictor,
    resolved: Mapping[str, str] | Mapping[str, Mapping[str, str]],
    places: Mapping[str, str] = MappingProxyType({}),
) -> Tree:
    """A graph as a tree for rich to print; on no terminal it comes out as plain text.

    Args:
        graph: one predictor, or a deployment with all of its predictors.
        resolved: what answers at each node by its name, for a predictor; for a deployment that for each predictor,
            by the predictor's name.
        places: what is said of where a node of a predictor runs, by its name.
    """
    if isinstance(graph, Predictor):
        trunk = Tree(_predictor_line(graph))
        _grow(trunk, graph.graph, _flat(resolved), places)
        return trunk
    trunk = Tree(Text.assemble((graph.name or "graph", "bold"), ("  SeldonDeployment", "dim")))
    for predictor in graph.predictors:
        found = resolved.get(predictor.name, {})
        limb = trunk.add(_predictor_line(predictor))
        _grow(limb, predictor.graph, found if isinstance(found, Mapping) else {}, {})
    return trunk


def _flat(resolved: Mapping[str, str] | Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {name: target for name, target in resolved.items() if isinstance(target, str)}


def _predictor_line(predictor: Predictor) -> Text:
    line = Text.assemble((predictor.name or "predictor", "bold"), ("  predictor", "dim"))
    if predictor.traffic:
        line.append(f"  {predictor.traffic} % of the traffic")
    if predictor.shadow:
        line.append("  shadow", "italic")
    return line


def _grow(limb: Tree, node: Node, resolved: Mapping[str, str], places: Mapping[str, str], role: str = "") -> None:
    line = _line(node, resolved.get(node.name, ""), role)
    if node.name in places:
        line.append(f"  [{places[node.name]}]", "green")
    branch = limb.add(line)
    for child in node.children:
        _grow(branch, child, resolved, places)
    if isinstance(node.fallback, Node):
        _grow(branch, node.fallback, resolved, places, "fallback: ")
    elif node.fallback is not None:
        branch.add(Text("fallback: a constant answer", "dim"))


def _line(node: Node, target: str, role: str) -> Text:
    kind = node.built_in or (node.type if node.type not in (None, "", "UNKNOWN_TYPE") else "")
    line = Text.assemble((role, "dim"), (node.name or "(no name)", "bold"))
    line.append(f"  {kind or ' '.join(node.methods) or 'passes through'}", _COLOURS.get(node.type or "", "dim"))
    if target:
        line.append(f"  → {target}", "bold red" if target == "nothing to call" else "")
    notes = _notes(node)
    if notes:
        line.append(f"  ({', '.join(notes)})", "dim")
    return line


def _notes(node: Node) -> list[str]:
    notes = ["shadow"] if node.shadow else []
    if node.timeout_ms:
        notes.append(f"at most {node.timeout_ms} ms")
    if node.retries:
        notes.append(f"{node.retries} retries from {node.retry_backoff_ms} ms")
    if node.logger is not None:
        notes.append(f"logs {node.logger.mode or 'nothing'}")
    return notes
