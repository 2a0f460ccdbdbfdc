"""The site of a node: in a process of ours, in an image of its own, or at an address that the file gives."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from infergraph.graph import servers
from infergraph.graph.routers import builtin
from infergraph.graph.spec import Deployment, Node
from infergraph.graph.spec.decoder import Container

_SELDON = frozenset({"", "seldon"})


class Site(Enum):
    """Where a node runs."""

    HERE = "here"
    FOREIGN = "foreign"
    OUTSIDE = "outside"


def site_of(
    node: Node,
    container: Container | None,
    deployment: Deployment,
    overrides: Mapping[str, str],
    *,
    has_images: bool = True,
) -> Site:
    """The site of a node.

    Args:
        container: of its name; None where it has none.
        overrides: targets or addresses by node name.
        has_images: whether a packaged server without a container may have an image; else those that we have run here
            in any protocol.
    """
    target = overrides.get(node.name)
    if target is not None:
        return Site.OUTSIDE if "://" in target else Site.HERE
    if node.component or builtin.applies(node):
        return Site.HERE
    if node.packaged:
        has_image = container is not None and bool(container.image)
        is_ours = node.packaged in servers.PACKAGED and (deployment.protocol in _SELDON or not has_images)
        return Site.HERE if is_ours and not has_image else Site.FOREIGN
    if container is not None:
        return Site.FOREIGN
    return Site.OUTSIDE if node.endpoint is not None and node.endpoint.has_host else Site.HERE
