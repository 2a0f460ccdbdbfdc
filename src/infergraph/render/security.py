"""Security contexts: what pods and containers get that have none in the file.

Source: section B3 of the Kubernetes notes; the profile "restricted" of Kubernetes' pod security standards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from infergraph.graph.spec import member

USER = 8888
CONFINED: dict[str, Any] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""The context of a container that has none."""

SEALED: dict[str, Any] = {**CONFINED, "readOnlyRootFilesystem": True}
"""The context of a container of ours that has none."""


def of_pod(containers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The context of a pod that has none.

    Args:
        containers: all that it runs, init containers included.
    """
    as_root = any(member(member(each, "securityContext"), "runAsUser") == 0 for each in containers)
    found: dict[str, Any] = {"runAsUser": USER}
    if not as_root:
        found["runAsNonRoot"] = True
    return {**found, "seccompProfile": {"type": "RuntimeDefault"}}
