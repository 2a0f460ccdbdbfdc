"""Decoder of plain documents to records: lenient with names, strict with types, collecting all faults.

    plain value + record type ─▶ record, faults, advice

Source: the decoding rules of the orchestrator specification, section 3.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Sequence
from functools import cache
from typing import Any, Union, get_args, get_origin

import msgspec

from infergraph.graph.spec.records import Endpoint, Node, Predictor, Problem
from infergraph.net.discovery import split_host

API_VERSIONS = tuple(f"machinelearning.seldon.io/{version}" for version in ("v1", "v1alpha2", "v1alpha3"))
KIND = "SeldonDeployment"

_DEPTH_LIMIT = 200
_PATH_SHOWN = 40
_VALUES_LIMIT = 20_000  # limit for the expansion of nested aliases
_CONSTANT_MEMBERS = frozenset({"data", "strdata", "jsondata", "bindata", "customdata"})
_ENDPOINT_PATH = re.compile(r"/[!-~]*")
_INT32 = range(-(2**31), 2**31)

Path = tuple[str | int, ...]


# What the reference validates inside the documents that we keep unchanged.
class Port(msgspec.Struct, frozen=True, rename={"container_port": "containerPort"}):
    """A port that a container declares."""

    name: str = ""
    container_port: int = 0


class Variable(msgspec.Struct, frozen=True, rename={"value_from": "valueFrom"}):
    """An environment variable of a container; `value_from` where the value lies elsewhere."""

    name: str = ""
    value: str = ""
    value_from: dict[str, Any] = {}


class Container(msgspec.Struct, frozen=True):
    """The members of a container that are looked at."""

    name: str = ""
    image: str = ""
    ports: tuple[Port, ...] = ()
    env: tuple[Variable, ...] = ()


class Pod(msgspec.Struct, frozen=True):
    """The containers of a pod."""

    containers: tuple[Container, ...] = ()


class Resources(msgspec.Struct, frozen=True):
    """The resources of a container: quantities by name."""

    requests: dict[str, Any] = {}
    limits: dict[str, Any] = {}


class HpaSpec(msgspec.Struct, frozen=True, rename={"min_replicas": "minReplicas", "max_replicas": "maxReplicas"}):
    """What a HorizontalPodAutoscaler is made of."""

    min_replicas: int | None = None
    max_replicas: int = 0
    metrics: tuple[dict[str, Any], ...] = ()
    metricsv2: tuple[dict[str, Any], ...] = ()


class Trigger(msgspec.Struct, frozen=True):
    """What a KEDA ScaledObject scales by."""

    type: str = ""
    metadata: dict[str, str] = {}


class KedaSpec(
    msgspec.Struct,
    frozen=True,
    rename={
        "polling_interval": "pollingInterval",
        "cooldown_period": "cooldownPeriod",
        "min_replica_count": "minReplicaCount",
        "max_replica_count": "maxReplicaCount",
    },
):
    """What a KEDA ScaledObject is made of."""

    polling_interval: int | None = None
    cooldown_period: int | None = None
    min_replica_count: int | None = None
    max_replica_count: int | None = None
    triggers: tuple[Trigger, ...] = ()


class PdbSpec(
    msgspec.Struct, frozen=True, rename={"min_available": "minAvailable", "max_unavailable": "maxUnavailable"}
):
    """What a PodDisruptionBudget is made of: numbers, or texts such as 50%."""

    min_available: Any = None
    max_unavailable: Any = None


class ComponentSpec(
    msgspec.Struct, frozen=True, rename={"hpa_spec": "hpaSpec", "keda_spec": "kedaSpec", "pdb_spec": "pdbSpec"}
):
    """A pod's template, and how many there are of it."""

    spec: Pod = Pod()
    replicas: int | None = None
    hpa_spec: HpaSpec = HpaSpec()
    keda_spec: KedaSpec = KedaSpec()
    pdb_spec: PdbSpec = PdbSpec()


class SvcOrchSpec(msgspec.Struct, frozen=True):
    """What a predictor says of its orchestrator."""

    env: tuple[Variable, ...] = ()
    replicas: int | None = None


class Explainer(msgspec.Struct, frozen=True, rename={"model_uri": "modelUri"}):
    """The members of an explainer whose types are looked at."""

    type: str = ""
    model_uri: str = ""
    config: dict[str, str] = {}


class Metadata(msgspec.Struct, frozen=True):
    """What is read of `metadata`."""

    name: str = ""
    namespace: str = ""
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}


class Spec(msgspec.Struct, frozen=True, rename={"server_type": "serverType"}):
    """What is read of `spec`."""

    name: str = ""
    predictors: tuple[Predictor, ...] = ()
    oauth_key: str = ""
    oauth_secret: str = ""
    annotations: dict[str, str] = {}
    protocol: str = ""
    transport: str = ""
    replicas: int | None = None
    server_type: str = ""


class Root(msgspec.Struct, frozen=True, rename={"api_version": "apiVersion"}):
    """A SeldonDeployment as it is written."""

    api_version: str = API_VERSIONS[0]
    kind: str = KIND
    metadata: Metadata = Metadata()
    spec: Spec = Spec()


_KEPT_AS_WRITTEN: dict[tuple[type, str], Any] = {
    (Predictor, "component_specs"): tuple[ComponentSpec, ...],
    (Predictor, "svc_orch_spec"): SvcOrchSpec,
    (Predictor, "explainer"): Explainer,
    (Node, "resources"): Resources,
    (Node, "hpa_spec"): HpaSpec,
    (Node, "keda_spec"): KedaSpec,
    (Node, "pdb_spec"): PdbSpec,
}
_OF_KUBERNETES = frozenset(
    {
        Metadata,
        ComponentSpec,
        Pod,
        Container,
        Port,
        Variable,
        SvcOrchSpec,
        Explainer,
        Resources,
        HpaSpec,
        KedaSpec,
        Trigger,
        PdbSpec,
    }
)
_OURS_ALONE = frozenset({(Node, "methods_written")})
_PASSED_OVER: dict[type, frozenset[str]] = {Root: frozenset({"status"})}


def path_text(path: Sequence[str | int]) -> str:
    """A path in messages: `spec.predictors[0].graph`; the middle of a very long one is omitted."""
    if len(path) > _PATH_SHOWN:
        head, tail = path[: _PATH_SHOWN // 2], path[-_PATH_SHOWN // 2 :]
        return f"{path_text(head)}…{path_text(tail)}"
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def called(value: Any) -> str:
    """A short description of a value, for error messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value!r}"
    return {dict: "an object", list: "a list", type(None): "nothing"}.get(type(value), type(value).__name__)


@cache
def _fields(record: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a record by their name on the wire in lower case."""
    return {
        field.encode_name.lower(): field
        for field in msgspec.structs.fields(record)
        if (record, field.name) not in _OURS_ALONE
    }


class Reader:
    """Decodes one document; collects all faults instead of stopping at the first."""

    def __init__(self, *, integral_floats: bool = True) -> None:
        self.faults: list[Problem] = []
        self.advice: list[Problem] = []
        self._integral_floats = integral_floats
        self._values = 0

    def struct(self, record: type[msgspec.Struct], raw: Any, path: Path) -> Any:
        """A `record` of the object `raw`; an empty one, with a recorded fault, if it is not an object."""
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
        known = len(self.faults)
        read = self.value(field.type, value, path)
        if record is Node and type(read) is int and read < 0:
            self._fault(path, f"must be 0 or more, not {read}")
        if record is Endpoint and len(self.faults) == known:
            return self._of_endpoint(field.name, read, path)
        return read

    def _of_endpoint(self, name: str, value: Any, path: Path) -> Any:
        """A member of an endpoint, with a recorded fault if it cannot be called."""
        for index, host in enumerate(value if name == "service_hosts" else ()):
            try:
                split_host(host)
            except ValueError as error:
                self._fault((*path, index), str(error))
        if name == "path" and value and not _ENDPOINT_PATH.fullmatch(value):
            self._fault(path, f"{value!r} is not a path", "it begins with / and has no ?, # or space")
        return value.rstrip("/") if name == "path" else value

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
        if raw == {}:
            self._fault(path, "is empty", "write another node, or a constant answer such as {strData: none}")
        return self.struct(Node, raw, path)

    def _fault(self, path: Path, text: str, hint: str = "") -> None:
        self.faults.append(Problem(path_text(path) or "the document", text, hint))

    def _mismatch(self, wanted: str, raw: Any, path: Path, hint: str = "") -> None:
        self._fault(path, f"expected {wanted}, found {called(raw)}", hint)

    def _unknown(self, record: type[msgspec.Struct], key: str, path: Path) -> None:
        if record in _OF_KUBERNETES or key.lower() in _PASSED_OVER.get(record, frozenset()):
            return
        names = {name: field.encode_name for name, field in _fields(record).items()}
        near = difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.7)
        hint = f"did you mean {names[near[0]]!r}?" if near else "it is ignored; known are: " + ", ".join(names.values())
        self.advice.append(Problem(path_text((*path, key)), f"unknown member {key!r}", hint))

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
