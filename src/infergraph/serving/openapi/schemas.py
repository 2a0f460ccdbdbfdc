"""JSON schemas of the protocol's messages, and schemas and examples from a unit's metadata.

metadata.inputs, metadata.outputs ─▶ schemas of the unit's inputs and outputs, example requests
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from infergraph.settings import RowMode

Schema: TypeAlias = dict[str, Any]

REF = "#/components/schemas/"
_ARRAYS = ("tensor", "ndarray", "tftensor")
_EXAMPLE_VALUES = 64
_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_OBJECT: Schema = {"type": "object"}
_WHOLE: Schema = {"type": "integer"}
_MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_MAYBE_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}


def ref(name: str) -> Schema:
    """A reference to one of the schemas of the document."""
    return {"$ref": REF + name}


def as_json(description: str, schema: Schema) -> Schema:
    """A response whose body is JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes a repeated POST harmless.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def query(name: str, schema: Schema, description: str = "", *, required: bool = False) -> Schema:
    """A parameter of a query."""
    parameter: Schema = {"name": name, "in": "query", "schema": schema}
    if description:
        parameter["description"] = description
    return {**parameter, "required": True} if required else parameter


def object_of(*required: str, **properties: Schema) -> Schema:
    """The schema of an object with these properties, of which some are required."""
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


_MESSAGE: dict[str, Schema] = {
    "data": ref("DefaultData"),
    "jsonData": {"description": "Any JSON value."},
    "strData": {"type": ["string", "number"]},
    "binData": {"type": "string", "contentEncoding": "base64"},
    "meta": ref("Meta"),
}
_MESSAGES: Schema = {"type": "array", "minItems": 1, "items": ref("Request")}
_PART: Schema = {"description": "A message."}

SCHEMAS: dict[str, Schema] = {
    "Request": {
        "description": "A message with one payload and optional meta. Of several payloads the first is used: data, "
        "jsonData, strData, binData.",
        **object_of(**_MESSAGE),
        "anyOf": [{"required": [name]} for name in ("data", "jsonData", "strData", "binData")],
    },
    "SeldonMessage": {
        "description": "An answer: a payload, its meta, and optionally a status.",
        **object_of(**_MESSAGE, status=ref("Status")),
    },
    "DefaultData": {
        "description": "An array: column names and the values in one of three encodings.",
        **object_of(
            names={"description": "Column names; returned unchanged."},
            tensor=ref("Tensor"),
            ndarray={"description": "Nested lists of any depth; any other JSON value is a scalar."},
            tftensor={"type": "object", "description": "A TensorFlow TensorProto in JSON."},
        ),
        "anyOf": [{"required": [name]} for name in _ARRAYS],
    },
    "Tensor": {
        "description": "The product of the shape is the number of values; an answer without values may omit `values`.",
        **object_of(
            "shape",
            shape={"type": "array", "items": {"type": "integer"}},
            values={"type": "array"},
        ),
    },
    "Meta": {
        "description": "Metadata of the request or answer.",
        "type": ["object", "null"],
        "properties": {
            "puid": {"description": "Id of the request."},
            "tags": {"description": "Arbitrary values that the nodes add."},
            "routing": {"description": "The child that each router chose, by the router's name."},
            "requestPath": {"description": "The container image that answered at each node, by the node's name."},
            "metrics": {"description": "The components' own metrics."},
        },
    },
    "SeldonMessageList": {
        "description": "The input of a combiner: a list of messages, bare or in an object.",
        "anyOf": [
            _MESSAGES,
            object_of("seldonMessages", seldonMessages=_MESSAGES),
        ],
    },
    "Feedback": {
        "description": "A reward for an answer. Unknown members are rejected.",
        "additionalProperties": False,
        **object_of(
            request=_PART,
            response=_PART,
            reward={"type": "number"},
            truth=_PART,
        ),
    },
    "Status": {
        "description": "The status of the request.",
        "type": ["object", "null"],
        "properties": {
            "code": {"description": "-1 or an HTTP status."},
            "info": {"description": "A message for people."},
            "reason": {"description": "A stable code for clients."},
            "status": {"description": "SUCCESS or FAILURE, or their numbers 0 and 1."},
        },
    },
    "Error": {
        "description": "An error response.",
        **object_of(
            "status",
            status=object_of(
                "code", "info", "status", code=_WHOLE, info={"type": "string"}, reason={"type": "string"}, status={}
            ),
        ),
    },
    "Metadata": {
        "description": "The metadata of a model.",
        **object_of(
            name={"type": "string"},
            versions={"type": "array", "items": {"type": "string"}},
            platform={"type": "string"},
            inputs={"type": "array", "items": _OBJECT},
            outputs={"type": "array", "items": _OBJECT},
            custom={"type": "object", "additionalProperties": {"type": "string"}},
        ),
    },
    "GraphMetadata": {
        "description": "The metadata of a graph and its nodes.",
        **object_of(
            "name",
            "models",
            name={"type": "string"},
            models={"type": "object", "additionalProperties": ref("Metadata")},
            graphinputs={"type": ["array", "null"], "items": _OBJECT},
            graphoutputs={"type": ["array", "null"], "items": _OBJECT},
        ),
    },
}
"""The protocol's messages."""

TASK_SCHEMAS: dict[str, Schema] = {
    "TaskStatus": {
        "description": "The answer of gBuilder's routes; the meaning of the number depends on the route.",
        **object_of("status", status=_WHOLE),
    },
    "TaskForm": {
        "description": "A file of rows (JSON lines, CSV or Parquet, also compressed), and its options.",
        **object_of(
            "task_id",
            task_id={"type": "string", "minLength": 1, "maxLength": 255, "description": "Set by the client."},
            task_file={"type": "string", "contentMediaType": "application/octet-stream"},
            immediate={
                "type": "string",
                "description": "true or false: respond when the task is accepted, or when it has ended.",
            },
            priority={"type": "integer", "minimum": -1000, "maximum": 1000, "description": "Higher ones first."},
            rows={"type": "string", "enum": [mode.value for mode in RowMode]},
            format={"type": "string", "description": "Of the file, by default as its name ends: csv, parquet.gz, …"},
            output_format={"type": "string", "description": "Of the answers; by default that of the file."},
            input_uri={"type": "string", "description": "Where the server fetches the file, in place of task_file."},
            output_uri={"type": "string", "description": "Where the server copies the answers."},
        ),
    },
    "Task": {
        "description": "The state of a task: times in UTC, sizes in bytes, durations in seconds.",
        **object_of(
            "id", "seq", "state", "done", "failed", "total", "progress",
            id={"type": "string"},
            seq=_WHOLE,
            state={"enum": ["waiting", "running", "finished", "failed", "stopping"]},
            priority=_WHOLE,
            rows={"type": "string"},
            done=_WHOLE,
            failed=_WHOLE,
            total=_WHOLE,
            progress={"type": "number", "minimum": 0, "maximum": 1},
            rate=_MAYBE_NUMBER,
            eta_s=_MAYBE_NUMBER,
            queue_position={"type": ["integer", "null"]},
            paused=_MAYBE_TEXT,
            attempts=_WHOLE,
            retries=_WHOLE,
            kills=_WHOLE,
            round=_WHOLE,
            worked_s={"type": "number"},
            error=_MAYBE_TEXT,
            input_format={"type": "string"},
            output_format={"type": "string"},
            input_uri=_MAYBE_TEXT,
            output_uri=_MAYBE_TEXT,
            input_bytes=_WHOLE,
            input_sha256=_MAYBE_TEXT,
            output_bytes=_WHOLE,
            output_sha256=_MAYBE_TEXT,
            created=_MAYBE_TIME,
            started=_MAYBE_TIME,
            finished=_MAYBE_TIME,
        ),
    },
    "TaskPage": {"description": "A page of tasks, and the number of tasks in each state."} | object_of(
        "tasks", "next", "counts",
        tasks={"type": "array", "items": ref("Task")},
        next={"type": ["integer", "null"], "description": "The `before` of the next page; null on the last."},
        counts={"type": "object", "additionalProperties": {"type": "integer"}},
    ),
    "TaskEngine": {"description": "The status of the task engine."} | object_of(
        "status", "counts",
        status={"enum": [1, 2, 3], "description": "1 available, 2 full, 3 in error."},
        reason=_MAYBE_TEXT,
        counts={"type": "object", "additionalProperties": {"type": "integer"}},
        drivers=_WHOLE | {"description": "Drivers at work: one for each machine that shares the tasks."},
        driver={"type": ["object", "null"], "description": "What they report together."},
        silent_s=_MAYBE_NUMBER,
        used_bytes=_WHOLE,
        free_bytes=_WHOLE,
    ),
}  # fmt: skip
"""The requests and responses of the task endpoint."""


class Described:
    """The inputs or outputs in a unit's metadata; entries that cannot be read are ignored."""

    def __init__(self, items: object) -> None:
        self.items: list[Mapping[str, Any]] = (
            [item for item in items if isinstance(item, Mapping)] if isinstance(items, Sequence) else []
        )

    @property
    def text(self) -> str:
        """The items as one line; empty if there are none."""
        return "; ".join(_shown(item) for item in self.items)

    def schema(self, base: str) -> Schema:
        """The schema of messages that hold these items; `base` is the general one."""
        if not self.items:
            return ref(base)
        described: Schema = {"allOf": [ref(base)], "description": f"{self.text}."}
        told = [item.get("schema") for item in self.items if item.get("messagetype") == "jsonData"]
        if len(self.items) == 1 and told and isinstance(told[0], dict) and told[0] and is_plain(told[0]):
            described["properties"] = {"jsonData": told[0]}
        return described

    def example(self) -> Any:
        """An example message with these items; None if the metadata is not detailed enough."""
        if not self.items:
            return None
        kind = str(self.items[0].get("messagetype", ""))
        if kind in _ARRAYS:
            return {"data": _array(kind, self.items[0].get("schema"))}
        if kind == "strData":
            return {"strData": "text"}
        if kind == "binData":
            return {"binData": "Ynl0ZXM="}
        if "datatype" in self.items[0]:
            names = [str(item.get("name") or f"x{place}") for place, item in enumerate(self.items)]
            return {"data": {"names": names, "ndarray": [[0.0] * len(names)]}}
        return None


def _shown(item: Mapping[str, Any]) -> str:
    kind = item.get("messagetype") or item.get("datatype") or "any"
    schema = item.get("schema") if isinstance(item.get("schema"), Mapping) else {}
    assert isinstance(schema, Mapping)
    name = f"{item['name']}: " if item.get("name") else ""
    names = schema.get("names") or ()
    columns = f" of {', '.join(map(str, names))}" if isinstance(names, list | tuple) and names else ""
    shape = schema.get("shape") or item.get("shape")
    sizes = f", shape {list(shape)}" if isinstance(shape, list | tuple) and shape else ""
    return f"{name}{kind}{columns}{sizes}"


def _array(kind: str, schema: object) -> Schema:
    schema = schema if isinstance(schema, Mapping) else {}
    names = [str(name) for name in schema.get("names") or ()]
    shape = _sizes(schema.get("shape"), len(names))
    data: Schema = {"names": names} if names else {}
    if kind == "ndarray":
        return {**data, "ndarray": _nested(shape)}
    count = 1
    for size in shape:
        count *= size
    # A TensorProto is too long to type: the tensor encoding is equivalent.
    return {**data, "tensor": {"shape": shape, "values": [0.0] * count}}


def _sizes(shape: object, names: int) -> list[int]:
    """Sizes for an example: unknown ones are 1, and the first is 1 if there would be too many values."""
    given = [size for size in shape if isinstance(size, int)] if isinstance(shape, list | tuple) else []
    sizes = [max(1, size) for size in given] or [1, names or 2]
    if sizes == [names]:  # the shape of one row: named columns have a row axis before them
        sizes = [1, names]
    count = 1
    for size in sizes[1:]:
        count *= size
    if count > _EXAMPLE_VALUES:
        return [1] * (len(sizes) - 1) + [names or 1]
    return [sizes[0] if sizes[0] * count <= _EXAMPLE_VALUES else 1, *sizes[1:]]


def _nested(shape: Sequence[int]) -> Any:
    return 0.0 if not shape else [_nested(shape[1:]) for _ in range(shape[0])]


def is_plain(schema: object) -> bool:
    """Whether a component's own JSON schema is known to be valid, so that the document may contain it."""
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, Mapping):
        return False
    return all(_is_plain_keyword(key, value) for key, value in schema.items())


def _is_plain_keyword(key: object, value: Any) -> bool:
    match key:
        case "type":
            return value in _TYPES if isinstance(value, str) else _is_list_of(value, _TYPES.__contains__)
        case "properties":
            return isinstance(value, Mapping) and all(map(is_plain, value.values()))
        case "items" | "additionalProperties":
            return is_plain(value)
        case "required":
            return _is_list_of(value, lambda name: isinstance(name, str))
        case "anyOf" | "allOf" | "oneOf":
            return _is_list_of(value, is_plain)
        case "enum":
            return isinstance(value, list) and bool(value)
        case "title" | "description" | "format":
            return isinstance(value, str)
        case "minimum" | "maximum":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "minLength" | "maxLength" | "minItems" | "maxItems":
            return type(value) is int and value >= 0
        case "default" | "const":
            return True
        case "examples":
            return isinstance(value, list)
    return False


def _is_list_of(value: Any, test: Any) -> bool:
    if not isinstance(value, list) or not value or not all(map(test, value)):
        return False
    return not all(isinstance(item, str) for item in value) or len(set(value)) == len(value)
