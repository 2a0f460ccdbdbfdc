"""Deployment files and predictors to records.

    text ─documents─▶ plain values ─decoder─▶ Deployment of Predictors of Nodes
                                        └───▶ problems, and advice on unknown members

Unknown members are ignored (and reported as advice), names are matched in any case, the later of two
spellings wins, and a value of the wrong JSON type is a fault: as the reference decodes.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

import msgspec

from infergraph.errors import GraphError
from infergraph.graph.spec.decoder import API_VERSIONS, KIND, Metadata, Path, Reader, Root, Spec, called, path_text
from infergraph.graph.spec.documents import Lines, parse
from infergraph.graph.spec.records import Deployment, Predictor, Problem


class Other(NamedTuple):
    """A document that is no deployment: the number of its document, its place in it if that is a list, kind, name."""

    document: int
    field: str
    kind: str
    name: str


class Reading(NamedTuple):
    """What a text holds.

    `problems` go with the number of their document; where there are any, the deployments are not complete.
    """

    deployments: list[Deployment]
    problems: list[tuple[int, Problem]]
    others: list[Other]


def read(text: str, *, source: str) -> list[Deployment]:
    """The deployments of a YAML or JSON text, in order; documents of another kind are skipped.

    A document that is a bare predictor (`name` and `graph`, no `kind`) becomes a deployment of its name.

    Args:
        source: the name of the file, for messages.
    Raises:
        GraphError: not readable, or no deployment in it; one line for each fault, with file, line and path.
    """
    reading = survey(text, source=source)
    _raise(reading.problems, text, source)
    return reading.deployments


def survey(text: str, *, source: str) -> Reading:
    """Like `read`, with the values that do not fit listed instead of raised.

    Raises: GraphError for a text that is neither YAML nor JSON, or has no deployment in it.
    """
    reading = Reading([], [], [])
    for document in parse(text, source=source):
        for number, value in enumerate(_items(document.value)):
            kind = _kind(value)
            at: Path = ("items", number) if value is not document.value else ()
            if kind == KIND:
                reader = Reader(integral_floats=not document.is_json)
                deployment = _deployment(reader, value, at)
                advice = tuple(reader.advice)
                reading.deployments.append(
                    msgspec.structs.replace(
                        deployment, advice=advice, source=source, document=document.number, at=path_text(at)
                    )
                )
                reading.problems.extend((document.number, problem) for problem in reader.faults)
            else:
                reading.others.append(Other(document.number, path_text(at), kind, _name(value)))
    if not reading.deployments:
        kinds = ", ".join(other.kind for other in reading.others)
        found = f"; it holds: {kinds}" if kinds else ": it is empty"
        raise GraphError(f"{source}: no document of kind {KIND}{found}")
    return reading


def read_predictor(text: str, *, source: str = "ENGINE_PREDICTOR") -> Predictor:
    """The predictor in `text`, as the orchestrator is given it: base64 of its JSON, or the JSON or YAML itself.

    Raises:
        GraphError: not readable as a predictor.
    """
    if not text.strip():
        raise GraphError(f"{source} is empty; it must hold a predictor, as JSON or as base64 of it")
    plain = _unpacked(text)
    documents = parse(plain, source=source)
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise GraphError(f"{source}: a predictor must be one object with name and graph")
    document = documents[0]
    reader = Reader(integral_floats=not document.is_json)
    predictor: Predictor = reader.struct(Predictor, document.value, ())
    _raise([(document.number, problem) for problem in reader.faults], plain, source)
    return predictor


def _unpacked(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        return text


def _items(value: Any) -> list[Any]:
    """The documents in a document: those of a Kubernetes list, else itself."""
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        return list(value["items"])
    return [value]


def _kind(value: Any) -> str:
    if not isinstance(value, dict):
        return called(value)
    members = {key.lower(): member for key, member in value.items()}
    if "kind" in members:
        return str(members["kind"])
    return KIND if isinstance(members.get("spec"), dict) or "graph" in members else "a document without kind"


def _name(value: Any) -> str:
    """metadata.name of a document of another kind; empty where it has none."""
    metadata = value.get("metadata") if isinstance(value, dict) else None
    return str(metadata.get("name") or "") if isinstance(metadata, dict) else ""


def _deployment(reader: Reader, value: dict[str, Any], at: Path) -> Deployment:
    members = {key.lower() for key in value}
    bare = "graph" in members and "spec" not in members
    if bare:
        predictor = reader.struct(Predictor, value, at)
        root = Root(metadata=Metadata(name=predictor.name), spec=Spec(predictors=(predictor,)))
    else:
        root = reader.struct(Root, value, at)
    if root.api_version not in API_VERSIONS:
        hint = f"use one of {', '.join(API_VERSIONS)}"
        reader.faults.append(Problem(path_text((*at, "apiVersion")), f"{root.api_version!r} is not supported", hint))
    spec, metadata = root.spec, root.metadata
    return Deployment(
        api_version=root.api_version,
        name=metadata.name,
        spec_name=spec.name,
        namespace=metadata.namespace,
        annotations=spec.annotations,
        metadata_annotations=metadata.annotations,
        labels=metadata.labels,
        protocol=spec.protocol,
        transport=spec.transport,
        server_type=spec.server_type,
        replicas=spec.replicas,
        oauth_key=spec.oauth_key,
        oauth_secret=spec.oauth_secret,
        predictors=spec.predictors,
        bare=bare,
    )


def _raise(problems: list[tuple[int, Problem]], text: str, source: str) -> None:
    """Raise problems as one GraphError, a line for each."""
    if not problems:
        return
    lines, numbers = [], Lines(text)
    for document, problem in problems:
        line = numbers.of(document, problem.field)
        where = f"{source}:{line}" if line else source
        number = f" (document {document + 1})" if document else ""
        lines.append(f"{where}{number}: {problem}" + (f"; {problem.hint}" if problem.hint else ""))
    raise GraphError("\n".join(lines))
