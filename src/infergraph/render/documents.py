"""Plain documents of the file: members by name in any case, lists that are added to, what the user wrote first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

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
