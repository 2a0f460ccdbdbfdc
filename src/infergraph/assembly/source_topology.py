"""The topology of a source, for the console: read from the file, without building anything."""

from __future__ import annotations

import re

from infergraph.graph import resolution, spec
from infergraph.graph.plan import routes
from infergraph.graph.resolution import Means, Resolution
from infergraph.protocol.paths import Protocol
from infergraph.topology import Role, Topology, TopologyNode, Where
from infergraph.unit_source import UnitSource

_WHERE = {
    Means.COMPONENT: Where.HERE,
    Means.PACKAGED: Where.HERE,
    Means.BUILT_IN: Where.BUILT_IN,
    Means.REMOTE: Where.REMOTE,
    Means.NOTHING: Where.NOWHERE,
    Means.UNRESOLVED: Where.NOWHERE,
}
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def graph_topology(source: UnitSource) -> Topology:
    """The topology of a deployment file that has been built, and is therefore valid.

    Raises: GraphError if the file has changed since and is no longer valid.
    """
    name, _, wanted = source.target.partition("#")
    deployments = spec.read(spec.text_of(source.path / name, name), source=name)
    deployment = next(each for each in deployments if wanted in ("", each.name))
    deployment = deployment if deployment.bare else spec.default(deployment)
    predictors = [each for each in deployment.predictors if source.predictor in ("", each.name)]
    trees = []
    for predictor in predictors:
        resolved = resolution.resolve(predictor, deployment, source.nodes)
        trees.append((predictor, _node(predictor.graph, resolved)))
    title = deployment.name or predictors[0].name or name
    return Topology(
        name=title,
        target=source.target,
        is_graph=True,
        root=trees[0][1] if len(trees) == 1 else _split(title, trees),
        protocol=Protocol.named(deployment.protocol).value,
    )


def _split(name: str, trees: list[tuple[spec.Predictor, TopologyNode]]) -> TopologyNode:
    children = []
    for predictor, tree in trees:
        role = Role.SHADOW if predictor.shadow else Role.CHILD
        children.append(
            TopologyNode(
                name=predictor.name,
                kind="PREDICTOR",
                where=Where.NOWHERE,
                role=role,
                share=None if predictor.shadow else predictor.traffic,
                children=(tree,),
            )
        )
    return TopologyNode(name=name, kind="SPLIT", where=Where.NOWHERE, routes=True, children=tuple(children))


def _node(node: spec.Node, resolved: dict[str, Resolution], role: Role = Role.CHILD) -> TopologyNode:
    found = resolved[node.name]
    children = [_node(each, resolved, Role.SHADOW if each.shadow else Role.CHILD) for each in node.children]
    if isinstance(node.fallback, spec.Node):
        children.append(_node(node.fallback, resolved, Role.FALLBACK))
    named = node.type if node.type not in (None, "", "UNKNOWN_TYPE") else node.built_in
    return TopologyNode(
        name=node.name,
        kind=named or ", ".join(node.methods) or "PASS",
        where=_WHERE[found.means],
        target=_CREDENTIALS.sub("", str(found)),
        role=role,
        routes=routes(node),
        children=tuple(children),
    )
