"""Documents to records: lenient with names, strict with types, every fault of a document at once.

    text ─documents─▶ plain values ─▶ Deployment of Predictors of Nodes
                                 └──▶ advice on members that nobody reads

Unknown members are passed over (and reported as advice), names are matched in any case, the later of two
spellings wins, and a value of the wrong JSON type is a fault: as the reference decodes.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import types
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, Union, get_args, get_origin

import msgspec

from infergraph.errors import GraphError
from infergraph.graph.documents import line_of, parse
from infergraph.graph.nodes import Deployment, Node, Predictor, Problem

API_VERSIONS = tuple(f"machinelearning.seldon.io/{version}" for version in ("v1", "v1alpha2", "v1alpha3"))
KIND = "SeldonDeployment"

_DEPTH_LIMIT = 200
_VALUES_LIMIT = 20_000  # what a file of aliases on aliases may unfold to
_CONSTANT_MEMBERS = frozenset({"data", "strdata", "jsondata", "bindata", "customdata"})
_INT32 = range(-(2**31), 2**31)

Path = tuple[str | int, ...]


# What the reference checks inside the documents that we keep as they are.
class Port(msgspec.Struct, frozen=True, rename={"container_port": "containerPort"}):
    """A port that a container declares."""

    name: str = ""
    container_port: int = 0


class Container(msgspec.Struct, frozen=True):
    """The members of a container that defaulting and validation look at."""

    name: str = ""
    image: str = ""
    ports: tuple[Port, ...] = ()


class _Pod(msgspec.Struct, frozen=True):
    containers: tuple[Container, ...] = ()


class _ComponentSpec(msgspec.Struct, frozen=True):
    spec: _Pod = _Pod()


class Variable(msgspec.Struct, frozen=True):
    """An environment variable of the orchestrator's container."""

    name: str = ""
    value: str = ""


class _SvcOrchSpec(msgspec.Struct, frozen=True):
    env: tuple[Variable, ...] = ()
    replicas: int | None = None


class _Explainer(msgspec.Struct, frozen=True, rename={"model_uri": "modelUri"}):
    type: str = ""
    model_uri: str = ""
    config: dict[str, str] = {}


class _Metadata(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}


class _Spec(msgspec.Struct, frozen=True, rename={"server_type": "serverType"}):
    name: str = ""
    predictors: tuple[Predictor, ...] = ()
    oauth_key: str = ""
    oauth_secret: str = ""
    annotations: dict[str, str] = {}
    protocol: str = ""
    transport: str = ""
    replicas: int | None = None
    server_type: str = ""


class _Root(msgspec.Struct, frozen=True, rename={"api_version": "apiVersion"}):
    api_version: str = API_VERSIONS[0]
    kind: str = KIND
    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec()


_KEPT_AS_WRITTEN: dict[tuple[type, str], Any] = {
    (Predictor, "component_specs"): tuple[_ComponentSpec, ...],
    (Predictor, "svc_orch_spec"): _SvcOrchSpec,
    (Predictor, "explainer"): _Explainer,
}
_OF_KUBERNETES = frozenset({_Metadata, _ComponentSpec, _Pod, Container, Port, Variable, _SvcOrchSpec, _Explainer})
_OURS_ALONE = frozenset({(Node, "methods_written")})
_PASSED_OVER: dict[type, frozenset[str]] = {_Root: frozenset({"status"})}


class Reading(NamedTuple):
    """What a text holds.

    `problems` go with the number of their document; where there are any, the deployments are not complete.
    """

    deployments: list[Deployment]
    problems: list[tuple[int, Problem]]


def read(text: str, *, source: str) -> list[Deployment]:
    """The deployments of a YAML or JSON text, in order; documents of another kind are passed over.

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
    reading = Reading([], [])
    others = []
    for document in parse(text, source=source):
        for number, value in enumerate(_items(document.value)):
            kind = _kind(value)
            if kind == KIND:
                at: Path = ("items", number) if value is not document.value else ()
                reader = _Reader(integral_floats=not document.is_json)
                deployment = _deployment(reader, value, at)
                advice = tuple(reader.advice)
                reading.deployments.append(
                    msgspec.structs.replace(deployment, advice=advice, source=source, document=document.number)
                )
                reading.problems.extend((document.number, problem) for problem in reader.faults)
            else:
                others.append(kind)
    if not reading.deployments:
        found = f"; it holds: {', '.join(others)}" if others else ": it is empty"
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
    reader = _Reader(integral_floats=not document.is_json)
    predictor: Predictor = reader.struct(Predictor, document.value, ())
    _raise([(document.number, problem) for problem in reader.faults], plain, source)
    return predictor


def containers(predictor: Predictor) -> list[list[Container]]:
    """The containers of each pod of `predictor`."""
    reader = _Reader()
    pods: list[_ComponentSpec] = [reader.struct(_ComponentSpec, pod, ()) for pod in predictor.component_specs]
    return [list(pod.spec.containers) for pod in pods]


def variables(predictor: Predictor) -> list[Variable]:
    """The environment that `svcOrchSpec` gives the orchestrator."""
    spec: _SvcOrchSpec = _Reader().struct(_SvcOrchSpec, predictor.svc_orch_spec, ())
    return list(spec.env)


def spelt(path: Sequence[str | int]) -> str:
    """A path as it is written in messages: `spec.predictors[0].graph`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


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
        return _called(value)
    members = {key.lower(): member for key, member in value.items()}
    if "kind" in members:
        return str(members["kind"])
    return KIND if isinstance(members.get("spec"), dict) or "graph" in members else "a document without kind"


def _deployment(reader: _Reader, value: dict[str, Any], at: Path) -> Deployment:
    members = {key.lower() for key in value}
    if "graph" in members and "spec" not in members:
        predictor = reader.struct(Predictor, value, at)
        root = _Root(metadata=_Metadata(name=predictor.name), spec=_Spec(predictors=(predictor,)))
    else:
        root = reader.struct(_Root, value, at)
    if root.api_version not in API_VERSIONS:
        hint = f"use one of {', '.join(API_VERSIONS)}"
        reader.faults.append(Problem(spelt((*at, "apiVersion")), f"{root.api_version!r} is not supported", hint))
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
    )


def _raise(problems: list[tuple[int, Problem]], text: str, source: str) -> None:
    """Raise problems as one GraphError, a line for each."""
    if not problems:
        return
    lines = []
    for document, problem in problems:
        line = line_of(text, document, problem.field)
        where = f"{source}:{line}" if line else source
        number = f" (document {document + 1})" if document else ""
        lines.append(f"{where}{number}: {problem}" + (f"; {problem.hint}" if problem.hint else ""))
    raise GraphError("\n".join(lines))


@cache
def _fields(record: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a record by their name on the wire in lower case."""
    return {
        field.encode_name.lower(): field
        for field in msgspec.structs.fields(record)
        if (record, field.name) not in _OURS_ALONE
    }


class _Reader:
    """One walk through a document; collects what is wrong instead of stopping at the first."""

    def __init__(self, *, integral_floats: bool = True) -> None:
        self.faults: list[Problem] = []
        self.advice: list[Problem] = []
        self._integral_floats = integral_floats
        self._values = 0

    def struct(self, record: type[msgspec.Struct], raw: Any, path: Path) -> Any:
        """A `record` of the object `raw`; of nothing, with a fault noted, if it is none."""
        if raw is None:
            return record(**{name: "" for name in record.__struct_fields__ if _required(record)})
        if not isinstance(raw, dict):
            self._mismatch("an object", raw, path)
            raw = {}
        if self._too_much(path):
            raw = {}
        fields = _fields(record)
        members: dict[str, Any] = dict.fromkeys(record.__struct_fields__, "") if _required(record) else {}
        for key, value in raw.items():
            field = fields.get(key.lower())
            if field is None:
                self._unknown(record, key, path)
            elif value is None:
                members.pop(field.name, None)
                if field.required:
                    members[field.name] = ""
            else:
                members[field.name] = self._member(record, field, value, (*path, key))
        if record is Node and raw and members.get("methods") == ():
            members["methods_written"] = True
        return record(**members)

    def _member(self, record: type[msgspec.Struct], field: msgspec.structs.FieldInfo, value: Any, path: Path) -> Any:
        if (record, field.name) == (Node, "fallback"):
            return self._fallback(value, path)
        checked = _KEPT_AS_WRITTEN.get((record, field.name))
        if checked is not None:
            found = len(self.faults)
            self.value(checked, value, path)
            if len(self.faults) > found:
                return () if isinstance(value, list) else {}
            return tuple({} if pod is None else pod for pod in value) if isinstance(value, list) else value
        read = self.value(field.type, value, path)
        if record is Node and field.type is int and read < 0:
            self._fault(path, f"must be 0 or more, not {read}")
        return read

    def value(self, kind: Any, raw: Any, path: Path) -> Any:
        """`raw` as the type `kind`, an annotation of a record's field."""
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            kind = next(choice for choice in get_args(kind) if choice is not type(None))
            return self.value(kind, raw, path)
        if origin is tuple:
            return self._list(get_args(kind)[0], raw, path)
        if origin is dict:
            return self._map(get_args(kind)[1], raw, path)
        if kind is Any:
            return raw
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.struct(kind, raw, path)
        return self._scalar(kind, raw, path)

    def _list(self, item: Any, raw: Any, path: Path) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            hint = "put `- ` before it" if isinstance(raw, dict) else ""
            self._mismatch("a list", raw, path, hint)
            return ()
        return tuple(self.value(item, value, (*path, index)) for index, value in enumerate(raw))

    def _map(self, item: Any, raw: Any, path: Path) -> dict[str, Any]:
        if not isinstance(raw, dict):
            self._mismatch("an object", raw, path)
            return {}
        return {key: self.value(item, value, (*path, key)) for key, value in raw.items()}

    def _scalar(self, kind: type, raw: Any, path: Path) -> Any:
        if raw is None:
            return kind()
        if kind is int:
            return self._int(raw, path)
        if type(raw) is kind:
            return raw
        if kind is str:
            hint = "put it in quotes" if isinstance(raw, bool | int | float) else ""
            self._mismatch("text", raw, path, hint)
        else:
            self._mismatch("true or false", raw, path)
        return kind()

    def _int(self, raw: Any, path: Path) -> int:
        if isinstance(raw, float) and raw.is_integer() and self._integral_floats:
            raw = int(raw)  # YAML 100.0 is 100 by the time the reference reads JSON
        if type(raw) is not int:
            self._mismatch("an integer", raw, path)
            return 0
        if raw not in _INT32:
            self._fault(path, f"{raw} does not fit in 32 bits")
            return 0
        return raw

    def _fallback(self, raw: Any, path: Path) -> Any:
        if isinstance(raw, dict) and any(key.lower() in _CONSTANT_MEMBERS for key in raw):
            return raw
        return self.struct(Node, raw, path)

    def _fault(self, path: Path, text: str, hint: str = "") -> None:
        self.faults.append(Problem(spelt(path) or "the document", text, hint))

    def _mismatch(self, wanted: str, raw: Any, path: Path, hint: str = "") -> None:
        self._fault(path, f"expected {wanted}, found {_called(raw)}", hint)

    def _unknown(self, record: type[msgspec.Struct], key: str, path: Path) -> None:
        if record in _OF_KUBERNETES or key.lower() in _PASSED_OVER.get(record, frozenset()):
            return
        names = {name: field.encode_name for name, field in _fields(record).items()}
        near = difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.7)
        hint = (
            f"did you mean {names[near[0]]!r}?"
            if near
            else "it is passed over; known are: " + ", ".join(names.values())
        )
        self.advice.append(Problem(spelt((*path, key)), f"unknown member {key!r}", hint))

    def _too_much(self, path: Path) -> bool:
        self._values += 1
        if len(path) <= _DEPTH_LIMIT and self._values <= _VALUES_LIMIT:
            return False
        if self._values <= _VALUES_LIMIT + 1:
            self._fault(path, f"nested more than {_DEPTH_LIMIT} levels deep, or unfolds without end")
        return True


@cache
def _required(record: type[msgspec.Struct]) -> bool:
    """Whether the record has no defaults: then a missing member reads as empty text."""
    return any(field.required for field in msgspec.structs.fields(record))


def _called(value: Any) -> str:
    """What a person would call a value of a document."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value!r}"
    return {dict: "an object", list: "a list", type(None): "nothing"}.get(type(value), type(value).__name__)
