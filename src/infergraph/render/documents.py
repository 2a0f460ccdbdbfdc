"""Plain documents of the file: members by name in any case, lists that are added to, what the user wrote first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from infergraph.graph.spec import entries, member


def respelt(document: Any, names: Iterable[str]) -> dict[str, Any]:
    """An object with the members `names` spelt as Kubernetes spells them; of two spellings the later counts."""
    if not isinstance(document, dict):
        return {}
    known = {name.lower(): name for name in names}
    return {known.get(str(key).lower(), str(key)): value for key, value in document.items()}


def together(given: Any, more: Iterable[Mapping[str, Any]], *, key: str = "name") -> list[Any]:
    """A list of objects as it was written, and those of `more` whose `key` is not in it yet."""
    found = list(given) if isinstance(given, list) else []
    taken = {member(each, key) for each in found}
    for each in more:
        if each[key] not in taken:
            taken.add(each[key])
            found.append(each)
    return found


def added(document: dict[str, Any], name: str, more: Iterable[Mapping[str, Any]], *, key: str = "name") -> None:
    """Add objects to the list member `name` of a document of ours, less those whose `key` is in it already."""
    found = together(document.get(name), more, key=key)
    if found:
        document[name] = found


def filled(document: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A document with the members of `defaults` that it lacks, after its own."""
    return document | {key: value for key, value in defaults.items() if document.get(key) is None}


def names_in(document: Mapping[str, Any], name: str) -> frozenset[str]:
    """The names of the objects in a list member."""
    return frozenset(str(each.get("name", "")) for each in entries(document, name))


class Attached(NamedTuple):
    """A volume, and where a container mounts it."""

    mount: dict[str, Any]
    volume: dict[str, Any] | None = None


def attached(container: dict[str, Any], found: Iterable[Attached]) -> list[dict[str, Any]]:
    """Mount volumes in a container of ours, where it has nothing mounted yet; the volumes that are mounted."""
    mounts = list(container.get("volumeMounts") or ())
    taken = {str(member(mount, "mountPath")).rstrip("/") for mount in mounts}
    volumes = []
    for each in found:
        path = each.mount["mountPath"].rstrip("/")
        if path not in taken:
            taken.add(path)
            mounts.append(each.mount)
            volumes += [each.volume] if each.volume is not None else []
    if mounts:
        container["volumeMounts"] = mounts
    return volumes
