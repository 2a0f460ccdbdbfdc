"""Names of Kubernetes objects, containers and volumes, from the names in a deployment file.

Source: sections A2 and B5 of the Kubernetes notes; names and labels as in the Kubernetes documentation, "Object Names
and IDs".
"""

from __future__ import annotations

import hashlib
import re

LIMIT = 63
_SUBDOMAIN_LIMIT = 253
_OTHERS = re.compile(r"[^a-z0-9-]+")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")


def is_subdomain(name: str) -> bool:
    """Whether a cluster takes `name` as metadata.name of a custom resource."""
    return len(name) <= _SUBDOMAIN_LIMIT and _SUBDOMAIN.fullmatch(name) is not None


def is_label(name: str) -> bool:
    """Whether `name` is a DNS label, as the name of a namespace is."""
    return len(name) <= LIMIT and "." not in name and _SUBDOMAIN.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    """Whether `text` may be the value of a label."""
    return len(text) <= LIMIT and _LABEL_VALUE.fullmatch(text) is not None


def identity(name: str) -> str:
    """The value of the label seldon-deployment-id: the deployment's name, or a hash of a long one."""
    return name if len(name) <= LIMIT else hashed(name)


def joined(*parts: str) -> str:
    """The name of an object made of parts: mended, or a hash of a long one."""
    name = "-".join(parts)
    return mended(name) if len(name) <= LIMIT else hashed(name)


def mended(name: str) -> str:
    """`name` as a DNS label: in lower case, with a hyphen for each run of other characters, without one at the ends."""
    return _OTHERS.sub("-", name.lower()).strip("-") or hashed(name)


def part(name: str, suffix: str = "") -> str:
    """The name of a container, or of what is made for it, which is cut where it is too long."""
    return f"{joined(name)}{suffix}"[:LIMIT].rstrip("-")


def folder(node: str) -> str:
    """The name of a node as the name of a folder, another one for each node."""
    return node if is_label_value(node) and node else f"{mended(node)}-{_md5(node)[:8]}"


def hashed(name: str) -> str:
    """A name that stands for one that is too long, or no name."""
    return f"seldon-{_md5(name)}"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def unused(name: str, taken: frozenset[str]) -> str:
    """`name` for a volume of ours, or another one where the file has a volume of that name."""
    return part(f"infergraph-{name}") if name in taken else name
